"""README.md says what the program does: its examples are run, its options and targets exist."""

import asyncio
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sigd.client import OfferFrom, connect
from tests.daemon import running_daemon

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_what_it_is_stands_in_the_first_three_lines():
    head = " ".join(README.splitlines()[2:5])
    assert "WebRTC" in head
    assert "offer" in head


def test_the_transcript_is_what_a_terminal_shows():
    _, *lines = blocks("transcript")[0].splitlines()
    with (
        running_daemon() as daemon,
        socket.create_connection(("127.0.0.1", daemon.port)) as bob,
        socket.create_connection(("127.0.0.1", daemon.port)) as alice,
    ):
        bob.settimeout(5)
        alice.settimeout(5)
        heard, shown = alice.makefile("r"), bob.makefile("r")
        bob.sendall(b"register bob\n")
        shown.readline()
        for line in lines:
            if line.startswith("{"):
                assert heard.readline() == line + "\n"
            else:
                alice.sendall(line.encode() + b"\n")
        assert f"`{shown.readline().strip()}`" in README
        heard.close()
        shown.close()


def test_the_python_example_answers_a_call():
    namespace: dict[str, object] = {}

    async def call(url: str) -> str:
        source = blocks("python")[0].replace("tcp://127.0.0.1:7337", url)
        exec(compile(source, "README.md", "exec"), namespace)
        camera = asyncio.create_task(namespace["main"]())  # type: ignore[operator]  # what exec defines has no type
        async with connect(url, id="bob") as bob:
            while "cam1" not in await bob.peers():
                continue
            await bob.offer("cam1", "v=0")
            answer = await anext(bob)
        camera.cancel()
        await asyncio.wait([camera])
        assert not isinstance(answer, OfferFrom)
        return f"{answer}"

    with running_daemon() as daemon:
        answer = asyncio.run(asyncio.wait_for(call(daemon.url), 20))
    assert "sender='cam1'" in answer
    assert "v=0 ..." in answer


def test_the_usage_is_that_of_the_program():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    assert blocks("help")[0] in shown.stdout


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_every_option_exists():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    for option in re.findall(r"`sigd[^`]*`", README):
        for word in re.findall(r"--[a-z-]+", option):
            assert word in shown.stdout


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
