"""`sigctl setup` below a folder, as for an image: what it writes, what it leaves alone, and that it does so once."""

import os
import stat
import subprocess
from pathlib import Path

from sigd.config import load
from sigd.ctl import setup_steps
from sigd.ctl.setup_files import is_unedited
from tests import certificates
from tests.ctl.conftest import Sigctl
from tests.ctl.images import NAME, files
from tests.in_process import need_ipv6


def test_a_public_configuration(image: Path, sigctl: Sigctl) -> None:
    need_ipv6()
    status, out, err = sigctl("setup", "--root", str(image), "--tls", NAME, "--udp", "--port", "7443")
    assert (status, err) == (0, "")
    written = files(image)
    assert set(written) == {
        *("/etc/sigd/secret", "/etc/sigd/sigd.toml", "/etc/sigd/sigd.toml.before-setup", setup_steps.SOCKET_DROP_IN),
        *(f"/etc/sigd/{NAME}.pem", f"/etc/sigd/{NAME}.key"),
    }
    for path in written:
        assert f" {path}\n" in out
        mode = stat.S_IMODE((image / path[1:]).stat().st_mode)
        assert mode == (0o640 if path.endswith((".key", "secret", ".before-setup")) else 0o644), path
    config = load(str(image / "etc/sigd/sigd.toml"))
    urls = [f"{scheme}://{host}:7443" for scheme in ("tls", "udp") for host in ("0.0.0.0", "[::]")]
    assert [each.url for each in config.listen] == urls
    assert [each.certificate for each in config.listen] == [f"/etc/sigd/{NAME}.pem"] * 2 + [None] * 2
    assert config.auth.hmac[0].secret_file == "/etc/sigd/secret"
    opened = [
        line for line in written[setup_steps.SOCKET_DROP_IN].decode().splitlines() if line.endswith(("=", "7443"))
    ]
    assert opened == [
        *("ListenStream=", "ListenDatagram=", "ListenStream=0.0.0.0:7443", "ListenStream=[::]:7443"),
        *("ListenDatagram=0.0.0.0:7443", "ListenDatagram=[::]:7443"),
    ]


def test_a_second_time_it_writes_nothing(image: Path, sigctl: Sigctl) -> None:
    sigctl("setup", "--root", str(image), "--tls", NAME)
    before = files(image)
    assert sigctl("setup", "--root", str(image), "--tls", NAME) == (
        0,
        "in the image: systemctl enable sigd.socket\n",
        "",
    )
    assert files(image) == before


def test_a_dry_run_does_nothing(image: Path, sigctl: Sigctl) -> None:
    before = files(image)
    status, out, _ = sigctl("setup", "--root", str(image), "--tls", NAME, "--dry-run")
    assert status == 0
    assert "would write /etc/sigd/secret\n" in out
    assert files(image) == before


def test_a_configuration_that_was_edited_is_kept(image: Path, sigctl: Sigctl) -> None:
    (file := image / "etc/sigd/sigd.toml").write_text('listen = ["tcp://127.0.0.1:7337"]\n')
    before = files(image)
    status, out, err = sigctl("setup", "--root", str(image), "--tls", NAME)
    assert (status, out) == (1, "")
    assert err.startswith("sigctl: /etc/sigd/sigd.toml has been edited: nothing was changed\n")
    assert files(image) == before
    assert sigctl("setup", "--root", str(image), "--tls", NAME, "--force")[0] == 0
    assert Path(f"{file}.before-setup").read_bytes() == before["/etc/sigd/sigd.toml"]
    assert is_unedited(file.read_bytes())
    assert sigctl("setup", "--root", str(image), "--tls", NAME, "--port", "7443")[0] == 0
    assert Path(f"{file}.before-setup").read_bytes() == before["/etc/sigd/sigd.toml"], "what somebody has edited stays"
    file.write_text('listen = ["tcp://127.0.0.1:7338"]\n')
    assert f"{file.name}.before-setup.2" in sigctl("setup", "--root", str(image), "--tls", NAME)[2]


def test_without_a_name_the_sockets_are_made_to_fit_what_is_there(image: Path, sigctl: Sigctl) -> None:
    text = 'listen = ["tcp://127.0.0.1:1", "unix:/run/x?mode=0660", "udp://[::1]:2", "tcp://127.0.0.1:0"]\n'
    (image / "etc/sigd/sigd.toml").write_text(text)
    assert sigctl("setup", "--root", str(image))[0] == 0
    assert files(image)["/etc/sigd/sigd.toml"] == text.encode()
    assert files(image)[setup_steps.SOCKET_DROP_IN].decode().splitlines()[3:] == [
        *("ListenDatagram=", "ListenStream=/run/x", "ListenStream=127.0.0.1:1", "ListenDatagram=[::1]:2"),
        "SocketMode=0660",
    ]


def test_dtls_has_a_drop_in_as_long_as_it_is_spoken(image: Path, sigctl: Sigctl) -> None:
    chain, key = certificates.files("localhost")
    table = f'[[listen]]\nurl = "dtls://127.0.0.1:1"\ncertificate = "{chain}"\nkey = "{key}"\n'
    (config := image / "etc/sigd/sigd.toml").write_text(table)
    assert sigctl("setup", "--root", str(image))[0] == 0
    assert b"MemoryDenyWriteExecute=no" in files(image)[setup_steps.SERVICE_DROP_IN]
    config.write_text('listen = ["udp://127.0.0.1:1"]\n')
    assert sigctl("setup", "--root", str(image))[0] == 0
    assert setup_steps.SERVICE_DROP_IN not in files(image)


def test_the_certificate_of_certbot_is_copied_and_renewed_by_its_hook(image: Path, sigctl: Sigctl) -> None:
    (live := image / f"etc/letsencrypt/live/{NAME}").mkdir(parents=True)
    chain, key = (Path(path).read_bytes() for path in certificates.files(NAME))
    (live / "fullchain.pem").write_bytes(chain)
    (live / "privkey.pem").write_bytes(key)
    assert sigctl("setup", "--root", str(image), "--tls", NAME)[0] == 0
    written = files(image)
    assert (written[f"/etc/sigd/{NAME}.pem"], written[f"/etc/sigd/{NAME}.key"]) == (chain, key)
    hook = image / setup_steps.HOOK[1:]
    assert os.access(hook, os.X_OK)
    subprocess.run(["sh", "-n", hook], check=True)
    assert f"/etc/letsencrypt/live/{NAME}/privkey.pem" in hook.read_text()


def test_a_certificate_without_its_key_changes_nothing(image: Path, sigctl: Sigctl) -> None:
    chain, other = certificates.files(NAME)[0], certificates.files("localhost")[1]
    for name, content in (("pem", Path(chain).read_bytes()), ("key", Path(other).read_bytes())):
        (image / name).write_bytes(content)
    before = files(image)
    status, out, err = sigctl("setup", "--root", str(image), "--tls", NAME, "--certificate", "/pem", "--key", "/key")
    assert (status, out) == (1, "")
    assert "are no certificate and its key" in err
    assert files(image) == before


def test_a_configuration_with_faults_is_told_and_nothing_follows(image: Path, sigctl: Sigctl) -> None:
    (image / "etc/sigd/sigd.toml").write_text("no toml")
    status, _, err = sigctl("setup", "--root", str(image))
    assert status == 2
    assert "sigd.toml:1:" in err
    assert setup_steps.SOCKET_DROP_IN not in files(image)
