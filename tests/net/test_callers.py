"""Who the transport says a client is: by its certificate, or by the kernel; and what that is worth."""

import datetime
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from sigd.config import Listener
from sigd.config.auth import Auth, CertificateEntry, TokenEntry, UnixEntry
from tests import certificates
from tests.conftest import Serving
from tests.in_process import Client, Daemon, PrefixedClient, error, within
from tests.net.handshakes import V12, V13, Careful, Handshake, careful, is_closed

REFUSED = error("auth-failed", reconnect=False)


pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with a token."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-good-long-token\n")
    return path


def anybody_with(path: Path) -> TokenEntry:
    return TokenEntry(secret_file=str(path), register=("*",))


# -- certificates

DOOR = "tls://127.0.0.2:0"
"""Another address than that of the listener that every daemon in here has."""


def door(ca: str = "clients", *, url: str = DOOR, optional: bool = False) -> Listener:
    """A listener that takes certificates of this CA."""
    return certificates.listener(url, client_ca=ca, client_certificate="optional" if optional else "required")


def auth_of(*entries: CertificateEntry, token: Path | None = None) -> Auth:
    return Auth(certificate=entries or (CertificateEntry(),), token=() if token is None else (anybody_with(token),))


def own(
    *names: str, of: str = "clients", common_name: str | None = None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """A client with a certificate that is called so."""
    context = certificates.client_context(*names, of=of, common_name=common_name)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


async def is_let_in(client: Client, context: ssl.SSLContext) -> None:
    """Shake hands and register; in TLS 1.3 the last of the handshake is the client's, and it hears only then."""
    shaking = Handshake(context=context)
    await shaking.with_(client)
    shaking.tls.write(PrefixedClient.framed(b'{"type":"register","token":"a-good-long-token"}'))
    await client.sends(shaking._going.read())
    shaking._coming.write(await is_closed(client))
    shaking.tls.read()


def lasting(begins: float, ends: float, *names: str) -> ssl.SSLContext:
    """A client whose certificate is valid from so many seconds from now, for so long."""
    context = certificates.client_context()
    now = datetime.datetime.now(datetime.UTC)
    made = certificates.authority("clients").issue_cert(
        *names, not_before=now + datetime.timedelta(seconds=begins), not_after=now + datetime.timedelta(seconds=ends)
    )
    made.configure_cert(context)
    return context


def built(tmp_path: Path, subject: str, extension: x509.ExtensionType | None) -> ssl.SSLContext:
    """A client with a certificate of any make."""
    ca = certificates.authority("clients")
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.load_pem_x509_certificate(ca.cert_pem.bytes()).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    pem = tmp_path / "client.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = certificates.client_context()
    context.load_cert_chain(pem)
    return context


class TestCertificates:
    @pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
    async def test_its_name_is_its_id(self, serving: Serving, version: ssl.TLSVersion) -> None:
        async with serving(door(), auth=auth_of()) as daemon:
            cam = await careful(daemon, url=daemon.urls[0], context=own("cam1.example", version=version))
            answer = await cam.registers("cam1.example")
            year = 365 * 24 * 3_600_000
            assert answer["expiresMs"] > year  # it ends with its certificate
            other = await careful(daemon, url=daemon.urls[0], context=own("cam2.example", version=version))
            await other.says({"type": "register"})
            assert (await other.hears())["id"] == "cam2.example"
            thief = await careful(daemon, url=daemon.urls[0], context=own("cam3.example", version=version))
            await thief.says({"type": "register", "id": "cam1.example"})
            assert await thief.hears_all() == [REFUSED]
            await cam.is_served()

    async def test_common_names_and_rules(self, serving: Serving) -> None:
        auth = auth_of(
            CertificateEntry(names=("*.cams.example",), register=("cam-*",)),
            CertificateEntry(names=("Operator *",), register=("ops", "{name}"), discover=True),
        )
        async with serving(door(), auth=auth) as daemon:
            url = daemon.urls[0]
            cam = await careful(daemon, url=url, context=own("a.cams.example"))
            await cam.registers("cam-7")
            ops = await careful(daemon, url=url, context=own(common_name="Operator 1"))
            await ops.registers("ops")
            await ops.says({"type": "peers"})
            assert [entry["id"] for entry in (await ops.hears())["peers"]] == ["cam-7", "ops"]
            for names, common_name, peer in (
                (("a.cams.example",), None, "ops"),
                (("a.cams.example",), None, "a.cams.example"),
                ((), "Operator 1", "Operator-1"),
                (("elsewhere.example",), None, "cam-8"),
                (("elsewhere.example",), None, "elsewhere.example"),
                (("*.cams.example",), "x", "x"),
            ):
                client = await careful(daemon, url=url, context=own(*names, common_name=common_name))
                await client.says({"type": "register", "id": peer})
                assert await client.hears_all() == [REFUSED], peer
            assert sorted(daemon.router.registry.holders) == ["cam-7", "ops"]

    async def test_a_uri_as_a_name(self, serving: Serving, tmp_path: Path) -> None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/cam")])
        entry = CertificateEntry(names=("spiffe://example.org/*",), register=("cam",))
        async with serving(door(), auth=auth_of(entry)) as daemon:
            context = built(tmp_path, "anything", names)
            cam = await careful(daemon, url=daemon.urls[0], context=context)
            await cam.registers("cam")

    @pytest.mark.parametrize("name", [b"\xff\xfe", b"cam\0.example", b"", b"\xc3\xa9", b"cam\n"])
    async def test_names_that_are_none(self, serving: Serving, tmp_path: Path, name: bytes) -> None:
        """Whatever the CA has signed: it costs nobody else anything."""
        der = b"\x30" + bytes([2 + len(name), 0x82, len(name)]) + name
        raw = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
        async with serving(door(), auth=auth_of()) as daemon:
            client = await careful(daemon, url=daemon.urls[0], context=built(tmp_path, "cam", raw))
            await client.says({"type": "register", "id": "cam.example"})
            assert await client.hears_all() == [REFUSED]

    @pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
    async def test_none_where_one_is_required(self, serving: Serving, version: ssl.TLSVersion, token: Path) -> None:
        async with serving(door(), auth=auth_of(token=token)) as daemon:
            for context in (
                own(version=version),
                own("cam.example", of="strangers", version=version),
                lasting(-7_200, -3_600, "cam.example"),
                lasting(3_600, 7_200, "cam.example"),
            ):
                context.minimum_version = context.maximum_version = version
                raw = await daemon.connect("lines", url=daemon.urls[0])
                with pytest.raises(ssl.SSLError, match="ALERT"):
                    await is_let_in(raw, context)
                raw.leaves()
                await daemon.settles()
            assert daemon.router.closed == {"tls handshake failed": 4}

    async def test_none_where_one_is_optional(self, serving: Serving, token: Path) -> None:
        async with serving(door(optional=True), auth=auth_of(token=token)) as daemon:
            url = daemon.urls[0]
            cam = await careful(daemon, url=url, context=own("cam.example"))
            await cam.registers("cam.example")
            phone = await careful(daemon, url=url)
            await phone.registers("phone", token="a-good-long-token")
            both = await careful(daemon, url=url, context=own("cam.example"))
            await both.registers("tablet", token="a-good-long-token")  # what it shows counts, not what else it has
            stranger = await careful(daemon, url=url)
            await stranger.says({"type": "register", "id": "cam.example"})
            assert await stranger.hears_all() == [REFUSED]

    async def test_each_listener_has_its_own_authority(self, serving: Serving) -> None:
        doors = door(), door("others", url="tls://127.0.0.3:0")
        async with serving(*doors, auth=auth_of()) as daemon:
            first, second = daemon.urls
            await (await careful(daemon, url=first, context=own("a.example"))).registers("a.example")
            await (await careful(daemon, url=second, context=own("b.example", of="others"))).registers("b.example")
            for url, of in ((first, "others"), (second, "clients")):
                raw = await daemon.connect("lines", url=url)
                shaking = Handshake(context=own("a.example", of=of, version=V12))
                with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
                    await shaking.with_(raw)

    async def test_a_listener_without_one_asks_for_none(self, serving: Serving) -> None:
        async with serving(door(), auth=auth_of()) as daemon:
            client = await careful(daemon, context=own("cam.example"))
            await client.says({"type": "register", "id": "cam.example"})
            assert await client.hears_all() == [REFUSED]

    async def test_the_same_name_takes_over_another_does_not(
        self, serving: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        auth = auth_of(CertificateEntry(register=("cam",)))
        async with serving(door(), auth=auth) as daemon:
            url = daemon.urls[0]
            first = await careful(daemon, url=url, context=own("a.example"))
            await first.registers("cam")
            second = await careful(daemon, url=url, context=own("a.example", common_name="again"))
            await second.registers("cam")
            assert await first.hears_all() == [error("replaced", reconnect=False)]
            other = await careful(daemon, url=url, context=own("b.example"))
            await other.says({"type": "register", "id": "cam"})
            assert await other.hears() == error("id-taken")
            await second.is_served()
            [line] = [line for line in caplog.messages if line.startswith("closed")]
            ports = [client.sock.getsockname()[1] for client in (first, second)]
            assert f" address=127.0.0.1:{ports[0]} by=127.0.0.1:{ports[1]} " in line

    async def test_its_expiry_ends_the_link(self, serving: Serving) -> None:
        async with serving(door(), auth=auth_of(), keepalive_ms=300_000) as daemon:
            cam = await careful(daemon, url=daemon.urls[0], context=lasting(-60, 100, "cam.example"))
            answer = await cam.registers("cam.example")
            assert 128_000 < answer["expiresMs"] <= 130_000
            began = trio.current_time()
            await trio.sleep(60)
            again = await cam.registers("cam.example")  # which changes nothing: it is the same certificate
            assert again["expiresMs"] == pytest.approx(answer["expiresMs"] - 60_000, abs=2_000)
            assert await cam.hears_all() == [error("auth-expired")]
            assert within(trio.current_time() - began, answer["expiresMs"] / 1_000)

    async def test_resumed_sessions_know_their_certificate(self, serving: Serving) -> None:
        """TLS 1.2 has tickets: who comes back with one is still who it was."""
        async with serving(door(), auth=auth_of()) as daemon:
            context = own("cam.example", version=V12)
            first = await careful(daemon, url=daemon.urls[0], context=context)
            await first.registers("cam.example")
            raw = await daemon.connect("lines", url=daemon.urls[0])
            shaking = Handshake(context=context)
            shaking.tls = context.wrap_bio(
                shaking._coming, shaking._going, server_hostname="localhost", session=first.tls.session
            )
            await shaking.with_(raw)
            again = Careful(raw.sock)
            again.tls, again._coming, again._going = shaking.tls, shaking._coming, shaking._going
            await again.registers("cam.example")
            assert again.tls.session_reused


# -- the kernel

COMES = """
import os, socket, sys
path, fd, user, group, *groups = sys.argv[1:]
os.setgroups([int(each) for each in groups])
os.setgid(int(group))
os.setuid(int(user))
with socket.socket(socket.AF_UNIX) as sock, socket.socket(fileno=int(fd)) as home:
    sock.connect(path)
    socket.send_fds(home, [b"!"], [sock.fileno()])
"""
"""Connects as somebody else, and hands the connection over: the kernel notes who connects, not who speaks."""


@pytest.fixture
def path() -> Iterator[str]:
    """A socket in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield f"{folder}/sigd.sock"


def connected_as(path: str, user: int, group: int, groups: Sequence[int]) -> socket.socket:
    """A connection that this user has made, being in these groups."""
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arguments = [path, theirs.fileno(), user, group, *groups]
        subprocess.run([sys.executable, "-c", COMES, *map(str, arguments)], pass_fds=[theirs.fileno()], check=True)
        _, [descriptor], _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptor)


async def comes_as(daemon: Daemon, path: str, user: int, group: int, groups: Sequence[int] = ()) -> Client:
    """A client that is this user, in these groups."""
    client = await daemon.connect()  # which is known to the daemon of the test, to be closed in the end
    client.sock.close()
    client.sock = trio.socket.from_stdlib_socket(connected_as(path, user, group, groups))
    return client


@pytest.fixture
async def local(serving: Serving, path: str) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon that knows user 12001, group 12002, and nobody else."""
    auth = Auth(
        unix=(
            UnixEntry(register=("by-user",), users=("12001",)),
            UnixEntry(register=("by-group",), groups=("12002",)),
        )
    )
    async with serving(f"unix:{path}?mode=0666", auth=auth) as daemon:
        yield daemon, path


Local = tuple[Daemon, str]


class TestUnix:
    @pytest.mark.parametrize("by", ["users", "groups"])
    async def test_ourselves(self, serving: Serving, path: str, by: str) -> None:
        users, groups = (((str(os.geteuid()),), ()), ((), (str(os.getegid()),)))[by == "groups"]
        auth = Auth(unix=(UnixEntry(register=("me-*",), users=users, groups=groups),))
        async with serving(f"unix:{path}", "tcp://127.0.0.1:0", auth=auth) as daemon:
            for framing in ("prefixed", "lines"):
                client = await daemon.connect(framing)
                await client.registers(f"me-{framing}")
                assert daemon.link(f"me-{framing}").address == "unix"
            client = await daemon.connect()
            await client.says({"type": "register", "id": "somebody-else"})
            assert await client.hears_all() == [REFUSED]
            client = await daemon.connect(url=daemon.urls[1])  # where nobody knows who it is
            await client.says({"type": "register", "id": "me-2"})
            assert await client.hears_all() == [REFUSED]

    async def test_by_user(self, local: Local) -> None:
        daemon, path = local
        await (await comes_as(daemon, path, 12_001, 12_009)).registers("by-user")
        for user, group in ((12_003, 12_009), (12_002, 12_001)):
            client = await comes_as(daemon, path, user, group)
            await client.says({"type": "register", "id": "by-user"})
            assert await client.hears_all() == [REFUSED]

    async def test_by_any_of_its_groups(self, local: Local) -> None:
        daemon, path = local
        for group, groups in ((12_002, ()), (12_009, (12_002,)), (12_009, (12_008, 12_002, 12_007))):
            client = await comes_as(daemon, path, 12_003, group, groups)
            await client.registers("by-group")
            client.leaves()
            await daemon.settles()
        client = await comes_as(daemon, path, 12_003, 12_009, (12_008,))
        await client.says({"type": "register", "id": "by-group"})
        assert await client.hears_all() == [REFUSED]

    async def test_both_at_once(self, local: Local) -> None:
        """Each entry of the configuration grants what it says."""
        daemon, path = local
        for peer in ("by-user", "by-group"):
            await (await comes_as(daemon, path, 12_001, 12_002)).registers(peer)

    async def test_in_more_groups_than_can_be_asked_for(self, local: Local) -> None:
        """Then the primary one counts, and nobody is worse off for that than an error would leave them."""
        daemon, path = local
        crowd = range(20_000, 20_300)
        client = await comes_as(daemon, path, 12_003, 12_002, crowd)
        await client.registers("by-group")
        client.leaves()
        await daemon.settles()
        client = await comes_as(daemon, path, 12_003, 12_009, [12_002, *crowd])
        await client.says({"type": "register", "id": "by-group"})
        assert await client.hears_all() == [REFUSED]

    async def test_the_same_user_takes_over_another_does_not(self, local: Local) -> None:
        daemon, path = local
        first = await comes_as(daemon, path, 12_003, 12_002)
        await first.registers("by-group")
        other = await comes_as(daemon, path, 12_004, 12_002)
        await other.says({"type": "register", "id": "by-group"})
        assert await other.hears() == error("id-taken")
        again = await comes_as(daemon, path, 12_003, 12_009, (12_002,))
        await again.registers("by-group")
        assert await first.hears_all() == [error("replaced", reconnect=False)]

    @pytest.mark.parametrize("group", [12_002, 65_534])
    async def test_nobody_is_nobody(self, local: Local, group: int) -> None:
        """What the kernel shows for whoever is of another user namespace: two of them are not the same."""
        daemon, path = local
        client = await comes_as(daemon, path, 65_534, group, (12_002,))
        await client.says({"type": "register", "id": "by-group"})
        assert await client.hears_all() == [REFUSED]
        await (await comes_as(daemon, path, 12_001, 65_534, (65_534,))).registers("by-user")

    async def test_who_is_not_listed_any_more(self, local: Local) -> None:
        daemon, path = local
        user, group = await comes_as(daemon, path, 12_001, 12_009), await comes_as(daemon, path, 12_003, 12_002)
        await user.registers("by-user")
        await group.registers("by-group")
        before = daemon.reads
        auth = Auth(unix=before.auth.unix[1:])
        await daemon.is_told_to_reload(msgspec.structs.replace(before, auth=auth))
        assert await user.hears_all() == [REFUSED]
        await group.is_served()
