"""Programs of others at the other end: netcats, telnet, TLS clients, proxies."""
