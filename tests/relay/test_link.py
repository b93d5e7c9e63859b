"""The outbox: what is due to a link, counted in bytes, and what becomes of it."""

import pytest

from sigd.relay.chores import LINKS_PER_STEP
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import LinkFraming
from sigd.wire.times import NEVER
from tests.relay.world import World

KIB = 1024


def frozen(world, name="bob", **members):
    """A peer that reads nothing any more."""
    peer = world.peer(name, **members)
    peer.takes = 0
    return peer


def send(peer, to, size, **more):
    """Send a message of about `size` bytes; the answer, if there is one."""
    peer.says({"type": "message", "to": to, "data": "x" * size, **more})
    return None if peer.hears_nothing() else peer.hears()


def test_one_sender_gets_its_share_and_others_still_get_theirs_row_25():
    world = World()
    mallory, alice, bob = world.peer("mallory"), world.peer("alice"), frozen(world)
    answers = [send(mallory, "bob", 10 * KIB) for _ in range(10)]
    assert [answer and answer["code"] for answer in answers] == [None] * 6 + ["peer-busy"] * 4
    assert send(alice, "bob", 10 * KIB) is None
    assert bob.queued <= 64 * KIB + 11 * KIB
    assert not bob.closing


def test_the_outbox_is_bounded_however_many_send():
    world = World()
    bob = frozen(world)
    refused = 0
    for number in range(10):
        sender = world.peer(f"s{number}")
        for _ in range(6):
            answer = send(sender, "bob", 10 * KIB)
            refused += answer is not None and answer["code"] == "peer-busy"
    assert bob.queued <= 256 * KIB
    assert refused == 60 - 25


def test_all_outboxes_together_are_bounded():
    world = World(buffer_bytes_total=300 * KIB)
    alice = world.peer("alice")
    others = [frozen(world, f"bob{number}") for number in range(8)]
    for bob in others:
        send(alice, bob.id, 40 * KIB)
    codes = [answer and answer["code"] for answer in (send(alice, bob.id, 20 * KIB) for bob in others)]
    assert codes == ["peer-busy"] * 8
    assert world.router.buffers.of_links >= 300 * KIB
    for bob in others:
        bob.takes_more(10**9)
    assert world.router.buffers.of_links == 0
    assert send(alice, "bob0", 20 * KIB) is None


def test_a_message_of_the_longest_kind_always_fits_an_empty_outbox():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    size = 64 * KIB - len(b'{"type":"message","from":"alice","data":""}')
    for _ in range(3):
        assert send(alice, "bob", size) is None
        assert len(bob.hears()["data"]) == size


def test_a_recipient_that_reads_is_written_to_before_a_sender_is_refused():
    """Several large messages of one round are not too many for who takes them at once."""
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    frame = b'{"type":"message","to":"bob","data":"%s"}' % (b"x" * 40 * KIB)
    for _ in range(5):
        world.router.receive(alice, frame, world.now)
    world.settle()
    assert alice.hears_nothing()
    assert [len(bob.hears()["data"]) for _ in range(5)] == [40 * KIB] * 5


def test_a_recipient_lost_while_it_is_written_to_is_unavailable():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    frame = b'{"type":"message","to":"bob","data":"%s","ref":"r"}' % (b"x" * 40 * KIB)
    bob.takes = -1
    world.router.receive(alice, frame, world.now)
    world.router.receive(alice, frame, world.now)
    world.settle()
    heard = [alice.hears() for _ in range(3)]
    assert [message.get("code", message["type"]) for message in heard] == ["ok", "peer-unavailable", "peer-unavailable"]
    assert alice.hears_nothing()


def test_what_is_written_in_parts_arrives_whole_and_counts_to_zero():
    world = World()
    alice, carol, bob = world.peer("alice"), world.peer("carol"), frozen(world)
    for number in range(6):
        send(alice, "bob", 11 * KIB + number)
        send(carol, "bob", 3 * KIB + number)
    assert send(alice, "bob", 11 * KIB)["code"] == "peer-busy"
    while bob.stuck:
        bob.takes_more(7_777)
    sizes = []
    while not bob.hears_nothing():
        sizes.append(len(bob.hears()["data"]))
    assert sorted(sizes) == sorted([11 * KIB + n for n in range(5)] + [3 * KIB + n for n in range(6)])
    assert (bob.queued, bob.own, world.router.buffers.of_links, bob.stalled_since) == (0, 0, 0, NEVER)
    assert send(alice, "bob", 11 * KIB) is None


def test_shares_shrink_as_the_outbox_is_written():
    world = World()
    alice, bob = world.peer("alice"), frozen(world)
    for _ in range(5):
        send(alice, "bob", 12 * KIB)
    assert send(alice, "bob", 12 * KIB)["code"] == "peer-busy"
    bob.takes_more(25 * KIB)
    assert bob.stuck
    assert send(alice, "bob", 12 * KIB) is None


def test_a_link_that_asks_and_does_not_read_is_not_listened_to_until_it_does():
    world = World(messages_per_second=0)
    alice = frozen(world, "alice")
    asked = 0
    while not alice.held:
        alice.says({"type": "ping"})
        asked += 1
        assert asked < 10_000
    assert 64 * KIB < alice.own < 65 * KIB
    assert alice.resumed == 0
    alice.takes_more(30 * KIB)
    assert not alice.held
    assert alice.resumed == 1
    assert alice.own == alice.queued


def test_senders_that_have_left_are_forgotten_by_a_reader_that_never_drains():
    world = World()
    bob = frozen(world, lines=True)
    for number in range(50):
        sender = world.peer(f"s{number}")
        assert send(sender, "bob", 12 * KIB) is None
        sender.leaves()
        if number >= 4:
            bob.takes_more(12 * KIB + 60)
    assert bob.stuck
    assert len(bob.owners) < 10
    assert bob._shares is not None
    assert set(bob._shares) <= {owner for owner in bob.owners if owner is not None}


def test_what_is_too_large_is_not_escaped_first():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob", lines=True, maxFrame=1024)
    bob.framing = LinkFraming("lines", lambda message: pytest.fail("it was escaped"), 1)
    alice.says({"type": "message", "to": "bob", "data": "\x7f" * 2000})
    assert alice.hears()["code"] == "too-large"


def test_own_answers_do_not_take_the_room_of_what_others_send():
    world = World(messages_per_second=0)
    alice, bob = world.peer("alice"), frozen(world)
    while not bob.held:
        bob.says({"type": "ping"})
    assert send(alice, "bob", 60 * KIB) is None
    bob.says({"type": "ping"})


def test_a_stalled_reader_is_closed_and_each_sender_is_told_once():
    world = World()
    alice, carol, bob = world.peer("alice"), world.peer("carol"), world.peer("bob")
    bob.takes = 1_000
    for sender in (alice, alice, carol, bob):
        sender.says({"type": "message", "to": "bob", "data": "x" * 2 * KIB})
    world.passes(9.5)
    assert not bob.closing
    world.passes(1)
    assert bob.reason == "slow-consumer"
    for sender in (alice, carol):
        answer = sender.hears()
        assert (answer["code"], answer["to"], "ref" in answer) == ("peer-unavailable", "bob", False)
        assert "perhaps not delivered" in answer["message"]
        assert sender.hears_nothing()
    bob.takes_more(10**6)
    assert len(bob.hears()["data"]) == 2 * KIB  # its beginning had been written
    assert bob.hears()["code"] == "slow-consumer"
    assert bob.hears_nothing()
    world.passes(5.25)
    assert world.router.buffers.of_links == 0


def test_thousands_of_senders_are_told_some_per_step():
    world = World(outbox_bytes=16 * 1024 * KIB, max_per_address=0)
    bob = frozen(world)
    senders = [world.peer(f"sender-{number}") for number in range(2_000)]
    for sender in senders:
        sender.says({"type": "message", "to": "bob", "data": "x"})
    late = senders[-1]
    bob.abort("connection lost")
    told = sum(bool(sender.queued) for sender in senders)
    assert told == LINKS_PER_STEP
    while world.router.chores:
        before = told
        world.router.chores.step()
        late.abort("left")  # meanwhile: there is nobody to tell
        told = sum(bool(sender.queued) for sender in senders)
        assert told - before <= LINKS_PER_STEP
    world.settle()
    for sender in senders[:-1]:
        assert sender.hears()["code"] == "peer-unavailable"
        assert sender.hears_nothing()


def test_a_reader_that_makes_progress_is_not_stalled():
    world = World()
    alice, bob = world.peer("alice", lines=True), frozen(world, lines=True)
    send(alice, "bob", 50 * KIB)
    for _ in range(10):
        world.passes(8)
        bob.takes_more(1_000)
    assert not bob.closing


def test_who_leaves_with_messages_in_its_outbox_has_its_senders_told():
    world = World()
    alice, gone, bob = world.peer("alice"), world.peer("gone"), frozen(world)
    send(alice, "bob", 100)
    send(gone, "bob", 100)
    send(bob, "bob", 100)
    gone.leaves()
    bob.leaves()
    assert alice.hears()["to"] == "bob"
    assert alice.hears_nothing()
    assert gone.hears_nothing()
    assert world.router.buffers.of_links == 0


def test_a_link_lost_in_the_middle_of_a_round_has_its_senders_told():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    world.router.receive(alice, b'{"type":"message","to":"bob","data":1}', world.now)
    bob.abort("connection lost")
    world.settle()
    assert alice.hears()["to"] == "bob"
    assert (bob.queued, world.router.buffers.of_links) == (0, 0)


def test_the_second_close_of_a_link_changes_nothing():
    world = World()
    alice = world.peer("alice")
    alice.close("first")
    alice.close("second", ProtocolError(ErrorCode.INTERNAL, "x"))
    world.settle()
    assert alice.reason == "first"
    assert alice.hears_nothing()


def test_an_error_text_is_cut_to_128_characters():
    world = World()
    alice = world.peer("alice")
    alice.refuse(ProtocolError(ErrorCode.BAD_MESSAGE, "x" * 200))
    world.settle()
    assert len(alice.hears()["message"]) == 128


@pytest.mark.parametrize("lines", [False, True], ids=["prefixed", "lines"])
def test_a_longer_escape_counts_against_the_recipients_max_frame(lines):
    """To lines U+0085 goes out as six characters for two bytes."""
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob", lines=lines, maxFrame=1024)
    answer = send(alice, "bob", 0, data="\x85" * 300)
    assert (answer["code"] if answer else None) == ("too-large" if lines else None)
    assert bob.hears_nothing() is lines


def web_wrapped(message: bytes) -> bytes:
    """A frame whose header grows with the message, as that of WebSocket (RFC 6455, section 5.2)."""
    size = len(message)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return b"\x81" + head + message


@pytest.mark.parametrize("spare", [0, -1], ids=["fits", "one more"])
@pytest.mark.parametrize("size", [120, 300])
def test_an_overhead_may_vary_with_the_length(size: int, spare: int) -> None:
    """The bound is one of messages, whatever their frames add."""
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    bob.framing = LinkFraming("web", web_wrapped, 4, lambda data: len(data) - (2 if data[1] < 126 else 4))
    bob.max_frame = size + spare
    refusal = bob.deliver(b"x" * size, alice)
    assert refusal is (None if not spare else ErrorCode.TOO_LARGE)
    bob.framing = LinkFraming("web", lambda message: web_wrapped(message + b"!"), 4, bob.framing.length_of)
    bob.max_frame = size + spare + 1  # escaped, it is one byte longer
    assert bob.deliver(b"x" * size, alice) is (None if not spare else ErrorCode.TOO_LARGE)
