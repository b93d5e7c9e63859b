"""Options of `sigctl setup`."""

from pathlib import Path

import pytest

from tests.ctl.conftest import Sigctl
from tests.ctl.images import NAME, files


def test_the_dot_of_the_root_is_no_part_of_a_name(image: Path, sigctl: Sigctl) -> None:
    assert sigctl("setup", "--root", str(image), "--tls", f"{NAME}.")[0] == 0
    assert f"/etc/sigd/{NAME}.pem" in files(image)


def test_an_image_that_is_not_there_is_not_made(tmp_path: Path, sigctl: Sigctl) -> None:
    assert sigctl("setup", "--root", str(tmp_path / "x"), "--tls", NAME)[2].endswith("x: no such directory\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--udp"], "--udp goes with --tls NAME"),
        (["--tls", NAME, "--key", "k"], "--certificate and --key go together"),
        (["--tls", NAME, "--key", "/nowhere", "--certificate", "/nowhere"], "/nowhere: no such file"),
        *(
            (["--tls", name], f'argument --tls: "{name}" is not a host name or address: give a name')
            for name in ("", "a b", "https://x", "x:443", "*.example.net", "../x", "0.0.0.0", "::", "1.2.3")
        ),
        (["--tls", NAME, "--port", "70000"], "argument --port"),
    ],
)
def test_options_that_do_not_go_together(image: Path, sigctl: Sigctl, options: list[str], why: str) -> None:
    before = files(image)
    status, out, err = sigctl("setup", "--root", str(image), *options)
    assert (status, out) == (2, "")
    assert why in err
    assert files(image) == before
