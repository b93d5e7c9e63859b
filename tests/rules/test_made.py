"""From a configuration and its files to the rules in force: all that is wrong is found at once, nothing is begun."""

import os
import socket
import ssl
import sys
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sigd.cli import main
from sigd.config import Config, Limits, Listener, render
from sigd.config.auth import Auth, CertificateEntry, HmacEntry, JwtEntry, TokenEntry, UnixEntry
from sigd.config.ice import Ice
from sigd.relay.credentials import token_for
from sigd.rules.made import Rules
from sigd.wire.messages import Register
from tests import certificates
from tests.configs import faults_of

GOOD = "a-good-long-secret-of-more-than-32"


class Files:
    """Files that a configuration names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain, self.key = certificates.files("localhost", "127.0.0.1")

    def holds(self, name: str, content: str | bytes = f"{GOOD}\n", mode: int = 0o600) -> str:
        """Have a file hold this; its path."""
        path = self.folder / name
        path.touch(mode)
        path.chmod(mode)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def shown(self, lines: list[str]) -> list[str]:
        """Lines with the folder written `F`."""
        return [line.replace(str(self.folder), "F") for line in lines]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def private(key: object, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined,no-any-return]  # of any kind


def public(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined,no-any-return]  # of any kind
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def faults(files: Files, config: Config) -> list[str]:
    return files.shown(faults_of(lambda: Rules(config)))


class TestFaults:
    def test_none(self, files: Files) -> None:
        assert faults(files, Config()) == []

    @pytest.mark.parametrize("kind", ["token", "hmac", "jwt", "ice"])
    def test_of_a_secret(self, files: Files, kind: str) -> None:
        """Each kind of entry has its secrets read in the same way."""

        def config(path: str) -> Config:
            match kind:
                case "token":
                    return Config(auth=Auth(token=(TokenEntry(secret_file=path, register=("*",)),)))
                case "hmac":
                    return Config(auth=Auth(hmac=(HmacEntry(secret_file=path),)))
                case "jwt":
                    entry = JwtEntry(algorithm="HS256", key_file=path, issuer="i", audience="a")
                    return Config(auth=Auth(jwt=(entry,)))
                case _:
                    return Config(ice=Ice(turn_urls=("turn:a",), turn_secret_file=path))

        assert faults(files, config(files.holds("good"))) == []
        for name, content, mode, says in (
            ("short", "short\n", 0o600, "F/short: line 1 is shorter than "),
            ("blank", f"{GOOD}\n\n", 0o600, "F/blank: line 2 is blank: "),
            ("empty", "", 0o600, "F/empty: the file is empty: "),
            ("open", f"{GOOD}\n", 0o604, "F/open: other users than its owner and group have access (mode 0604): "),
        ):
            [line] = faults(files, config(files.holds(name, content, mode)))
            assert line.startswith(says)
            assert GOOD not in line
        [line] = faults(files, config(f"{files.folder}/nowhere"))
        assert line == "F/nowhere: no such file: create it, or correct the path"

    def test_hs256_wants_longer_ones(self, files: Files) -> None:
        entry = JwtEntry(algorithm="HS256", key_file=files.holds("key", "x" * 31), issuer="i", audience="a")
        [line] = faults(files, Config(auth=Auth(jwt=(entry,))))
        assert line.startswith("F/key: line 1 is shorter than 32 characters")

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
    def test_of_a_public_key(self, files: Files, algorithm: str) -> None:
        def faults_with(content: bytes) -> list[str]:
            path = files.holds("key", content, 0o644)
            entry = JwtEntry(algorithm=algorithm, key_file=path, issuer="i", audience="a")  # type: ignore[arg-type]  # one of them
            return faults(files, Config(auth=Auth(jwt=(entry,))))

        keys = {"EdDSA": ed25519.Ed25519PrivateKey.generate(), "ES256": ec.generate_private_key(ec.SECP256R1())}
        mine = keys.pop(algorithm)
        [other] = keys.values()
        assert faults_with(public(mine)) == []
        for wrong in (b"x", GOOD.encode(), public(other), public(rsa.generate_private_key(65_537, 2_048))):
            assert faults_with(wrong) == [f"F/key: this is no key for {algorithm}"]

    def test_a_private_key_is_none_to_verify_with(self, files: Files) -> None:
        """It would be readable by everybody who may read the public one."""
        path = files.holds("key", private(ed25519.Ed25519PrivateKey.generate()), 0o644)
        entry = JwtEntry(algorithm="EdDSA", key_file=path, issuer="i", audience="a")
        [line] = faults(files, Config(auth=Auth(jwt=(entry,))))
        assert line.startswith("F/key: ")

    def test_of_users_and_groups(self, files: Files) -> None:
        entry = UnixEntry(register=("*",), users=("no-such-user",), groups=("no-such-group",))
        lines = faults(files, Config(auth=Auth(unix=(entry,))))
        assert lines == [
            'user "no-such-user": this machine has no such user: create it, or correct [[auth.unix]]',
            'group "no-such-group": this machine has no such group: create it, or correct [[auth.unix]]',
        ]

    def test_without_pyjwt(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jwt", None)
        entry = JwtEntry(algorithm="HS256", key_file=files.holds("key"), issuer="i", audience="a")
        assert faults(files, Config(auth=Auth(jwt=(entry,)))) == [
            "[[auth.jwt]]: PyJWT is not installed: make install EXTRAS=jwt, or pip install '.[jwt]' in a clone"
        ]

    @pytest.mark.parametrize("url", ["tls://127.0.0.1:0", "tcp://127.0.0.1:0"])
    def test_of_a_certificate_and_its_key(self, files: Files, url: str) -> None:
        def faults_with(chain: str, key: str, ca: str | None = None) -> list[str]:
            return faults(files, Config(listen=(Listener(url, certificate=chain, key=key, client_ca=ca),)))

        good = Path(files.key).read_bytes()
        certificates.authority("clients")
        ca = str(certificates.folder() / "clients-ca.pem")
        assert faults_with(files.chain, files.key, ca) == []
        other = files.holds("other.key", private(ec.generate_private_key(ec.SECP256R1())))
        kind = files.holds("rsa.key", private(rsa.generate_private_key(65_537, 2_048)))
        for key in (other, kind):
            [line] = faults_with(files.chain, key)
            assert line.startswith(f"{url}: the key in ")
            assert line.endswith(f" is not that of the certificate in {files.chain}")
        loaded = serialization.load_pem_private_key(good, None)
        [line] = faults_with(files.chain, files.holds("encrypted.key", private(loaded, b"secret")))
        assert line.startswith(f"{url}: F/encrypted.key: the key is encrypted: ")
        for chain, key in ((files.holds("x.pem", "x"), files.key), (files.chain, files.holds("x.key", "x"))):
            [line] = faults_with(chain, key)
            assert "is not PEM as it should be" in line
        [line] = faults_with(files.key, files.holds("y.key", good))  # a key where the certificate should be
        assert "is not PEM as it should be" in line
        [line] = faults_with(files.chain, files.key, files.holds("ca.pem", "x"))
        assert line.startswith(f"{url}: F/ca.pem is not PEM as it should be")
        [line] = faults_with(files.chain, files.holds("open.key", good, 0o640 | 0o004))
        assert line.startswith("F/open.key: other users than its owner and group have access")
        assert faults_with(files.chain, files.holds("group.key", good, 0o640)) == []

    def test_all_files_of_a_listener_at_once(self, files: Files) -> None:
        listener = Listener(
            "tls://127.0.0.1:0",
            certificate=f"{files.folder}/no-certificate",
            key=files.holds("open.key", "x", 0o644),
            client_ca=f"{files.folder}/no-ca",
        )
        lines = faults(files, Config(listen=(listener,)))
        assert [line.partition(":")[0] for line in lines] == ["F/no-certificate", "F/open.key", "F/no-ca"]

    def test_one_file_for_several_is_one_fault(self, files: Files) -> None:
        chain = f"{files.folder}/no-certificate"
        listen = tuple(Listener(f"tls://127.0.0.1:{port}", certificate=chain, key=files.key) for port in (1, 2))
        assert faults(files, Config(listen=listen)) == [
            "F/no-certificate: no such file: create it, or correct the path",
        ]


def everything(files: Files) -> Config:
    """A configuration in which each file is at fault in its own way."""
    missing = [f"{files.folder}/missing-{number}" for number in range(4)]
    return Config(
        listen=(
            Listener("tls://127.0.0.1:1", certificate=missing[0], key=files.key),
            Listener("tls://127.0.0.1:2", certificate=files.chain, key=files.holds("open.key", "x", 0o644)),
            Listener("unix:/run/x"),
        ),
        auth=Auth(
            token=(
                TokenEntry(secret_file=missing[1], register=("*",)),
                TokenEntry(secret_file=files.holds("short", "x"), register=("*",)),
                TokenEntry(secret_file=files.holds("good"), register=("*",)),
            ),
            hmac=(HmacEntry(secret_file=files.holds("blank", f"{GOOD}\n\n")),),
            jwt=(JwtEntry(algorithm="ES256", key_file=files.holds("no.pem", "x"), issuer="i", audience="a"),),
            unix=(UnixEntry(register=("*",), users=("no-such-user",)),),
        ),
        ice=Ice(turn_urls=("turn:a",), turn_secret_file=missing[2]),
    )


EVERYTHING = [
    "F/missing-1: no such file",
    "F/short: line 1 is shorter",
    "F/blank: line 2 is blank",
    "F/no.pem: this is no key for ES256",
    'user "no-such-user": this machine has no such user',
    "F/missing-2: no such file",
    "F/missing-0: no such file",
    "F/open.key: other users than its owner and group have access (mode 0644)",
]


class TestAllAtOnce:
    def test_every_fault_of_every_file(self, files: Files) -> None:
        lines = faults(files, everything(files))
        assert [line[: len(start)] for line, start in zip(lines, EVERYTHING, strict=True)] == EVERYTHING

    def test_check_lists_them_all_and_begins_nothing(
        self, files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Not a port, not a socket file: it may run beside a daemon that has them."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = everything(files)
            port = taken.getsockname()[1]
            path = files.folder / "sigd.sock"
            doors = (
                *(
                    msgspec.structs.replace(door, url=f"tls://127.0.0.{host}:{port}")
                    for host, door in enumerate(config.listen[:2], 1)
                ),
                Listener(f"unix:{path}"),
            )
            file = self.written(files, msgspec.structs.replace(config, listen=doors))
            before = sorted(os.listdir(files.folder))
            assert main(["--config", file, "--check"]) == 2
            out, err = capsys.readouterr()
            assert out == ""
            *lines, count = files.shown(err.splitlines())
            assert [line[: len(start)] for line, start in zip(lines, EVERYTHING, strict=True)] == EVERYTHING
            assert count == "8 faults"
            assert sorted(os.listdir(files.folder)) == before
            assert main(["--config", file]) == 2
            out, err = capsys.readouterr()
            assert files.shown(err.splitlines()) == lines
            assert sorted(os.listdir(files.folder)) == before

    def test_check_of_what_is_right_begins_nothing(self, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            door = Listener(f"tls://127.0.0.1:{taken.getsockname()[1]}", certificate=files.chain, key=files.key)
            auth = Auth(token=(TokenEntry(secret_file=files.holds("good"), register=("*",)),))
            config = Config(listen=(door, Listener(f"unix:{files.folder}/sigd.sock")), auth=auth)
            file = self.written(files, config)
            before = sorted(os.listdir(files.folder))
            assert main(["--config", file, "--check"]) == 0
            assert capsys.readouterr() == ("configuration is valid\n", "")
            assert sorted(os.listdir(files.folder)) == before

    @staticmethod
    def written(files: Files, config: Config) -> str:
        return files.holds("sigd.toml", render(config), 0o644)

    def test_no_secret_is_shown_whatever_is_wrong(self, files: Files) -> None:
        secret = "the-secret-itself-which-nobody-sees"
        for content in (f"{secret} \n", f"\n{secret}", f"{secret}\r\n", f"{secret}\n\0", f"é{secret}"):
            entry = HmacEntry(secret_file=files.holds("hmac", content))
            token = TokenEntry(secret_file=files.holds("token", content), register=("*",))
            for auth in (Auth(hmac=(entry,)), Auth(token=(token,))):
                [line] = faults(files, Config(auth=auth))
                assert secret not in line
                assert line.isprintable()


class TestWhatHolds:
    def test_each_secret_of_each_file(self, files: Files) -> None:
        second = "another-good-long-secret-of-mine-all"
        auth = Auth(
            token=(TokenEntry(secret_file=files.holds("token", f"{GOOD}\n{second}\n"), register=("a",)),),
            hmac=(HmacEntry(secret_file=files.holds("hmac", f"{GOOD}\n{second}"), register=("b",)),),
            jwt=(
                JwtEntry(
                    algorithm="HS256", key_file=files.holds("jwt", f"{GOOD}\n{second}\n"), issuer="i", audience="a"
                ),
            ),
        )
        access = Rules(Config(auth=auth)).access
        user = "9999999999:b"
        for secret in (GOOD, second):
            claims = {"iss": "i", "aud": "a", "sub": "c", "exp": 9_999_999_999}
            for peer, register in (
                ("a", Register(token=secret)),
                ("b", Register(user=user, token=token_for(secret.encode(), user).decode())),
                ("c", Register(jwt=jwt.encode(claims, secret, "HS256"))),
            ):
                grant = access.grant(access.prove(register, None, 0.0), peer)
                assert grant is not None
                assert access.grant(grant.proof, "x") is None
        assert access.prove(Register(token="x" * 40), None, 0.0) is None

    def test_nobody_may_be_anybody_where_there_are_entries(self, files: Files) -> None:
        assert Rules(Config()).access.open
        auth = Auth(certificate=(CertificateEntry(),))
        assert not Rules(Config(auth=auth)).access.open

    def test_rates(self, files: Files) -> None:
        limits = msgspec.structs.replace(Limits(), messages_per_second=10, bytes_per_second=0)
        own = TokenEntry(secret_file=files.holds("own"), register=("*",), messages_per_second=1_000)
        access = Rules(Config(auth=Auth(token=(own,)), limits=limits)).access
        assert access.stranger.rates.messages_per_second == 10
        grant = access.grant(access.prove(Register(token=GOOD), None, 0.0), "x")
        assert grant is not None
        assert grant.rates.messages_per_second == 1_000
        assert grant.rates.bytes_per_second == 0

    def test_contexts(self, files: Files) -> None:
        """TLS 1.2 and later, no renegotiation, no compression, no tickets of TLS 1.3, and whom it asks for a name."""
        certificates.authority("clients")
        ca = str(certificates.folder() / "clients-ca.pem")
        doors = [
            Listener("tcp://127.0.0.1:1"),
            Listener("tcp://127.0.0.1:2", certificate=files.chain, key=files.key),
            Listener("tls://127.0.0.1:3", certificate=files.chain, key=files.key, client_ca=ca),
            Listener(
                "tls://127.0.0.1:4", certificate=files.chain, key=files.key, client_ca=ca, client_certificate="optional"
            ),
        ]
        none, *contexts = Rules(Config(listen=tuple(doors))).contexts.values()
        assert none is None
        for context, mode in zip(contexts, (ssl.CERT_NONE, ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL), strict=True):
            assert context is not None
            assert context.minimum_version is ssl.TLSVersion.TLSv1_2
            assert context.options & ssl.OP_NO_RENEGOTIATION
            assert context.options & ssl.OP_NO_COMPRESSION
            assert context.num_tickets == 0
            assert context.verify_mode is mode

    def test_a_name_that_stands_for_two_ports_has_two_contexts(self, files: Files) -> None:
        doors = (
            Listener("tcp://127.0.0.1:0"),
            Listener("tcp://127.0.0.1:0", certificate=files.chain, key=files.key),
        )
        first, second = Rules(Config(listen=doors)).contexts.values()
        assert first is None
        assert second is not None


class TestCredentialsDirectory:
    """Plain names are files that systemd hands over."""

    def config(self) -> Config:
        return Config(
            listen=(Listener("tls://127.0.0.1:1", certificate="tls.pem", key="tls.key"),),
            auth=Auth(hmac=(HmacEntry(secret_file="secret"),)),
        )

    def test_there(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(files.folder))
        files.holds("secret", mode=0o440)
        files.holds("tls.pem", Path(files.chain).read_bytes())
        files.holds("tls.key", Path(files.key).read_bytes(), 0o440)
        rules = Rules(self.config())
        assert all(rules.contexts.values())
        assert sorted(rules.files) == ["secret", "tls.key", "tls.pem"]

    def test_not_there(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        lines = faults(files, self.config())
        assert [line.partition(":")[0] for line in lines] == ["secret", "tls.pem", "tls.key"]
        assert all("LoadCredential=" in line for line in lines)


class TestChangedFiles:
    def test_by_what_is_in_them(self, files: Files) -> None:
        secret, turn = files.holds("token"), files.holds("turn")
        auth = Auth(token=(TokenEntry(secret_file=secret, register=("*",)),))
        config = Config(auth=auth, ice=Ice(turn_urls=("turn:a",), turn_secret_file=turn))
        before = Rules(config)
        os.utime(secret, (0, 0))
        again = Rules(config)
        assert before.changed_files(again) == []
        assert not before.vends_otherwise(again)
        files.holds("token", f"{GOOD}-other\n")
        other = Rules(config)
        assert before.changed_files(other) == [secret]
        assert not before.vends_otherwise(other)
        files.holds("turn", f"{GOOD}-other\n")
        assert before.vends_otherwise(Rules(config))
        assert before.vends_otherwise(Rules(msgspec.structs.replace(config, ice=Ice())))
        assert Rules(Config()).changed_files(before) == []  # the options say that those are new
