"""New rules for a running daemon: all of them at once or none, in one line each, and nobody notices who need not."""

import base64
import hmac
import logging
import os
import resource
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sigd import log
from sigd.config import Config, Listener
from sigd.config.auth import Auth, CertificateEntry, HmacEntry, TokenEntry
from sigd.config.ice import Ice
from sigd.server.daemon import CHANGED_SINCE
from tests import certificates
from tests.conftest import Serving
from tests.daemon import Daemon as Process
from tests.daemon import running_daemon, wait_for
from tests.in_process import Client, Daemon, error
from tests.net.handshakes import Handshake, careful, is_closed
from tests.plain import Plain, loopback
from tests.rules.test_made import private

REFUSED = error("auth-failed", reconnect=False)

replace = msgspec.structs.replace


class Files:
    """Secrets in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds(self, name: str, *lines: str) -> str:
        """Have a file hold these lines, for nobody else to read; its path."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Heard(logging.Handler):
    """Stands for stderr: keeps the lines that would be written there."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What was logged since the last time, as on stderr but for the time and for links that ended."""
    heard = Heard()
    monkeypatch.setattr(log, "_Stderr", lambda _: heard)
    log.start("info")

    def since() -> list[str]:
        lines = [line.split(" ", 1)[1] for line in heard.lines]
        heard.lines.clear()
        assert not any(line.startswith("ERROR") for line in lines), lines
        return [line for line in lines if not line.startswith("INFO closed peer=")]

    yield since
    since()


Said = Callable[[], list[str]]

ONE, TWO, THREE = "first-token-of-all", "second-token-of-all", "third-token-of-all"


def tokens(files: Files) -> Auth:
    """Two credentials, each with a token."""
    return Auth(
        token=(
            TokenEntry(secret_file=files.holds("one", ONE), register=("one-*", "both")),
            TokenEntry(secret_file=files.holds("two", TWO), register=("two-*", "both")),
        )
    )


async def registers(daemon: Daemon, peer: str, token: str, framing: str = "prefixed") -> Client:
    client = await daemon.connect(framing)
    await client.registers(peer, token=token, keepaliveMs=300_000)
    return client


async def is_refused(daemon: Daemon, peer: str, token: str) -> None:
    client = await daemon.connect()
    await client.says({"type": "register", "id": peer, "token": token})
    assert await client.hears_all() == [REFUSED]


class TestWhatTheLogSays:
    async def test_one_line_for_each_option(self, serving: Serving, said: Said) -> None:
        async with serving() as daemon:
            said()
            before = daemon.reads
            limits = replace(before.limits, messages_per_second=200, max_frame=32_768, max_connections=400)
            await daemon.is_told_to_reload(replace(before, limits=limits, log=replace(before.log, level="debug")))
            assert said() == [
                "WARNING needs restart: limits.max_connections 500 -> 400",
                'INFO reloaded: log.level "info" -> "debug"',
                "INFO reloaded: limits.max_frame 65536 -> 32768",
                "INFO reloaded: limits.messages_per_second 0 -> 200",
                "INFO reloaded links=0 ended=0",
            ]

    async def test_nothing_has_changed(self, serving: Serving, said: Said) -> None:
        async with serving() as daemon:
            said()
            await daemon.is_told_to_reload(daemon.reads)
            assert said() == ["INFO reloaded links=0 ended=0"]

    async def test_files(self, serving: Serving, said: Said, files: Files) -> None:
        async with serving(auth=tokens(files)) as daemon:
            said()
            path = files.holds("one", ONE, THREE)
            await daemon.is_told_to_reload(daemon.reads)
            assert said() == [f"INFO reloaded: {path}", "INFO reloaded links=0 ended=0"]
            await daemon.is_told_to_reload(daemon.reads)
            assert said() == ["INFO reloaded links=0 ended=0"]

    async def test_credentials(self, serving: Serving, said: Said, files: Files) -> None:
        """Which entry came, went or changed; of what is in it no secret."""
        async with serving(auth=tokens(files)) as daemon:
            said()
            first, second = daemon.reads.auth.token
            third = TokenEntry(secret_file=files.holds("three", THREE), register=("*",))
            auth = Auth(token=(first, replace(second, register=("two-*",)), third), deny=("one-9",))
            await daemon.is_told_to_reload(replace(daemon.reads, auth=auth))
            assert said() == [
                'INFO reloaded: auth.deny [] -> ["one-9"]',
                'INFO reloaded: auth.token[1].register ["two-*", "both"] -> ["two-*"]',
                "INFO reloaded: auth.token[2] added",
                "INFO reloaded links=0 ended=0",
            ]

    async def test_links_that_it_may_not_end_keep_all_as_it_was(
        self, serving: Serving, said: Said, files: Files
    ) -> None:
        async with serving(auth=tokens(files)) as daemon:
            peer, server = await registers(daemon, "one-1", ONE), daemon.server
            said()
            rules, daemon.reads = server.rules, replace(daemon.reads, auth=replace(daemon.reads.auth, deny=("one-1",)))
            report = await server.reload(end_links=False)
            assert (report.would_end, report.would_end_peers, report.ended) == (1, ["one-1"], 0)
            assert report.reloaded == ['auth.deny [] -> ["one-1"]']
            assert report.before == report.after == server.digest
            assert server.rules is rules
            assert said() == []
            daemon.reads = replace(daemon.reads, auth=replace(daemon.reads.auth, deny=("two-9",)))
            assert not (await server.reload(end_links=False)).would_end
            assert server.rules is not rules
            await peer.hears_nothing()

    async def test_a_change_after_the_question_is_not_applied(self, serving: Serving, said: Said, files: Files) -> None:
        async with serving(auth=tokens(files)) as daemon:
            peer, server, before = await registers(daemon, "one-1", ONE), daemon.server, daemon.server.rules
            daemon.reads = asked = replace(daemon.reads, auth=replace(daemon.reads.auth, deny=("one-1",)))
            question = await server.reload(end_links=False)
            assert question.would_end == 1
            daemon.reads = replace(asked, auth=replace(asked.auth, deny=("one-*", "two-*")))
            answer = await server.reload(shown=question.shown)
            assert (answer.faults, answer.ended) == ([CHANGED_SINCE], 0)
            daemon.reads = asked
            files.holds("two", THREE)  # a secret has changed too
            assert (await server.reload(shown=question.shown)).faults == [CHANGED_SINCE]
            assert server.rules is before
            files.holds("two", TWO)
            assert (await server.reload(shown=question.shown)).ended == 1
            assert (await peer.hears())["code"] == "auth-failed"

    async def test_what_needs_a_restart(self, serving: Serving, said: Said) -> None:
        async with serving() as daemon:
            said()
            before = daemon.reads
            listen = (*before.listen, Listener("tcp://127.0.0.1:1"))
            await daemon.is_told_to_reload(replace(before, listen=listen))
            assert said() == ["WARNING needs restart: listen[3] added", "INFO reloaded links=0 ended=0"]
            await daemon.is_told_to_reload(daemon.reads)  # as long as it is so, each reload says it
            assert said() == ["WARNING needs restart: listen[3] added", "INFO reloaded links=0 ended=0"]
            await daemon.is_told_to_reload(before)
            assert said() == ["INFO reloaded links=0 ended=0"]
            await daemon.peer("alice")

    async def test_the_level_holds_at_once(self, serving: Serving, said: Said) -> None:
        async with serving() as daemon:
            for level in ("error", "info"):
                await daemon.is_told_to_reload(replace(daemon.reads, log=replace(daemon.reads.log, level=level)))
                said()
                client = await daemon.peer("alice")
                client.leaves()
                await daemon.settles()


class TestFaults:
    """Any fault keeps all of the old, and one line says so."""

    async def fails(self, daemon: Daemon, config: Config, said: Said) -> str:
        """Reload into a fault; the one line about it, less its head."""
        rules = daemon.server.rules
        said()
        await daemon.is_told_to_reload(config)
        [line] = said()
        assert line.isprintable()
        assert line.startswith("WARNING reload failed: nothing has changed faults=1 first=")
        assert daemon.server.rules is rules
        assert daemon.router.limits is rules.config.limits
        return line.partition(" first=")[2]

    @pytest.mark.parametrize("fault", ["missing", "blank", "short", "readable", "folder", "empty", "huge"])
    async def test_of_a_secret(self, serving: Serving, said: Said, files: Files, fault: str) -> None:
        async with serving(auth=tokens(files)) as daemon:
            peer = await registers(daemon, "one-1", ONE)
            path = files.folder / "two"
            files.holds("one", THREE)  # which is as it should be, and must not hold either
            match fault:
                case "missing":
                    path.unlink()
                case "folder":
                    path.unlink()
                    path.mkdir()
                case "readable":
                    path.chmod(0o604)
                case _:
                    path.write_text({"blank": f"{TWO}\n\n", "short": "x\n", "empty": "", "huge": "x" * 70_000}[fault])
            limits = replace(daemon.reads.limits, max_frame=1_024)
            line = await self.fails(daemon, replace(daemon.reads, limits=limits), said)
            assert str(path) in line
            assert TWO not in line
            await peer.is_served()
            await is_refused(daemon, "one-2", THREE)
            await registers(daemon, "one-2", ONE)
            await registers(daemon, "two-1", TWO)

    async def test_all_of_them_are_counted_and_the_first_is_named(
        self, serving: Serving, said: Said, files: Files
    ) -> None:
        async with serving(auth=tokens(files)) as daemon:
            said()
            for name in ("one", "two"):
                files.holds(name, "short")
            await daemon.is_told_to_reload(daemon.reads)
            [line] = said()
            assert line.startswith(
                f'WARNING reload failed: nothing has changed faults=2 first="{files.folder}/one: line 1 is '
            )

    @pytest.mark.parametrize(
        "fault", ["another key", "another kind of key", "encrypted", "readable", "missing", "no PEM", "no authority"]
    )
    async def test_of_a_certificate(self, serving: Serving, said: Said, tmp_path: Path, fault: str) -> None:
        own = Own(tmp_path)
        door = own.listener("tls://127.0.0.2:0")
        certificates.authority("clients")
        async with serving(door, auth=Auth(certificate=(CertificateEntry(),))) as daemon:
            serial = await own.serial_seen(daemon)
            own.renews()
            match fault:
                case "another key":
                    own.key.write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
                    says = f"the key in {own.key} is not that of the certificate in {own.chain}"
                case "another kind of key":
                    own.key.write_bytes(private(rsa.generate_private_key(65_537, 2_048)))
                    says = f"the key in {own.key} is not that of the certificate in {own.chain}"
                case "encrypted":
                    own.key.write_bytes(private(ec.generate_private_key(ec.SECP256R1()), b"secret"))
                    says = f"{own.key}: the key is encrypted"
                case "readable":
                    own.key.chmod(0o644)
                    says = f"{own.key}: other users than its owner and group have access (mode 0644)"
                case "missing":
                    own.chain.unlink()
                    says = f"{own.chain}: no such file"
                case "no PEM":
                    own.chain.write_text("x")
                    says = f"{own.chain} or {own.key} is not PEM"
                case _:
                    own.authority.write_text("x")
                    says = f"{own.authority} is not PEM"
            line = await self.fails(daemon, daemon.reads, said)
            assert says in line
            assert await own.serial_seen(daemon) == serial


class Own:
    """Files of a listener's own, which a test may spoil."""

    def __init__(self, folder: Path) -> None:
        self.chain, self.key, self.authority = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
        self.renews()

    def renews(self) -> None:
        """Another certificate, with another key."""
        made = certificates.authority("servers").issue_cert("localhost", "127.0.0.1")
        self.chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self.key.touch(0o600)
        self.key.write_bytes(made.private_key_pem.bytes())
        self.authority.write_bytes(certificates.authority("clients").cert_pem.bytes())

    def listener(self, url: str) -> Listener:
        chain, key, authority = map(str, (self.chain, self.key, self.authority))
        return Listener(url, certificate=chain, key=key, client_ca=authority, client_certificate="optional")

    async def serial_seen(self, daemon: Daemon) -> object:
        """The serial number of the certificate that a new client is shown."""
        client = await careful(daemon, url=daemon.urls[0])
        certificate = client.tls.getpeercert()
        client.leaves()
        assert certificate
        return certificate["serialNumber"]


class TestCertificates:
    async def test_new_ones_are_for_new_connections(self, serving: Serving, said: Said, tmp_path: Path) -> None:
        own = Own(tmp_path)
        async with serving(own.listener("tcp://127.0.0.2:0")) as daemon:
            alice, bob = [await careful(daemon, url=daemon.urls[0]) for _ in range(2)]
            await alice.registers("alice", keepaliveMs=300_000)
            await bob.registers("bob", keepaliveMs=300_000)
            halfway = await daemon.connect("lines")
            shaking = Handshake()
            await halfway.sends(shaking.says())
            answer = await halfway.sock.recv(65_536)
            before = await own.serial_seen(daemon)
            own.renews()
            said()
            await daemon.is_told_to_reload(daemon.reads)
            assert said()[:-1] == [f"INFO reloaded: {own.chain}", f"INFO reloaded: {own.key}"]
            assert await own.serial_seen(daemon) != before
            await halfway.sends(shaking.says(answer))
            assert shaking.done
            for speaking, hearing, sender, recipient in ((alice, bob, "alice", "bob"), (bob, alice, "bob", "alice")):
                await speaking.says({"type": "message", "to": recipient, "data": "x" * 60_000})
                assert (await hearing.hears())["from"] == sender

    async def test_one_where_there_was_none(self, serving: Serving, said: Said) -> None:
        """And none where there was one: a tcp:// listener goes on with plain text."""
        async with serving() as daemon:
            plain = daemon.reads
            chain, key = certificates.files("localhost", "127.0.0.1")
            with_one = replace(plain.listen[0], certificate=chain, key=key)
            await daemon.is_told_to_reload(replace(plain, listen=(with_one, plain.listen[1])))
            client = await careful(daemon, url=daemon.urls[0])
            await client.registers("alice")
            await daemon.peer("bob", "lines")
            await daemon.is_told_to_reload(plain)
            refused = await daemon.connect("lines")
            with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
                await Handshake().with_(refused)
            await client.is_served()

    async def test_another_authority(self, serving: Serving, tmp_path: Path) -> None:
        own = Own(tmp_path)
        door = replace(own.listener("tls://127.0.0.2:0"), client_certificate="required")
        async with serving(door, auth=Auth(certificate=(CertificateEntry(register=("*",)),))) as daemon:
            context = certificates.client_context("cam.example")
            cam = await careful(daemon, url=daemon.urls[0], context=context)
            await cam.registers("cam")
            own.authority.write_bytes(certificates.authority("others").cert_pem.bytes())
            await daemon.is_told_to_reload(daemon.reads)
            await cam.is_served()  # its name is still one that may
            raw = await daemon.connect("lines")
            shaking = Handshake(context=certificates.client_context("cam.example"))
            await shaking.with_(raw)
            shaking._coming.write(await is_closed(raw))
            with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
                shaking.tls.read()
            other = await careful(
                daemon, url=daemon.urls[0], context=certificates.client_context("cam.example", of="others")
            )
            await other.registers("cam2")


class TestCredentials:
    async def test_who_has_lost_its_own_is_closed(self, serving: Serving, said: Said, files: Files) -> None:
        async with serving(auth=tokens(files), misses_per_minute=60) as daemon:
            one = await registers(daemon, "one-1", ONE, "tls")
            two = await registers(daemon, "two-1", TWO, "lines")
            stranger = await daemon.connect()
            await stranger.is_served()
            files.holds("one", THREE)
            said()
            await daemon.is_told_to_reload(daemon.reads)
            assert said()[-1] == "INFO reloaded links=3 ended=1"
            assert await one.hears_all() == [REFUSED]
            await two.hears_nothing()
            await stranger.hears_nothing()
            await two.says({"type": "bye", "to": "one-1"})
            assert await two.hears() == error("peer-unavailable", to="one-1")
            await stranger.registers("one-1", token=THREE)

    async def test_an_entry_that_is_gone_and_globs_that_have_changed(self, serving: Serving, files: Files) -> None:
        async with serving(auth=tokens(files)) as daemon:
            peers = {
                peer: await registers(daemon, peer, token)
                for peer, token in (("one-1", ONE), ("one-2", ONE), ("both", ONE), ("two-1", TWO))
            }
            first, _ = daemon.reads.auth.token
            auth = Auth(token=(replace(first, register=("one-*",)),), deny=("one-2",))
            await daemon.is_told_to_reload(replace(daemon.reads, auth=auth))
            for peer in ("one-2", "both", "two-1"):
                assert await peers[peer].hears_all() == [REFUSED]
            await peers["one-1"].hears_nothing()
            await peers["one-1"].is_served()
            assert list(daemon.router.registry.holders) == ["one-1"]
            await is_refused(daemon, "one-2", ONE)

    async def test_rotation(self, serving: Serving, said: Said, files: Files) -> None:
        """A second line beside the first; later the first goes, and with it who still relied on it."""
        old, new = "old-secret-of-all-of-them", "new-secret-of-all-of-them"
        entry = HmacEntry(secret_file=files.holds("hmac", old))

        def shown(secret: str, user: str = "9999999999:cam*") -> dict[str, str]:
            mac = hmac.digest(secret.encode(), user.encode(), "sha256")
            return {"user": user, "token": base64.b64encode(mac).decode()}

        async with serving(auth=Auth(hmac=(entry,)), auth_failures_per_minute=0) as daemon:
            first = await daemon.peer("cam1", **shown(old))
            refused = await daemon.connect()
            await refused.says({"type": "register", "id": "cam2", **shown(new)})
            assert await refused.hears_all() == [REFUSED]
            files.holds("hmac", new, old)
            await daemon.is_told_to_reload(daemon.reads)
            second = await daemon.peer("cam2", **shown(new))
            third = await daemon.peer("cam3", **shown(old))
            again = await daemon.peer("cam1", **shown(new))  # the same globs are the same credential
            assert await first.hears_all() == [error("replaced", reconnect=False)]
            await third.registers("cam3", **shown(new))  # renewed in time
            fourth = await daemon.peer("cam4", **shown(old))
            files.holds("hmac", new)
            said()
            await daemon.is_told_to_reload(daemon.reads)
            assert said() == [f"INFO reloaded: {entry.secret_file}", "INFO reloaded links=6 ended=1"]
            assert await fourth.hears_all() == [REFUSED]
            for peer in (second, third, again):
                await peer.hears_nothing()
                await peer.is_served()

    async def test_from_open_to_closed_and_back(self, serving: Serving, said: Said, files: Files) -> None:
        async with serving() as daemon:
            anybody = await daemon.peer("one-1")
            before = daemon.reads
            await daemon.is_told_to_reload(replace(before, auth=tokens(files)))
            assert await anybody.hears_all() == [REFUSED]
            peer = await registers(daemon, "one-1", ONE)
            await daemon.is_told_to_reload(before)
            await peer.is_served()
            await daemon.peer("anybody")

    async def test_it_does_not_open_what_strangers_reach(self, serving: Serving, said: Said, files: Files) -> None:
        """The listeners stay as they are until a restart: what would be refused at start with them is refused here."""
        door = Listener("tcp://0.0.0.0:0", plaintext=True)
        async with serving(door, auth=tokens(files)) as daemon:
            port = daemon.urls[0].rpartition(":")[2]
            closed = daemon.reads
            opened = replace(closed, listen=(Listener("tcp://127.0.0.1:0"), closed.listen[1]), auth=Auth())
            said()
            await daemon.is_told_to_reload(opened)
            [line] = said()
            assert line.startswith("WARNING reload failed: nothing has changed faults=1 first=")
            assert f"tcp://0.0.0.0:{port}: " in line
            client = await daemon.connect(url=f"tcp://127.0.0.1:{port}")
            await client.says({"type": "register", "id": "anybody"})
            assert await client.hears_all() == [REFUSED]


class TestNobodyElseNotices:
    async def test_with_everything_under_way(self, serving: Serving, files: Files) -> None:
        """Messages that wait, claims, handshakes, half a frame: all go on."""
        async with serving() as daemon:
            slow = await daemon.connect(receive_buffer=4_096)
            await slow.registers("bob", keepaliveMs=300_000)
            alice = await daemon.peer("alice", "lines")
            count = 0
            while daemon.link("bob").queued < 30_000:
                await alice.says({"type": "message", "to": "bob", "data": "x" * 16_000})
                await alice.is_served()
                count += 1
            holder, claimant = await daemon.peer("contested", keepaliveMs=300_000), await daemon.connect()
            await claimant.says({"type": "register", "id": "contested"})
            assert await holder.hears() == {"type": "ping"}
            half = await daemon.peer("half")
            frame = half.framed(b'{"type":"ping"}')
            await half.sends(frame[:7])
            await daemon.settles()
            limits = replace(daemon.reads.limits, messages_per_second=1_000, linger_ms=4_000)
            await daemon.is_told_to_reload(replace(daemon.reads, limits=limits))
            await half.sends(frame[7:])
            assert await half.hears() == {"type": "pong"}
            await holder.says({"type": "pong"})
            assert await claimant.hears() == error("id-taken")
            for _ in range(count):
                assert (await slow.hears())["from"] == "alice"
            for client in (alice, holder, claimant, half, slow):
                await client.hears_nothing()

    async def test_who_waited_goes_on_at_once(self, serving: Serving, files: Files) -> None:
        """A claim has no chance any more where credentials decide: what came behind it is answered."""
        async with serving() as daemon:
            holder, claimant = await daemon.peer("one-1", keepaliveMs=300_000), await daemon.connect()
            await claimant.says({"type": "register", "id": "one-1"}, {"type": "ping", "ref": "1"})
            assert await holder.hears() == {"type": "ping"}
            began = trio.current_time()
            await daemon.is_told_to_reload(replace(daemon.reads, auth=tokens(files)))
            assert await holder.hears_all() == [REFUSED]
            assert await claimant.hears() == error("id-taken")
            assert await claimant.hears() == {"type": "pong", "ref": "1"}
            assert trio.current_time() == began

    @pytest.mark.parametrize("configured", [False, True])
    async def test_what_has_nothing_to_do_with_ice_servers(
        self, serving: Serving, files: Files, configured: bool
    ) -> None:
        ice = Ice()
        if configured:
            secret = files.holds("turn", "shared-with-the-turn-servers")
            ice = Ice(stun_urls=("stun:a.example",), turn_urls=("turn:a.example",), turn_secret_file=secret)
        async with serving(auth=tokens(files), ice=ice) as daemon:
            peer = await registers(daemon, "one-1", ONE)
            files.holds("two", THREE)
            await daemon.is_told_to_reload(daemon.reads)
            await peer.hears_nothing()
            await daemon.is_told_to_reload(replace(daemon.reads, limits=replace(daemon.reads.limits, linger_ms=1)))
            await peer.hears_nothing()
            await peer.is_served()

    async def test_ice_servers_that_have_changed_are_news(self, serving: Serving, files: Files) -> None:
        secret = files.holds("turn", "shared-with-the-turn-servers")
        ice = Ice(turn_urls=("turn:a.example",), turn_secret_file=secret)
        async with serving(auth=tokens(files), ice=ice) as daemon:
            peer = await registers(daemon, "one-1", ONE)
            await daemon.is_told_to_reload(replace(daemon.reads, ice=replace(ice, turn_urls=("turn:b.example",))))
            news = await peer.hears()
            assert news["type"] == "iceServers"
            assert news["iceServers"][0]["urls"] == ["turn:b.example"]
            files.holds("turn", "another-secret-of-the-servers")
            await daemon.is_told_to_reload(daemon.reads)
            assert (await peer.hears())["iceServers"][0]["credential"] != news["iceServers"][0]["credential"]
            await daemon.is_told_to_reload(replace(daemon.reads, ice=Ice()))
            assert (await peer.hears())["iceServers"] == []
            await peer.is_served()


class TestSignals:
    async def test_several_at_once(self, serving: Serving, said: Said, files: Files) -> None:
        async with serving(auth=tokens(files)) as daemon:
            peer = await registers(daemon, "two-1", TWO)
            said()
            files.holds("one", THREE)
            for _ in range(5):
                signal.raise_signal(signal.SIGHUP)
            await daemon.settles()
            lines = said()
            assert lines.count(f"INFO reloaded: {files.folder}/one") == 1
            assert 1 <= lines.count("INFO reloaded links=1 ended=0") <= 5
            await peer.is_served()

    async def test_while_it_stops(self, serving: Serving, said: Said, files: Files) -> None:
        """Nobody is taken in any more, nobody stays for longer, and it ends."""
        async with serving(auth=tokens(files), drain_ms=3_000) as daemon:
            peers = [await registers(daemon, f"one-{number}", ONE) for number in range(30)]
            began = trio.current_time()
            daemon.is_told_to_stop()
            await trio.sleep(1)
            limits = replace(daemon.reads.limits, linger_ms=80_000)
            await daemon.is_told_to_reload(replace(daemon.reads, limits=limits))
            for peer in peers:
                assert [message["type"] for message in await peer.hears_all()] == ["goingAway"]
            await daemon.until(lambda: not len(daemon.reactor))
            await trio.sleep(2)
            assert len(daemon.reactor) == 0
            assert trio.current_time() - began < 7
            with pytest.raises(OSError, match="refused"):
                await daemon.connect()

    async def test_before_and_after(self, serving: Serving) -> None:
        async with serving() as daemon:
            peer = await daemon.peer("alice")
            signal.raise_signal(signal.SIGHUP)
            daemon.is_told_to_stop()
            signal.raise_signal(signal.SIGHUP)
            assert [message["type"] for message in await peer.hears_all()] == ["goingAway"]


@pytest.mark.slow  # processes
class TestProcess:
    """As an operator does it: a file, and a signal."""

    @staticmethod
    def told(daemon: Process, until: str) -> list[str]:
        """Send SIGHUP; the lines from then on, up to one with this in it, less their times."""
        seen = len(daemon.log)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any(until in line for line in daemon.log[seen:]), lambda: daemon.log[seen:])
        return [line.split(" ", 1)[1].rstrip() for line in daemon.log[seen:]]

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "sigd.toml"
        path.write_text('listen = ["tcp://127.0.0.1:0"]\n')
        return path

    def test_options(self, file: Path) -> None:
        with running_daemon("--config", str(file), "--set", "limits.max_depth=20") as daemon:
            file.write_text('listen = ["tcp://127.0.0.1:0"]\n[limits]\nmessages_per_second = 200\nmax_depth = 9\n')
            assert self.told(daemon, "links=") == [
                "INFO reloaded: limits.messages_per_second 100 -> 200",
                "INFO reloaded links=0 ended=0",
            ]
            file.write_text('listen = ["tcp://127.0.0.1:0"]\n[log]\nlevel = "warning"\n')
            self.told(daemon, "log.level")
            with Plain(loopback(daemon)) as alice:
                alice.registers("alice")
            file.write_text('listen = ["tcp://127.0.0.1:0"]\n[log]\nlevel = "debug"\n')
            lines = self.told(daemon, "links=")
            assert not any("closed" in line for line in daemon.log)
            assert lines[-1].startswith("INFO reloaded links=")
            with Plain(loopback(daemon)) as bob:
                bob.registers("bob")
            assert daemon.stop() == 0
            assert any(" DEBUG registered peer=bob " in line for line in daemon.log)

    FAULTS: ClassVar = {
        "no TOML": b"listen = [",
        "no UTF-8": b"\xff\xfe",
        "another type": b'listen = ["tcp://127.0.0.1:0"]\n[limits]\nmax_frame = "x"\n',
        "an unknown key": b'listen = ["tcp://127.0.0.1:0"]\n[limits]\nmax_fram = 1\n',
        "a conflict": b'listen = ["tcp://127.0.0.1:0"]\n[limits]\nmax_frame = 1000000\n',
        "beyond loopback": b'listen = ["tcp://0.0.0.0:0"]\n',
        "nested": b"listen = " + b"[" * 30_000,
        "nested well": b"listen = " + b"[" * 30_000 + b"]" * 30_000,
        "huge": b"#" * 3_000_000,
        "a secret that is missing": (
            b'listen = ["tcp://127.0.0.1:0"]\n[[auth.token]]\nsecret_file = "/nowhere/x"\nregister = ["*"]\n'
        ),
        "NUL": b"listen = \0\n",
    }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault(self, file: Path, fault: str) -> None:
        with running_daemon("--config", str(file)) as daemon, Plain(loopback(daemon)) as alice:
            alice.registers("alice")
            file.write_bytes(self.FAULTS[fault])
            [line] = self.told(daemon, "reload")
            assert line.startswith("WARNING reload failed: nothing has changed faults=")
            alice.says({"type": "ping"})
            assert alice.hears() == {"type": "pong"}
            file.unlink()
            [line] = self.told(daemon, "reload")
            assert "sigd.toml: " in line
            file.write_text('listen = ["tcp://127.0.0.1:0"]\n[limits]\nmax_depth = 9\n')
            assert self.told(daemon, "links=")[0] == "INFO reloaded: limits.max_depth 16 -> 9"
            assert daemon.stop() == 0

    def test_row_41_out_of_descriptors(self, file: Path, tmp_path: Path) -> None:
        """The old rules hold, secrets included: nobody gets in because nothing could be read."""
        secret = Files(tmp_path).holds("token", ONE)
        chain, key = certificates.files("localhost", "127.0.0.1")
        text = (
            f'[[listen]]\nurl = "tcp://127.0.0.1:0"\ncertificate = "{chain}"\nkey = "{key}"\n'
            f'[[auth.token]]\nsecret_file = "{secret}"\nregister = ["*"]\n'
        )
        file.write_text(text)
        with running_daemon("--config", str(file)) as daemon, Plain(loopback(daemon)) as alice:
            alice.registers("alice", token=ONE)
            with Plain(loopback(daemon)) as waiting:
                waiting.says({"type": "ping"})
                assert waiting.hears() == {"type": "pong"}
                file.write_text(text + "[limits]\nmax_depth = 9\n")
                pid = daemon.process.pid
                limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                taken = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
                for free in range(3):  # so few that one thing after the other cannot be read
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + free, limit[1]))
                    lines = self.told(daemon, "reload")
                    if free == 0:
                        [line] = lines
                        assert line.startswith("WARNING reload failed: nothing has changed faults=")
                        assert "Too many open files" in line
                    alice.says({"type": "ping"})
                    assert alice.hears() == {"type": "pong"}
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
                waiting.says({"type": "register", "id": "bob"})
                assert waiting.hears() == REFUSED
            lines = self.told(daemon, "reloaded links=")
            with Plain(loopback(daemon)) as bob:
                bob.registers("bob", token=ONE)
            assert daemon.stop() == 0

    def test_many_signals(self, file: Path) -> None:
        with running_daemon("--config", str(file)) as daemon, Plain(loopback(daemon)) as alice:
            alice.registers("alice")
            for number in range(200):
                file.write_text(f'listen = ["tcp://127.0.0.1:0"]\n[limits]\nmax_depth = {number % 50 + 1}\n')
                daemon.process.send_signal(signal.SIGHUP)
            alice.says({"type": "ping"})
            assert alice.hears() == {"type": "pong"}
            self.told(daemon, "links=")
            daemon.process.send_signal(signal.SIGHUP)
            assert daemon.stop() == 0
            assert " stopped " in daemon.log[-1]
