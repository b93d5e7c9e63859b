"""README.md: its examples are run, its figures are those of docs/speed.md, and it stays short."""

import asyncio
import re
import socket
import subprocess

import pytest

from sigd.client import OfferFrom, connect
from tests.c_client.build import STRICT, compiled
from tests.daemon import HANG_SECONDS, running_daemon
from tests.docs.pages import blocks, read

PAGE = "README.md"
README = read(PAGE)
MAKEFILE = read("Makefile")

SECONDS = HANG_SECONDS


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_what_it_is_stands_in_the_first_three_lines():
    head = " ".join(README.splitlines()[2:5])
    assert "WebRTC" in head
    assert "offer" in head


def test_the_transcript_is_what_a_terminal_shows():
    _, *lines = blocks(PAGE, "transcript")[0].splitlines()
    with (
        running_daemon() as daemon,
        socket.create_connection(("127.0.0.1", daemon.port)) as bob,
        socket.create_connection(("127.0.0.1", daemon.port)) as alice,
        alice.makefile("r") as heard,
        bob.makefile("r") as shown,
    ):
        bob.settimeout(SECONDS)
        alice.settimeout(SECONDS)
        bob.sendall(b"register bob\n")
        shown.readline()
        for line in lines:
            if line.startswith("{"):
                assert heard.readline() == line + "\n"
            else:
                alice.sendall(line.encode() + b"\n")
        assert f"`{shown.readline().strip()}`" in README


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_python_example_answers_a_call(scheme):
    namespace: dict[str, object] = {}

    async def call(url: str) -> str:
        assert f'connect("{scheme}://127.0.0.1:7337", id="cam1"' in README
        source = blocks(PAGE, "python")[0].replace("tcp://127.0.0.1:7337", url)
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

    with running_daemon("--listen", f"{scheme}://127.0.0.1:0") as daemon:
        answer = asyncio.run(asyncio.wait_for(call(daemon.url), 20))
    assert "sender='cam1'" in answer
    assert "v=0 ..." in answer


def test_the_python_example_calls_what_it_defines():
    assert blocks(PAGE, "python")[0].endswith('if __name__ == "__main__":\n    asyncio.run(main())\n')


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


async def answered_by(url: str, callee: str) -> object:
    """Call the example, and return what comes back."""
    async with connect(url, id="bob") as bob:
        while callee not in await bob.peers():
            continue
        await bob.offer(callee, "v=0")
        return await anext(bob)


def test_the_python_example_goes_on_when_the_caller_has_left(capsys):
    """A caller that is gone at once gets no answer, which the example prints; the next caller gets one."""
    namespace: dict[str, object] = {}
    printed = [""]

    async def call(port: int, url: str) -> object:
        answer: object = None
        exec(compile(blocks(PAGE, "python")[0].replace("tcp://127.0.0.1:7337", url), PAGE, "exec"), namespace)
        camera = asyncio.create_task(namespace["main"]())  # type: ignore[operator]  # what exec defines has no type
        async with connect(url, id="eve") as eve:
            while "cam1" not in await eve.peers():
                continue
        while not printed[-1]:  # the answer may still come first, on a busy machine
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"register hasty\noffer cam1 v=0\nquit\n")
            await reader.read()
            writer.close()
            answer = await answered_by(url, "cam1")
            printed.append(capsys.readouterr().out)
        camera.cancel()
        await asyncio.wait([camera])
        return answer

    with running_daemon() as daemon:
        answer = asyncio.run(asyncio.wait_for(call(daemon.port, daemon.url), SECONDS))
    assert "v=0 ..." in f"{answer}"
    assert re.fullmatch(r"peer-unavailable \(to hasty\): .+\n", printed[-1])


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_c_example_answers_a_call(compiler, tmp_path):
    source = tmp_path / "cam2.c"
    with running_daemon("--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0") as daemon:
        stream, datagrams = daemon.urls
        source.write_text(blocks(PAGE, "c")[0].replace("udp://127.0.0.1:7337", datagrams))
        program = compiled(compiler, source, tmp_path / "cam2", "-std=c99", *STRICT)
        with subprocess.Popen([program]) as camera:
            try:
                answer = asyncio.run(asyncio.wait_for(answered_by(stream, "cam2"), SECONDS))
            finally:
                camera.kill()
    assert "v=0 ..." in f"{answer}"


def figures(page: str) -> list[list[str]]:
    """Return the cells of a page's first table of figures, by rows."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in read(page).splitlines() if line[:1] == "|"
    ]
    return [row for row in rows if "---" not in row[0]]


def test_the_figures_are_those_of_the_whole_table():
    names, *rows = figures(PAGE)
    headings, *servers = figures("docs/speed.md")
    assert [server[0].split()[0] for server in servers] == names[1:]
    assert len(rows) == 5
    for title, *values in rows:
        assert values == [server[headings.index(title)].partition(" (")[0] for server in servers], title
