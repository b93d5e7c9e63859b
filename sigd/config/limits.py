"""`[limits]`: bounds on a client's resources and times."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

import msgspec

from sigd.config.kinds import DAY_MS, LARGEST_SIZE, Burst, ByteBurst, ByteRate, Bytes, Milliseconds, Rate
from sigd.text import shown
from sigd.toml.tables import Conflict, Table
from sigd.wire.framing import MAX_FRAME, PREFIX_BYTES
from sigd.wire.messages import MIN_FRAME
from sigd.wire.receiving import MAX_MESSAGE

# Above all that RLIMIT_NOFILE can be on Linux as systemd sets it up (fs.nr_open is 2^30 - 8).
MOST_CONNECTIONS = 1 << 30
# Bits before the IPv4 address in an IPv6 address that means one (::ffff:0:0/96 of RFC 4291).
_MAPPED_PREFIX = 96


def parse_network(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse a network such as 10.0.0.0/8 or 2001:db8::7.

    Raises:
        ValueError: it is invalid, or would not match as intended; the text says what to write instead.
    """
    try:
        network = ipaddress.ip_network(written, strict=False)
    except ValueError:
        network = None
    # Scopes (fe80::1%eth0) are dropped from the addresses compared with it.
    if network is None or "%" in written:
        raise ValueError(f'"{shown(written)}" is no network, as in 10.0.0.0/8 or 2001:db8::7')
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped and network.prefixlen >= _MAPPED_PREFIX:
        short = f"{mapped}/{network.prefixlen - _MAPPED_PREFIX}"
        raise ValueError(f"{written} stands for IPv4 addresses: write {ipaddress.ip_network(short)}")
    if network.prefixlen == 0:
        raise ValueError(f"{written} trusts everybody to say whom a connection is from: name the proxies alone")
    if network.network_address != ipaddress.ip_interface(written).ip:
        raise ValueError(f"{written} has host bits set: write {network}")
    return network


class Limits(Table, frozen=True):
    """`[limits]`: sizes and timeouts, which are always on, and rates and caps, which 0 switches off."""

    max_connections: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of connections; never above RLIMIT_NOFILE - 64. Beyond it: server-full, close.",
            extra={"restart": True},  # descriptors are requested once, at start
        ),
    ] = 10_000
    max_unregistered: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of connections that have not registered. Beyond it one of them makes room:"
            " server-full, close. Silent ones go first, those of the address that has most of them before others; where"
            " all have begun, the newcomer goes.",
        ),
    ] = 1_024
    max_unregistered_per_address: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MOST_CONNECTIONS,
            description="Maximum number of those from one address (IPv6: one /64); at most max_unregistered; 0: no"
            " limit. Beyond it one of that address makes room, as above.",
        ),
    ] = 256
    max_per_address: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MOST_CONNECTIONS,
            description="Maximum number of connections from one address (IPv6: one /64); 0: no limit. Beyond it:"
            " server-full, close.",
        ),
    ] = 1_024
    trusted: Annotated[
        tuple[Annotated[str, msgspec.Meta(extra={"check": parse_network})], ...],
        msgspec.Meta(
            description="Proxies and NAT gateways, as networks (10.0.0.0/8, 2001:db8::7). From there is no limit"
            " per address, and a PROXY header (v1 or v2) says whom a connection is from."
        ),
    ] = ()
    tls_handshakes: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of TLS handshakes computed before others have a turn; further ones wait. One"
            " that waits for its client does not count.",
        ),
    ] = 1
    tls_handshake_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(ge=1, le=DAY_MS, description="Timeout for a TLS or DTLS handshake. Beyond it: close."),
    ] = 5_000
    register_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="From the accept until a client that speaks length-prefixed has registered."
            " Beyond it: register-timeout, close.",
        ),
    ] = 10_000
    register_timeout_lines_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="The same for lines, which people type, and for a client that has said nothing yet.",
        ),
    ] = 60_000
    frame_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="First to last byte of a length-prefixed frame; lines have 60 s. Beyond it: close.",
        ),
    ] = 10_000
    max_frame_unregistered: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MIN_FRAME,
            le=MAX_FRAME,
            description="Largest frame before registration; at most max_frame. Beyond it: bad-frame, close.",
        ),
    ] = 4_096
    max_frame: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MIN_FRAME,
            le=MAX_FRAME,
            description="Largest frame; at most outbox_bytes - 4. Beyond it: the frame is skipped, too-large, and the"
            " connection goes on; a length-prefixed one above 16 times as much: bad-frame, close.",
        ),
    ] = 65_536
    max_depth: Annotated[
        int,
        msgspec.Meta(ge=1, le=512, description="Deepest nesting of what is relayed. Beyond it: bad-message."),
    ] = 16
    outbox_bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum size of one client's outbox; at most buffer_bytes_total. Beyond it: peer-busy to the"
            " sender. A message that the recipient takes at all always fits an empty outbox.",
        ),
    ] = 262_144
    outbox_bytes_per_sender: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum part of it from one sender; at most outbox_bytes. Beyond it: peer-busy to the sender.",
        ),
    ] = 65_536
    outbox_bytes_own: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum size of the server's own replies in one outbox. Beyond it: the"
            " client is not read until it has taken them.",
        ),
    ] = 65_536
    buffer_bytes_total: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum memory for all buffers together: begun frames, messages that wait to be acted on,"
            " outboxes, replies, datagrams on their way. Beyond it the links that hold most without progress are"
            " closed (slow-consumer or server-full), and senders get peer-busy until there is room.",
        ),
    ] = 134_217_728
    stall_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="Timeout for a client that takes nothing of its outbox. Beyond it: slow-consumer, close.",
        ),
    ] = 10_000
    messages_per_second: Annotated[
        Rate,
        msgspec.Meta(
            description="Messages that one connection may send in a second, in the long run; 0: no limit. Past"
            " it, and past messages_burst: it is not read until it may again, and is told so (rate-limited) at"
            " most once in 10 s. The entries of [auth] may have rates of their own."
        ),
    ] = 100
    messages_burst: Annotated[
        Burst,
        msgspec.Meta(description="Messages that it may send at once after a pause."),
    ] = 500
    bytes_per_second: Annotated[
        ByteRate,
        msgspec.Meta(description="The same for bytes, framing included; 0: no limit."),
    ] = 131_072
    bytes_burst: Annotated[
        ByteBurst,
        msgspec.Meta(description="Bytes that it may send at once after a pause; at least max_frame + 4."),
    ] = 524_288
    auth_failures_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Wrong credentials from one address for one ID in a minute; 0: no limit. Beyond it:"
            " auth-failed without a look at them, for 30 s."
        ),
    ] = 5
    takeovers_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of take-overs of one ID in a minute, pings to its holder for a claim"
            " included; 0: no limit. Beyond it: id-taken, for 30 s."
        ),
    ] = 5
    misses_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of messages from one peer to absent ones in a minute; 0: no limit."
            " Beyond it: rate-limited instead of peer-unavailable."
        ),
    ] = 60
    keepalive_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=5_000,
            le=300_000,
            description="A client silent that long is pinged, unless it asked for another time or speaks"
            " lines. At 2.5 times it: idle-timeout, close.",
        ),
    ] = 30_000
    linger_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="After a client's end of file, to send what is due; after a closing error, to let it"
            " be read. Beyond it: close.",
        ),
    ] = 5_000
    drain_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=0,
            le=DAY_MS,
            description="When asked to stop, connections are closed one after the other over so long; 0: all at"
            " once. systemd's TimeoutStopSec must be longer.",
        ),
    ] = 0
    udp_links: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=MOST_CONNECTIONS, description="Maximum number of links over UDP and DTLS. Beyond it: server-full."
        ),
    ] = 65_536
    udp_links_per_address: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of links over UDP and DTLS from one address (IPv6: one /64); 0: no limit. Not"
            " from `trusted`. Beyond it: server-full."
        ),
    ] = 256
    dtls_sessions: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of DTLS sessions, each of which has links of its own. Beyond it: silence.",
        ),
    ] = 1_024
    dtls_handshakes: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of DTLS sessions without a registered peer (per address:"
            " max_unregistered_per_address). Beyond it the oldest is closed, or, if it is younger than 1 s, the new one"
            " is ignored.",
        ),
    ] = 64
    udp_reassembly_bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MAX_MESSAGE,  # the longest finds room at least when nothing else needs it
            le=LARGEST_SIZE,
            description="Maximum memory for incomplete messages over UDP, of all links together. Beyond it: slices of"
            " further messages are not acknowledged, and so are sent again, until there is room.",
        ),
    ] = 8_388_608
    udp_unproven_per_second: Annotated[
        Rate,
        msgspec.Meta(
            description="Datagrams a second that are answered although their sender has not shown that it receives"
            " where they come from; 0: no limit. Beyond it: silence."
        ),
    ] = 20_000
    udp_unproven_per_second_per_address: Annotated[
        Rate,
        msgspec.Meta(description="The same for one address (IPv6: one /64); 0: no limit. Beyond it: silence."),
    ] = 10
    udp_registers_per_second_per_address: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of `register` a second over UDP, from one address (IPv6: one /64), that are"
            " judged because their sender has shown that it receives there; 0: no limit. Not from `trusted`. Beyond"
            " it: silence."
        ),
    ] = 100

    def conflicts(self) -> Iterator[Conflict]:
        """Yield limits that are unreachable, and frames that have no room."""
        if self.max_frame > self.outbox_bytes - PREFIX_BYTES:
            yield (
                (("max_frame",), ("outbox_bytes",)),
                f"max_frame ({self.max_frame}) is above outbox_bytes - {PREFIX_BYTES}"
                f" ({self.outbox_bytes - PREFIX_BYTES}), so that the largest frame would fit no outbox:"
                " lower max_frame or raise outbox_bytes",
            )
        if what := self.burst_fault():
            yield (("bytes_burst",), ("max_frame",), ("bytes_per_second",)), what
        for smaller, larger in _NOT_ABOVE:
            least, most = getattr(self, smaller), getattr(self, larger)
            if least > most:
                yield (
                    ((smaller,), (larger,)),
                    f"{smaller} ({least}) is above {larger} ({most}): lower {smaller} or raise {larger}",
                )

    def burst_fault(self) -> str:
        """Explain why the largest frame could never be sent; empty if it could."""
        needed = self.max_frame + PREFIX_BYTES
        if not self.bytes_per_second or self.bytes_burst >= needed:
            return ""
        return (
            f"bytes_burst ({self.bytes_burst}) is below max_frame + {PREFIX_BYTES} ({needed}), so that the largest"
            " frame could never be sent: raise bytes_burst or lower max_frame"
        )


# A part larger than the whole is a slip, and would never be reached.
_NOT_ABOVE = (
    ("max_unregistered_per_address", "max_unregistered"),
    ("max_frame_unregistered", "max_frame"),
    ("outbox_bytes_per_sender", "outbox_bytes"),
    ("outbox_bytes", "buffer_bytes_total"),
)
