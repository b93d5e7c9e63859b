"""A peer that floods, in a process of its own: python -m tests.hardening.flooder PORT FRAMING CA PEER HEX

It registers as PEER, says that it is ready, and sends what HEX stands for again and again, while it reads what comes.
"""

import contextlib
import select
import socket
import ssl
import sys

from tests.in_process import LinesClient, PrefixedClient

_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def main(port: str, framing: str, authority: str, peer: str, flood: str) -> None:
    """Flood until killed."""
    sock = socket.create_connection(("127.0.0.1", int(port)))
    if framing == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        sock = context.wrap_socket(sock, server_hostname="localhost")
    framed = (LinesClient if framing == "lines" else PrefixedClient).framed
    sock.sendall(framed(b'{"type":"register","id":"%s"}' % peer.encode()))
    assert sock.recv(65_536)
    once = bytes.fromhex(flood)
    data = memoryview(once * (65_536 // len(once) + 1))
    print("ready", flush=True)
    sock.setblocking(False)
    sent = 0
    while True:
        select.select([sock], [sock], [])
        with contextlib.suppress(*_WAIT):
            sent = (sent + sock.send(data[sent:])) % len(data)
        with contextlib.suppress(*_WAIT):
            while sock.recv(1_000_000):
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])
