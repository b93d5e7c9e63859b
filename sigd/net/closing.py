"""How a link over sockets ends, and what the log says of it: the same for streams and datagrams."""

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from sigd import log
from sigd.relay.endings import Ending
from sigd.relay.link import Link
from sigd.relay.router import UNREGISTERED
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.net.reactor import Reactor


GONE: Final = frozenset({"left", "connection lost"})
"""Reasons of links that the client, or something on the way, has ended."""

PERSON_LEAVES_SECONDS: Final = 0.25
"""For the end of file of a client in lines that has left: a program closes at once, netcat waits for its user to."""

_FIN_WAIT2: Final = 5
"""TCP_FIN_WAIT2 of Linux's tcp_states.h: the far end has got all that was sent, our end of file included."""

_RESET: Final = struct.pack("ii", 1, 0)
"""struct linger: close at once, and say so (socket(7))."""


class ClosingLink(Link):
    """A link that a reactor serves. See `Link` for what is not here."""

    __slots__ = ()

    @property
    def reactor(self) -> "Reactor":
        """Who serves it."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether nothing is held for it any more."""
        raise NotImplementedError

    @property
    def linger_seconds(self) -> float:
        """The time that the client has for its own end, from the end of the conversation on."""
        leaves = self.patient and self.reason == UNREGISTERED
        return PERSON_LEAVES_SECONDS if leaves else self.reactor.linger_seconds

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: the ID is free at once; what is due, the error last, is still sent."""
        if not self.closing and self.id is not None:
            seconds = f"{self.reactor.now - self.opened:.1f}"
            by = None if fault is None else fault.by
            self.router.ended.append(Ending(self, reason, by, self.reactor.now))
            more = {} if by is None else {"by": by}
            if reason in GONE:  # the idle time-out of a proxy looks the same as a client that goes, but for this
                more["silent"] = f"{self.reactor.now - self.last_seen:.1f}"
            log.info("closed", peer=self.id, reason=reason, address=self.address, **more, seconds=seconds)
        elif fault is not None and fault.code is ErrorCode.AUTH_FAILED and fault.objection is None:
            self.reactor.say_failure(self, fault)
        super().close(reason, fault)

    def refuse(self, fault: ProtocolError) -> None:
        """Answer with an `error`; the operator is told what was wrong with a credential."""
        if fault.objection is not None:
            self.reactor.say_failure(self, fault)
        super().refuse(fault)

    def abort(self, reason: str) -> None:
        """End at once, whatever is still due."""
        self.close(reason)
        self._finish()

    def _finish(self) -> None:
        if self.over:
            return
        self.router.closed[self.reason] += 1
        self.ends_at = NEVER
        self.sever()
        self.drop_unsent(self.reactor.now, keep=0)


def hang_up(sock: socket.socket, *, reset: bool) -> None:
    """Close a connection; with `reset` so that netcat ends, which does so at a reset, and not at an end of file.

    The reset is sent only where the far end has got all that was due to it.
    """
    if reset and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _FIN_WAIT2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
