import hashlib
import hmac
import math
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.ice import RENEW_SECONDS, IceServer, Vendor
from sigd.wire.times import NEVER

STUN = ["stun:stun.example.org:3478", "stun:192.0.2.1"]
TURN = ["turn:turn.example.org?transport=udp", "turns:turn.example.org:443?transport=tcp"]
SECRET = b"north"
NOW = 1_767_225_600.0


def as_json(servers: list[IceServer]) -> list[dict[str, Any]]:
    return msgspec.json.decode(msgspec.json.encode(servers), type=list[dict[str, Any]])


class TestServers:
    def test_none(self) -> None:
        vendor = Vendor([], [], None, 3600.0)
        assert vendor.empty
        assert vendor.for_peer("alice", NOW) == []
        assert vendor.ttl_seconds == NEVER

    def test_stun_alone_never_expires(self) -> None:
        vendor = Vendor(STUN, [], None, 3600.0)
        assert not vendor.empty
        assert as_json(vendor.for_peer("alice", NOW)) == [{"urls": STUN}]
        assert vendor.ttl_seconds == NEVER

    def test_a_secret_without_turn_is_of_no_use(self) -> None:
        vendor = Vendor(STUN, [], SECRET, 3600.0)
        assert as_json(vendor.for_peer("alice", NOW)) == [{"urls": STUN}]
        assert vendor.ttl_seconds == NEVER

    def test_turn_alone(self) -> None:
        vendor = Vendor([], TURN, SECRET, 3600.0)
        assert not vendor.empty
        assert vendor.ttl_seconds == 3600.0
        (turn,) = as_json(vendor.for_peer("alice", NOW))
        assert turn.keys() == {"urls", "username", "credential"}
        assert turn["urls"] == TURN
        assert turn["username"] == "1767229200:alice"

    def test_both(self) -> None:
        stun, turn = as_json(Vendor(STUN, TURN, SECRET, 3600.0).for_peer("alice", NOW))
        assert stun == {"urls": STUN}
        assert turn["urls"] == TURN

    def test_later_changes_of_what_it_was_made_from_do_not_matter(self) -> None:
        stun_urls, turn_urls = [*STUN], [*TURN]
        vendor = Vendor(stun_urls, turn_urls, SECRET, 3600.0)
        before = vendor.for_peer("alice", NOW)
        before.clear()
        stun_urls.clear()
        turn_urls.clear()
        assert [server.urls for server in vendor.for_peer("alice", NOW)] == [tuple(STUN), tuple(TURN)]

    @pytest.mark.parametrize("secret", [None, b""])
    def test_turn_without_a_secret_is_refused(self, secret: bytes | None) -> None:
        with pytest.raises(ValueError, match="secret"):
            Vendor(STUN, TURN, secret, 3600.0)


def turn_of(vendor: Vendor, peer: str = "alice", now: float = NOW) -> IceServer:
    return vendor.for_peer(peer, now)[-1]


class TestCredentials:
    def test_as_openssl_computes_them(self) -> None:
        """printf 1767229200:alice | openssl dgst -sha1 -hmac north -binary | base64."""
        turn = turn_of(Vendor([], TURN, SECRET, 3600.0))
        assert turn.username == "1767229200:alice"
        assert turn.credential == "NtnEvQtTWyjHZIle0+Ms+zW2Ryc="

    @given(
        secret=st.binary(min_size=1, max_size=200),
        peer=st.from_regex(r"[A-Za-z0-9_.~-]{1,64}", fullmatch=True),
        now=st.floats(0, 1e11),
        ttl=st.floats(61, 1e6),
    )
    def test_follow_the_scheme(self, secret: bytes, peer: str, now: float, ttl: float) -> None:
        turn = turn_of(Vendor(STUN, TURN, secret, ttl), peer, now)
        assert turn.username is not None
        assert turn.credential is not None
        expiry, _, named = turn.username.partition(":")
        assert named == peer
        assert expiry == str(int(expiry))
        assert now + ttl <= int(expiry) < now + ttl + 1.001  # good for as long as was told, and a second at most beyond
        assert (
            b64decode(turn.credential, validate=True) == hmac.new(secret, turn.username.encode(), hashlib.sha1).digest()
        )

    def test_are_each_peers_own(self) -> None:
        vendor = Vendor([], TURN, SECRET, 3600.0)
        assert turn_of(vendor, "alice").credential != turn_of(vendor, "bob").credential

    def test_are_new_with_time(self) -> None:
        vendor = Vendor([], TURN, SECRET, 3600.0)
        assert turn_of(vendor, now=NOW) == turn_of(vendor, now=NOW)
        assert turn_of(vendor, now=NOW + 1).username == "1767229201:alice"

    def test_fractions_of_a_second_count_for_the_peer(self) -> None:
        assert turn_of(Vendor([], TURN, SECRET, 3600.0), now=NOW + 0.25).username == "1767229201:alice"

    def test_renewal_leaves_time_for_a_turn_request_in_vain_and_for_clocks(self) -> None:
        # RFC 8489, section 6.2.1: seven requests, the pause doubling from 0.5 s, then 16 times the first.
        stun_request_seconds = 0.5 * (1 + 2 + 4 + 8 + 16 + 32 + 16)
        assert math.isclose(stun_request_seconds, 39.5)
        assert stun_request_seconds + 20 <= RENEW_SECONDS


class TestSecrecy:
    def test_no_repr_tells(self) -> None:
        vendor = Vendor(STUN, TURN, SECRET, 3600.0)
        turn = turn_of(vendor)
        assert turn.credential is not None
        for shown in (repr(vendor), str(vendor), repr(turn), str(turn), repr([turn])):
            assert turn.credential not in shown
            assert SECRET.decode() not in shown
        assert repr(turn) == f"IceServer(urls={turn.urls!r}, username='1767229200:alice')"

    def test_the_secret_is_not_among_what_is_vended(self) -> None:
        servers = Vendor(STUN, TURN, SECRET, 3600.0).for_peer("alice", NOW)
        assert SECRET not in msgspec.json.encode(servers)
