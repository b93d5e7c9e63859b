"""All links together: claims, fair turns, bugs that cost one link, more clients than there is room for."""

import copy
import itertools
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sigd import log
from sigd.net import reactor
from sigd.net.entrance import Entrance
from sigd.net.rounds import MESSAGES_PER_ROUND, REFUSALS
from sigd.net.socket_link import SHORT_BYTES
from sigd.net.stream import Stream
from sigd.net.turns import DUE_PER_ROUND, LINKS_AT_ONCE
from sigd.relay.chores import LINKS_PER_STEP
from sigd.relay.link import Link
from sigd.relay.registry import Registry
from sigd.relay.router import Router
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines, Prefixed
from sigd.wire.messages import ClientMessage
from tests.conftest import Serving
from tests.in_process import FRAMINGS, PLAIN, Client, Daemon, error, within

REGISTER = {"type": "register", "id": "alice", "ref": "claim"}
TAKEN = error("id-taken", ref="claim")


async def claims(daemon: Daemon, framing: str) -> Client:
    """A client that claims alice's ID; its claim waits for her."""
    client = await daemon.connect(framing)
    await client.says(REGISTER)
    return client


@pytest.mark.parametrize("framing", FRAMINGS)
class TestClaims:
    """Without credentials the first holds an ID as long as it gives signs of life."""

    @pytest.mark.parametrize("sign", [b'{"type":"pong"}', b'{"type":"ping"}', b"rubbish"])
    async def test_of_a_holder_who_answers(self, daemon: Daemon, framing: str, sign: bytes) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, framing)
        assert await alice.hears() == {"type": "ping"}
        await eve.hears_nothing()
        await alice.says(sign)
        assert await eve.hears() == TAKEN
        await eve.registers("eve")
        await eve.says({"type": "bye", "to": "alice"})
        heard = [await alice.hears() for _ in range(1 if b"pong" in sign else 2)]
        assert heard[-1] == {"type": "bye", "from": "eve"}

    async def test_one_byte_is_a_sign_of_life(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, framing)
        assert await alice.hears() == {"type": "ping"}
        await alice.sends(b"\0")
        assert await eve.hears() == TAKEN

    async def test_of_a_holder_who_is_silent(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice")
        began = trio.current_time()
        eve = await claims(daemon, framing)
        answer = await eve.hears()
        assert (answer["type"], answer["id"], answer["ref"]) == ("registered", "alice", "claim")
        assert within(trio.current_time() - began, 3)
        assert await alice.hears_all() == [{"type": "ping"}, error("idle-timeout")]
        carol = await daemon.peer("carol")
        await carol.says({"type": "bye", "to": "alice"})
        assert await eve.hears() == {"type": "bye", "from": "carol"}

    async def test_of_a_holder_who_speaks_lines(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice", "lines")
        began = trio.current_time()
        eve = await claims(daemon, framing)
        assert await eve.hears() == TAKEN
        assert trio.current_time() == began
        await alice.hears_nothing()

    async def test_a_second_claim_while_one_waits(self, daemon: Daemon, framing: str) -> None:
        await daemon.peer("alice")
        eve = await claims(daemon, framing)
        mallory = await claims(daemon, framing)
        assert await mallory.hears() == TAKEN
        await eve.hears_nothing()
        assert (await eve.hears())["type"] == "registered"

    async def test_a_claim_after_a_claim(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice")
        eve = await daemon.connect(framing)
        for _ in range(3):
            await eve.says(REGISTER)
            assert await alice.hears() == {"type": "ping"}
            await alice.says({"type": "pong"})
            assert await eve.hears() == TAKEN

    @pytest.mark.parametrize("end", ["finishes", "leaves", "breaks_off"])
    async def test_the_claimant_leaves_meanwhile(self, daemon: Daemon, framing: str, end: str) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, framing)
        assert await alice.hears() == {"type": "ping"}
        getattr(eve, end)()
        await daemon.settles()
        await alice.is_served()
        await daemon.settles()
        assert len(daemon.reactor) == 1
        assert daemon.link("alice").challenge is None
        again = await claims(daemon, framing)
        assert await alice.hears() == {"type": "ping"}
        await alice.says({"type": "pong"})
        assert await again.hears() == TAKEN

    @pytest.mark.parametrize("end", ["finishes", "leaves", "breaks_off"])
    async def test_the_holder_leaves_meanwhile(self, daemon: Daemon, framing: str, end: str) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, framing)
        assert await alice.hears() == {"type": "ping"}
        began = trio.current_time()
        getattr(alice, end)()
        assert (await eve.hears())["type"] == "registered"
        assert trio.current_time() == began
        await eve.is_served()
        assert daemon.link("alice").address.endswith(f":{eve.sock.getsockname()[1]}")

    async def test_the_holder_unregisters_meanwhile(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, framing)
        await alice.says({"type": "unregister"})
        assert (await eve.hears())["id"] == "alice"
        await eve.is_served()

    @pytest.mark.parametrize("more", [0, 1, 100])
    async def test_what_a_claimant_says_meanwhile_waits(self, daemon: Daemon, framing: str, more: int) -> None:
        bob, alice = await daemon.peer("bob"), await daemon.peer("alice")
        eve = await daemon.connect(framing)
        began = trio.current_time()
        await eve.says(REGISTER, {"type": "ping", "ref": "1"}, {"type": "bye", "to": "bob"})
        await daemon.settles()
        await eve.says(*[{"type": "ping", "ref": "2"}] * more)
        await eve.hears_nothing()
        assert await alice.hears() == {"type": "ping"}
        assert (await eve.hears())["type"] == "registered"
        assert await eve.hears() == {"type": "pong", "ref": "1"}
        assert await bob.hears() == {"type": "bye", "from": "alice"}
        assert [(await eve.hears())["ref"] for _ in range(more)] == ["2"] * more
        assert within(trio.current_time() - began, 3)

    async def test_what_a_claimant_said_before_it_left_is_acted_on(self, daemon: Daemon, framing: str) -> None:
        bob, alice = await daemon.peer("bob"), await daemon.peer("alice")
        eve = await claims(daemon, framing)
        await eve.says({"type": "bye", "to": "bob"})
        eve.leaves()
        alice.leaves()
        assert await bob.hears() == {"type": "bye", "from": "alice"}

    async def test_the_register_deadline_rests(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice", keepaliveMs=300_000)
        eve = await daemon.connect(framing)
        began = trio.current_time()
        await eve.is_served()
        seconds = 60 if framing == "lines" else 10
        await trio.sleep(seconds - 1.5)
        await eve.says(REGISTER)
        assert await alice.hears() == {"type": "ping"}
        await trio.sleep(2.5)
        await alice.says({"type": "pong"})
        assert await eve.hears() == TAKEN
        assert await eve.hears_all() == [error("register-timeout")]
        assert within(trio.current_time() - began, seconds + 2.5)

    async def test_of_a_holder_who_is_not_read(self, daemon: Daemon, framing: str) -> None:
        """Nor does it cost the claimant any of its time that the holder was last read long before."""
        alice, eve = await daemon.connect(receive_buffer=4_096), await daemon.connect(framing)
        await alice.registers("alice")
        began = trio.current_time()
        await eve.is_served()
        await alice.says(*[{"type": "ping", "ref": f"{number:064}"} for number in range(8_000)])
        await daemon.until(lambda: daemon.link("alice").held)
        assert daemon.link("alice").held
        await trio.sleep(6)
        await eve.says(REGISTER)
        assert await eve.hears() == TAKEN
        assert within(trio.current_time() - began, 6)
        alice.breaks_off()
        assert await eve.hears_all() == [error("register-timeout")]
        assert within(trio.current_time() - began, 60 if framing == "lines" else 10)

    async def test_ones_own_id_again(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.peer("alice", framing, meta={"a": 1})
        await alice.registers("alice", meta={"a": 2}, ref="1")
        await alice.says({"type": "register"}, {"type": "peers"})
        assert (await alice.hears())["id"] == "alice"
        assert (await alice.hears())["peers"] == [{"id": "alice", "meta": {"a": 2}}]
        await alice.says({"type": "register", "id": "other", "ref": "2"})
        assert await alice.hears() == error("already-registered", ref="2")


class TestFairness:
    """However much one link sends, every other has its turn in each round."""

    @staticmethod
    def order_of_acts(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
        acts: list[Link] = []
        act = Router.act

        def noted(self: Router, link: Link, message: ClientMessage, now: float) -> None:
            acts.append(link)
            act(self, link, message, now)

        monkeypatch.setattr(Router, "act", noted)
        return acts

    @pytest.mark.parametrize("framing", PLAIN)
    async def test_a_flood_of_pings(
        self, serving: Serving, framing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        async with serving(f"unix:{tmp_path}/s") as daemon:  # where what is sent has arrived
            mallory, alice = await daemon.peer("mallory", framing), await daemon.peer("alice", framing)
            acts = self.order_of_acts(monkeypatch)
            flood = mallory.framed(b'{"type":"ping"}') * 2_000
            assert await mallory.sock.send(flood) == len(flood)
            await alice.says(*[{"type": "ping"}] * 10 * MESSAGES_PER_ROUND)
            for _ in range(10 * MESSAGES_PER_ROUND):
                assert await alice.hears() == {"type": "pong"}
            served = [link.id for link in acts]
            # How much of the flood was acted on before alice had said anything depends on how fast the machine is.
            first, last = served.index("alice"), len(served) - 1 - served[::-1].index("alice")
            assert served[first : last + 1].count("mallory") <= 10 * MESSAGES_PER_ROUND
            for _ in range(2_000):
                assert await mallory.hears() == {"type": "pong"}

    async def test_those_with_little_to_say_come_first(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """All say something at once, and the budget is used up by the first of them: then whoever is brief is next."""
        async with serving(f"unix:{tmp_path}/s") as daemon:
            crowd = [await daemon.peer(f"crowd-{number}") for number in range(100)]
            alice = await daemon.peer("alice")
            acts = self.order_of_acts(monkeypatch)
            daemon.reactor.clock = itertools.count(0.0, 1.0).__next__  # each look is behind the end of each budget
            flood = crowd[0].framed(b'{"type":"ping"}') * (SHORT_BYTES // 15)
            for client in crowd:
                client.sock._sock.send(flood)  # type: ignore[attr-defined]  # no turn for the daemon in between
            await alice.says({"type": "ping"})
            assert await alice.hears() == {"type": "pong"}
            for client in crowd:
                assert await client.hears() == {"type": "pong"}
            served = [link.id for link in acts]
            most = served.index("alice")
            assert most <= LINKS_AT_ONCE * MESSAGES_PER_ROUND
            assert set(served[:most]) <= {f"crowd-{number}" for number in range(LINKS_AT_ONCE)}

    async def test_whoever_waits_has_a_turn_before_others_have_many(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        async with serving(f"unix:{tmp_path}/s") as daemon:
            crowd = [await daemon.peer(f"crowd-{number}") for number in range(100)]
            acts = self.order_of_acts(monkeypatch)
            daemon.reactor.clock = itertools.count(0.0, 1.0).__next__
            flood = crowd[0].framed(b'{"type":"ping"}') * 400
            for client in crowd:
                client.sock._sock.send(flood)  # type: ignore[attr-defined]  # no turn for the daemon, as above
            for client in crowd:
                for _ in range(400):
                    assert await client.hears() == {"type": "pong"}
            served = [link.id for link in acts]
            assert len(served) == 100 * 400
            last = max(served.index(peer) for peer in set(served))
            assert max(Counter(served[:last]).values()) <= 4 * MESSAGES_PER_ROUND

    async def test_ten_thousand_deadlines_are_spread_over_rounds(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A round looks at a bounded number of them, and the next one follows at once."""
        router = daemon.router
        looked: list[int] = []
        expire = router.expire

        def counted(now: float, failed: Callable[[Link, Exception], None], most: int) -> bool:
            before = len(router.deadlines)
            more = expire(now, failed, most)
            looked.append(before - len(router.deadlines))
            return more

        monkeypatch.setattr(router, "expire", counted)
        bob = await daemon.peer("bob")
        link = daemon.link("bob")
        for number in range(10_000):
            other = copy.copy(link)
            other.bucket = None
            other.closing, other.ends_at = True, math.inf
            router.deadlines.watch(other, trio.current_time() + 1 + number % 2)
        await trio.sleep(3)
        await bob.is_served()
        while len(router.deadlines) > 1:
            await trio.lowlevel.checkpoint()
        assert max(looked) <= DUE_PER_ROUND
        assert sum(looked) == pytest.approx(10_000, abs=10)  # bob has some of his own

    async def test_what_is_due_to_many_is_written_in_several_rounds(self, daemon: Daemon) -> None:
        """And nobody is left out, whatever else there is to do."""
        crowd = [await daemon.peer(f"crowd-{number}") for number in range(100)]
        daemon.reactor.clock = itertools.count(0.0, 1.0).__next__

        def tell_all(now: float) -> None:
            for client in daemon.router.registry.holders.values():
                client.ping(now)

        daemon.reactor.intervene(tell_all)
        assert len(daemon.router.due) >= 100 - 3 * LINKS_AT_ONCE
        for client in crowd:
            assert await client.hears() == {"type": "ping"}

    async def test_work_in_parts_is_done_between_messages(self, daemon: Daemon) -> None:
        """And a bug in it ends that work alone."""
        alice = await daemon.peer("alice")
        done: list[str] = []

        def work(name: str, parts: int) -> Iterator[None]:
            for _ in range(parts):
                done.append(name)
                yield
            if parts == 2:
                raise ValueError

        for chore in (work("a", 5), work("b", 2), work("c", 3)):
            daemon.router.chores.begin(chore)
        await alice.is_served()
        await daemon.settles()
        assert sorted(done) == ["a"] * 5 + ["b"] * 2 + ["c"] * 3
        assert done[:3] == ["a", "b", "c"]
        assert not daemon.router.chores

    async def test_senders_are_told_of_a_lost_outbox_over_several_rounds(self, daemon: Daemon) -> None:
        """One step per round where the budget is used up, and others are served between the steps."""
        crowd = [await daemon.peer(f"crowd-{number}") for number in range(100)]
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
        steps_when_served: list[int] = []
        daemon.reactor.clock = itertools.count(0.0, 1.0).__next__  # each look is behind the end of each budget

        def lose(now: float) -> None:
            for client in daemon.router.registry.holders.values():
                if client.id is not None and client.id.startswith("crowd"):
                    daemon.router.receive(client, b'{"type":"message","to":"bob","data":1}', now)
            daemon.link("bob").abort("connection lost")

        daemon.reactor.intervene(lose)
        assert sum(bool(link.queued) for link in daemon.router.registry.holders.values()) <= LINKS_PER_STEP
        while daemon.router.chores:
            await alice.is_served()
            steps_when_served.append(len(daemon.router.chores))
        assert len(steps_when_served) > 2
        for client in crowd:
            told = await client.hears()
            assert (told["code"], told["to"]) == ("peer-unavailable", "bob")
        bob.leaves()

    async def test_a_flood_does_not_delay_time(self, daemon: Daemon) -> None:
        """Deadlines are kept, and newcomers are taken in, while a link never stops sending."""
        mallory = await daemon.peer("mallory")

        async def floods() -> None:
            while True:
                await mallory.sends(mallory.framed(b'{"type":"goingAway"}') * 2_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(floods)
            for number in range(20):
                newcomer = await daemon.peer(f"newcomer-{number}", FRAMINGS[number % 2])
                await newcomer.is_served()
                newcomer.leaves()
            nursery.cancel_scope.cancel()

    async def test_deadlines_are_kept_however_many_are_busy(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when every round has as many sockets to look at as a round may have."""
        monkeypatch.setattr(reactor, "EVENTS_PER_ROUND", 2)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        late = await daemon.connect()
        await late.is_served()
        assert len(daemon.router.closed) == 0

        async def floods(client: Client) -> None:
            while True:
                await client.sends(client.framed(b'{"type":"goingAway"}') * 2_000)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(floods, await daemon.peer(f"mallory-{number}"))
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            clock.jump(11)
            for _ in range(200):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert json.loads(late.has_heard()[4:])["code"] == "register-timeout"

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_who_does_not_read_delays_nobody(self, daemon: Daemon, framing: str) -> None:
        bob = await daemon.connect(framing, receive_buffer=4_096)
        await bob.registers("bob")
        alice, carol = await daemon.peer("alice", framing), await daemon.peer("carol", framing)
        large = {"type": "message", "to": "bob", "data": "x" * 16_000}
        for number in range(100):
            await alice.says(large, {"type": "message", "to": "carol", "data": number})
            assert await carol.hears() == {"type": "message", "from": "alice", "data": number}
        assert daemon.link("bob").stuck

    async def test_held_again_before_its_turn(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        """A link that is to be read again, and in the same round is not after all, waits with what it has sent."""
        writable = Stream.writable

        def then_held(self: Stream, now: float) -> None:
            writable(self, now)
            if not self.held:
                assert self.busy
                assert self.stuck
                monkeypatch.undo()
            while not self.held:  # as when links end, later in the round, with messages of hers in their outboxes
                self.refuse(ProtocolError(ErrorCode.PEER_UNAVAILABLE, "perhaps not delivered", to="bob"))

        alice = await daemon.connect(receive_buffer=4_096)
        await alice.registers("alice", keepaliveMs=300_000)
        pings = [{"type": "ping", "ref": f"{number:064}"} for number in range(4_000)]
        await alice.says(*pings)
        await daemon.until(lambda: daemon.link("alice").held)
        assert daemon.link("alice").held
        monkeypatch.setattr(Stream, "writable", then_held)
        for ping in pings:
            while (message := await alice.hears())["type"] == "error":
                assert message == error("peer-unavailable", to="bob")
            assert message == {**ping, "type": "pong"}


class _Bug(Exception):
    pass


def buggy(function: Callable[..., Any], *, when: Callable[..., bool]) -> Callable[..., Any]:
    """The same function, but for a bug that some arguments bring out."""

    def broken(*arguments: Any, **options: Any) -> Any:
        if when(*arguments):
            raise _Bug("of a test\nwith \x1b[31m two lines")
        return function(*arguments, **options)

    return broken


BUGS: list[tuple[str, type, str, Callable[..., bool], bool]] = [
    ("a message function", Registry, "listed", lambda *_: True, True),
    ("a message function for all", Router, "act", lambda _, link, *__: link.id == "victim", True),
    ("an answer", Link, "reply_text", lambda link, data: b"boom" in data, True),
    ("splitting", Prefixed, "take", lambda _, chunk, __: b"boom" in chunk, True),
    ("splitting lines", Lines, "take", lambda _, chunk, __: b"boom" in chunk, True),
    ("reading", Stream, "readable", lambda link, _: link.id == "victim", True),
    ("writing", Stream, "push", lambda link: link.id == "victim", False),
    ("every answer", Link, "reply", lambda link, _: link.id == "victim", False),
    ("ending", Stream, "attend", lambda link, _: link.id == "victim", False),
]
"""Where the bug is, what brings it out, and whether its victim can still be told."""

BUGS_MET = [
    pytest.param(framing, *bug[1:], id=f"{bug[0]}-{framing}")
    for framing in FRAMINGS
    for bug in BUGS
    if bug[1] not in {Prefixed, Lines} or (bug[1] is Lines) == (framing == "lines")
]
"""The same for each framing; each of those has a splitter of its own."""


class TestBugs:
    """A bug costs one link, and one line of the log."""

    @pytest.mark.parametrize(("framing", "owner", "name", "when", "told"), BUGS_MET)
    async def test_in(
        self,
        daemon: Daemon,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        framing: str,
        owner: type,
        name: str,
        when: Callable[..., bool],
        told: bool,
    ) -> None:
        alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
        victim = await daemon.peer("victim", framing)
        monkeypatch.setattr(owner, name, buggy(getattr(owner, name), when=when))
        await victim.says({"type": "peers", "ref": "boom"}, {"type": "ping"})
        heard = await victim.hears_all()
        assert heard == ([error("internal")] if told else [])
        assert daemon.router.registry.find("victim") is None
        await alice.says({"type": "message", "to": "bob", "data": 1}, {"type": "message", "to": "victim", "data": 2})
        assert await bob.hears() == {"type": "message", "from": "alice", "data": 1}
        assert await alice.hears() == error("peer-unavailable", to="victim")
        lines = warnings(caplog)
        assert len(lines) == 1
        assert lines[0].startswith("bug peer=victim address=127.0.0.1:")
        assert '_Bug: of a test\\nwith \\u001b[31m two lines\\n"' in lines[0]
        assert lines[0].isprintable()
        victim.leaves()
        await daemon.settles()
        assert len(daemon.reactor) == 2

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_at_a_deadline(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, framing: str
    ) -> None:
        alice = await daemon.peer("alice", framing, keepaliveMs=300_000)
        monkeypatch.setattr(Router, "look_at", buggy(Router.look_at, when=lambda _, link, __: link.id == "victim"))
        victim = await daemon.peer("victim")
        assert await victim.hears_all() == [error("internal")]
        await alice.is_served()
        assert len(warnings(caplog)) == 1

    @pytest.mark.parametrize("framing", PLAIN)
    async def test_while_a_client_is_taken_in(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, framing: str
    ) -> None:
        """Nor does the kernel end the daemon when it has no room for one more descriptor to watch (epoll_ctl(2))."""
        alice = await daemon.peer("alice", framing)
        with monkeypatch.context() as patched:
            patched.setattr(Entrance, "add", buggy(Entrance.add, when=lambda *_: True))
            newcomer = await daemon.connect(framing)
            await newcomer.hears_bytes()
        await alice.is_served()
        await daemon.peer("bob", framing)
        assert len(warnings(caplog)) == 1

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_the_same_again_is_logged_once_in_ten_seconds(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, framing: str
    ) -> None:
        monkeypatch.setattr(Registry, "listed", buggy(Registry.listed, when=lambda *_: True))
        for _ in range(5):
            victim = await daemon.connect(framing)
            await victim.says({"type": "peers"})
            assert await victim.hears_all() == [error("internal")]
        await trio.sleep(10)
        victim = await daemon.connect(framing)
        await victim.says({"type": "peers"})
        assert await victim.hears_all() == [error("internal")]
        lines = warnings(caplog)
        assert [line.partition("count=")[2].partition(" ")[0] for line in lines] == ["1", "5"]


class TestMaxConnections:
    @pytest.mark.parametrize("framing", PLAIN)
    async def test_one_too_many_is_told(self, serving: Serving, caplog: pytest.LogCaptureFixture, framing: str) -> None:
        async with serving(max_connections=3) as daemon:
            alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
            third = await daemon.connect(framing)
            await daemon.settles()
            for _ in range(3):
                client = await daemon.connect(framing)
                await client.says({"type": "register", "id": "late"})
                # Nothing of it was read: what is said before the framing is known goes out as a line.
                assert json.loads(await client.hears_bytes()) == error("server-full")
            await alice.says({"type": "bye", "to": "bob"})
            assert await bob.hears() == {"type": "bye", "from": "alice"}
            await third.registers("third")
            assert warnings(caplog) == ["server-full limit=max_connections at=3 links=4 refused=1"]
            await trio.sleep(10)
            client = await daemon.connect(framing)
            assert json.loads(await client.hears_bytes()) == error("server-full")
            assert warnings(caplog)[1:] == ["server-full limit=max_connections at=3 links=4 refused=3"]
            client.leaves()
            third.leaves()
            await daemon.settles()
            await daemon.peer("in-time", framing)

    async def test_one_too_many_for_tls_sees_the_connection_end(self, serving: Serving) -> None:
        """Whatever were said to it, it would take for TLS."""
        async with serving(max_connections=1) as daemon:
            alice = await daemon.peer("alice", "tls")
            with pytest.raises((OSError, trio.BrokenResourceError)):
                await daemon.connect("tls")
            await alice.is_served()

    async def test_a_crowd(self, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(max_connections=2) as daemon:
            alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "lines")
            crowd = [await daemon.connect("lines") for _ in range(REFUSALS + 20)]
            for client in crowd:
                assert await client.hears_all() == [error("server-full")]
            assert len(daemon.reactor) <= 2 + REFUSALS
            await alice.says({"type": "bye", "to": "bob"})
            assert await bob.hears() == {"type": "bye", "from": "alice"}
            assert len(warnings(caplog)) == 1


class TestStop:
    """How it ends for clients; test_server.py has the process."""

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_everybody_is_told_and_has_a_second(self, daemon: Daemon, framing: str) -> None:
        alice, stranger = await daemon.peer("alice", framing), await daemon.connect(framing)
        await stranger.is_served()
        silent, faulty = await daemon.connect(framing), await daemon.peer("faulty", framing)
        await faulty.says({"type": "unregister"})
        await faulty.hears_close()  # it would have five seconds; a person who leaves has a quarter of one
        began = trio.current_time()
        daemon.is_told_to_stop()
        for client in (alice, stranger):
            [away] = await client.hears_all()
            assert 0 <= away.pop("reconnectAfterMs") < 2_000
            assert away == {"type": "goingAway", "reason": "the server stops"}
        await silent.hears_close()
        with pytest.raises(OSError, match="refused"):
            await daemon.connect()
        await trio.sleep(0.7)
        assert len(daemon.reactor) == (3 if framing == "lines" else 4)  # a person's link that has left ends before
        await trio.sleep(0.6)
        assert len(daemon.reactor) == 0
        assert within(trio.current_time() - began, 1)

    async def test_row_44_spread_over_drain_ms(self, serving: Serving) -> None:
        async with serving(drain_ms=5_000) as daemon:
            crowd = [await daemon.peer(f"peer-{number}", FRAMINGS[number % 3]) for number in range(50)]
            ends: list[float] = []

            async def hears_the_end(client: Client) -> None:
                assert [message["type"] for message in await client.hears_all()] == ["goingAway"]
                ends.append(trio.current_time() - began)
                client.leaves()

            async with trio.open_nursery() as nursery:
                began = trio.current_time()
                daemon.is_told_to_stop()
                for client in crowd:
                    nursery.start_soon(hears_the_end, client)
            assert max(ends) <= 5
            assert all(sum(second <= end < second + 1 for end in ends) >= 3 for second in range(5))
            await daemon.settles()
            assert len(daemon.reactor) == 0

    async def test_nobody_has_it_take_longer_than_it_may(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("sigd.net.farewell.STOP_SECONDS", 0.5)
        async with serving(drain_ms=1_000) as daemon:
            crowd = [await daemon.peer(f"peer-{number}", FRAMINGS[number % 3]) for number in range(6)]
            daemon.is_told_to_stop()
            await trio.sleep(1.4)
            assert not warnings(caplog)
            await trio.sleep(0.2)
            assert warnings(caplog)[0].startswith("stopped with links left links=")
            for client in crowd:
                await client.hears_all()

    async def test_who_leaves_is_not_waited_for(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice")
        began = trio.current_time()
        daemon.is_told_to_stop()
        assert [message["type"] for message in await alice.hears_all()] == ["goingAway"]
        alice.leaves()
        await daemon.settles()
        assert len(daemon.reactor) == 0
        assert trio.current_time() == began

    async def test_a_claim_that_waits(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice")
        eve = await claims(daemon, "lines")
        assert await alice.hears() == {"type": "ping"}
        daemon.is_told_to_stop()
        assert [message["type"] for message in await alice.hears_all()] == ["goingAway"]
        assert [message["type"] for message in await eve.hears_all()][-1] == "goingAway"

    async def test_a_bug_then_costs_one_link_too(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        victim, alice = await daemon.peer("victim"), await daemon.peer("alice")
        monkeypatch.setattr(Link, "reply", buggy(Link.reply, when=lambda link, _: link.id == "victim"))
        daemon.is_told_to_stop()
        assert [message["type"] for message in await alice.hears_all()] == ["goingAway"]
        await victim.hears_close()
        assert len(warnings(caplog)) == 1


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged that an operator should look at."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_each_connection_is_in_the_log_on_level_debug(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "sigd"):
        for _ in range(log.EACH_SECOND + 5):
            await daemon.connect()
        await daemon.settles()
        said = [line for line in caplog.messages if line.startswith("connected ")]
        assert len(said) == log.EACH_SECOND
        assert f" to={daemon.server.urls[0]} count=1" in said[0]
