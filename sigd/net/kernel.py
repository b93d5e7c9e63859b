"""Requests to the kernel about a connection that Python's `socket` does not offer."""

import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import Final

_NO_SIZE: Final = bytes(4)
"""Room for the int that FIONREAD fills in."""

_FIN_WAIT2: Final = 5
"""TCP_FIN_WAIT2 of Linux's tcp_states.h: the far end has got all that was sent, our end of file included."""

_RESET: Final = struct.pack("ii", 1, 0)
"""struct linger: close at once, with a reset (socket(7))."""


def unread_bytes(fd: int) -> int:
    """Return how many bytes wait to be read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, _NO_SIZE), sys.byteorder)


def hang_up(sock: socket.socket, *, reset: bool) -> None:
    """Close a connection.

    Args:
        sock: its socket.
        reset: whether to send a reset once the far end has got all that was due to it: netcat ends by that, and not by
            an end of file.
    """
    if reset and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _FIN_WAIT2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
