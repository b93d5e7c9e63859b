"""The ledger: the state that all links share, below the rules that decide. No I/O, no clock; times are seconds."""

from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, TypeVar, get_args

from sigd.relay.buffers import Buffers
from sigd.relay.chores import Chores
from sigd.relay.deadlines import Deadlines
from sigd.relay.endings import ENDINGS_KEPT, Ending
from sigd.relay.record import Record
from sigd.relay.registry import Registry
from sigd.relay.taps import Taps
from sigd.relay.transport import Transport
from sigd.relay.wall import Wall
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import ClientMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.config import Limits
    from sigd.relay.credentials import Grant

AnyLink = TypeVar("AnyLink", bound=Transport)


class Ledger(Generic[AnyLink]):
    """Limits, deadlines, counters and records of all links. `Router`, which decides, is one.

    Links and admission hold it under its own type: so they need not know the rules that call them.

    Attributes:
        limits: the bounds in force.
        stranger: the grant of a link that has shown no credential.
        features: names of the optional messages that are answered, which a client is told of when it registers.
        registry: the holder of each ID.
        deadlines: the time to look at each link again.
        due: links for the transports to look at: something came into an empty outbox, or the link closes.
        buffers: bytes of everything that waits here.
        chores: work on many links that is done in parts, between rounds.
        wall: the wall clock beside the relay's.
        received: messages so far that could be read, by type; `relayed`: those passed on; `unanswered`: those that only
            a server says, and comments.
        bytes_received, bytes_sent: the traffic so far, framing included, and without the overhead of TLS and DTLS.
        errors: answers by code; `closed`: links by reason; `limits_hit`: by the limit's key.
        ended: the last peers that have left, or were made to.
        record: the last messages between each two peers; `taps`: callbacks that see each message as it passes.
    """

    def __init__(
        self, limits: "Limits", stranger: "Grant", unix_time: "Callable[[], float]", record: Record | None
    ) -> None:
        self.limits = limits
        self.stranger = stranger
        self.features: list[str] = []
        self.registry: Registry[AnyLink] = Registry()
        self.deadlines: Deadlines[AnyLink] = Deadlines()
        self.due: list[AnyLink] = []
        self.buffers: Buffers[AnyLink] = Buffers()
        self.chores = Chores()
        self.wall = Wall(unix_time)
        self.received: dict[type[ClientMessage], int] = dict.fromkeys(get_args(ClientMessage), 0)
        self.relayed: int = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.unanswered = 0
        self.errors: Counter[ErrorCode] = Counter()
        self.closed: Counter[str] = Counter()
        self.limits_hit: Counter[str] = Counter()
        self.ended: deque[Ending] = deque(maxlen=ENDINGS_KEPT)
        self.record = record or Record()
        self.record.report_to(self.buffers.note_record)
        self.taps = Taps()

    def count(self, fault: ProtocolError) -> None:
        """Count an error that a client is answered with."""
        self.errors[fault.code] += 1
        if fault.limit is not None:
            self.limits_hit[fault.limit] += 1

    # -- what the rules decide

    def next_deadline(self, link: AnyLink) -> float:
        """Return the time at which something must happen to a link that stays silent; `NEVER` if nothing must."""
        raise NotImplementedError

    def release(self, link: AnyLink) -> None:
        """Free the resources of a link that ends."""
        raise NotImplementedError

    def refuse(self, link: AnyLink, fault: ProtocolError, now: float, frame: bytes = b"", length: int = 0) -> None:
        """Answer with an `error`, and keep the refusal in the record.

        Args:
            link: the link that is answered.
            fault: the error.
            now: seconds.
            frame: the message at fault, or its beginning; empty: it is not one message that is at fault.
            length: the bytes of that message, if they are not those of `frame`.
        """
        raise NotImplementedError
