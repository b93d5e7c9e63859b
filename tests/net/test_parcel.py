"""A snapshot from another process: it is what it was, or it is refused whole and everybody hears an end."""

import copy
import fcntl
import functools
import hashlib
import os
import socket
import struct
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigd.net import arrival, bag, handover, parcel
from sigd.net.handover import HandoverError
from sigd.net.parcel import Snapshot
from sigd.net.ports import DatagramSocket
from tests import at_rest
from tests.in_process import as_json
from tests.net.datagrams import ByHand, data
from tests.net.two_reactors import Relay, close_all, relaying

HEAD = struct.Struct(">13sHHHQ8s32s")
SERIAL = b"12345678"

Tree = list[Any]
"""A snapshot without its links, and then the states of each part."""


def headed(
    body: bytes,
    number: int = 0,
    count: int = 1,
    *,
    magic: bytes = b"sigd snapshot",
    form: int = parcel.FORMAT,
    serial: bytes = SERIAL,
) -> bytes:
    """A part of a snapshot as it lies in its memfd."""
    digest = hashlib.blake2b(f"{number} {count} ".encode() + serial + body, digest_size=32).digest()
    return HEAD.pack(magic, form, number, count, len(body), serial, digest) + body


def encoded(tree: Tree) -> list[bytes]:
    """All parts, as they lie in their memfds."""
    return [headed(msgspec.msgpack.encode(part), at, len(tree)) for at, part in enumerate(tree)]


def memfd_of(data: bytes, *, sealed: bool = True) -> int:
    """One with these bytes."""
    memfd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memfd, data)
    if sealed:
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memfd


def sockets_of(tree: Tree) -> int:
    """How many it has."""
    return msgspec.convert(tree[0], Snapshot).sockets


def lively() -> Tree:
    """A snapshot with everything in it."""
    return [msgspec.msgpack.decode(body, strict=True) for body in lively_bodies()]


@functools.cache
def lively_bodies() -> list[bytes]:
    """The same, encoded."""
    found: list[bytes] = []

    async def live() -> None:
        async with relaying(messages_per_second=20, messages_burst=30, outbox_bytes=1 << 22) as relay:
            relay.opens("tcp://127.0.0.2:0", speaks_tls=True)
            alice, carol = await relay.peer("alice", meta={"a": 1}), await relay.peer("carol", "lines")
            await relay.connect(url="tcp://127.0.0.2")
            await alice.sends(b"\0\0")
            await carol.sends(b'{"type":"message","to":"nobody"}\n' * 40)
            with ByHand(relay.url("udp")) as hand:
                cid = await hand.registers(id="bob")
                hand.says(data(cid, 2, 2, b"x" * 1_000, part="0/2"), b"P " + cid + b" 1 0000000000000000")
                for number in range(9):
                    await alice.sends(as_json({"type": "message", "to": "bob", "data": number}))
                await relay.settles()
                await relay.packs()
                found.extend(os.pread(memfd, 1 << 24, HEAD.size) for memfd in relay.packed.memfds)
                relay.unpacks()
                hand.says(b"X " + cid)
                await relay.settles()
            await trio.sleep(5)

    at_rest.run(live)
    return found


def packed(data: list[bytes], count: int) -> tuple[list[int], list[socket.socket], list[socket.socket]]:
    """Memfds, bags with so many connections, and the other ends of those."""
    pairs = [socket.socketpair() for _ in range(count)]
    bags, _ = bag.pack([ours.fileno() for ours, _ in pairs])
    for ours, theirs in pairs:
        ours.close()
        theirs.setblocking(False)
    return [memfd_of(each) for each in data], bags, [theirs for _, theirs in pairs]


def test_on_another_clock() -> None:
    """Two processes have no clock in common: trio begins anywhere."""
    before: list[Relay] = []
    client = socket.socket()

    async def first() -> None:
        async with trio.open_nursery() as nursery:
            relay = Relay(nursery, ())
            before.append(relay)
            relay.listens("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
            relay.serves()
            client.connect(relay.doors[0].sock.getsockname())
            client.send(b'{"type":"register","id":"alice"}\n')
            with ByHand(relay.url("udp")) as hand:
                shown = await hand.shows(id="cam")
                hand.says(shown)
                await relay.until(lambda: len(relay.router.registry) == 2)
            await relay.packs()

    async def second() -> None:
        async with trio.open_nursery() as nursery:
            [relay] = before
            relay.nursery = nursery
            assert relay.unpacks() == arrival.Taken(1, 1, 0, 0)
            now = trio.current_time()
            for link in relay.router.registry.holders.values():
                assert now - 5 < link.opened <= link.last_seen <= now
            assert now < relay.reactor.earliest < now + 31
            client.setblocking(False)
            client.recv(10_000)
            client.send(b'{"type":"ping"}\n')
            await relay.until(lambda: relay.link("alice").received == 2)
            relay.close()
            nursery.cancel_scope.cancel()

    at_rest.run(first)
    at_rest.run(second)
    assert b"pong" in client.recv(10_000)
    client.close()


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "no snapshot"),
            (b"x" * 100, "no snapshot"),
            (b"sigd snapshot", "no snapshot"),
            (headed(b"", form=parcel.FORMAT + 1), f"of format {parcel.FORMAT + 1}"),
            # As a daemon of before left it, with one memfd for all: magic, format, length, digest.
            (struct.pack(">13sHQ32s", b"sigd snapshot", 2, 1, b"d" * 32) + b"\x90", "of format 2, and only format"),
            (headed(b""), "does not say"),
            (headed(b"\x90"), "does not say"),
            (headed(b"\x91" * 5_000), "does not say"),
            (headed(b"\xc1"), "does not say"),
            (headed(b"\x90") + b"x", "damaged"),
            (headed(b"\x90")[:-1], "damaged"),
            (headed(b"\x90")[:-1] + b"\x91", "damaged"),
        ],
    )
    def test_what_is_none(self, data: bytes, why: str) -> None:
        with pytest.raises(HandoverError, match=why):
            parcel.decode_untrusted([data])
        pairs = [socket.socketpair() for _ in range(3)]
        bags, _ = bag.pack([ours.fileno() for ours, _ in pairs])
        for ours, _ in pairs:
            ours.close()
        with pytest.raises(HandoverError, match=why):
            handover.unpack([memfd_of(data)], bags)
        assert [theirs.recv(1) for _, theirs in pairs] == [b"", b"", b""]
        close_all([theirs for _, theirs in pairs])

    def test_what_somebody_could_change(self) -> None:
        with pytest.raises(HandoverError, match="not sealed"):
            handover.unpack([memfd_of(each, sealed=False) for each in encoded(lively())], [])

    def test_what_is_no_memfd(self) -> None:
        with pytest.raises(HandoverError, match="cannot be read"):
            handover.unpack([os.open(os.devnull, os.O_RDONLY)], [])

    @pytest.mark.parametrize("more", [-1, 1])
    def test_there_are_others_than_it_says(self, more: int) -> None:
        tree = lively()
        memfds, bags, others = packed(encoded(tree), sockets_of(tree) + more)
        with pytest.raises(HandoverError, match="sockets"):
            handover.unpack(memfds, bags)
        assert all(theirs.recv(1) == b"" for theirs in others)
        close_all(others)

    @pytest.mark.parametrize("at", [0, 1])
    def test_a_part_is_missing_or_comes_twice(self, at: int) -> None:
        parts = encoded(lively())
        for some in (parts[:at] + parts[at + 1 :], [*parts, parts[at]]):
            with pytest.raises(HandoverError, match="parts of the snapshot are missing"):
                parcel.decode_untrusted(some)

    def test_a_part_of_another_snapshot(self) -> None:
        first, *_ = parts = encoded(lively())
        body = parts[1][HEAD.size :]
        for other in (headed(body, 1, 2, serial=b"another1"), headed(body, 1, 3)):
            with pytest.raises(HandoverError, match="parts of the snapshot are missing"):
                parcel.decode_untrusted([first, other])

    @pytest.mark.parametrize("more", [-1, 1])
    def test_there_are_others_of_links_than_it_says(self, more: int) -> None:
        tree = lively()
        tree[0][3] += more
        with pytest.raises(HandoverError, match="more or fewer links"):
            parcel.decode_untrusted(encoded(tree))

    def test_there_is_something_else_among_them(self) -> None:
        tree = lively()
        for kind in (socket.SOCK_DGRAM, None):
            odd = os.open(os.devnull, os.O_RDONLY) if kind is None else socket.socket(type=kind).detach()
            ours, theirs = socket.socketpair()
            bags, _ = bag.pack([*[ours.fileno()] * (sockets_of(tree) - 1), odd])
            os.close(odd)
            ours.close()
            with pytest.raises(HandoverError, match="something else"):
                handover.unpack([memfd_of(each) for each in encoded(tree)], bags)
            assert theirs.recv(1) == b""
            theirs.close()

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        for each in (data, headed(data), b"sigd snapshot" + data):
            with pytest.raises(HandoverError):
                parcel.decode_untrusted([each])


class TestTakenUp:
    async def test_an_id_that_two_have_costs_one_of_them(self) -> None:
        tree = lively()
        first, second, *_ = tree[1]
        second[0][2] = first[0][2]
        assert second[0][2] == "alice"
        taken, peers = await _taken_up(tree)
        assert taken is not None
        assert taken.lost == 2  # and who has not said yet whether he speaks TLS: there is no such listener here
        assert peers == ["alice", "bob"]

    async def test_times_that_are_none_are_refused_whole(self) -> None:
        whole = msgspec.convert(lively()[0], Snapshot)
        whole.datagrams.cookies.begun = float("nan")
        tree = [msgspec.to_builtins(whole, builtin_types=(bytes,)), *lively()[1:]]
        assert await _taken_up(tree) == (None, [])


class TestMangled:
    """With a digest that is right: then each fault costs one link at most, or all of it is refused."""

    ODD = (None, True, -1, 0, 1, 3, 250, 1 << 62, -1e300, 0.5, 1e11, float("nan"), float("inf"), float("-inf"))
    ODDER: tuple[object, ...] = ("", "x", "alice", "::1", b"", b"x" * 16, [], [0], [[1, 2]], {}, {0: b"x"})

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_it_never_does_worse(self, draw: st.DataObject) -> None:
        whole = lively()
        for _ in range(draw.draw(st.integers(1, 3))):
            _mangle(whole, draw)
        try:
            parcel.decode_untrusted(encoded(whole))
        except HandoverError:
            return
        at_rest.run(_taken_up, whole)


def _mangle(tree: Any, draw: st.DataObject) -> None:
    """Put something else into one place of it."""
    while True:
        key = draw.draw(st.sampled_from(_keys(tree)))
        below = tree[key]
        if not _keys(below) or draw.draw(st.integers(0, 9)) == 0:
            odd = draw.draw(st.sampled_from((*TestMangled.ODD, *TestMangled.ODDER)))
            tree[key] = copy.deepcopy(odd)  # it may be changed next
            return
        tree = below


def _keys(tree: Any) -> list[Any]:
    """What there is in a list or a table; nothing in anything else."""
    kind = type(tree).__name__
    return list(tree) if kind == "dict" else list(range(len(tree))) if kind == "list" else []


async def _taken_up(tree: Tree) -> tuple[arrival.Taken | None, list[str]]:
    """Have a relay take this up and serve it for a while; what it said of that, and the peers that it had at first."""
    found: arrival.Taken | None = None
    memfds, bags, others = packed(encoded(tree), sockets_of(tree))
    try:
        async with trio.open_nursery() as nursery:
            relay = Relay(nursery, ())
            relay.listens("udp://127.0.0.1:0")
            try:
                taken = handover.unpack(memfds, bags)
                port = relay.doors[0]
                assert isinstance(port, DatagramSocket)
                ports = [DatagramSocket(port.sock, key, port.links) for key in taken.snapshot.datagrams.ports]
                try:
                    found = arrival.take_up(relay.reactor, taken, [*relay.doors, *ports])
                finally:
                    taken.close()
            except HandoverError:
                assert len(relay.reactor) == 0
            peers = sorted(relay.router.registry.holders)
            relay.serves()
            await trio.lowlevel.checkpoint()
            for seconds in (0, 1, 100, 10_000):
                relay.reactor.intervene(functools.partial(_later, relay, seconds))
                await trio.lowlevel.checkpoint()
            relay.close()
            nursery.cancel_scope.cancel()
        assert not [link for link in relay.reactor.all_streams() if not link.over]
        return found, peers
    finally:
        close_all(others)


def _later(relay: Relay, seconds: float, now: float) -> None:
    relay.router.expire(now + seconds, relay.reactor.fail)
    relay.reactor.datagrams.expire(now + seconds)
