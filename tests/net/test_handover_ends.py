"""A restart that drops nobody: who may stay by the rules of the next process, and who cannot be handed over."""

import resource
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from sigd.net import arrival, bag, handover, parcel
from sigd.relay.credentials import ExpiringToken, Permissions, token_for
from sigd.relay.rates import Rates
from tests.in_process import Client, error, text_message
from tests.net.datagrams import DatagramClient
from tests.net.two_reactors import Relay, relaying

pytestmark = pytest.mark.usefixtures("no_bug_is_logged", "jumping_clock")

SECRET = b"a secret that is long enough"


def hmac_credential(secret: bytes = SECRET) -> ExpiringToken:
    """One that lets everybody be anybody whose token is right."""
    rates = Rates(0, 0, 0, 0)
    return ExpiringToken("secret", Permissions(("*",), ("*",), rates=rates), [secret])


@pytest.fixture
async def relay(jumping_clock: None) -> AsyncIterator[Relay]:
    """A relay over TCP and UDP."""
    async with relaying() as running:
        yield running


def keeps(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Have the system keep no more sockets than that."""
    whole = bag.pack

    def pack(descriptors: Sequence[int]) -> tuple[list[socket.socket], int]:
        return whole(descriptors[:most])

    monkeypatch.setattr(bag, "pack", pack)


class TestCredentials:
    def shown(self, peer: str, seconds: float, relay: Relay) -> dict[str, str]:
        user = f"{int(trio.current_time() + relay.unix_ahead + seconds)}:{peer}"
        return {"user": user, "token": token_for(SECRET, user).decode()}

    async def test_it_expires_when_it_would_have(self) -> None:
        async with relaying(credentials=[hmac_credential()]) as relay:
            alice = await relay.connect()
            await alice.registers("alice", **self.shown("alice", 60, relay), keepaliveMs=600_000)
            expires_at = relay.link("alice").expires_at
            await relay.hands_over([hmac_credential()])
            assert relay.link("alice").expires_at == pytest.approx(expires_at, abs=1.0)
            proof = relay.link("alice").grant.proof
            assert proof is not None
            assert proof.expires == pytest.approx(trio.current_time() + relay.unix_ahead + 60, abs=2)
            await trio.sleep(80)
            await alice.is_served()
            assert (await alice.hears())["code"] == "auth-expired"

    async def test_whose_is_not_accepted_any_more_is_told(self) -> None:
        async with relaying(credentials=[hmac_credential()]) as relay:
            alice = await relay.connect()
            await alice.registers("alice", **self.shown("alice", 60, relay))
            taken = await relay.hands_over([hmac_credential(b"another secret, as long as it")])
            assert (taken.refused, taken.lost) == (1, 0)
            assert (await alice.hears())["code"] == "auth-failed"
            await alice.hears_close()

    async def test_the_same_credential_takes_over(self) -> None:
        async with relaying(credentials=[hmac_credential()]) as relay:
            shown = self.shown("alice", 60, relay)
            alice = await relay.connect()
            await alice.registers("alice", **shown)
            await relay.hands_over([hmac_credential()])
            again = await relay.connect("lines")
            await again.registers("alice", **shown)
            assert (await alice.hears())["code"] == "replaced"

    async def test_failures_are_not_forgotten(self) -> None:
        async with relaying(credentials=[hmac_credential()], auth_failures_per_minute=2) as relay:
            for _ in range(2):
                guest = await relay.connect()
                await guest.says({"type": "register", "id": "alice", **self.shown("alice", 60, relay), "token": "no"})
                assert (await guest.hears())["code"] == "auth-failed"
            await relay.hands_over([hmac_credential()], auth_failures_per_minute=2)
            guest = await relay.connect()
            await guest.says({"type": "register", "id": "alice", **self.shown("alice", 60, relay)})
            assert "retryAfterMs" in await guest.hears()

    async def test_over_udp_with_macs(self) -> None:
        async with relaying(credentials=[hmac_credential()]) as relay:
            shown = self.shown("cam", 60, relay)
            cam = await relay.connect("udp")
            assert isinstance(cam, DatagramClient)
            cam.token = shown["token"].encode()
            await cam.registers("cam", user=shown["user"])
            await relay.hands_over([hmac_credential()])
            await cam.is_served()
            assert cam.channel is not None
            assert cam.channel.key is not None

    async def test_rates_are_what_is_left_of_them(self) -> None:
        async with relaying(messages_per_second=1, messages_burst=100) as relay:
            alice = await relay.peer("alice")
            await alice.says(*({"type": "ping"} for _ in range(31)))
            await relay.settles()
            await relay.hands_over(messages_per_second=1, messages_burst=200)
            assert relay.link("alice").messages_left == pytest.approx(138, abs=6)


class TestTLS:
    async def test_they_are_told_and_all_others_stay(self) -> None:
        async with relaying() as relay:
            relay.opens("tcp://127.0.0.2:0", speaks_tls=True)
            alice = await relay.peer("alice")
            bob = await relay.connect("tls", url="tcp://127.0.0.2")
            await bob.registers("bob")
            silent = await relay.connect("prefixed", url="tcp://127.0.0.2")
            assert (await relay.hands_over()).streams == 2
            assert await bob.hears() == {"type": "goingAway", "reconnectAfterMs": 0, "reason": "the server restarts"}
            await bob.hears_bytes()
            await alice.says({"type": "message", "to": "bob", "data": 1})
            assert await alice.hears() == error("peer-unavailable", to="bob")
            await silent.registers("carol")

    async def test_who_shakes_hands_is_closed(self) -> None:
        async with relaying() as relay:
            relay.opens("tcp://127.0.0.2:0", speaks_tls=True)
            alice = await relay.connect(url="tcp://127.0.0.2")
            await alice.sends(b"\x16\x03\x01")  # as a ClientHello begins
            await relay.settles()
            assert (await relay.hands_over()).streams == 0
            await alice.hears_close()

    async def test_who_comes_through_a_listener_that_is_gone_and_has_said_nothing_is_lost(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with relaying() as relay:
            relay.opens("tcp://127.0.0.2:0", speaks_tls=True)
            silent = await relay.connect(url="tcp://127.0.0.2")
            alice = await relay.peer("alice", url="tcp://127.0.0.2")
            await relay.settles()
            assert await relay.hands_over((), ["tcp://127.0.0.2:0"]) == arrival.Taken(1, 0, 0, 1)
            await silent.hears_close()
            await alice.is_served()
            caplog.clear()


class TestProxied:
    @pytest.mark.parametrize("at", [0, 4, 20])
    async def test_a_header_goes_on(self, at: int) -> None:
        async with relaying(trusted=["127.0.0.1"]) as relay:
            header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
            alice = await relay.connect()
            await alice.sends(header[:at])
            await relay.settles()
            await relay.hands_over(trusted=["127.0.0.1"])
            await alice.sends(header[at:])
            await alice.registers("alice")
            assert (relay.link("alice").host, relay.link("alice").port) == ("192.0.2.1", 1234)
            await relay.hands_over(trusted=["127.0.0.1"])
            assert (relay.link("alice").origin.key, relay.link("alice").opening) == ("192.0.2.1", None)
            await alice.is_served()


class TestTooMany:
    async def test_whom_the_system_does_not_keep_is_told(self, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
        alice, bob, cam = await relay.peer("alice"), await relay.peer("bob"), await relay.peer("cam", "udp")
        keeps(monkeypatch, 3)
        assert await relay.hands_over() == arrival.Taken(1, 1, 0, 0)
        assert relay.packed.left_behind == 1
        assert await bob.hears() == {"type": "goingAway", "reconnectAfterMs": 0, "reason": "the server restarts"}
        await bob.hears_close()
        await cam.says({"type": "message", "to": "alice", "data": 1})
        assert (await alice.hears())["data"] == 1

    async def test_who_ends_while_others_are_sent_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with relaying(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22) as relay:
            alice = await relay.peer("alice")
            bob = await relay.connect(receive_buffer=4_096)
            await bob.registers("bob")
            while not relay.link("bob").stuck:
                await alice.says(text_message(50_000))
                await relay.settles()
            keeps(monkeypatch, 3)
            alice.breaks_off()
            # She is written to, that what she has sent is perhaps not delivered, and only then found to be gone.
            relay.packed = handover.pack(relay.reactor, relay.doors)
            relay.stops()
            assert relay.unpacks() == arrival.Taken(0, 0, 0, 0)

    async def test_without_room_for_a_snapshot_everybody_is_served(
        self, relay: Relay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alice = await relay.peer("alice")

        def seal(*_: object) -> int:
            raise OSError("no memory")

        with monkeypatch.context() as patch:
            patch.setattr(handover, "seal", seal)
            with pytest.raises(OSError, match="no memory"):
                handover.pack(relay.reactor, relay.doors)
        await alice.is_served()
        await relay.hands_over()
        await alice.is_served()

    async def test_without_room_for_all_of_it_every_buffer_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parcel, "PART_BYTES", 60_000)
        monkeypatch.setattr(parcel, "PARTS", 1_000)
        monkeypatch.setattr(parcel, "CHUNK_BYTES", 10_000)
        async with relaying(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22) as relay:
            alice, carol = await relay.peer("alice"), await relay.peer("carol", "lines")
            sent: dict[str, int] = {}
            slow: dict[str, Client] = {}
            for name in ("bob", "dave"):
                slow[name] = await relay.connect(receive_buffer=4_096)
                await slow[name].registers(name)
                while relay.link(name).queued < 150_000:
                    await alice.says({"type": "message", "to": name, "data": f"{sent.get(name, 0)} " + "x" * 9_000})
                    await relay.settles()
                    sent[name] = sent.get(name, 0) + 1
            await carol.sends(b'{"type":"message","to":"alice",')
            await relay.settles()
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            # Of a memfd, too: bob's outbox fills a part, and dave's, which is longer, does not fit into one.
            while relay.link("dave").queued < 250_000:
                await alice.says({"type": "message", "to": "dave", "data": f"{sent['dave']} " + "x" * 9_000})
                await relay.settles()
                sent["dave"] += 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
            try:
                with pytest.raises(OSError, match="File too large"):
                    handover.pack(relay.reactor, relay.doors)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            await carol.sends(b'"data":1}\n')
            assert (await alice.hears())["data"] == 1
            for name, client in slow.items():
                heard = [(await client.hears())["data"].split(" ")[0] for _ in range(sent[name])]
                assert heard == [str(number) for number in range(sent[name])]
            assert relay.router.buffers.of_links == 0
            await relay.hands_over()
            await carol.is_served()


async def test_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "PART_BYTES", 1)
    monkeypatch.setattr(parcel, "MOST_PARTS", 3)
    async with relaying() as relay:
        peers = [await relay.peer(f"peer{number}", ("prefixed", "udp")[number % 2]) for number in range(8)]
        await relay.packs()
        assert len(relay.packed.memfds) == 1 + 3
        assert relay.unpacks() == arrival.Taken(4, 4, 0, 0)
        for peer in peers:
            await peer.is_served()
