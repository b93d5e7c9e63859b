"""The state of a link of datagrams, to be given to another process: see `Channel.state`. No I/O, no clock.

Times stand here as the one clock has them; `times.moved` tells what they are on another.
"""

from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]

Where = tuple[tuple[str | int, ...], Count, bytes]
"""Where a client is: its address as the socket module has it, which of our sockets, and the address of ours."""


class SentState(Struct, array_like=True):
    """See `sending.Sent`, and with its seq."""

    seq: Count
    datagram: bytes
    mid: Count
    first_at: float
    sent_at: float
    times: Count
    wait: float
    passed: Count


class FlightState(Struct, array_like=True):
    """See `sending.Flight`."""

    sent: list[SentState]
    again: list[Count]
    message: bytes
    cut: Count
    used_at: float
    window: Annotated[int, Meta(ge=1, le=64)]
    timeout: float
    heard: Count
    oldest: Count
    sliced: Count
    credit: Count
    srtt: float
    rttvar: float
    backed_off: float
    halved_at: float


class AsideState(Struct, array_like=True):
    """See `sending.Aside`: a server's, which has no challenge to send back."""

    question: Count
    ping: Count
    ping_at: float
    challenged_at: float
    leaving: bool
    challenge: bytes
    challenged: Where | None
    challenging: bool


class HeldMessageState(Struct, array_like=True):
    """A message that is held, in slices by their number; see `receiving.Held`."""

    mid: Count
    count: Annotated[int, Meta(ge=1, le=16)]
    since: float
    slices: dict[Annotated[int, Meta(ge=0, le=15)], bytes]
    taken: Count


class HeldState(Struct, array_like=True):
    """See `receiving.Held`."""

    bits: Annotated[int, Meta(ge=0, lt=2**32)]
    messages: list[HeldMessageState]


class ChannelState(Struct, array_like=True):
    """See `datagram.Channel`: a server's end."""

    cid: Annotated[bytes, Meta(min_length=16, max_length=16)]
    key: bytes | None
    where: Where
    whole: list[bytes]
    finished: Count
    over: str
    seq: Count
    mid: Count
    ack: Count
    ack_at: float
    turn: Count
    heard_ping: Count
    pinged: Count
    flight: FlightState | None
    held: HeldState | None
    aside: AsideState | None
