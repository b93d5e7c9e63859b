"""What a peer shows of itself, for how long that is good, and the ICE servers it is told of: without a network."""

import pytest

from sigd.wire import messages
from sigd.wire.said import Error, IceServerList
from tests.client.by_hand import TERMS, Bench

HMAC = {"user": "1900000000:alice", "token": "c2VjcmV0"}

# -- register


@pytest.mark.parametrize("credentials", [{"token": "t"}, HMAC, {"jwt": "a.b.c"}])
def test_credentials_are_members_of_register_and_are_not_kept(credentials: dict[str, str]):
    bench = Bench()
    bench.begins(credentials)
    assert bench.says() == [
        {"type": "register", "ref": "1", "id": "alice", "meta": {"kind": "test"}, "maxFrame": 100_000, **credentials}
    ]
    bench.client.lose("cut", bench.now)
    bench.begins()
    assert bench.says() == [
        {"type": "register", "ref": "2", "id": "alice", "meta": {"kind": "test"}, "maxFrame": 100_000}
    ]


# -- renewal


def expiring(seconds: int, *, renewable: bool = True) -> Bench:
    return Bench(renewable=renewable).registers(credentials={"token": "old"}, expiresMs=seconds * 1000)


def passes(bench: Bench, seconds: float) -> None:
    """Let time pass in a world where the server answers every ping."""
    until = bench.now + seconds
    while bench.client.deadline <= until:
        bench.now = bench.client.deadline
        bench.client.expire(bench.now)
        for message in bench.says():
            assert message == {"type": "ping"}
            bench.hears({"type": "pong"})
        if bench.client.renewal.wanted:
            return
    bench.now = until


def test_fresh_credentials_are_wanted_a_minute_before_the_link_ends():
    bench = expiring(600)
    start = bench.now
    passes(bench, 10_000)
    assert bench.client.renewal.wanted
    assert bench.now - start == 540


def test_a_renewal_says_no_more_than_it_has_to_and_disturbs_nothing():
    bench = expiring(600)
    passes(bench, 10_000)
    request = bench.asks()
    bench.client.renew(HMAC)
    assert not bench.client.renewal.wanted
    bye, renewal = bench.says()
    assert renewal == {"type": "register", "ref": renewal["ref"], "id": "alice", **HMAC}
    assert bench.client.ready
    bench.hears(
        TERMS | {"ref": renewal["ref"], "id": "alice", "keepaliveMs": 5000, "expiresMs": 600_000},
        {"type": "ok", "ref": bye["ref"]},
    )
    assert request.settled
    assert bench.client.terms is not None
    assert bench.client.terms.keepalive_ms == 5000
    renewed_at = bench.now
    passes(bench, 10_000)
    assert bench.now - renewed_at == 540


def test_without_fresh_credentials_it_is_tried_again():
    bench = expiring(600)
    passes(bench, 10_000)
    failed_at = bench.now
    bench.client.renew(None)
    assert bench.says() == []
    passes(bench, 10_000)
    assert bench.client.renewal.wanted
    assert bench.now - failed_at == 30


@pytest.mark.parametrize("code", ["forbidden", "bad-message", "rate-limited", "of-2031"])
def test_a_renewal_that_is_refused_is_reported_and_the_old_credentials_do_as_long_as_they_do(code: str):
    bench = expiring(600)
    passes(bench, 10_000)
    bench.client.renew({"token": "wrong"})
    (renewal,) = bench.says()
    bench.hears({"type": "error", "code": code, "message": "no", "ref": renewal["ref"]})
    assert bench.received() == [Error(code=code, message="no", ref=renewal["ref"])]
    assert bench.client.ready
    assert bench.client.ended is None
    refused_at = bench.now
    passes(bench, 10_000)
    assert bench.client.renewal.wanted
    assert bench.now - refused_at == 30


def test_a_renewal_that_ends_the_link_ends_it_for_good_where_the_server_says_so():
    bench = expiring(600)
    passes(bench, 10_000)
    bench.client.renew({"token": "wrong"})
    (renewal,) = bench.says()
    bench.hears({"type": "error", "code": "auth-failed", "message": "no", "ref": renewal["ref"], "reconnect": False})
    bench.client.lose("closed", bench.now)
    assert bench.client.ended is not None
    assert bench.client.ended.code == "auth-failed"
    assert bench.client.deadline == float("inf")


def test_a_renewal_is_no_proof_that_the_connection_is_stable():
    bench = Bench(renewable=True).registers(expiresMs=10_000)
    bench.now += 6
    bench.client.renew(HMAC)
    (renewal,) = bench.says()
    bench.hears(TERMS | {"ref": renewal["ref"], "id": "alice", "keepaliveMs": 30_000})
    bench.now += 6  # 12 s after it was registered, 6 after it was renewed
    assert bench.client.deadline == bench.now + 24
    bench.client.lose("cut", bench.now)
    assert bench.client.retry_at == bench.now


def test_credentials_that_stay_the_same_are_left_to_expire():
    bench = expiring(600, renewable=False)
    passes(bench, 10_000)
    assert not bench.client.renewal.wanted


def test_what_was_due_on_a_lost_link_is_not_due_on_the_next():
    bench = expiring(20)
    bench.now += 10
    bench.client.expire(bench.now)
    assert bench.client.renewal.wanted
    bench.client.lose("cut", bench.now)
    assert not bench.client.renewal.wanted
    bench.registers()
    passes(bench, 10_000)
    assert not bench.client.renewal.wanted


# -- the end


EXPIRED = {"type": "error", "code": "auth-expired", "message": "the credential has expired"}


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("renewable", [True, False])
def test_expired_credentials_are_the_end_unless_there_are_new_ones(registered: bool, renewable: bool):
    bench = Bench(renewable=renewable)
    if registered:
        bench.registers(credentials=HMAC, expiresMs=30_000)
    else:
        bench.begins(HMAC)
    bench.hears(EXPIRED)
    assert bench.client.over
    bench.client.lose("closed", bench.now)
    if renewable:
        assert bench.client.ended is None
        assert bench.client.retry_at == bench.now
    else:
        assert bench.client.ended is not None
        assert bench.client.ended.code == "auth-expired"


@pytest.mark.parametrize("code", ["auth-failed", "replaced", "kicked"])
@pytest.mark.parametrize(
    ("members", "ended"),
    [
        ({}, True),
        ({"reconnect": False}, True),
        ({"reconnect": False, "retryAfterMs": 30_000}, True),
        ({"retryAfterMs": 30_000}, False),
        ({"reconnect": True}, False),
    ],
)
@pytest.mark.parametrize("registered", [True, False])
def test_who_is_not_wanted_comes_back_only_when_told_when(
    code: str, members: dict[str, object], ended: bool, registered: bool
):
    bench = Bench(renewable=True)
    if registered:
        bench.registers()
    else:
        bench.begins({"token": "wrong"})
    bench.hears({"type": "error", "code": code, "message": "no", **members})
    bench.client.lose("closed", bench.now)
    assert (bench.client.ended is not None) == ended
    if "retryAfterMs" in members and not ended:
        assert bench.client.retry_at == bench.now + 30


# -- ICE servers

STUN = {"urls": "stun:stun.example.org"}
TURN = {"urls": ["turn:turn.example.org?transport=udp"], "username": "1900000000:alice", "credential": "Zm9v"}


def test_the_servers_come_with_registered_and_are_pushed_later():
    bench = Bench().registers(iceServers=[STUN, TURN])
    assert bench.client.ice_servers == [STUN, TURN]
    fresh = TURN | {"credential": "YmFy"}
    bench.hears({"type": "iceServers", "iceServers": [fresh], "expiresMs": 600_000})
    assert bench.client.ice_servers == [fresh]
    assert bench.received() == []


def test_an_answer_that_was_asked_for_is_the_latest_too():
    bench = Bench().registers()
    assert bench.client.ice_servers == []
    request = bench.asks(messages.IceServers(), IceServerList)
    bench.hears({"type": "iceServers", "ref": request.ref, "iceServers": [STUN]})
    assert request.settled
    assert bench.client.ice_servers == [STUN]


def test_a_renewal_without_servers_leaves_them_and_a_new_link_without_has_none():
    bench = Bench(renewable=True).registers(iceServers=[STUN], expiresMs=20_000)
    bench.client.renew(HMAC)
    (renewal,) = bench.says()
    bench.hears(TERMS | {"ref": renewal["ref"], "id": "alice", "keepaliveMs": 30_000})
    assert bench.client.ice_servers == [STUN]
    bench.client.lose("cut", bench.now)
    assert bench.client.ice_servers == [STUN]  # better than none until the next link tells
    bench.registers()
    assert bench.client.ice_servers == []


def test_what_is_no_server_is_passed_over():
    bench = Bench().registers(iceServers=[None, "stun:h", STUN, [TURN], 7])
    assert bench.client.ice_servers == [STUN]


def test_a_flood_of_servers_costs_nothing():
    bench = Bench().registers()
    for _ in range(1000):
        bench.hears({"type": "iceServers", "iceServers": [STUN] * 10})
    assert bench.client.ice_servers == [STUN] * 10
    assert bench.client.wants_more
