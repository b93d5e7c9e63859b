"""Replies of the daemon on the admin socket: every one of them as a Struct.

After `tap` it is `tapped` until one side closes. `sigctl --json` prints a reply as it comes, `schema` included. Times
are Unix time in seconds, durations seconds, sizes bytes. No I/O, no state.
"""

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

SCHEMA: Final = 1
"""Of every reply; rises when a member changes its meaning or goes."""


class Reply(Struct, kw_only=True, rename="camel"):
    """Members common to all answers."""

    schema: int = SCHEMA


RefusalCode = Literal[
    "bad-question",
    "unknown-question",
    "not-allowed",
    "no-such-peer",
    "no-answer",
    "not-here",
    "too-many",
    "internal",
]


class Refused(Reply, kw_only=True, tag="refused"):
    """Why there is no answer.

    Attributes:
        code: `bad-question`, `unknown-question`, `not-allowed`, `no-such-peer`, `no-answer`, `not-here`, `too-many`
            or `internal`.
        message: one line for people.
    """

    code: RefusalCode
    message: str


class Finding(Struct, kw_only=True, rename="camel"):
    """Something that an operator may want to change.

    Attributes:
        code: kebab-case; the same for the same thing, with any numbers.
        severity: `fail`: something does not work; `warn`: it will not, or not always.
        text: the fault, and its place.
        advice: the remedy.
    """

    code: str
    severity: Literal["warn", "fail"]
    text: str
    advice: str


class ListenerEntry(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Where the daemon listens."""

    url: str
    inherited: bool = False
    certificate_expires: float | None = None


class Spread(Struct, kw_only=True, rename="camel"):
    """How long something took, in seconds: half of the times at most `p50`, 99 of 100 at most `p99`."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0


class StatusReply(Reply, kw_only=True, tag="status"):
    """How the daemon is."""

    version: str
    pid: int
    state: Literal["running", "draining"]
    now: float
    uptime: float
    configuration: str
    """Digest of the configuration in force: equal for equal configurations."""
    config_file: str | None = None
    listeners: list[ListenerEntry] = []
    links: dict[str, int] = {}
    """Links by transport: tcp, tls, unix, udp, dtls; `lines` counts those of them that use lines."""
    peers: int = 0
    unregistered: int = 0
    max_connections: int = 0
    relayed: int = 0
    relayed_per_second: float = 0.0
    """Over the last ten seconds or so."""
    messages: dict[str, int] = {}
    bytes_received: int = 0
    bytes_sent: int = 0
    errors: dict[str, int] = {}
    closed: dict[str, int] = {}
    limits_hit: dict[str, int] = {}
    buffer_bytes: int = 0
    """Memory that all buffers take together."""
    relay: Spread = msgspec.field(default_factory=Spread)
    round: Spread = msgspec.field(default_factory=Spread)
    lag: Spread = msgspec.field(default_factory=Spread)
    rss_bytes: int = 0
    descriptors: int = 0
    max_descriptors: int = 0
    record_bytes: int = 0
    findings: list[Finding] = []


class PeerRow(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A registered peer."""

    id: str
    via: str
    framing: str
    address: str
    since: float
    idle: float = 0.0
    received: int = 0
    delivered: int = 0
    outbox_bytes: int = 0
    rtt: float | None = None
    errors: int = 0


class PeersReply(Reply, kw_only=True, tag="peers"):
    """Registered peers; the first ones if there are more."""

    now: float
    peers: list[PeerRow]
    more: bool = False


class ShowReply(Reply, kw_only=True, tag="show"):
    """Details of one peer."""

    now: float
    peer: PeerRow
    meta: Raw | UnsetType = UNSET
    max_frame: int
    keepalive: float
    held: bool = False
    stuck: bool = False
    challenged: bool = False
    register: list[str] = []
    """Each has to match an ID that it may take; ` | ` parts globs of which one has to. Without any it may take any."""
    talk: list[str] | None = None
    """IDs that it may talk to, as globs; null: any."""
    discover: bool = True
    credential: str | None = None
    """Kind and entry of the credential; never the credential itself."""
    expires: float | None = None
    recent: list[str] = []
    """Recent partners."""


class ClosedRow(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A link that has ended or, with `refused`, something that was refused to a client that claimed an ID.

    Attributes:
        id: the peer; of a refused `register` the ID that it claimed, of another message the one that it was for.
        silent: seconds before the end in which nothing had come.
        refused: the `type` of the question that was refused.
        times: how often it was.
        why: its fault.
        cause: the same in a word, of a credential.
        credential: the entry of the configuration that was nearest.
    """

    id: str
    at: float
    via: str
    address: str
    reason: str
    by: str | None = None
    seconds: float = 0.0
    silent: float = 0.0
    received: int = 0
    delivered: int = 0
    refused: str | None = None
    times: int = 1
    why: str | None = None
    cause: str | None = None
    credential: str | None = None


class ClosedReply(Reply, kw_only=True, tag="closed"):
    """Links that have ended and attempts that were refused, the last one first."""

    now: float
    closed: list[ClosedRow]


class KickReply(Reply, kw_only=True, tag="kick"):
    """The link has ended."""

    peer: str
    address: str


class PingReply(Reply, kw_only=True, tag="ping"):
    """The peer lives."""

    peer: str
    rtt: float
    """Time from the ping to the peer's next sign of life of any kind."""


class ReloadReply(Reply, kw_only=True, tag="reload"):
    """Changes of a reload; none if there was a fault."""

    faults: list[str] = []
    reloaded: list[str] = []
    needs_restart: list[str] = []
    ended: int = 0
    would_end: int = 0
    """Links that it would have ended, and was not to: nothing has changed."""
    would_end_peers: list[str] = []
    """The first of their peers."""
    shown: str = ""
    """Digest of the configuration and files that would end them."""
    before: str
    after: str


class DrainReply(Reply, kw_only=True, tag="drain"):
    """It has begun."""

    links: int
    drain: float


class MetricsReply(Reply, kw_only=True, tag="metrics"):
    """In the text format of Prometheus."""

    text: str


class TappedReply(Reply, kw_only=True, tag="tapped"):
    """One message that has passed, or was refused.

    A refused one may name no recipient (`to` is empty), or come from a client without an ID (`from` is empty); of a
    refused `register` it is the ID that was claimed.
    """

    at: float
    sender: str = msgspec.field(name="from")
    to: str
    kind: str
    """Its `type`: offer, answer, candidate, message or bye; of a refused one any other, `unknown`, or nothing where no
    message was at fault."""
    bytes: int
    session: str | None = None
    refusal: str | None = None
    """The code of the error that its sender was told."""
    why: str = ""
    """Its fault, for the operator."""
    times: int = 1
    """Number of equal ones refused in a row, as far as the record counts them."""
    summary: str = ""
    body: Raw | UnsetType = UNSET
    """The message as it was delivered; with `full` alone."""


class TapReply(Reply, kw_only=True, tag="tap"):
    """The tap is open: later messages follow."""

    now: float


Replied = (
    Refused
    | StatusReply
    | PeersReply
    | ShowReply
    | ClosedReply
    | KickReply
    | PingReply
    | ReloadReply
    | DrainReply
    | MetricsReply
    | TapReply
    | TappedReply
)

encode: Final = msgspec.json.Encoder().encode
