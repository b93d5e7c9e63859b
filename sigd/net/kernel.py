"""Facts that the kernel knows of a connection and Python's `socket` does not offer."""

import fcntl
import sys
import termios
from typing import Final

_NO_SIZE: Final = bytes(4)
"""Room for the int that FIONREAD fills in."""


def unread_bytes(fd: int) -> int:
    """Return how many bytes wait to be read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, _NO_SIZE), sys.byteorder)
