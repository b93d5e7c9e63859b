"""Registered peers and the relay of their messages. No sockets, no trio; time is a number passed by the caller."""
