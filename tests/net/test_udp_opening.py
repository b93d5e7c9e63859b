"""Before there is a link: who is challenged, whom a cookie lets in, and that everybody else hears nothing."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from sigd.config.auth import Auth, HmacEntry, TokenEntry
from sigd.config.ice import Ice
from sigd.net.udp import Datagrams
from sigd.relay.credentials import token_for
from sigd.relay.registry import Registry
from sigd.wire import macs
from sigd.wire.datagram import MAX_DATAGRAM
from tests.conftest import Serving
from tests.in_process import Daemon, error, need_ipv6
from tests.net.datagrams import ByHand, DatagramClient, data, nonce, register

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

SECRET = b"a-secret-of-the-operator-and-nobody-else"
USER = "4102444800:*"
TOKEN = token_for(SECRET, USER)
NONCE = "nonce-of-16-char"
FILLER = b"0" * 16


def by_hand(daemon: Daemon, source: str = "") -> ByHand:
    return ByHand(daemon.udp_url, source)


def secret_file(folder: Path, name: str, text: bytes) -> str:
    path = folder / name
    path.touch(0o600)
    path.write_bytes(text + b"\n")
    return str(path)


@pytest.fixture
def auth(tmp_path: Path) -> Auth:
    """Whoever has a token made of the secret, or the static one."""
    return Auth(
        hmac=(HmacEntry(secret_file(tmp_path, "hmac", SECRET)),),
        token=(TokenEntry(secret_file(tmp_path, "token", b"a-good-long-token"), ("*",)),),
    )


async def sealed_peer(daemon: Daemon, name: str, **members: object) -> DatagramClient:
    """A peer whose datagrams are authenticated."""
    client = await daemon.connect("udp")
    assert isinstance(client, DatagramClient)
    client.token = TOKEN
    await client.registers(name, user=USER, **members)
    return client


def answer_of(found: list[bytes]) -> Any:
    """The one datagram that came, without its mac."""
    [datagram] = found
    text = datagram if datagram.endswith(b"}") else macs.split(datagram)[0]
    return json.loads(text)


class TestChallenge:
    @pytest.mark.parametrize("length", [0, 100, 159])
    async def test_row_31_below_160_bytes_there_is_silence(self, daemon: Daemon, length: int) -> None:
        with by_hand(daemon) as hand:
            short = register(nonce=NONCE, pad="")
            short = short[:-2] + b"x" * (length - len(short)) + short[-2:]
            assert len(short) < 160
            assert await hand.asks(short) == []
            assert (
                len(await hand.asks(register(nonce=NONCE, pad="x" * (160 - len(register(nonce=NONCE, pad="")))))) == 1
            )

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    async def test_row_31_no_answer_is_longer_than_what_it_answers(self, daemon: Daemon, end: bytes) -> None:
        with by_hand(daemon) as hand:
            for of in (NONCE, "n" * 43):
                asked = register(nonce=of) + end
                [challenge] = await hand.asks(asked)
                assert len(challenge) <= len(asked)
                assert json.loads(challenge)["nonce"] == of
            for asked in (data(b"0123456789abcdef", 1, 1, b"x"), b"P 0123456789abcdef 1 " + FILLER):
                assert await hand.asks(asked + end) == [b"Z 0123456789abcdef"]

    async def test_a_right_cookie_lets_in(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="cam", ref="1")
            answer = answer_of(await hand.asks(shown))
            sent = json.loads(shown)
            assert (answer["type"], answer["id"], answer["ref"]) == ("registered", "cam", "1")
            assert answer["nonce"] == sent["nonce"]
            assert answer["maxFrame"] == 16_000
            assert len(answer["cid"]) == 16
            assert daemon.router.registry.find("cam") is not None
            hand.says(b"X " + answer["cid"].encode())

    async def test_the_same_register_gets_the_same_answer(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="cam")
            first, *others = await hand.asks(shown, shown, shown + b"\n", shown + b"\r\n")
            assert others == [first] * 3
            assert await hand.asks(shown) == [first]
            assert len(daemon.reactor) == 1
            hand.says(b"X " + json.loads(first)["cid"].encode())
            assert await hand.asks(shown) == []

    async def test_nothing_is_kept_of_a_refused_one(self, daemon: Daemon) -> None:
        await daemon.peer("taken", "lines")
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="taken", ref="r")
            expected = error("id-taken", ref="r", nonce=json.loads(shown)["nonce"])
            assert answer_of(await hand.asks(shown)) == expected
            assert answer_of(await hand.asks(shown)) == expected
            assert len(daemon.reactor) == 1

    @pytest.mark.parametrize(
        ("members", "code"),
        [({"id": "no spaces"}, "bad-message"), ({"protocol": 2}, "bad-message"), ({"meta": 5}, "bad-message")],
    )
    async def test_errors_carry_the_nonce(self, daemon: Daemon, members: dict[str, object], code: str) -> None:
        with by_hand(daemon) as hand:
            shown = await hand.shows(**members)
            assert answer_of(await hand.asks(shown)) == error(code, nonce=json.loads(shown)["nonce"])
            assert len(daemon.reactor) == 0

    async def test_row_33_a_cookie_counts_for_its_port_and_nonce_alone(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand, by_hand(daemon) as other, by_hand(daemon, "127.0.0.2") as elsewhere:
            cookie = await hand.cookie(NONCE)
            for thief in (other, elsewhere):
                answer = answer_of(await thief.asks(register(id="cam", nonce=NONCE, cookie=cookie)))
                assert answer["type"] == "challenge"
                assert answer["cookie"] != cookie
            answer = answer_of(await hand.asks(register(id="cam", nonce=nonce(), cookie=cookie)))
            assert answer["type"] == "challenge"
            assert len(daemon.reactor) == 0

    async def test_row_33_a_stale_cookie_gets_a_new_challenge(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            cookie = await hand.cookie(NONCE)
            await trio.sleep(61)
            answer = answer_of(await hand.asks(register(id="cam", nonce=NONCE, cookie=cookie)))
            assert answer["type"] == "challenge"
            answer = answer_of(await hand.asks(register(id="cam", nonce=NONCE, cookie=answer["cookie"])))
            assert answer["type"] == "registered"
            hand.says(b"X " + answer["cid"].encode())

    async def test_row_33_after_half_a_minute_it_still_counts(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="cam")
            await trio.sleep(29)
            assert answer_of(await hand.asks(shown))["type"] == "registered"
            hand.says(b"X " + answer_of(await hand.asks(shown))["cid"].encode())

    async def test_ipv6(self, serving: Serving) -> None:
        need_ipv6()
        async with serving("tcp://127.0.0.1:0", "udp://[::1]:0") as daemon:
            client = await daemon.peer("alice", "udp", url=daemon.urls[1])
            await client.is_served()
            link = daemon.router.registry.find("alice")
            assert link is not None
            assert link.address.startswith("[::1]:")
            assert link.origin.key == "::/64"


class TestSilence:
    GARBAGE = (
        *(b"", b"\n", b"{", b"{}", b"[]", b"\x00", b"\xff" * 200, b"x" * 1_200, b"[" * 1_200, b"{" * 1_200),
        *(b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\x00\x00\x00\x02{}", b"help\n"),
        *(b"A 0123456789abcdef 1 0", b"Q 0123456789abcdef 1", b"X 0123456789abcdef", b"Z 0123456789abcdef"),
        *(b"C 0123456789abcdef 0123456789abcdef", b"D 0123456789ABCDEF 1 0 1 0/1 x", b"D  1 0 1 0/1 x", b"P x"),
        *(b"D 0123456789abcdef", b"P 0123456789abcdeg 1 0000000000000000", b"d 0123456789abcdef 1 0 1 0/1 x"),
        register(nonce=5),
        register(nonce="short"),
        register(nonce="n" * 44),
        register(nonce="with space in it!"),
        register(nonce=NONCE + "\n"),
        register(nonce=NONCE, cookie=5),
        register(nonce=NONCE, user=5),
        register(nonce=NONCE).replace(b'"register"', b'"unregister"'),
        register(nonce=NONCE).replace(b'"register"', b'"challenge"'),
        register(nonce=NONCE).replace(b"{", b'{"type":"ping",', 1),
        register(nonce=NONCE)[:-1] + b',"type":"offer"}',
        register(nonce=NONCE) + b" " + b"0" * 31,
        register(nonce=NONCE) + b" ",
        register(nonce=NONCE) + b"\n\n",
        register(nonce=NONCE, pad="\ud800"),
        register(nonce=NONCE, pad="x" * 1_200),
    )

    async def test_garbage_of_every_kind(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "udp")
        with by_hand(daemon) as hand:
            answered = [datagram[:200] for datagram in self.GARBAGE if await hand.asks(datagram)]
        assert answered == []
        assert len(daemon.reactor) == 1
        await alice.is_served()

    async def test_what_nobody_looks_at_before_the_cookie_costs_a_challenge_at_most(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            cookie = await hand.cookie(NONCE)
            for tail in (b',"x":"\xff"}', b',"x":' + b"[" * 450 + b"]" * 450 + b"}"):
                assert len(await hand.asks(register(nonce=NONCE)[:-1] + tail)) <= 1
                assert len(await hand.asks(register(nonce=NONCE, cookie=cookie)[:-1] + tail)) <= 1
                for cid in list(daemon.reactor.datagrams.links):
                    assert await hand.asks(b"X " + cid) == []

    async def test_a_long_datagram(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            rest = MAX_DATAGRAM - len(register(nonce=NONCE, pad=""))
            longest = register(nonce=NONCE, pad="x" * rest)
            assert len(longest) == MAX_DATAGRAM
            assert len(await hand.asks(longest + b"\r\n")) == 1
            assert await hand.asks(register(nonce=NONCE, pad="x" * (rest + 1))) == []
            assert await hand.asks(register(nonce=NONCE, pad="x" * (rest + 1)) + b"\n") == []
            assert await hand.asks(longest + b"x" * 60_000) == []

    async def test_unproven_ones_are_answered_so_often_and_no_more(self, serving: Serving) -> None:
        limits = {"udp_unproven_per_second": 5, "udp_unproven_per_second_per_address": 2}
        async with serving(**limits) as daemon:
            hands = [by_hand(daemon, f"127.0.0.{number}") for number in range(1, 5)]
            try:
                answered = [len(await hand.asks(*[register()] * 4)) for hand in hands]
                assert answered == [2, 2, 1, 0]
                assert daemon.router.limits_hit == {
                    "udp_unproven_per_second_per_address": 4,
                    "udp_unproven_per_second": 7,
                }
                await trio.sleep(1)
                assert len(await hands[3].asks(*[b"P 0123456789abcdef 1 " + FILLER] * 4)) == 2
            finally:
                for hand in hands:
                    hand.sock.close()

    async def test_a_right_cookie_does_not_count(self, serving: Serving) -> None:
        async with serving(udp_unproven_per_second=1) as daemon:
            with by_hand(daemon) as hand:
                shown = await hand.shows(id="cam")
                first, *others = await hand.asks(*[shown] * 5)
                assert others == [first] * 4
                hand.says(b"X " + json.loads(first)["cid"].encode())

    async def test_row_36_two_daemons_wired_together_fall_silent(self, daemon: Daemon) -> None:
        """Whatever somebody forges from the address of a daemon: what is said to that one it does not answer."""
        with by_hand(daemon) as hand:
            heard = await hand.asks(register(), data(b"0123456789abcdef", 1, 1, b"x"))
            refused = await hand.asks(await hand.shows(id="no spaces"))
            shown = await hand.shows(id="cam")
            registered = await hand.asks(shown)
            cid = json.loads(registered[0])["cid"].encode()
            await hand.asks(data(cid, 1, 1, b'{"type":"ping"}'))
            heard += refused + registered
            hand.says(b"X " + cid)
            await hand.hears()
            assert len(heard) == 4
            assert await hand.asks(*heard) == []

    async def test_row_32_forged_registers_leave_nothing(self, serving: Serving) -> None:
        async with serving(udp_unproven_per_second=100) as daemon:
            hands = [by_hand(daemon, f"127.{number}.0.1") for number in range(50)]
            try:
                for _ in range(10):
                    for hand in hands:
                        hand.says(*[register(id="cam", cookie="c" * 16) for _ in range(4)])
                    await daemon.settles()
                assert len(daemon.reactor) == len(daemon.router.registry.holders) == 0
                assert not daemon.router.admission.origins._known
                await trio.sleep(1)
                alice = await daemon.peer("alice", "udp")
                await alice.is_served()
            finally:
                for hand in hands:
                    hand.sock.close()


class TestClaims:
    """Without credentials whoever holds an ID is asked for a sign of life, before it changes hands."""

    async def test_a_holder_that_lives_keeps_it(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "udp")
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="alice")
            assert answer_of(await hand.asks(shown)) == error("id-taken", nonce=json.loads(shown)["nonce"])
        await alice.is_served()

    @pytest.mark.parametrize("framing", ["udp", "prefixed"])
    async def test_a_holder_that_is_gone_loses_it_while_repeats_hear_nothing(
        self, daemon: Daemon, framing: str
    ) -> None:
        alice = await daemon.peer("alice", framing)
        if isinstance(alice, DatagramClient):
            alice.deaf = True
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="alice")
            assert await hand.asks(shown) == []
            for _ in range(2):
                await trio.sleep(1)
                assert await hand.asks(shown, shown) == []
            assert len(daemon.reactor) == 2
            await trio.sleep(1.5)
            [first] = await hand.hears()
            assert json.loads(first)["type"] == "registered"
            assert await hand.asks(shown) == [first]
            hand.says(b"X " + json.loads(first)["cid"].encode())
        await trio.sleep(100)

    async def test_a_holder_that_is_gone_is_asked_though_something_is_due_to_it(self, daemon: Daemon) -> None:
        alice, bob = await daemon.peer("alice", "udp"), await daemon.peer("bob")
        assert isinstance(alice, DatagramClient)
        alice.deaf = True
        await bob.says({"type": "message", "to": "alice", "data": 1})
        with by_hand(daemon) as hand:
            heard = await hand.asks(await hand.shows(id="alice"))
            await trio.sleep(100)
            assert heard == []
            hand.says(*[b"X " + cid for cid in daemon.reactor.datagrams.links])
            await hand.hears()

    async def test_a_further_claim_is_refused_at_once(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "udp")
        assert isinstance(alice, DatagramClient)
        alice.deaf = True
        with by_hand(daemon) as hand, by_hand(daemon) as other:
            assert await hand.asks(await hand.shows(id="alice")) == []
            assert answer_of(await other.asks(await other.shows(id="alice")))["code"] == "id-taken"
            await trio.sleep(4)
            hand.says(b"X " + answer_of(await hand.hears())["cid"].encode())
        await trio.sleep(100)

    async def test_a_stop_ends_those_that_wait(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "udp")
        assert isinstance(alice, DatagramClient)
        alice.deaf = True
        with by_hand(daemon) as hand:
            assert await hand.asks(await hand.shows(id="alice")) == []
            began = trio.current_time()
            daemon.is_told_to_stop()
            await daemon.settles()
            while len(daemon.reactor):
                assert trio.current_time() < began + 2
                await trio.sleep(0.1)
            await hand.hears()

    async def test_a_reload_refuses_those_that_it_denies(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "udp")
        assert isinstance(alice, DatagramClient)
        alice.deaf = True
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="alice")
            assert await hand.asks(shown) == []
            await daemon.is_told_to_reload(msgspec.structs.replace(daemon.reads, auth=Auth(deny=("alice",))))
            assert answer_of(await hand.hears()) == error("id-taken", nonce=json.loads(shown)["nonce"])
        await trio.sleep(100)


class TestCaps:
    async def test_of_all(self, serving: Serving) -> None:
        async with serving(udp_links=2) as daemon:
            peers = [await daemon.peer(f"peer-{number}", "udp") for number in range(2)]
            with by_hand(daemon) as hand:
                shown = await hand.shows(id="late")
                expected = error("server-full", nonce=json.loads(shown)["nonce"])
                assert answer_of(await hand.asks(shown)) == expected
                assert daemon.router.limits_hit == {"udp_links": 1}
                peers[0].leaves()
                assert answer_of(await hand.asks(shown))["type"] == "registered"
                hand.says(b"X " + answer_of(await hand.asks(shown))["cid"].encode())
            await peers[1].is_served()

    async def test_of_one_address(self, serving: Serving) -> None:
        async with serving(udp_links_per_address=1) as daemon:
            await daemon.peer("alice", "udp")
            with by_hand(daemon) as hand, by_hand(daemon, "127.0.0.2") as elsewhere:
                assert answer_of(await hand.asks(await hand.shows(id="late")))["code"] == "server-full"
                cid = await elsewhere.registers(id="other")
                assert daemon.router.limits_hit == {"udp_links_per_address": 1}
                elsewhere.says(b"X " + cid)

    async def test_none_where_trusted(self, serving: Serving) -> None:
        async with serving(udp_links_per_address=1, trusted=("127.0.0.0/8",)) as daemon:
            for number in range(3):
                await daemon.peer(f"peer-{number}", "udp")

    async def test_a_refusal_is_sealed_where_the_mac_is_right(self, serving: Serving, auth: Auth) -> None:
        """Else the client could not believe it."""
        async with serving(auth=auth, udp_links=1) as daemon:
            await sealed_peer(daemon, "alice")
            with by_hand(daemon) as hand:
                [refused] = await hand.asks(await hand.shows(TOKEN, id="bob", user=USER))
                assert json.loads(macs.opened(TOKEN, macs.ERROR, refused))["code"] == "server-full"
                [refused] = await hand.asks(await hand.shows(b"wrong", id="bob", user=USER))
                assert json.loads(refused)["code"] == "server-full"

    async def test_one_address_that_comes_and_goes_keeps_nobody_out(self, serving: Serving) -> None:
        async with serving(udp_links=2) as daemon:
            with by_hand(daemon) as hand, by_hand(daemon, "127.0.0.2") as elsewhere:
                for _ in range(20):
                    hand.says(b"X " + await hand.registers(id="cam"))
                for each in (hand, elsewhere):
                    each.says(b"X " + await each.registers(id="cam"))

    async def test_a_cookie_makes_one_link(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            of = nonce()
            cookie = await hand.cookie(of)
            first = register(nonce=of, cookie=cookie, id="cam", ref="1")
            cid = answer_of(await hand.asks(first))["cid"]
            others = [register(nonce=of, cookie=cookie, id=f"cam{number}") for number in range(3)]
            assert await hand.asks(*others) == []
            assert answer_of(await hand.asks(first))["cid"] == cid
            assert await hand.asks(b"X " + cid.encode(), first, *others) == []
            assert len(daemon.reactor.datagrams.links) == 0

    async def test_a_cookie_that_made_none_still_counts(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice")
        with by_hand(daemon) as hand:
            of = nonce()
            cookie = await hand.cookie(of)
            taken = hand.asks(register(nonce=of, cookie=cookie, id="alice"))
            assert await taken == []
            assert await alice.hears() == {"type": "ping"}
            await alice.says({"type": "pong"})
            assert answer_of(await hand.hears())["code"] == "id-taken"
            answer = answer_of(await hand.asks(register(nonce=of, cookie=cookie, id="bob")))
            hand.says(b"X " + answer["cid"].encode())

    async def test_registers_with_one_cookie_have_a_rate(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth, udp_registers_per_second_per_address=5) as daemon:
            with by_hand(daemon) as hand, by_hand(daemon, "127.0.0.2") as elsewhere:
                of = nonce()
                cookie = await hand.cookie(of)
                guesses = [register(nonce=of, cookie=cookie, id="cam", token=f"{number}") for number in range(50)]
                assert len(await hand.asks(*guesses)) == 5
                assert daemon.router.limits_hit["udp_registers_per_second_per_address"] == 45
                elsewhere.says(b"X " + await elsewhere.registers(id="cam", token="a-good-long-token"))
                await trio.sleep(1)
                assert len(await hand.asks(*guesses[:1])) == 1


class TestCredentials:
    async def test_a_static_token_and_one_with_a_user_in_plain_text(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            for number, members in enumerate(
                ({"token": "a-good-long-token"}, {"user": USER, "token": TOKEN.decode()}),
            ):
                client = await daemon.peer(f"peer-{number}", "udp", **members)
                await client.is_served()
            with by_hand(daemon) as hand:
                shown = await hand.shows(id="cam", token="wrong")
                expected = error("auth-failed", nonce=json.loads(shown)["nonce"], reconnect=False)
                assert answer_of(await hand.asks(shown)) == expected
                assert answer_of(await hand.asks(await hand.shows(id="cam")))["code"] == "auth-failed"
                assert answer_of(await hand.asks(await hand.shows(id="cam", user=USER)))["code"] == "auth-failed"

    async def test_a_sealed_link(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            alice = await sealed_peer(daemon, "alice")
            bob = await daemon.peer("bob", token="a-good-long-token")
            await alice.says({"type": "offer", "to": "bob", "sdp": "x" * 5_600, "ref": "1"})
            assert await alice.hears() == {"type": "ok", "ref": "1"}
            assert await bob.hears() == {"type": "offer", "from": "alice", "sdp": "x" * 5_600}
            await bob.says({"type": "answer", "to": "alice", "sdp": "y" * 5_600})
            assert (await alice.hears())["sdp"] == "y" * 5_600
            assert not any(TOKEN in datagram for datagram in alice.bare)

    async def test_a_wrong_mac_gets_a_bare_error(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with by_hand(daemon) as hand:
                shown = await hand.shows(b"wrong", id="cam", user=USER)
                answer = json.loads((await hand.asks(shown))[0])
                assert answer == error("auth-failed", nonce=answer["nonce"], reconnect=False)
                assert len(daemon.reactor) == 0

    async def test_an_error_is_sealed_where_the_mac_is_right(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            past = "1000000000:*"
            narrow = "4102444800:bob"
            with by_hand(daemon) as hand:
                for user, members, code in (
                    (USER, {"id": "no spaces"}, "bad-message"),
                    (past, {"id": "cam"}, "auth-expired"),
                    (narrow, {"id": "alice"}, "auth-failed"),
                ):
                    token = token_for(SECRET, user)
                    [datagram] = await hand.asks(await hand.shows(token, user=user, **members))
                    assert json.loads(macs.opened(token, macs.ERROR, datagram))["code"] == code

    async def test_a_locked_user_gets_a_bare_error(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth, auth_failures_per_minute=2) as daemon:
            with by_hand(daemon) as hand:
                for _ in range(2):
                    await hand.asks(await hand.shows(b"wrong", id="cam", user=USER))
                answer = json.loads((await hand.asks(await hand.shows(TOKEN, id="cam", user=USER)))[0])
                assert (answer["code"], answer["retryAfterMs"]) == ("auth-failed", 30_000)
                assert (
                    answer_of(await hand.asks(await hand.shows(TOKEN, id="other", user=USER)))["type"] == "registered"
                )
            await trio.sleep(100)

    async def test_copies_of_a_register_that_fails_lock_nobody_out(self, serving: Serving, auth: Auth) -> None:
        """As 13.2 and 13.8 have a client repeat it, whose token is wrong or whose operator has to renew it."""
        async with serving(auth=auth, auth_failures_per_minute=2) as daemon:
            with by_hand(daemon) as hand:
                for token, members in ((b"wrong", {"user": USER}), (b"", {"token": "a-wrong-long-token"})):
                    name = f"cam{len(token)}"
                    shown = await hand.shows(token, id=name, **members)
                    for pause in (1, 2, 4, 4):
                        answer = answer_of(await hand.asks(shown))
                        assert (answer["code"], answer.get("retryAfterMs")) == ("auth-failed", None)
                        await trio.sleep(pause)
                    await hand.asks(await hand.shows(b"wrong too", id=name, user=USER))
                    answer = answer_of(await hand.asks(shown))
                    assert (answer["code"], answer["retryAfterMs"]) == ("auth-failed", 30_000)

    async def test_a_mac_where_there_are_no_credentials(self, daemon: Daemon) -> None:
        with by_hand(daemon) as hand:
            answer = answer_of(await hand.asks(await hand.shows(TOKEN, id="cam", user=USER)))
            assert answer["code"] == "auth-failed"

    async def test_with_a_mac_no_other_credential_counts(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with by_hand(daemon) as hand:
                for members in (
                    {"token": "a-good-long-token"},
                    {"user": USER, "token": TOKEN.decode()},
                    {},
                ):
                    answer = answer_of(await hand.asks(await hand.shows(TOKEN, id="cam", **members)))
                    assert answer["code"] == "auth-failed"

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    async def test_a_register_that_somebody_else_repeats_takes_nothing_over(
        self, serving: Serving, auth: Auth, end: bytes
    ) -> None:
        async with serving(auth=auth) as daemon:
            with by_hand(daemon) as hand, by_hand(daemon, "127.0.0.2") as thief:
                shown = await hand.shows(TOKEN, id="cam", user=USER)
                [first] = await hand.asks(shown)
                cid = json.loads(macs.split(first)[0])["cid"].encode()
                assert answer_of(await thief.asks(shown + end))["type"] == "challenge"
                assert await hand.asks(shown + end) == [first]
                key = macs.link_key(TOKEN, cid, macs.split(shown)[1])
                hand.says(macs.sealed(key, macs.FROM_CLIENT, b"X " + cid))
                await daemon.settles()
                assert len(daemon.reactor) == 0
                assert await hand.asks(shown + end) == []
                assert answer_of(await thief.asks(shown + end))["type"] == "challenge"

    async def test_a_seen_mac_behind_another_text_is_worth_nothing(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with by_hand(daemon) as hand, by_hand(daemon, "127.0.0.2") as thief:
                shown = await hand.shows(TOKEN, id="cam", user=USER)
                [first] = await hand.asks(shown)
                mac = macs.split(shown)[1]
                forged = await thief.shows(id="cam", user=USER)
                found = await thief.asks(forged + b" " + mac)
                assert all(json.loads(datagram)["code"] == "auth-failed" for datagram in found)
                assert await hand.asks(shown) == [first]
            await trio.sleep(100)

    async def test_renewal_with_a_proof(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            alice = await sealed_peer(daemon, "alice")
            user = "4102440000:alice"
            token = token_for(SECRET, user)
            proof = macs.renewal_proof(token, alice.cid, user).decode()
            await alice.says({"type": "register", "user": user, "proof": proof, "ref": "1"})
            answer = await alice.hears()
            assert (answer["type"], answer["ref"], answer["id"]) == ("registered", "1", "alice")
            assert "cid" not in answer
            await alice.is_served()
            await alice.says({"type": "register", "user": user, "proof": proof[:-1] + "g", "ref": "2"})
            assert (await alice.hears_all())[-1] == error("auth-failed", ref="2", reconnect=False)

    async def test_a_proof_of_another_link_is_none(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            alice, bob = await sealed_peer(daemon, "alice"), await sealed_peer(daemon, "bob")
            proof = macs.renewal_proof(TOKEN, alice.cid, USER).decode()
            await bob.says({"type": "register", "user": USER, "proof": proof})
            assert (await bob.hears_all())[-1]["code"] == "auth-failed"
            await alice.is_served()

    async def test_a_takeover_with_the_same_credential(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            old = await sealed_peer(daemon, "alice")
            new = await sealed_peer(daemon, "alice")
            assert (await old.hears_all()) == [error("replaced", reconnect=False)]
            await new.is_served()
            with by_hand(daemon) as hand:
                shown = await hand.shows(id="alice", token="a-good-long-token")
                assert answer_of(await hand.asks(shown))["code"] == "id-taken"

    async def test_a_reload_ends_those_whose_secret_is_gone(self, serving: Serving, auth: Auth, tmp_path: Path) -> None:
        async with serving(auth=auth) as daemon:
            alice = await sealed_peer(daemon, "alice")
            bob = await daemon.peer("bob", "udp", token="a-good-long-token")
            (tmp_path / "hmac").write_bytes(b"another-secret-of-the-operator-and-nobody-else\n")
            await daemon.is_told_to_reload(daemon.reads)
            assert await alice.hears_all() == [error("auth-failed", reconnect=False)]
            await bob.is_served()

    async def test_only_sealed_ones_count_on_a_port_that_others_reach(self, serving: Serving, auth: Auth) -> None:
        """As if the address were beyond loopback: no traffic leaves this machine."""
        async with serving(auth=auth) as daemon:
            for port in daemon.reactor._ports.values():
                port.sealed_only = True
            with by_hand(daemon) as hand:
                for members in (
                    {"token": "a-good-long-token"},
                    {"user": USER, "token": TOKEN.decode()},
                    {"user": USER},
                    {},
                ):
                    answer = answer_of(await hand.asks(await hand.shows(id="cam", **members)))
                    assert answer["code"] == "auth-failed"
            alice = await sealed_peer(daemon, "alice")
            await alice.is_served()
            await alice.says({"type": "register", "token": "a-good-long-token"})
            assert (await alice.hears_all())[-1]["code"] == "auth-failed"


async def test_what_does_not_fit_into_the_first_answer_is_not_in_a_repeated_one(serving: Serving) -> None:
    ice = Ice(stun_urls=tuple(f"stun:a-rather-long-name-of-a-server-{number}.example.net" for number in range(20)))
    async with serving(ice=ice) as daemon:
        with by_hand(daemon) as hand:
            shown = await hand.shows(id="cam")
            first, again = await hand.asks(shown, shown)
            assert len(first) <= MAX_DATAGRAM
            assert again == first
            hand.says(b"X " + json.loads(first)["cid"].encode())


class Bug(Exception):
    """What no client is to blame for."""


class TestBugs:
    @pytest.fixture(autouse=True)
    def no_bug_is_logged(self) -> None:
        """They are, here."""

    async def test_a_bug_while_registering_leaves_no_link(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> None:
            raise Bug

        with by_hand(daemon) as hand:
            shown = await hand.shows(id="cam")
            monkeypatch.setattr(daemon.reactor, "receive", fails)
            assert answer_of(await hand.asks(shown))["code"] == "internal"
            assert len(daemon.reactor) == 0
            monkeypatch.setattr(daemon.reactor, "receive", daemon.router.receive)
            hand.says(b"X " + await hand.registers(id="cam"))

    async def test_a_bug_before_there_is_a_link(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        alice = await daemon.peer("alice", "udp")

        def fails(*_: object) -> None:
            raise Bug

        with by_hand(daemon) as hand, monkeypatch.context() as patched:
            patched.setattr(Datagrams, "_greet_untrusted", fails)
            assert await hand.asks(register()) == []
        await alice.is_served()

    async def test_a_bug_costs_the_link_that_met_it(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        alice, bob = await daemon.peer("alice", "udp"), await daemon.peer("bob", "udp")

        def fails(*_: object) -> None:
            raise Bug

        with monkeypatch.context() as patched:
            patched.setattr(Registry, "listed", fails)
            await alice.says({"type": "peers"})
            assert await alice.hears_all() == [error("internal")]
        await bob.is_served()
