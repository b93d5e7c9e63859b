"""A conversation over a link in datagrams, the server's end of it by hand: time is a number, and nothing is sent."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Raw

from sigd.client import conversation as rules
from sigd.client.backlog import BACKLOG_BYTES, STRUCT_BYTES, Received
from sigd.client.conversation import Conversation
from sigd.client.datagram_conversation import DENIED_SECONDS, SILENT_SECONDS, DatagramLink
from sigd.client.errors import Disconnected, SignalingError
from sigd.wire import messages
from sigd.wire.datagram import ACK_SECONDS, MAX_MESSAGE, Channel
from sigd.wire.said import ByeFrom, MessageFrom, Ok
from tests.client.by_hand import TERMS, NoJitter

CID = b"0123456789abcdef"
KEY = bytes(range(32))
DENIAL = b"Z " + CID


class Bench:
    """A client's link, and the server's end of it.

    Attributes:
        now: seconds.
        sent: how many datagrams the client has sent.
    """

    def __init__(self, *, keepalive: float = 30, max_frame: int = MAX_MESSAGE, renewable: bool = False) -> None:
        self.now = 1000.0
        self.sent = 0
        register = messages.Register(id="alice", meta=Raw(b'{"kind":"test"}'))
        self.client = Conversation(register, None, NoJitter(), reconnect=True, max_frame=100_000, renewable=renewable)
        self.client.begin(self.now)
        self.client.register()
        assert json.loads(self.client.next_due())["type"] == "register"
        terms = TERMS | {"id": "alice", "ref": "1", "keepaliveMs": keepalive * 1000, "maxFrame": max_frame}
        self.client.receive_message(json.dumps(terms | {"expiresMs": 400_000}).encode(), self.now)
        assert self.client.ready
        self.link = DatagramLink(self.client, Channel(CID, None, server=False, key=KEY), self.now)
        self.server: Channel[None] = Channel(CID, None, server=True, key=KEY)

    def says(self) -> list[dict[str, Any]]:
        """What the client has said, as it reaches the server."""
        self.passes()
        said = [json.loads(message) for message in self.server.whole]
        self.server.take_whole()
        return said

    def passes(self) -> None:
        """Carry datagrams to and fro until nothing is due."""
        while self._to_server() + self._to_client():
            pass

    def _to_server(self) -> int:
        out = self.link.datagrams_to_send(self.now)
        self.sent += len(out)
        for datagram in out:
            self.server.receive_untrusted(datagram, None, self.now)
        return len(out)

    def _to_client(self) -> int:
        out = self.server.datagrams_to_send(self.now)
        for datagram, _ in out:
            self.link.receive_untrusted(datagram, self.now)
        return len(out)

    def hears(self, *said: dict[str, Any]) -> None:
        for message in said:
            while not self.server.room and not self.server.over:
                self.waits(ACK_SECONDS)
            self.server.give(json.dumps(message).encode())
            self.passes()

    def waits(self, seconds: float, *, deaf: bool = False) -> None:
        """Let time pass; if deaf, no datagram comes through any more."""
        until = self.now + seconds
        while not self.link.over and self.link.deadline <= until:
            self.now = max(self.now, self.link.deadline)
            self.link.expire(self.now)
            if deaf:
                self.sent += len(self.link.datagrams_to_send(self.now))
            else:
                self.passes()
        self.now = until

    def received(self) -> Iterator[Received]:
        return iter(self.client.take, None)


def text_of(size: int) -> dict[str, Any]:
    message = {"type": "message", "from": "bob", "data": ""}
    return message | {"data": "x" * (size - len(json.dumps(message)))}


# -- messages


def test_requests_and_answers():
    bench = Bench()
    request = bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    assert bench.link.deadline < bench.now
    assert bench.says() == [{"type": "bye", "to": "bob", "ref": request.ref}]
    bench.hears({"type": "ok", "ref": request.ref}, {"type": "bye", "from": "bob"})
    assert request.settled
    assert list(bench.received()) == [ByeFrom(sender="bob")]


def test_a_ping_is_answered():
    bench = Bench()
    bench.hears({"type": "ping"})
    assert bench.says() == [{"type": "pong"}]


def test_long_messages_go_in_slices_in_their_turn():
    bench = Bench()
    for size in (10, 5_000, 20, 12_000, 30):
        bench.client.ask(messages.Offer(to="bob", sdp="x" * size), Ok, lambda: None)
    assert [len(message["sdp"]) for message in bench.says()] == [10, 5_000, 20, 12_000, 30]


@pytest.mark.parametrize("said", [2_000, MAX_MESSAGE, 1_000_000])
def test_what_is_longer_than_the_server_takes_is_refused_here(said: int):
    bench = Bench(max_frame=said)
    most = min(said, MAX_MESSAGE)
    room = most - len(messages.encode(messages.Offer(to="bob", sdp="", ref="2")))
    bench.client.ask(messages.Offer(to="bob", sdp="x" * room), Ok, lambda: None)
    with pytest.raises(SignalingError, match=f"too-large .* {most + 1} bytes: this server takes {most}"):
        bench.client.ask(messages.Offer(to="bob", sdp="x" * (room + 1)), Ok, lambda: None)
    assert len(bench.says()) == 1


def test_a_renewal_that_no_server_takes_is_left_out():
    bench = Bench()
    bench.client.renew({"jwt": "x" * MAX_MESSAGE})
    bench.client.renew({"jwt": "short"})
    assert [message["jwt"] for message in bench.says()] == ["short"]


# -- what is not taken, and what does not go


def test_nothing_more_is_kept_while_the_program_takes_nothing():
    bench = Bench()
    count = 0
    while bench.client.wants_more:
        bench.hears(text_of(MAX_MESSAGE))
        count += 1
    assert 0 <= BACKLOG_BYTES // (MAX_MESSAGE + STRUCT_BYTES) - count + 1 <= 1
    bench.server.give(json.dumps({"type": "bye", "from": "bob"}).encode())
    bench.passes()
    assert not bench.server.idle
    assert len(list(bench.received())) == count
    bench.now += 1
    bench.server.expire(bench.now)
    bench.passes()
    assert list(bench.received()) == [ByeFrom(sender="bob")]


def test_an_answer_comes_through_while_the_program_takes_nothing():
    bench = Bench()
    while bench.client.wants_more:
        bench.hears(text_of(MAX_MESSAGE))
    request = bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    assert len(bench.says()) == 1
    bench.hears({"type": "ok", "ref": request.ref})
    assert request.settled


def test_a_program_cannot_have_more_waiting_than_over_a_stream():
    bench = Bench()
    count = 0
    while bench.client.ready:
        bench.client.ask(messages.Offer(to="bob", sdp="x" * 10_000), Ok, lambda: None)
        count += 1
    assert (count - 1) * 10_000 < rules.DUE_BYTES <= count * 10_100
    bench.link.datagrams_to_send(bench.now)
    assert bench.client.ready


# -- who lives


def test_a_silent_client_pings_before_a_nat_forgets_it():
    bench = Bench()
    start = bench.now
    for times in range(1, 5):
        assert bench.link.deadline == start + times * SILENT_SECONDS
        bench.waits(SILENT_SECONDS)
        assert bench.sent == times
    assert not bench.link.over


@pytest.mark.parametrize(("keepalive", "seconds"), [(5, 25), (30, 25), (100, 80), (300, 240)])
def test_a_long_keepalive_means_that_it_may_be_silent(keepalive: float, seconds: float):
    bench = Bench(keepalive=keepalive)
    bench.waits(seconds - 0.01)
    while bench.client.silence.pinged:
        bench.waits(1)
    assert bench.link.deadline <= bench.now + seconds
    assert bench.sent == (seconds - 0.01) // keepalive
    bench.waits(seconds)
    assert bench.sent > (seconds - 0.01) // keepalive


def test_what_it_says_counts_as_being_heard():
    bench = Bench()
    bench.waits(20)
    bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    bench.passes()
    said_at, bench.now = bench.now, bench.now + ACK_SECONDS
    bench.passes()
    assert bench.link.deadline == said_at + SILENT_SECONDS


def test_a_server_that_is_silent_is_asked_and_then_taken_for_dead():
    bench = Bench(keepalive=10)
    bench.waits(9.9, deaf=True)
    assert bench.sent == 0
    bench.waits(0.1, deaf=True)
    assert bench.sent == 1
    bench.waits(14.9, deaf=True)
    assert not bench.link.over
    assert bench.sent == 15
    bench.waits(0.1, deaf=True)
    assert bench.link.over
    assert "nothing was heard" in str(bench.client.fault)


def test_no_ping_of_the_wires_own_is_said_twice():
    bench = Bench(keepalive=10)
    bench.waits(24)
    assert bench.says() == []
    assert bench.sent == 2
    assert not bench.client.silence.pinged


def test_what_is_not_acknowledged_ends_the_link():
    bench = Bench(keepalive=300)
    request = bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    bench.waits(29.9, deaf=True)
    assert not bench.link.over
    bench.waits(0.2, deaf=True)
    assert bench.link.over
    assert bench.link.reason == "nothing was acknowledged for 30 s"
    bench.client.lose(bench.link.reason, bench.now)
    with pytest.raises(Disconnected, match="nothing was acknowledged"):
        request.result()


def test_what_was_acknowledged_while_the_program_stood_still_is_not_given_up():
    """Whichever of the two is told of first: the time that has passed, or what has come."""
    for comes_first in (True, False):
        bench = Bench(keepalive=300)
        bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
        assert bench.says()[0]["type"] == "bye"
        bench.server.expire(bench.now + ACK_SECONDS)
        acknowledged = bench.server.datagrams_to_send(bench.now + ACK_SECONDS)
        bench.now += 600
        if not comes_first:
            bench.link.expire(bench.now)
        for datagram, _ in acknowledged:
            bench.link.receive_untrusted(datagram, bench.now)
        bench.waits(60)
        assert not bench.link.over


def test_a_denial_that_was_contradicted_while_the_program_stood_still_counts_for_nothing():
    bench = Bench()
    bench.link.receive_untrusted(DENIAL, bench.now)
    for datagram in bench.link.datagrams_to_send(bench.now):
        bench.server.receive_untrusted(datagram, None, bench.now)
    bench.now += 600
    bench.link.expire(bench.now)
    assert not bench.link.over
    bench.passes()
    bench.waits(2 * DENIED_SECONDS)
    assert not bench.link.over


def test_forged_datagrams_are_no_sign_of_life():
    bench = Bench(keepalive=10)
    bench.waits(9, deaf=True)
    forger: Channel[None] = Channel(CID, None, server=True, key=b"x" * 32)
    forger.give(b'{"type":"bye","from":"eve"}')
    forger.ping(bench.now)
    for datagram, _ in forger.datagrams_to_send(bench.now):
        bench.link.receive_untrusted(datagram, bench.now)
    for junk in (b"", b"Z", b"Z ", DENIAL + b" 1", b"Z fedcba9876543210", b"X " + CID, b"\0" * 2_000, b"D " + CID):
        bench.link.receive_untrusted(junk, bench.now)
    assert bench.link.deadline == 1010
    assert list(bench.received()) == []
    assert not bench.link.over


# -- who does not know the link


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_denial_that_nothing_contradicts_ends_the_link(end: bytes):
    bench = Bench()
    bench.link.receive_untrusted(DENIAL + end, bench.now)
    assert bench.link.deadline <= bench.now
    bench.waits(DENIED_SECONDS / 2, deaf=True)
    bench.link.receive_untrusted(DENIAL, bench.now)  # the answer to our ping
    bench.waits(DENIED_SECONDS / 2 - 0.1, deaf=True)
    assert not bench.link.over
    assert bench.sent == 3
    bench.waits(0.1, deaf=True)
    assert bench.link.over
    assert bench.link.reason == "the server does not know this link any more"


def test_a_denial_that_somebody_made_up_costs_a_ping():
    bench = Bench()
    bench.link.receive_untrusted(DENIAL, bench.now)
    bench.passes()
    assert bench.sent == 1
    bench.waits(SILENT_SECONDS - 1)
    assert bench.sent == 1
    assert not bench.link.over


def test_a_server_that_comes_back_without_knowing_us_is_noticed_by_the_next_message():
    bench = Bench()
    bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    assert bench.link.datagrams_to_send(bench.now)
    bench.link.receive_untrusted(DENIAL, bench.now + 0.1)
    bench.waits(0.1 + DENIED_SECONDS, deaf=True)
    assert bench.link.over


# -- the end


def test_who_leaves_says_so_and_acknowledges_what_came_last():
    bench = Bench()
    bench.hears({"type": "ok", "ref": "1"})
    assert not bench.server.idle  # an acknowledgement may wait a little
    for datagram in bench.link.leave(bench.now):
        bench.server.receive_untrusted(datagram, None, bench.now)
    assert bench.server.finished == 1
    assert bench.server.over == "left"


def test_a_server_that_leaves_ends_the_link():
    bench = Bench()
    bench.server.leave("because")
    bench.passes()
    assert bench.link.over
    assert bench.link.reason == "the server closed the connection"


def test_a_last_word_is_heard_and_nothing_after_it():
    bench = Bench()
    bench.hears({"type": "goingAway", "reason": "restart", "reconnectAfterMs": 500}, text_of(200))
    assert bench.link.over
    assert bench.link.reason == ""
    assert list(bench.received()) == []
    assert "going away: restart" in str(bench.client.fault)


def test_a_replaced_link_is_not_begun_again():
    bench = Bench()
    bench.hears({"type": "error", "code": "replaced", "message": "another", "reconnect": False})
    assert bench.link.over
    bench.client.lose(bench.link.reason, bench.now)
    assert isinstance(bench.client.ended, SignalingError)


def test_nothing_of_a_lost_link_is_said_on_the_next():
    bench = Bench()
    bench.client.ask(messages.Bye(to="bob"), Ok, lambda: None)
    bench.client.lose("lost", bench.now)
    assert not bench.client.has_due
    assert isinstance(bench.client.fault, Disconnected)


def test_credentials_are_asked_for_in_time():
    bench = Bench(renewable=True)
    assert not bench.client.renewal.wanted
    bench.waits(340)
    assert bench.client.renewal.wanted
    bench.client.renew({"user": "9:alice", "proof": "f" * 32})
    assert bench.says() == [{"type": "register", "ref": "2", "id": "alice", "user": "9:alice", "proof": "f" * 32}]


def test_messages_are_counted_one_by_one():
    bench = Bench()
    bench.hears(*({"type": "message", "from": "bob", "data": number} for number in range(100)))
    assert list(bench.received()) == [MessageFrom(sender="bob", data=number) for number in range(100)]
