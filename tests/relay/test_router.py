"""The rules of the protocol, without a network: what alice says, and what bob hears."""

from typing import get_args

import msgspec
import pytest

from sigd.relay.endings import STOPPING
from sigd.relay.link import State
from sigd.wire import messages
from sigd.wire.framing import UNDECIDED, LinkFraming
from sigd.wire.messages import CLIENT_TYPES
from tests.relay.world import World

CANDIDATE = {"candidate": "candidate:1 1 udp 2 192.0.2.1 5 typ host", "sdpMid": "0", "x": [1, {"y": None}]}


@pytest.fixture(params=[False, True], ids=["prefixed", "lines"])
def pair(request):
    """A world, and alice and bob in it."""
    world = World()
    return world, world.peer("alice", lines=request.param), world.peer("bob", lines=request.param)


# -- relaying


@pytest.mark.parametrize(
    "body",
    [
        {"type": "offer", "sdp": "v=0\r\n"},
        {"type": "answer", "sdp": "v=0\r\n"},
        {"type": "candidate", "candidate": CANDIDATE},
        {"type": "candidate", "candidate": {"candidate": ""}},
        {"type": "candidate", "candidate": None},
        {"type": "message", "data": [1, "two", None, {"three": 3.5}]},
        {"type": "bye"},
        {"type": "bye", "reason": "ice-failed"},
    ],
    ids=lambda body: "-".join(map(str, body.values()))[:24],
)
@pytest.mark.parametrize("session", [None, "k3"])
def test_a_message_arrives_as_sent_less_to_and_ref_plus_from(pair, body, session):
    _, alice, bob = pair
    more = {} if session is None else {"session": session}
    alice.says({**body, **more, "to": "bob", "ref": "1"})
    assert bob.hears() == {**body, **more, "from": "alice"}
    assert alice.hears() == {"type": "ok", "ref": "1"}
    assert alice.hears_nothing()
    assert bob.hears_nothing()


def test_without_ref_a_success_is_not_answered(pair):
    _, alice, bob = pair
    alice.says({"type": "message", "to": "bob", "data": 1})
    assert bob.hears() == {"type": "message", "from": "alice", "data": 1}
    assert alice.hears_nothing()


def test_what_one_peer_sends_to_another_arrives_in_order(pair):
    _, alice, bob = pair
    for number in range(100):
        alice.says({"type": "message", "to": "bob", "data": number})
    assert [bob.hears()["data"] for _ in range(100)] == list(range(100))


def test_a_peer_may_send_to_itself(pair):
    _, alice, _ = pair
    alice.says({"type": "message", "to": "alice", "data": "me"})
    assert alice.hears() == {"type": "message", "from": "alice", "data": "me"}


def test_a_sent_from_is_ignored_row_22(pair):
    _, alice, bob = pair
    alice.says({"type": "message", "to": "bob", "data": 1, "from": "carol"})
    alice.says({"type": "message", "to": "bob", "data": 2, "from": 5})
    assert [bob.hears()["from"], bob.hears()["from"]] == ["alice", "alice"]


def test_an_absent_peer_is_told_at_once(pair):
    _, alice, _ = pair
    alice.says({"type": "offer", "to": "carol", "sdp": "v=0", "ref": "7"})
    answer = alice.hears()
    assert (answer["code"], answer["to"], answer["ref"]) == ("peer-unavailable", "carol", "7")


def test_a_recipient_that_is_no_id_is_not_echoed(pair):
    _, alice, _ = pair
    alice.says({"type": "offer", "to": "bob\n", "sdp": "v=0", "ref": "7"})
    answer = alice.hears()
    assert (answer["code"], answer["ref"]) == ("bad-message", "7")
    assert "to" not in answer
    assert "bob" not in answer["message"]


def test_only_who_is_registered_may_send():
    world = World()
    stranger, bob = world.connects("stranger"), world.peer("bob")
    for message in ({"type": "offer", "to": "bob", "sdp": ""}, {"type": "iceServers"}):
        stranger.says({**message, "ref": "r"})
        answer = stranger.hears()
        assert (answer["code"], answer["ref"]) == ("not-registered", "r")
    assert bob.hears_nothing()


def test_a_message_above_the_recipients_max_frame_is_too_large_for_its_sender():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob", maxFrame=1024)
    head = len(b'{"type":"message","from":"alice","data":""}')
    alice.says({"type": "message", "to": "bob", "data": "x" * (1024 - head)})
    assert bob.hears()["data"] == "x" * (1024 - head)
    alice.says({"type": "message", "to": "bob", "data": "x" * (1025 - head)})
    answer = alice.hears()
    assert (answer["code"], answer["to"]) == ("too-large", "bob")
    assert bob.hears_nothing()


def test_a_candidate_is_an_object_or_null(pair):
    _, alice, bob = pair
    for candidate in (b"5", b'"x"', b"[]", b"true"):
        alice.says(b'{"type":"candidate","to":"bob","ref":"r","candidate":%s}' % candidate)
        answer = alice.hears()
        assert (answer["code"], answer["ref"]) == ("bad-message", "r")
        alice.says(b'{"type":"candidate","to":"nobody","candidate":%s}' % candidate)
        assert alice.hears()["code"] == "bad-message"
    assert bob.hears_nothing()


# -- registering


def test_registered_tells_the_terms(pair):
    world, _, _ = pair
    carol = world.connects("carol")
    carol.says({"type": "register", "id": "carol", "ref": "1", "keepaliveMs": 1, "maxFrame": 99_999_999})
    answer = carol.hears()
    assert answer.pop("server").startswith("sigd/")
    assert answer == {
        "type": "registered",
        "ref": "1",
        "id": "carol",
        "protocol": 1,
        "features": ["iceServers", "peers"],
        "keepaliveMs": 5_000,
        "maxFrame": 65_536,
    }
    assert carol.state is State.REGISTERED
    assert carol.max_frame == 65_536


def test_a_keepalive_is_at_most_five_minutes():
    world = World()
    carol = world.connects("carol")
    carol.says({"type": "register", "id": "carol", "keepaliveMs": 10**30})
    assert carol.hears()["keepaliveMs"] == 300_000


def test_without_an_id_one_is_picked():
    world = World()
    one, two = world.connects("one"), world.connects("two")
    ids = set()
    for link in (one, two):
        link.says({"type": "register"})
        ids.add(link.hears()["id"])
    assert len(ids) == 2
    assert set(world.router.registry.holders) == ids


def test_registering_again_renews_what_is_given_and_keeps_the_rest():
    world = World()
    alice, bob = world.peer("alice", meta={"role": "cam"}), world.peer("bob")
    alice.says({"type": "register", "id": "alice"})
    assert alice.hears()["id"] == "alice"
    alice.says({"type": "register", "keepaliveMs": 60_000})
    assert alice.hears()["keepaliveMs"] == 60_000
    bob.says({"type": "peers", "prefix": "a"})
    assert bob.hears()["peers"] == [{"id": "alice", "meta": {"role": "cam"}}]
    alice.says({"type": "register", "meta": {}})
    alice.hears()
    bob.says({"type": "peers", "prefix": "a"})
    assert bob.hears()["peers"] == [{"id": "alice", "meta": {}}]


def test_a_renewal_keeps_the_keepalive():
    world = World()
    alice = world.peer("alice", keepaliveMs=60_000)
    alice.says({"type": "register"})
    assert alice.hears()["keepaliveMs"] == 60_000


def test_a_link_has_one_id():
    world = World()
    alice = world.peer("alice")
    alice.says({"type": "register", "id": "alice2", "ref": "r"})
    answer = alice.hears()
    assert (answer["code"], answer["ref"]) == ("already-registered", "r")
    assert list(world.router.registry.holders) == ["alice"]


def test_meta_does_not_keep_the_frame_in_memory():
    world = World()
    alice = world.connects("alice")
    alice.says(b'{"type":"register","id":"alice","meta":{"a":1},"pad":"%s"}' % (b"x" * 3000))
    assert alice.meta is not None
    assert len(bytes(memoryview(alice.meta).obj)) < 100


# -- an ID that somebody holds


def test_a_holder_that_answers_keeps_its_id():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice", "ref": "c"})
    assert (claimant.state, claimant.held) == (State.CLAIMING, True)
    assert alice.hears() == {"type": "ping"}
    assert claimant.hears_nothing()
    world.passes(2.5)
    alice.says({"type": "pong"})
    answer = claimant.hears()
    assert (answer["code"], answer["ref"]) == ("id-taken", "c")
    assert (claimant.state, claimant.held) == (State.NEW, False)
    assert claimant.resumed == 1
    assert world.router.registry.find("alice") is alice


def test_a_holder_that_stays_silent_for_3_s_loses_its_id():
    world = World()
    bob = world.peer("bob")
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice", "ref": "c"})
    alice.hears()
    world.passes(2.75)
    assert claimant.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["code"] == "idle-timeout"
    assert alice.closing
    answer = claimant.hears()
    assert (answer["type"], answer["id"], answer["ref"]) == ("registered", "alice", "c")
    bob.says({"type": "message", "to": "alice", "data": 1})
    assert claimant.hears() == {"type": "message", "from": "bob", "data": 1}


def test_a_holder_whose_words_wait_to_be_read_keeps_its_id():
    """It may be held, or the daemon was: what has come is a sign of life, read or not."""
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    alice.unread = True
    world.passes(3.25)
    assert claimant.hears()["code"] == "id-taken"
    assert world.router.registry.find("alice") is alice


def test_a_holder_that_unregisters_leaves_its_id_to_the_claimant():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    alice.says({"type": "unregister"})
    assert claimant.hears()["type"] == "registered"


def test_a_bug_while_time_passes_costs_one_link():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    failed = []
    alice.framing = LinkFraming("broken", lambda message: message[:: 1 // 0], 0)
    world.now += 31
    world.router.expire(world.now, lambda link, fault: failed.append(link))
    world.settle()
    assert failed == [alice]
    assert bob.hears() == {"type": "ping"}


def test_a_line_holder_keeps_its_id_without_being_asked():
    world = World()
    alice, claimant = world.peer("alice", lines=True), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    assert claimant.hears()["code"] == "id-taken"
    assert alice.hears_nothing()


def test_a_further_claim_is_refused_at_once():
    world = World()
    alice, first, second = world.peer("alice"), world.connects("first"), world.connects("second")
    first.says({"type": "register", "id": "alice"})
    second.says({"type": "register", "id": "alice", "ref": "2"})
    assert second.hears()["code"] == "id-taken"
    assert alice.hears() == {"type": "ping"}
    assert alice.hears_nothing()


def test_a_claimant_gets_the_id_when_the_holder_leaves():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    alice.leaves()
    assert claimant.hears()["type"] == "registered"
    assert world.router.registry.find("alice") is claimant


def test_a_claimant_that_leaves_is_forgotten():
    world = World()
    alice, claimant, next_one = world.peer("alice"), world.connects("claimant"), world.connects("next")
    claimant.says({"type": "register", "id": "alice"})
    claimant.leaves()
    world.passes(5)
    assert world.router.registry.find("alice") is alice
    next_one.says({"type": "register", "id": "alice"})
    assert next_one.state is State.CLAIMING


def test_the_register_deadline_rests_while_a_claim_waits():
    world = World()
    world.peer("alice")
    claimant = world.connects("claimant")
    world.passes(9)
    claimant.says({"type": "register", "id": "alice"})
    world.passes(2)
    assert claimant.state is State.CLAIMING
    assert claimant.hears_nothing()
    world.passes(1.25)
    assert claimant.hears()["type"] == "registered"


def test_a_refused_claimant_has_the_rest_of_its_time_to_register():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    world.passes(9)
    claimant.says({"type": "register", "id": "alice"})
    alice.hears()
    world.passes(2)
    alice.says({"type": "pong"})
    assert claimant.hears()["code"] == "id-taken"
    world.passes(0.5)
    assert claimant.hears_nothing()
    world.passes(0.75)
    assert claimant.hears()["code"] == "register-timeout"


def test_the_late_end_of_an_old_link_frees_nothing_of_its_successors():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    world.passes(3.25)
    alice.leaves()
    assert world.router.registry.find("alice") is claimant


# -- the others


def test_ping_and_pong(pair):
    _, alice, _ = pair
    alice.says({"type": "ping"})
    alice.says({"type": "ping", "ref": "1"})
    alice.says({"type": "pong"})
    alice.says({"type": "pong", "ref": "2"})
    assert [alice.hears(), alice.hears(), alice.hears()] == [
        {"type": "pong"},
        {"type": "pong", "ref": "1"},
        {"type": "ok", "ref": "2"},
    ]
    assert alice.hears_nothing()


def test_who_unregisters_is_gone_at_once(pair):
    world, alice, bob = pair
    alice.says({"type": "unregister", "ref": "1"})
    assert alice.hears() == {"type": "ok", "ref": "1"}
    assert alice.state is State.CLOSING
    bob.says({"type": "message", "to": "alice", "data": 1})
    assert bob.hears()["code"] == "peer-unavailable"
    world.passes(5.25)
    assert alice.aborted == "unregistered"


def test_ice_servers_are_none_in_this_version(pair):
    _, alice, _ = pair
    alice.says({"type": "iceServers", "ref": "1"})
    assert alice.hears() == {"type": "iceServers", "ref": "1", "iceServers": []}


def test_peers_come_in_pages_that_fit_the_askers_frame():
    world = World()
    small = world.peer("a", maxFrame=1024)
    meta = {"note": "n" * 200}
    for number in range(10):
        world.peer(f"cam{number}", meta=meta)
    seen, after = [], ""
    for _ in range(10):
        small.says({"type": "peers", "prefix": "cam", "after": after})
        assert small.queued == 0
        assert len(small.wire) <= 1024 + 4
        answer = small.hears()
        seen += [entry["id"] for entry in answer["peers"]]
        after = seen[-1]
        if not answer["more"]:
            break
    assert seen == [f"cam{number}" for number in range(10)]


def test_peers_on_lines_are_counted_as_they_go_out():
    """Controls in `meta` become six characters each: such a list must not exceed what its asker takes."""
    world = World()
    world.peer("cam", meta={"a": "\x7f" * 200})
    world.peer("dvr", meta={"a": "\x7f" * 700})
    asker = world.peer("a", lines=True, maxFrame=1024)
    asker.says({"type": "peers", "prefix": "c"})
    assert len(asker.wire) <= 1024 + 1
    assert "meta" not in asker.hears()["peers"][0]
    asker.says({"type": "peers", "prefix": "d"})
    assert asker.hears()["peers"] == [{"id": "dvr"}]


@pytest.mark.parametrize("kind", ["error", "ok", "registered", "goingAway"])
def test_what_only_a_server_says_is_never_answered_row_29(pair, kind):
    _, alice, _ = pair
    alice.says({"type": kind, "ref": "x", "code": 5})
    alice.types("# a comment")
    assert alice.hears_nothing()


@pytest.mark.parametrize(
    "first",
    [
        {"type": "offer", "to": "x", "sdp": ""},
        {"type": "peers", "ref": "1"},
        {"type": "iceServers", "ref": "1"},
        {"type": "ping", "ref": "1"},
        {"type": "register"},
    ],
    ids=lambda first: first["type"],
)
def test_two_daemons_wired_together_fall_silent_row_29(first):
    left, right = World(), World()
    left.peer("cam1")
    one, two = left.peer("one", lines=True), right.peer("two", lines=True)
    one.says(first)
    spoken = 0
    for _ in range(20):
        for source, target in ((one, two), (two, one)):
            data, source.wire = source.wire, b""
            spoken += len(data)
            for line in data.splitlines():
                target.types(line.decode())
    assert 0 < spoken < 500
    assert one.hears_nothing()
    assert two.hears_nothing()


def test_every_type_is_acted_on():
    for kind in CLIENT_TYPES:
        world = World()
        alice = world.peer("alice")
        members = {"to": "alice", "sdp": "", "candidate": None, "data": 1}
        alice.says({"type": kind, **members, "ref": "r"})
        silent = kind in {"error", "ok", "registered", "goingAway"}
        assert alice.hears_nothing() is silent, kind


# -- what people type


def test_commands_do_what_messages_do():
    world = World()
    alice, bob = world.connects("alice", lines=True), world.connects("bob", lines=True)
    alice.types("register alice")
    bob.types("register bob")
    alice.hears(), bob.hears()
    alice.types(r"offer bob v=0\r\n")
    assert bob.hears() == {"type": "offer", "from": "alice", "sdp": "v=0\r\n"}
    alice.types("candidate bob")
    assert bob.hears() == {"type": "candidate", "from": "alice", "candidate": None}
    alice.types('{"type":"message","to":"bob","data":1}')
    assert bob.hears() == {"type": "message", "from": "alice", "data": 1}
    alice.types("who b")
    assert alice.hears() == {"type": "peers", "peers": [{"id": "bob"}], "more": False}
    alice.types("")
    assert alice.hears() == {"type": "pong"}
    alice.types("quit")
    assert alice.closing


def test_help_is_lines_that_no_program_reads():
    world = World()
    alice = world.connects("alice", lines=True)
    alice.types("help")
    lines = alice.wire.decode().splitlines()
    assert len(lines) > 8
    assert all(line.startswith("# ") for line in lines)


def test_an_unknown_command_says_which_is_nearest():
    world = World()
    alice = world.connects("alice", lines=True)
    alice.types("regsiter alice")
    answer = alice.hears()
    assert answer["code"] == "unknown-type"
    assert "register" in answer["message"]


# -- time


def test_a_silent_peer_is_pinged_at_30_s_and_closed_at_75_s():
    world = World()
    alice = world.peer("alice")
    world.passes(29.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears() == {"type": "ping"}
    world.passes(44.5)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["code"] == "idle-timeout"
    world.passes(5.25)
    assert alice.aborted == "idle-timeout"
    assert len(world.router.deadlines) == 0


def test_a_peer_that_answers_pings_stays():
    world = World()
    alice = world.peer("alice")
    for _ in range(20):
        world.passes(30.25)
        assert alice.hears() == {"type": "ping"}
        alice.says({"type": "pong"})
    assert not alice.closing


def test_any_sign_of_life_after_a_ping_counts_for_the_next_one():
    world = World()
    alice = world.peer("alice")
    world.passes(30.25)
    assert alice.hears() == {"type": "ping"}
    world.passes(10)
    alice.says({"type": "ok"})
    world.passes(29.5)
    assert alice.hears_nothing()
    world.passes(0.75)
    assert alice.hears() == {"type": "ping"}


def test_a_peer_on_lines_is_neither_pinged_nor_closed():
    world = World()
    alice = world.peer("alice", lines=True)
    world.passes(3600)
    assert alice.hears_nothing()
    assert not alice.closing


@pytest.mark.parametrize(("lines", "seconds"), [(False, 10), (True, 60)], ids=["prefixed", "lines"])
def test_who_does_not_register_is_closed(lines, seconds):
    world = World()
    stranger = world.connects("stranger", lines=lines)
    world.passes(seconds - 0.5)
    assert stranger.hears_nothing()
    world.passes(0.75)
    answer = stranger.hears()
    assert answer["code"] == "register-timeout"
    assert f"{seconds} s" in answer["message"]


@pytest.mark.parametrize(("lines", "seconds"), [(False, 10), (True, 60)], ids=["prefixed", "lines"])
def test_a_frame_has_to_be_finished_row_4(lines, seconds):
    world = World()
    alice = world.peer("alice", lines=lines)
    alice.frame_since = world.now
    alice.watch()
    for _ in range(seconds * 4 - 2):
        world.passes(0.25)
        alice.last_seen = world.now
    assert not alice.closing
    world.passes(0.75)
    assert alice.hears()["code"] == "bad-frame"


def test_a_link_that_is_looked_at_early_is_looked_at_again():
    world = World()
    alice = world.peer("alice")
    world.router.deadlines.watch(alice, world.now + 1)
    world.passes(2)
    assert alice.hears_nothing()
    assert len(world.router.deadlines) == 1
    world.passes(28.5)
    assert alice.hears() == {"type": "ping"}


def test_what_the_router_counts():
    world = World()
    alice, _ = world.peer("alice"), world.peer("bob")
    for to in ("bob", "bob", "carol"):
        alice.says({"type": "message", "to": to, "data": 1})
    alice.says({"type": "ok"})
    alice.types("# nothing")
    alice.says({"type": "message", "to": "bob", "data": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]})
    assert world.router.relayed == 2
    assert world.router.unanswered == 2
    assert world.router.errors == {"peer-unavailable": 1, "bad-message": 1}
    assert world.router.limits_hit == {"max_depth": 1}


def test_an_error_that_forbids_to_come_back_says_so():
    from sigd.wire.errors import ErrorCode, ProtocolError

    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.refuse(ProtocolError(ErrorCode.REPLACED, "another link took over"))
    bob.refuse(ProtocolError(ErrorCode.AUTH_FAILED, "wrong", retry_after_ms=30_000))
    world.settle()
    assert alice.hears()["reconnect"] is False
    answer = bob.hears()
    assert "reconnect" not in answer
    assert answer["retryAfterMs"] == 30_000


def test_hits_are_counted_by_the_key_of_the_limit():
    world = World()
    world.connects("a")
    world.connects("b", lines=True)
    silent = world.connects("c")
    silent.framing = UNDECIDED
    late, typist = world.peer("late"), world.peer("typist", lines=True)
    for link in (late, typist):
        link.frame_since = world.now
        link.watch()
    world.passes(62)
    assert world.router.limits_hit == {
        "register_timeout_ms": 1,
        "register_timeout_lines_ms": 2,
        "frame_timeout_ms": 1,
        "linger_ms": 2,
    }


def test_who_stays_when_the_daemon_stops_hits_no_limit():
    world = World()
    for reason in (STOPPING, "kicked"):
        alice = world.peer("alice")
        alice.close(reason)
        world.settle()
        world.passes(5.25)
        assert alice.aborted == reason
    assert world.router.limits_hit == {"linger_ms": 1}


def test_errors_are_short_printable_and_echo_nothing():
    world = World()
    alice = world.peer("alice")
    for hostile in (b'{"type":"\\u001b[31mzzz"}', b"\xff", b"[" * 5000, b'{"type":"offer","to":{}}'):
        alice.says(hostile)
        text = msgspec.json.encode(alice.hears())
        assert text.isascii()
        assert b"zzz" not in text
        assert len(text) <= 256


def test_telnet_is_refused_every_option():
    alice = World().connects("alice", lines=True)
    alice.world.router.receive_line(alice, b"\xff\xfd\x06\xff\xfb\x20", alice.world.now)
    alice.world.settle()
    assert alice.wire == b"\xff\xfc\x06\xff\xfe\x20"


def test_a_byte_of_telnet_that_asks_for_nothing_is_no_command():
    alice = World().connects("alice", lines=True)
    alice.world.router.receive_line(alice, b"\xff\xff", alice.world.now)
    alice.world.settle()
    assert alice.hears()["code"] == "bad-message"


def test_every_message_that_can_be_read_has_one_method():
    router = World().router
    assert set(router.verbs) == set(get_args(messages.ClientMessage)) == set(router.received)


def test_a_feature_that_is_switched_on_is_answered_and_told_of():
    world = World()
    told: list[str] = []
    world.router.switch_on(messages.Ping, lambda link, message, now: told.append(link.id or ""))
    alice = world.connects("a")
    assert alice.registers("alice")["features"] == ["iceServers", "peers", "ping"]
    alice.says({"type": "ping"})
    assert told == ["alice"]
