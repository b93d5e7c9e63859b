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
        ValueError: it is invalid, or would not match as intended; the text names a valid value.
    """
    try:
        network = ipaddress.ip_network(written, strict=False)
    except ValueError:
        network = None
    # Scopes (fe80::1%eth0) are dropped from the addresses compared with it.
    if network is None or "%" in written:
        raise ValueError(f'"{shown(written)}" is not a network such as 10.0.0.0/8 or 2001:db8::7')
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped and network.prefixlen >= _MAPPED_PREFIX:
        short = f"{mapped}/{network.prefixlen - _MAPPED_PREFIX}"
        raise ValueError(f"{written} means IPv4 addresses: write {ipaddress.ip_network(short)}")
    if network.prefixlen == 0:
        raise ValueError(f"{written} would trust PROXY headers from every address: name only the proxies")
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
            description="Maximum number of connections that have not registered. Beyond it one of them is closed:"
            " server-full. Silent ones go first, those of the address with the most first; if all have begun to"
            " send, the new one goes.",
        ),
    ] = 1_024
    max_unregistered_per_address: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MOST_CONNECTIONS,
            description="Maximum number of unregistered connections from one address (IPv6: one /64); at most"
            " max_unregistered; 0: no limit. Beyond it one from that address is closed, as above.",
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
            description="Proxies and NAT gateways, as networks (10.0.0.0/8, 2001:db8::7). Their connections have no"
            " limit per address, and a PROXY header (v1 or v2) gives a connection's original address."
        ),
    ] = ()
    tls_handshakes: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of TLS handshakes computed before other work has a turn; further ones wait."
            " Handshakes that wait for the client do not count.",
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
            description="Timeout for a length-prefixed client to register, from its accept. Beyond it:"
            " register-timeout, close.",
        ),
    ] = 10_000
    register_timeout_lines_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="Timeout to register for a client that uses lines, typed by people, or has sent nothing yet."
            " Beyond it: register-timeout, close.",
        ),
    ] = 60_000
    frame_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="Timeout for a length-prefixed frame, from its first byte to its last; lines have 60 s."
            " Beyond it: close.",
        ),
    ] = 10_000
    max_frame_unregistered: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MIN_FRAME,
            le=MAX_FRAME,
            description="Maximum size of a frame before registration; at most max_frame. Beyond it: bad-frame, close.",
        ),
    ] = 4_096
    max_frame: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MIN_FRAME,
            le=MAX_FRAME,
            description="Maximum size of a frame; at most outbox_bytes - 4. Beyond it: the frame is skipped,"
            " too-large, and the connection stays open; if a length-prefixed frame is over 16 times as large:"
            " bad-frame, close.",
        ),
    ] = 65_536
    max_depth: Annotated[
        int,
        msgspec.Meta(ge=1, le=512, description="Maximum nesting of relayed JSON. Beyond it: bad-message."),
    ] = 16
    outbox_bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum size of a client's outbox; at most buffer_bytes_total. Beyond it: peer-busy to the"
            " sender. Any message within the recipient's frame size fits an empty outbox.",
        ),
    ] = 262_144
    outbox_bytes_per_sender: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum share of an outbox for one sender; at most outbox_bytes. Beyond it: peer-busy to"
            " the sender.",
        ),
    ] = 65_536
    outbox_bytes_own: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum size of the server's own replies in an outbox. Beyond it: the client is not read"
            " until it has read them.",
        ),
    ] = 65_536
    buffer_bytes_total: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Maximum memory for all buffers in sum: incomplete frames, messages waiting to be processed,"
            " outboxes, replies, datagrams in flight, and the record (record.bytes). Beyond it the record drops its"
            " oldest pairs, then the links that hold most without progress are closed (slow-consumer or"
            " server-full), and senders get peer-busy until there is room.",
        ),
    ] = 134_217_728
    stall_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="Timeout for a client that reads nothing of its outbox. Beyond it: slow-consumer, close.",
        ),
    ] = 10_000
    messages_per_second: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum sustained rate of messages from one connection; 0: no limit. Beyond it and"
            " messages_burst: the connection is not read until the rate allows it, and gets rate-limited at most"
            " once in 10 s. Entries of [auth] can override the rates."
        ),
    ] = 100
    messages_burst: Annotated[
        Burst,
        msgspec.Meta(description="Maximum number of messages in one burst after a pause."),
    ] = 500
    bytes_per_second: Annotated[
        ByteRate,
        msgspec.Meta(
            description="Maximum sustained rate of bytes from one connection, framing included; 0: no"
            " limit. Beyond it and bytes_burst: as for messages."
        ),
    ] = 131_072
    bytes_burst: Annotated[
        ByteBurst,
        msgspec.Meta(description="Maximum number of bytes in one burst after a pause; at least max_frame + 4."),
    ] = 524_288
    auth_failures_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of wrong credentials per minute from one address for one ID; 0: no limit."
            " Beyond it: auth-failed without verification, for 30 s."
        ),
    ] = 5
    takeovers_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of takeovers of one ID per minute, including pings to its holder for a"
            " claim; 0: no limit. Beyond it: id-taken, for 30 s."
        ),
    ] = 5
    misses_per_minute: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of messages per minute from one peer to absent ones; 0: no limit. Beyond it:"
            " rate-limited instead of peer-unavailable."
        ),
    ] = 60
    keepalive_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=5_000,
            le=300_000,
            description="Time after which a silent client is pinged, unless it requested another time or uses lines."
            " After 2.5 times as long: idle-timeout, close.",
        ),
    ] = 30_000
    linger_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="Timeout for sending the outbox after a client's end of file, and for the client to read a"
            " closing error. Beyond it: close.",
        ),
    ] = 5_000
    drain_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=0,
            le=DAY_MS,
            description="Time over which a stop spreads the closing of connections; 0: all at once. systemd's"
            " TimeoutStopSec must be longer.",
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
            description="Maximum number of DTLS sessions, each of which has links of its own. Beyond it: no answer.",
        ),
    ] = 1_024
    dtls_handshakes: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Maximum number of DTLS sessions without a registered peer (per address:"
            " max_unregistered_per_address). Beyond it the client with the least progress makes room, first one of an"
            " address or network with far more clients.",
        ),
    ] = 64
    udp_reassembly_bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=MAX_MESSAGE,  # the longest finds room at least when nothing else needs it
            le=LARGEST_SIZE,
            description="Maximum memory for incomplete messages over UDP, of all links in sum. Beyond it: slices of"
            " further messages are not acknowledged, so clients resend them until there is room.",
        ),
    ] = 8_388_608
    udp_unproven_per_second: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of datagrams per second answered before their sender has proved its address;"
            " 0: no limit. Beyond it: no answer."
        ),
    ] = 20_000
    udp_unproven_per_second_per_address: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of datagrams per second answered before proof, from one address"
            " (IPv6: one /64); 0: no limit. Beyond it: no answer."
        ),
    ] = 10
    udp_registers_per_second_per_address: Annotated[
        Rate,
        msgspec.Meta(
            description="Maximum number of `register` per second over UDP from one proven address (IPv6: one /64);"
            " 0: no limit. Not from `trusted`. Beyond it: no answer."
        ),
    ] = 100

    def conflicts(self) -> Iterator[Conflict]:
        """Yield limits that are unreachable, and frames that have no room."""
        if self.max_frame > self.outbox_bytes - PREFIX_BYTES:
            yield (
                (("max_frame",), ("outbox_bytes",)),
                f"max_frame ({self.max_frame}) is above outbox_bytes - {PREFIX_BYTES}"
                f" ({self.outbox_bytes - PREFIX_BYTES}), so the largest frame would fit no outbox:"
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
            f"bytes_burst ({self.bytes_burst}) is below max_frame + {PREFIX_BYTES} ({needed}), so the largest"
            " frame could never be sent: raise bytes_burst or lower max_frame"
        )


# A part larger than the whole is a slip, and would never be reached.
_NOT_ABOVE = (
    ("max_unregistered_per_address", "max_unregistered"),
    ("max_frame_unregistered", "max_frame"),
    ("outbox_bytes_per_sender", "outbox_bytes"),
    ("outbox_bytes", "buffer_bytes_total"),
)
