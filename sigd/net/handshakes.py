"""TLS handshakes, computed a few at a time beside the rounds."""

import math
import ssl
from typing import TYPE_CHECKING, Final

import trio

from sigd import log

if TYPE_CHECKING:
    import socket
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from sigd.net.tls import TLSSocket

FAILED: Final = "tls handshake failed"
TIMED_OUT: Final = "tls handshake timed out"


class Handshake:
    """A handshake under way: the link's socket is neither read nor written by anything else.

    Attributes:
        scope: to be cancelled when the link ends.
    """

    __slots__ = ("scope",)

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    @property
    def mute(self) -> bool:
        """Whether nothing can be said to the client, which would take it for TLS."""
        return True


async def shake_hands(
    sock: "TLSSocket",
    scope: trio.CancelScope,
    steps: trio.Semaphore,
    seconds: float,
    address: str,
    hits: "Counter[str]",
) -> str:
    """Bring a TLS handshake to its end.

    Args:
        sock: the connection's socket.
        scope: ends the handshake when cancelled.
        steps: one for each handshake that may be computed before other tasks have a turn. A handshake that waits for
            its client holds none: else as many silent clients would keep all others out.
        seconds: its time-out, in which a wait for a turn does not count.
        address: the client's, for the log.
        hits: counts waits for a turn, by the limit's key.

    Returns:
        The reason why it failed; empty if it did not.
    """
    with scope:
        scope.deadline = trio.current_time() + seconds
        try:
            while True:
                if not steps.value:
                    hits["tls_handshakes"] += 1
                await wait_for_turn(steps, scope)
                try:
                    wait_for = _step(sock)
                    await trio.lowlevel.checkpoint()
                finally:
                    steps.release()
                if wait_for is None:
                    return ""
                await wait_for(sock)
        except (OSError, ValueError) as fault:
            log.debug("tls", address=address, fault=getattr(fault, "reason", None) or type(fault).__name__)
            return FAILED
    return TIMED_OUT


async def wait_for_turn(turn: trio.Semaphore | trio.Lock, scope: trio.CancelScope) -> None:
    """Acquire a turn to compute. The wait does not count against the deadline of the scope.

    The client cannot shorten it: in a crowd it would lose its handshake to the server's own work, come again, and make
    the crowd larger.
    """
    left = scope.deadline - trio.current_time()
    scope.deadline = math.inf
    try:
        await turn.acquire()
    finally:
        scope.deadline = trio.current_time() + left


def _step(sock: "TLSSocket") -> "Callable[[socket.socket], Awaitable[None]] | None":
    """Continue a handshake as far as possible; return the wait before the next step, None if it is done."""
    try:
        return None if sock.shake_hands() else _turn
    except BlockingIOError:
        return trio.lowlevel.wait_readable
    except ssl.SSLWantWriteError:
        return trio.lowlevel.wait_writable


async def _turn(_: "socket.socket") -> None:
    """Wait for nothing."""
