"""The registration of a peer, as programs see it."""

import json

import pytest
from msgspec import UNSET, Raw

from sigd.client.registration import Registration, requested
from tests.client.by_hand import Bench


def test_there_is_none_before_the_server_has_answered() -> None:
    bench = Bench()
    peer = Registration(bench.client)
    bench.begins()
    assert not peer.connected
    with pytest.raises(AssertionError, match="before it was registered"):
        peer.id  # noqa: B018 - it raises


def test_tells_what_the_server_last_answered() -> None:
    bench = Bench(peer=None)
    peer = Registration(bench.registers("0a1b2c").client)
    assert (peer.id, peer.registered.id, peer.connected) == ("0a1b2c", "0a1b2c", True)


def test_stays_known_while_there_is_no_connection() -> None:
    bench = Bench()
    peer = Registration(bench.registers().client)
    bench.client.lose("the network is down", bench.now)
    assert (peer.id, peer.connected) == ("alice", False)


def test_asks_for_what_was_given_and_leaves_the_rest_to_the_server() -> None:
    asked = requested("alice", {"kind": "camera"}, keepalive_ms=5_000, max_frame=2_048)
    assert isinstance(asked.meta, Raw)
    assert (asked.id, json.loads(bytes(asked.meta)), asked.keepalive_ms, asked.max_frame) == (
        *("alice", {"kind": "camera"}, 5_000, 2_048),
    )
    bare = requested(None, None)
    assert (bare.id, bare.meta, bare.keepalive_ms, bare.max_frame) == (None, UNSET, None, None)
