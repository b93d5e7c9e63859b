"""A peer that floods, in a process of its own: flooder.py PORT CA REGISTER FLOOD

It says REGISTER, waits for the answer, says so itself, and sends FLOOD again and again, while it reads what comes. Both
are hexadecimal, framed as they are to be; it speaks TLS where CA, a file, is not empty.
"""

import contextlib
import select
import socket
import ssl
import sys

WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def main(port: str, authority: str, register: str, flood: str) -> None:
    """Flood until killed."""
    sock = socket.create_connection(("127.0.0.1", int(port)))
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        sock = context.wrap_socket(sock, server_hostname="localhost")
    sock.sendall(bytes.fromhex(register))
    assert sock.recv(65_536)
    print("ready", flush=True)
    once = bytes.fromhex(flood)
    data = memoryview(once * (65_536 // len(once) + 1))
    sock.setblocking(False)
    sent = 0
    while True:
        select.select([sock], [sock], [])
        with contextlib.suppress(*WAIT):
            sent = (sent + sock.send(data[sent:])) % len(data)
        with contextlib.suppress(*WAIT):
            while sock.recv(1_000_000):
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])
