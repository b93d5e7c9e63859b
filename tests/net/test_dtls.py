"""DTLS: peers that speak it with all others, how conversations begin and end, and what they cost who does not ask."""

import base64
import gc
import hmac
import json
import random
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from OpenSSL import SSL

from sigd.config import Config, ConfigError, Listener
from sigd.config.auth import Auth, HmacEntry, TokenEntry
from sigd.net.dtls_session import QUEUE, Session, Sessions
from sigd.relay.registry import Registry
from sigd.rules.made import NO_DTLS, Rules
from sigd.wire.datagram import MAX_MESSAGE, SLICE_BYTES
from tests import at_rest, certificates
from tests.conftest import Serving
from tests.daemon import HANG_SECONDS, running_daemon
from tests.in_process import Client, Daemon, error, need_ipv6, within
from tests.needs import needs
from tests.net import datagrams
from tests.net.dtls_peers import ByHand, DTLSPeer, connected, door, register, serial_of, trusting

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

SECRET = b"the-secret-of-the-turn-servers-and-ours"

SMALLEST_ROOM = 1_163
"""Bytes that a datagram may have before it is encrypted: 1200 less 13 of a head, 8 of a nonce and 16 of a tag (RFC
5288). ChaCha20 (RFC 7905) leaves 8 more."""

LONGEST_HEAD = len("D 0123456789abcdef    15/16 ") + 3 * len("1000000000")
"""Bytes before a slice, on a link that has lived for years."""


def sessions(daemon: Daemon) -> Sessions:
    """The daemon's conversations in DTLS."""
    assert daemon.reactor.sessions is not None
    return daemon.reactor.sessions


async def they_talk(one: DTLSPeer | Client, other: DTLSPeer | Client) -> None:
    """Two peers, alice and bob, send each other offers of a browser's size, and get nothing else."""
    sdp = "v=0\r\n" + "a=candidate\r\n" * 430
    for speaking, hearing, sender, recipient in ((one, other, "alice", "bob"), (other, one, "bob", "alice")):
        await speaking.says({"type": "offer", "to": recipient, "sdp": sdp, "ref": "1"})
        assert await hearing.hears() == {"type": "offer", "from": sender, "sdp": sdp}
        assert await speaking.hears() == {"type": "ok", "ref": "1"}


@pytest.fixture
def token(tmp_path: Path) -> TokenEntry:
    """A token for everybody."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-good-long-token\n")
    return TokenEntry(secret_file=str(path), register=("*",))


@pytest.fixture
def expiring(tmp_path: Path) -> HmacEntry:
    """Credentials for whom a web service knows."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(SECRET)
    return HmacEntry(secret_file=str(path))


def credential(peer: str) -> tuple[str, bytes]:
    """A user and its token, as that web service makes them."""
    user = f"{int(time.time()) + 3_600}:{peer}"
    return user, base64.b64encode(hmac.digest(SECRET, user.encode(), "sha256"))


class TestPeers:
    async def test_talk_with_others(self, serving: Serving, token: TokenEntry) -> None:
        async with serving(door(), "tcp://127.0.0.2:0", auth=Auth(token=(token,))) as daemon:
            dtls, tcp = daemon.urls[:2]
            async with connected(dtls) as alice:
                answer = await alice.registers("alice", token="a-good-long-token")
                assert answer["maxFrame"] == MAX_MESSAGE
                bob = await daemon.peer("bob", url=tcp, token="a-good-long-token")
                await they_talk(alice, bob)
                async with connected(dtls) as carol:
                    await carol.registers("carol", token="a-good-long-token")
                    await carol.says({"type": "message", "to": "alice", "data": "x" * 15_000})
                    assert (await alice.hears())["data"] == "x" * 15_000
                    assert len(sessions(daemon)) == 2
                assert alice.longest <= SMALLEST_ROOM

    async def test_show_an_hmac_credential_as_it_is(self, serving: Serving, expiring: HmacEntry) -> None:
        async with serving(door(), auth=Auth(hmac=(expiring,))) as daemon, connected(daemon.urls[0]) as alice:
            user, secret = credential("alice")
            await alice.registers("alice", user=user, token=secret.decode())
            await alice.is_served()

    async def test_or_show_that_they_have_it(self, serving: Serving, expiring: HmacEntry) -> None:
        async with serving(door(), auth=Auth(hmac=(expiring,))) as daemon, connected(daemon.urls[0]) as alice:
            user, secret = credential("alice")
            assert (await alice.asks_for("alice", b"a wrong one", user=user))["code"] == "auth-failed"
            await alice.registers("alice", secret, user=user)
            await alice.is_served()
            await alice.says({"type": "message", "to": "alice", "data": "x" * 900})
            assert (await alice.hears())["data"] == "x" * 900

    async def test_a_register_recorded_over_udp_takes_no_id_over(self, serving: Serving, expiring: HmacEntry) -> None:
        async with serving(door(), "udp://127.0.0.1:0", auth=Auth(hmac=(expiring,))) as daemon:
            user, secret = credential("alice")
            with datagrams.ByHand(daemon.urls[1]) as victim:
                recorded = await victim.shows(secret, id="alice", user=user)
                assert len(await victim.asks(recorded)) == 1
                with ByHand(daemon.urls[0]) as thief:
                    await thief.shakes_hands()
                    assert await thief.asks(recorded) == []
                [link] = daemon.router.registry.holders.values()
                assert link.via == "udp"
                link.abort("over")
            await trio.sleep(12)

    async def test_with_long_messages_too(self, serving: Serving, expiring: HmacEntry) -> None:
        async with serving(door(), auth=Auth(hmac=(expiring,))) as daemon, connected(daemon.urls[0]) as alice:
            user, secret = credential("alice")
            await alice.registers("alice", secret, user=user)
            for _ in range(100):  # until its numbers have three digits
                await alice.is_served()
            await alice.says({"type": "message", "to": "alice", "data": "x" * 5_600})
            with trio.fail_after(20):
                assert (await alice.hears())["data"] == "x" * 5_600

    async def test_refused_may_try_again_without_another_handshake(self, serving: Serving, token: TokenEntry) -> None:
        async with serving(door(), auth=Auth(token=(token,))) as daemon, connected(daemon.urls[0]) as alice:
            assert (await alice.asks_for("alice", token="wrong"))["code"] == "auth-failed"
            await alice.registers("alice", token="a-good-long-token")
            await alice.is_served()

    async def test_who_claims_an_id_waits_for_its_holder(self, serving: Serving) -> None:
        async with serving(door(), register_timeout_ms=1_000) as daemon:
            async with connected(daemon.urls[0]) as alice, connected(daemon.urls[0]) as another:
                await alice.registers("alice")
                assert (await another.asks_for("alice"))["code"] == "id-taken"  # the holder has answered a ping
            async with connected(daemon.urls[0]) as silent:
                await silent.registers("alice")
                silent.vanishes()
                async with connected(daemon.urls[0]) as another:
                    await trio.sleep(0.9)
                    await another.registers("alice")  # after 3 s, with its time to register long over
                    await another.is_served()
            await trio.sleep(6)  # the last words to the silent one are repeated for so long

    async def test_over_ipv6(self, serving: Serving) -> None:
        need_ipv6()
        async with serving(door("dtls://[::1]:0")) as daemon, connected(daemon.urls[0]) as alice:
            await alice.registers("alice")
            await alice.is_served()

    async def test_are_answered_from_the_address_that_they_have_sent_to(self, serving: Serving) -> None:
        async with serving(door("dtls://0.0.0.0:0"), insecure=True) as daemon:
            url = daemon.urls[0].replace("0.0.0.0", "127.0.0.2")
            with ByHand(url) as alice:  # connected: it hears nobody else
                await alice.shakes_hands()
                cid = await alice.registers("alice")
                alice.says(b"X " + cid)

    async def test_are_told_once_that_there_is_no_such_link(self, serving: Serving) -> None:
        async with serving(door(), udp_unproven_per_second_per_address=100) as daemon:
            with ByHand(daemon.urls[0]) as alice, ByHand(daemon.urls[0]) as mallory:
                await alice.shakes_hands()
                await mallory.shakes_hands()
                cid = await alice.registers("alice")
                ping = b"P %b 1 0123456789abcdef" % cid
                assert await mallory.asks(ping) == [b"Z " + cid]  # it counts in its own conversation alone
                assert await mallory.asks(b"X " + cid) == []
                assert await alice.asks(ping) == [b"Q %b 1" % cid]
                assert await alice.asks(b"X " + cid) == [b""]
            await trio.sleep(11)  # until mallory, who has not registered, is sent away


def test_openssl_speaks_with_us() -> None:
    """What a person types, with what every system has."""
    openssl = needs("openssl")
    chain, key = certificates.files("localhost", "127.0.0.1")
    tls = ("--set", f'listen=[{{url="dtls://127.0.0.1:0",certificate="{chain}",key="{key}"}}]')
    with running_daemon("--config", "/dev/null", *tls) as daemon:
        client = subprocess.Popen(
            [
                *(openssl, "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{daemon.port}", "-quiet", "-no_ign_eof"),
                *("-CAfile", str(certificates.folder() / "servers-ca.pem"), "-verify_return_error"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        with client:
            client.stdin.write(register("alice") + b"\n")
            client.stdin.flush()
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.stdout.read(1)
            assert json.loads(answer)["id"] == "alice"
            client.stdin.close()
            assert client.wait(HANG_SECONDS) == 0
        assert daemon.stop() == 0
        assert any("reason=left" in line for line in daemon.log), daemon.log


class TestHandshakes:
    async def test_silent_ones_are_few_and_short(self, serving: Serving) -> None:
        """Each of those that are too many makes room for a client of an address with fewer, or once it had its time."""
        async with serving(door(), dtls_handshakes=4) as daemon:
            url, hits = daemon.urls[0], daemon.router.limits_hit
            silent = [ByHand(url) for _ in range(7)]
            for client in silent:
                await client.shows_itself()
            assert len(sessions(daemon)) == 4
            assert hits["dtls_handshakes"] == 3
            async with connected(url) as alice:
                await alice.registers("alice")
                assert len(sessions(daemon)) == 4
                await trio.sleep(6)
                assert hits["tls_handshake_timeout_ms"] == 3
                assert daemon.router.closed["tls handshake timed out"] == 3
                assert len(sessions(daemon)) == 1
                await alice.is_served()
            for client in silent:
                client.sock.close()

    @pytest.mark.parametrize("limit", ["max_unregistered_per_address", "dtls_handshakes"])
    async def test_those_of_one_address_do_not_keep_others_out(self, serving: Serving, limit: str) -> None:
        """A client of another address gets in at once: one of the address with far more makes room."""
        async with serving(door(), **{limit: 2}) as daemon:
            silent = [ByHand(daemon.urls[0], address=("127.0.0.3", 0)) for _ in range(3)]
            for client in silent:
                await client.shows_itself()
            assert len(sessions(daemon)) == 2
            assert daemon.router.limits_hit[limit] == 1
            began = trio.current_time()
            async with connected(daemon.urls[0]) as alice:
                await alice.registers("alice")
                assert trio.current_time() - began < 1
            for client in silent:
                client.sock.close()
            await trio.sleep(6)

    async def test_registered_peers_do_not_count(self, serving: Serving) -> None:
        limits = {"dtls_handshakes": 1, "max_unregistered_per_address": 1}
        async with serving(door(), **limits) as daemon, connected(daemon.urls[0]) as alice:
            await alice.registers("alice")
            async with connected(daemon.urls[0]) as bob:
                await bob.registers("bob")
                await they_talk(alice, bob)

    async def test_there_is_a_number_of_conversations(self, serving: Serving) -> None:
        async with serving(door(), dtls_sessions=1) as daemon, connected(daemon.urls[0]) as alice:
            await alice.registers("alice")
            with ByHand(daemon.urls[0]) as bob:
                assert await bob.shows_itself() == 0
            assert daemon.router.limits_hit["dtls_sessions"] == 1
            await alice.is_served()

    async def test_who_does_not_register_is_sent_away(self, serving: Serving) -> None:
        async with serving(door()) as daemon, connected(daemon.urls[0]) as alice:
            begun = trio.current_time()
            assert await alice.hears_all() == []
            assert within(trio.current_time() - begun, 10)
            assert daemon.router.limits_hit["register_timeout_ms"] == 1
            await daemon.settles()
            assert len(sessions(daemon)) == 0

    async def test_with_a_certificate_that_the_client_does_not_trust(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with trio.move_on_after(3) as patience:
                async with connected(daemon.urls[0], trusting("clients")):
                    pass
            assert patience.cancelled_caught
            await trio.sleep(3)
            assert len(sessions(daemon)) == 0
            async with connected(daemon.urls[0]) as alice:
                await alice.registers("alice")

    @pytest.mark.parametrize("ciphers", [b"AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-SHA256"])
    async def test_with_ciphers_that_are_not_wanted(self, serving: Serving, ciphers: bytes) -> None:
        async with serving(door()) as daemon:
            context = trusting()
            context.set_cipher_list(ciphers)
            with ByHand(daemon.urls[0], context) as client:
                await client.shows_itself()
                assert len(sessions(daemon)) == 0
                assert daemon.router.closed["tls handshake failed"] == 1

    @pytest.mark.parametrize("ciphers", [b"ECDHE+AESGCM", b"ECDHE+CHACHA20", b"ECDHE+AESCCM"])
    async def test_every_cipher_leaves_room_for_the_longest_datagram(self, serving: Serving, ciphers: bytes) -> None:
        context = trusting()
        context.set_cipher_list(ciphers)
        async with serving(door()) as daemon, connected(daemon.urls[0], context) as alice:
            assert alice.dtls.get_cleartext_mtu() >= SMALLEST_ROOM
            assert LONGEST_HEAD + SLICE_BYTES + len("\n") <= SMALLEST_ROOM
            await alice.registers("alice")
            await alice.says({"type": "message", "to": "alice", "data": "x" * 15_900})
            assert (await alice.hears())["data"] == "x" * 15_900
            assert SLICE_BYTES < alice.longest <= SMALLEST_ROOM


class TestTheEnd:
    async def test_by_x(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                cid = await alice.registers("alice")
                assert await alice.asks(b"X " + cid) == [b""]
                assert daemon.router.registry.find("alice") is None
                assert len(sessions(daemon)) == 0

    async def test_by_unregister(self, serving: Serving) -> None:
        async with serving(door()) as daemon, connected(daemon.urls[0]) as alice:
            await alice.registers("alice")
            await alice.says({"type": "unregister", "ref": "1"})
            assert await alice.hears_all() == [{"type": "ok", "ref": "1"}]
            assert alice.channel is not None
            assert alice.channel.over

    async def test_by_close_notify(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            bob = await daemon.peer("bob", url=daemon.tls_url, framing="tls")
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                await alice.registers("alice")
                alice.tls.shutdown()
                alice.sock.send(alice.written())
                assert b"" in await alice.takes()
                assert daemon.router.closed["left"] == 1
                await bob.says({"type": "message", "to": "alice", "data": 1})
                assert await bob.hears() == error("peer-unavailable", to="alice")

    async def test_of_one_of_several_links(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as both:
                await both.shakes_hands()
                alice, bob = await both.registers("alice"), await both.registers("bob")
                assert await both.asks(b"X " + alice) == []
                assert await both.asks(b"P %b 1 0123456789abcdef" % bob) == [b"Q %b 1" % bob]
                assert await both.asks(b"X " + bob) == [b""]

    async def test_when_the_client_starts_anew(self, serving: Serving) -> None:
        """From the same port, as devices do that have only one: who was there before is gone, and its ID is free."""
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                await alice.registers("alice")
                alice.start()
                await alice.shakes_hands()
                assert daemon.router.closed["connection lost"] == 1
                cid = await alice.registers("alice")
                assert await alice.asks(b"P %b 1 0123456789abcdef" % cid) == [b"Q %b 1" % cid]
                assert len(sessions(daemon)) == 1
                alice.says(b"X " + cid)

    async def test_when_the_client_is_silent(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                await alice.registers("alice")
            await trio.sleep(76)
            assert daemon.router.registry.find("alice") is None
            await trio.sleep(6)
            assert daemon.router.closed == {"idle-timeout": 1}
            assert len(sessions(daemon)) == 0

    async def test_when_it_takes_nothing_any_more(self, serving: Serving) -> None:
        async with serving(door(), "tcp://127.0.0.1:0") as daemon:
            bob = await daemon.peer("bob", url=daemon.urls[1], keepaliveMs=300_000)
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                await alice.registers("alice")
                await bob.says({"type": "message", "to": "alice", "data": 1})
                with trio.fail_after(32):
                    assert await bob.hears() == error("peer-unavailable", to="alice")
            await daemon.settles()
            assert len(sessions(daemon)) == 0

    async def test_when_the_daemon_stops(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as silent, ByHand(daemon.urls[0]) as unregistered:
                async with connected(daemon.urls[0]) as alice:
                    await silent.shows_itself()
                    await unregistered.shakes_hands()
                    await alice.registers("alice")
                    begun = trio.current_time()
                    daemon.is_told_to_stop()
                    [goodbye] = await alice.hears_all()
                    assert goodbye["type"] == "goingAway"
                    await daemon.settles()
                    assert len(sessions(daemon)) == 0
                    assert trio.current_time() - begun < 1
                assert await unregistered.takes() == [b""]

    async def test_when_the_daemon_stops_although_nobody_answers(self, serving: Serving) -> None:
        """Neither who holds an ID that another claims, nor who was told to go before."""
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as holder, ByHand(daemon.urls[0]) as claims, ByHand(daemon.urls[0]) as leaving:
                for client in (holder, claims, leaving):
                    await client.shakes_hands()
                await holder.registers("alice")
                cid = await leaving.registers("bob")
                assert await claims.asks(register("alice")) == []
                assert len(await leaving.asks(b'D %b 1 0 1 0/1 {"type":"unregister","ref":"1"}' % cid)) == 1
                daemon.is_told_to_stop()
                await trio.sleep(1.5)
                assert len(daemon.reactor) == 0
                assert len(sessions(daemon)) == 0

    def test_of_a_daemon_with_somebody_who_takes_nothing(self) -> None:
        chain, key = certificates.files("localhost", "127.0.0.1")
        listen = f'listen=[{{url="dtls://127.0.0.1:0",certificate="{chain}",key="{key}"}}]'
        with running_daemon("--config", "/dev/null", "--set", listen) as daemon:

            async def registers() -> None:
                async with connected(daemon.url) as alice:
                    await alice.registers("alice")
                    alice.vanishes()
                    assert await trio.to_thread.run_sync(daemon.stop) == 0

            at_rest.run(registers)


class TestMemory:
    """Of what OpenSSL takes for each nothing may wait for the garbage collector, which seldom looks here."""

    @pytest.fixture(autouse=True)
    def no_collector(self) -> Iterator[None]:
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    @pytest.mark.parametrize("how", ["x", "close_notify", "silence", "anew", "refused", "slow"])
    async def test_is_given_back(self, serving: Serving, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        alive: weakref.WeakSet[SSL.Connection] = weakref.WeakSet()
        seen = SSL.Connection.set_context

        def sees(connection: SSL.Connection, context: SSL.Context) -> None:
            alive.add(connection)
            seen(connection, context)

        monkeypatch.setattr(SSL.Connection, "set_context", sees)
        context = trusting()
        if how == "refused":
            context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA256")
        async with serving(door()) as daemon:
            for _ in range(2):
                with ByHand(daemon.urls[0], context) as alice:
                    if how in {"refused", "slow"}:
                        await alice.shows_itself()
                    else:
                        await alice.shakes_hands()
                        cid = await alice.registers("alice")
                    if how == "x":
                        alice.says(b"X " + cid)
                    elif how == "close_notify":
                        alice.tls.shutdown()
                        alice.sock.send(alice.written())
                    elif how == "anew":
                        alice.start(context)
                        await alice.shakes_hands()
                await trio.sleep(82 if how in {"silence", "anew"} else 11)
            assert len(sessions(daemon)) == 0
            # Trio's loops know the last one each until another comes; there is one per loop.
            assert len(alive) <= 1


class TestStrangers:
    @pytest.mark.parametrize("seed", range(4))
    async def test_send_garbage(self, serving: Serving, seed: int) -> None:
        chance = random.Random(seed)
        async with serving(door()) as daemon, connected(daemon.urls[0]) as alice:
            await alice.registers("alice")
            with ByHand(daemon.urls[0]) as mallory:
                hello = mallory.flight()
                for _ in range(500):
                    kind = chance.randrange(4)
                    if kind == 0:
                        junk = chance.randbytes(chance.choice((0, 1, 5, 13, 14, 60, 1_500)))
                    elif kind == 1:
                        junk = b"\x16\xfe\xfd\0\0" + chance.randbytes(chance.randrange(300))
                    elif kind == 2:
                        junk = hello[: chance.randrange(len(hello))]
                    else:
                        place = chance.randrange(len(hello))
                        junk = hello[:place] + chance.randbytes(3) + hello[place + 3 :]
                    mallory.sock.send(junk)
                    if chance.random() < 0.05:
                        await daemon.settles()
                sent = sum(map(len, await mallory.hears()))
                assert sent < 500 * len(hello)
                assert len(sessions(daemon)) == 1
            await alice.is_served()

    async def test_send_garbage_inside(self, serving: Serving) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                for junk in (
                    b"{",
                    b"{}",
                    b'{"type":"ping"}',
                    b"\n",
                    b"\0" * 1_100,
                    b"help",
                    b"D ",
                    b"Z 0123456789abcdef",
                ):
                    assert await alice.asks(junk) == [], junk
                assert await alice.asks(register("alice").replace(b'"nonce"', b'"none"')) == []
                assert await alice.asks(register("alice", pad="x" * 1_200)) == []
                cid = await alice.registers("alice")
                assert await alice.asks(b"D " + cid + b" 1 0 1 0/1 {}") != []
                alice.says(b"X " + cid)

    async def test_are_challenged_no_more_often_than_over_udp(self, serving: Serving) -> None:
        async with serving(door(), udp_unproven_per_second_per_address=10) as daemon:
            with ByHand(daemon.urls[0]) as mallory:
                hello = mallory.flight()
                for _ in range(100):
                    mallory.sock.send(hello)
                heard = await mallory.hears()
                assert len(heard) == 10
                assert max(map(len, heard)) < len(hello)
                assert daemon.router.limits_hit["udp_unproven_per_second_per_address"] == 90

    async def test_do_not_have_the_end_of_a_handshake_sent_to_others(self, serving: Serving) -> None:
        """Five bytes of whoever forges their address would be a flight of ours each."""
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                cid = await alice.registers("alice")
                for _ in range(2):
                    for _ in range(100):
                        alice.sock.send(b"\x16\xfe\xfd\0\0")
                    heard = await alice.hears()
                    assert len(heard) == 1
                    assert len(heard[0]) < 300
                    await trio.sleep(1)
                assert await alice.asks(b"P %b 1 0123456789abcdef" % cid) == [b"Q %b 1" % cid]
                alice.says(b"X " + cid)

    async def test_change_nothing_with_forged_records(self, serving: Serving) -> None:
        """Nor with those of ours that come again, nor with alerts that nobody has encrypted."""
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                cid = await alice.registers("alice")
                alice.tls.write(b"P %b 1 0123456789abcdef" % cid)
                ping = alice.written()
                for epoch in (b"\0\0", b"\0\1", b"\0\2"):
                    for kind in range(20, 25):
                        for rest in (b"", b"\0\2\2\0", b"\0\2\1\0", b"\0\x40" + bytes(64)):
                            alice.sock.send(bytes([kind]) + b"\xfe\xfd" + epoch + b"\0\0\0\0\0\x63" + rest)
                for place in range(len(ping)):
                    alice.sock.send(ping[:place] + bytes([ping[place] ^ 1]) + ping[place + 1 :])
                    await daemon.settles()
                await alice.takes()
                alice.sock.send(ping)
                alice.sock.send(ping)
                assert await alice.takes() == [b"Q %b 1" % cid]
                assert daemon.router.closed == {}
                alice.says(b"X " + cid)

    async def test_cannot_have_us_send_what_does_not_fit(self, serving: Serving) -> None:
        """Nor more than there is room for: neither is anything to OpenSSL, or to whoever is in its way."""
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice:
                await alice.shakes_hands()
                cid = await alice.registers("alice")
                [session] = sessions(daemon)._all
                address, room = session.address, alice.tls.get_cleartext_mtu()
                assert room in {SMALLEST_ROOM, SMALLEST_ROOM + 8}
                session.send(b"x" * (room + 1), address, b"")
                session.send(b"x" * room, address, b"")
                assert [len(each) for each in await alice.takes()] == [room]
                for _ in range(10 * QUEUE):
                    session.send(b"x", address, b"")
                assert QUEUE <= len(await alice.takes()) <= QUEUE + 1
                alice.says(b"X " + cid)

    async def test_a_burst_is_not_lost(self, serving: Serving) -> None:
        async with serving(door(), "tcp://127.0.0.1:0", outbox_bytes_per_sender=200_000) as daemon:
            bob = await daemon.peer("bob", url=daemon.urls[1])
            async with connected(daemon.urls[0]) as alice:
                await alice.registers("alice")
                await bob.says(*({"type": "message", "to": "alice", "data": [n, "x" * 900]} for n in range(100)))
                assert [(await alice.hears())["data"][0] for _ in range(100)] == list(range(100))


class TestBugs:
    @pytest.fixture
    def no_bug_is_logged(self) -> None:
        """Here they are."""

    async def test_in_a_message_function_costs_one_link(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(door()) as daemon, connected(daemon.urls[0]) as bob:
            await bob.registers("bob")
            async with connected(daemon.urls[0]) as alice:
                await alice.registers("alice")
                monkeypatch.setattr(Registry, "listed", broken)
                await alice.says({"type": "peers"})
                assert await alice.hears_all() == [error("internal")]
            await bob.is_served()
            assert [line for line in caplog.messages if line.startswith("bug")] != []

    @pytest.mark.parametrize("name", ["greet", "take_untrusted"])
    async def test_elsewhere_costs_one_session(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        async with serving(door()) as daemon:
            with ByHand(daemon.urls[0]) as alice, ByHand(daemon.urls[0]) as bob:
                await bob.shakes_hands()
                cid = await bob.registers("bob")
                await alice.shakes_hands()
                await alice.registers("alice")
                with monkeypatch.context() as patch:
                    patch.setattr(daemon.reactor.datagrams, name, broken)
                    heard = await alice.asks(register("carol") if name == "greet" else b"P ")
                    assert heard[-1] == b""
                assert daemon.router.closed["internal"] == 1
                assert len([line for line in caplog.messages if line.startswith("bug")]) == 1
                assert await bob.asks(b"P %b 1 0123456789abcdef" % cid) == [b"Q %b 1" % cid]
                assert len(sessions(daemon)) == 1
                bob.says(b"X " + cid)

    @pytest.mark.parametrize("name", ["__init__", "run", "_shake_hands", "_write"])
    async def test_anywhere_at_all_costs_one_session(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        async with serving(door()) as daemon, connected(daemon.urls[0]) as bob:
            await bob.registers("bob")
            with ByHand(daemon.urls[0]) as alice, monkeypatch.context() as patch:
                patch.setattr(Session, name, broken)
                await alice.shows_itself()
            assert len([line for line in caplog.messages if line.startswith("bug")]) == 1
            assert len(sessions(daemon)) == 1
            await bob.is_served()


def broken(*_: object) -> None:
    """What a bug does."""
    raise RuntimeError("a bug of a test")


class TestCertificates:
    async def test_new_ones_are_for_new_handshakes(self, serving: Serving, tmp_path: Path) -> None:
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

        def renew() -> None:
            made = certificates.authority("servers").issue_cert("localhost", "127.0.0.1")
            chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
            key.touch(0o600)
            key.write_bytes(made.private_key_pem.bytes())

        renew()
        async with serving(Listener("dtls://127.0.0.1:0", certificate=str(chain), key=str(key))) as daemon:
            url = daemon.urls[0]
            with ByHand(url) as alice, ByHand(url) as halfway, ByHand(url) as bob:
                await alice.shakes_hands()
                await halfway.shows_itself()
                cid = await alice.registers("alice")
                renew()
                await daemon.is_told_to_reload(daemon.reads)
                await bob.shakes_hands()
                assert serial_of(bob.tls) != serial_of(alice.tls)
                assert await alice.asks(b"P %b 1 0123456789abcdef" % cid) == [b"Q %b 1" % cid]
                halfway.sock.send(halfway.flight())
                for answer in await halfway.hears():
                    halfway.tls.bio_write(answer)
                halfway.tls.do_handshake()
                assert serial_of(halfway.tls) == serial_of(alice.tls)
                chain.write_text("nonsense")
                await daemon.is_told_to_reload(daemon.reads)  # refused: it goes on with what it has
                with ByHand(url) as carol:
                    await carol.shakes_hands()
                    assert serial_of(carol.tls) == serial_of(bob.tls)
                alice.says(b"X " + cid)
            await trio.sleep(11)  # until those are sent away who have not registered

    def test_without_pyopenssl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in [name for name in sys.modules if name.startswith(("OpenSSL", "sigd.net.dtls"))]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "OpenSSL", None)
        with pytest.raises(ConfigError) as caught:
            Rules(Config(listen=(door(),)))
        assert [str(fault) for fault in caught.value.faults] == [f"dtls://127.0.0.1:0: {NO_DTLS}"]

    def test_that_do_not_fit_are_refused(self) -> None:
        chain, _ = certificates.files("localhost", "127.0.0.1")
        _, key = certificates.files("cam.example", of="clients")
        with pytest.raises(ConfigError) as caught:
            Rules(Config(listen=(Listener("dtls://127.0.0.1:0", certificate=chain, key=key),)))
        assert "is not that of the certificate" in str(caught.value.faults[0])


def test_only_who_needs_it_loads_it() -> None:
    program = "import sys, sigd.server; print('OpenSSL' in sys.modules, 'sigd.net.dtls' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=HANG_SECONDS
    )
    assert done.stdout.split() == ["False", "False"]


MDWE = """
import ctypes, sys
from sigd.cli import main
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit("too old")
sys.exit(main())
"""


def test_under_memory_deny_write_execute(tmp_path: Path) -> None:
    """As systemd's option does it, with which OpenSSL cannot call us: it is said at start, not with each client."""
    chain, key = certificates.files("localhost", "127.0.0.1")
    file = tmp_path / "sigd.toml"
    file.write_text(f'[[listen]]\nurl = "dtls://127.0.0.1:0"\ncertificate = "{chain}"\nkey = "{key}"\n')
    done = subprocess.run(
        [sys.executable, "-c", MDWE, "--config", str(file)], capture_output=True, text=True, timeout=HANG_SECONDS
    )
    if "too old" in done.stderr:
        pytest.skip("the kernel does not know it (Linux 6.3)")
    assert done.returncode != 0
    assert "MemoryDenyWriteExecute" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_other_listener_gets_in_the_way(tmp_path: Path) -> None:
    """An address that is in use is said in one line, as for all others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        chain, key = certificates.files("localhost", "127.0.0.1")
        port = sock.getsockname()[1]
        file = tmp_path / "sigd.toml"
        file.write_text(f'[[listen]]\nurl = "dtls://127.0.0.1:{port}"\ncertificate = "{chain}"\nkey = "{key}"\n')
        done = subprocess.run(
            [sys.executable, "-m", "sigd.cli", "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )
    assert done.returncode != 0
    assert "the address is in use" in done.stderr
    assert "Traceback" not in done.stderr
