"""A connection to the admin socket: framings, questions that cannot be read, and timeouts."""

import contextlib
import json
import struct

import pytest
import trio

from sigd.admin.questions import MAX_QUESTION
from sigd.control import typed
from sigd.control.asker import FRAME_SECONDS, IDLE_SECONDS, LINE_SECONDS
from sigd.wire.framing import NOT_HTTP
from tests.control.asking import Asking, refused
from tests.in_process import PLAIN, Daemon, PrefixedClient, within

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

STATUS = {"type": "status"}


# -- framings


@pytest.mark.parametrize("framing", PLAIN)
async def test_questions_are_answered_in_turn_in_the_framing_of_the_first(desk: Asking, framing: str) -> None:
    operator = await desk.operator(framing)
    await operator.says(STATUS, {"type": "closed"}, {"type": "peers"})
    assert [(await operator.hears())["type"] for _ in range(3)] == ["status", "closed", "peers"]


@pytest.mark.parametrize("framing", PLAIN)
async def test_what_was_asked_before_the_end_of_file_is_answered(desk: Asking, framing: str) -> None:
    operator = await desk.operator(framing)
    await operator.says(*[STATUS] * 40)
    operator.finishes()
    assert [answer["type"] for answer in await operator.hears_all()] == ["status"] * 40


async def test_a_question_may_come_byte_by_byte(desk: Asking) -> None:
    operator = await desk.operator()
    for byte in PrefixedClient.framed(b'{"type":"closed"}'):
        await operator.sends(bytes([byte]))
        await trio.sleep(0.1)
    assert (await operator.hears())["type"] == "closed"


async def test_words_do(desk: Asking, daemon: Daemon) -> None:
    await daemon.peer("cam1")
    (answer,) = await desk.types(b"peers cam*\r\n")
    assert [row["id"] for row in answer["peers"]] == ["cam1"]


async def test_a_line_that_a_pipe_ends_without_its_end_is_read(desk: Asking) -> None:
    (answer,) = await desk.types(b"status")
    assert answer["type"] == "status"


@pytest.mark.parametrize("line", [b"help\n", b"?\n", b"\n"])
async def test_help_is_lines_that_no_program_reads(desk: Asking, line: bytes) -> None:
    operator = await desk.operator("lines")
    await operator.sends(line + b"# a comment is not answered\n")
    operator.finishes()
    assert await operator.hears_bytes() == typed.HELP


async def test_http_gets_one_line_and_a_close(desk: Asking) -> None:
    operator = await desk.operator("lines")
    await operator.sends(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await operator.hears_bytes() == NOT_HTTP


async def test_tls_gets_a_close(desk: Asking) -> None:
    operator = await desk.operator("lines")
    await operator.sends(bytes.fromhex("1603010005") + bytes(5))
    await operator.hears_close()


# -- what is wrong


@pytest.mark.parametrize("framing", PLAIN)
@pytest.mark.parametrize(
    ("question", "code"),
    [
        (b'{"type":"nothing"}', "unknown-question"),
        (b'{"type":"show"}', "bad-question"),
        (b'{"type":"status","more":1}', "bad-question"),
        (b'{"type":"status"', "bad-question"),
        (b"{}", "bad-question"),
        (b'{"type":"peers","glob":"\xff"}', "bad-question"),
        (b'{"a":' + b"[" * 3000, "bad-question"),
        (json.dumps({"type": "tap", "peers": ["a"] * 65}).encode(), "bad-question"),
    ],
)
async def test_what_is_no_question_is_refused_and_the_next_one_answered(
    desk: Asking, framing: str, question: bytes, code: str
) -> None:
    operator = await desk.operator(framing)
    await operator.says(question, STATUS)
    assert await operator.hears() == refused(code)
    assert (await operator.hears())["type"] == "status"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nothing\n", "unknown-question"),
        (b"status now\n", "bad-question"),
        (b"why a\n", "bad-question"),
        (b"show\n", "bad-question"),
        (b"kick\n", "bad-question"),
        (b"peers a b\n", "bad-question"),
        (b"\xfe\xfd\n", "bad-question"),
        (b"[1]\n", "unknown-question"),
        (b"x" * (MAX_QUESTION + 1) + b"\n", "bad-question"),
    ],
)
async def test_what_is_no_command_is_refused_and_the_next_one_answered(desk: Asking, line: bytes, code: str) -> None:
    first, second = await desk.types(line + b"status\n")
    assert first == refused(code)
    assert second["type"] == "status"


@pytest.mark.parametrize("size", [0, MAX_QUESTION + 1, 0xFF_FFFF])
async def test_a_frame_of_a_wrong_length_is_refused_and_ends_it(desk: Asking, size: int) -> None:
    operator = await desk.operator()
    await operator.sends(struct.pack(">I", size) + b"x" * 10)
    assert await operator.hears_all() == [refused("bad-question")]


async def test_garbage_costs_its_own_connection_at_most(desk: Asking, daemon: Daemon) -> None:
    for garbage in (bytes(4096), b"\n" * 4096, bytes(range(256)) * 16, b"\x16" * 100, b"{" * 4095 + b"\n"):
        operator = await desk.operator()
        await operator.sends(garbage)
        operator.finishes()
        await operator.hears_bytes()
    assert (await desk.asks("status"))["type"] == "status"
    await (await daemon.peer("alice")).is_served()


# -- time


@pytest.mark.parametrize(
    ("begun", "seconds"), [(b"\0\0\0\x20{", FRAME_SECONDS), (b"\0", FRAME_SECONDS), (b"stat", LINE_SECONDS)]
)
async def test_half_a_question_has_so_long(desk: Asking, begun: bytes, seconds: float) -> None:
    operator = await desk.operator()
    await operator.sends(begun)
    began = trio.current_time()
    await operator.hears_close()
    assert within(trio.current_time() - began, seconds)


async def test_a_question_that_drips_has_no_longer(desk: Asking) -> None:
    operator = await desk.operator()
    began = trio.current_time()
    await operator.sends(b"\0\0\1\0")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(64):
            await operator.sends(b" ")
            await trio.sleep(0.25)
    assert within(trio.current_time() - began, FRAME_SECONDS)


@pytest.mark.slow
async def test_who_is_silent_may_stay_for_ten_minutes(desk: Asking) -> None:
    operator = await desk.operator()
    await operator.says({"type": "closed"})
    await operator.hears()
    began = trio.current_time()
    await operator.hears_close()
    assert within(trio.current_time() - began, IDLE_SECONDS)


async def test_who_does_not_read_an_answer_is_cut(desk: Asking, daemon: Daemon) -> None:
    operator = await desk.operator()
    waiting: list[int] = []
    async with trio.open_nursery() as nursery:

        async def looks() -> None:
            while True:
                await trio.sleep(1.0)
                waiting.append(daemon.router.buffers.of_links)

        nursery.start_soon(looks)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await operator.says(*[STATUS] * 100_000)
        nursery.cancel_scope.cancel()
    assert max(waiting) > 500, "it counts among all buffers"
    await daemon.settles()
    assert daemon.router.buffers.of_links == 0
    assert (await desk.asks("closed"))["type"] == "closed"
