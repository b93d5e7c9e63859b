#!/bin/sh
# Question: a client wants to try again when nobody listens yet. Does `except ConnectionRefusedError` catch that?
# Obvious guess: yes. socket.create_connection raises it, and so do anyio.connect_unix and trio.open_unix_socket.
# What happens: trio.open_tcp_stream and anyio.connect_tcp (on trio and on asyncio) raise a plain OSError without errno,
# even where the host has one address only; the ConnectionRefusedError is its __cause__ (on anyio) or hidden in a group
# (on trio). anyio's text does not name the address either. `fault.errno == errno.ECONNREFUSED` is never true.
# Packages: trio 0.35.0, anyio 4.16.0 (PyPI), Python 3.11 or later.
# Who meets it: authors of clients on trio or anyio that wait for a server to come up, or want to say which one is missing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install trio==0.35.0 anyio==4.16.0
"$folder/venv/bin/python" - <<'PYTHON'
import socket
import sys
from importlib.metadata import version

import anyio
import trio

with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
    port = unused.getsockname()[1]

    def shown(fault: BaseException) -> tuple[str, object, bool]:
        return type(fault).__name__, getattr(fault, "errno", None), str(port) in str(fault)

    seen = {}
    try:
        socket.create_connection(("127.0.0.1", port))
    except OSError as fault:
        seen["socket"] = shown(fault)

    async def by_trio() -> None:
        try:
            await trio.open_tcp_stream("127.0.0.1", port)
        except OSError as fault:
            seen["trio"] = shown(fault)

    trio.run(by_trio)
    for backend in ("asyncio", "trio"):
        async def run(backend: str = backend) -> None:
            try:
                await anyio.connect_tcp("127.0.0.1", port)
            except OSError as fault:
                seen["anyio on " + backend] = shown(fault)

        anyio.run(run, backend=backend)

print(f"Python {sys.version.split()[0]}, trio {version('trio')}, anyio {version('anyio')}")
for name, (kind, number, names_port) in seen.items():
    print(f"  {name}: {kind}, errno {number}, names the port: {names_port}")
assert seen["socket"][0] == "ConnectionRefusedError", seen
assert seen["trio"] == ("OSError", None, True), seen
assert seen["anyio on asyncio"] == seen["anyio on trio"] == ("OSError", None, False), seen
print("as described")
PYTHON
