"""Rows and details of peers, and of links that have ended."""

from pathlib import Path

import pytest
import trio

from sigd.config.auth import Auth, TokenEntry
from tests.conftest import Serving
from tests.control.asking import Asking, asking, refused
from tests.in_process import Daemon, error, within

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


OFFER = {"type": "offer", "to": "bob", "sdp": "v=0\r\n", "session": "k3"}


async def test_a_row_says_how_a_peer_fares(desk: Asking, daemon: Daemon) -> None:
    await daemon.peer("bob", "lines")
    alice = await daemon.peer("alice")
    await alice.says(OFFER, {"type": "bye", "to": "nobody"})
    await daemon.settles()
    await trio.sleep(5)
    answer = await desk.asks("peers")
    rows = {row["id"]: row for row in answer["peers"]}
    assert answer["now"] - rows["alice"]["since"] == pytest.approx(5, abs=0.5)
    assert within(rows["alice"]["idle"], 5)
    assert (rows["alice"]["framing"], rows["alice"]["received"], rows["alice"]["errors"]) == ("prefixed", 3, 1)
    assert "delivered" not in rows["alice"]
    assert (rows["bob"]["framing"], rows["bob"]["via"], rows["bob"]["delivered"]) == ("lines", "tcp", 1)
    assert rows["bob"]["address"].startswith("127.0.0.1:")


async def test_show_tells_all_but_secrets(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-good-long-token\n")
    entry = TokenEntry(secret_file=str(path), register=("cam*", "dome*"), talk=("bob",))
    async with serving(auth=Auth(token=(entry,))) as daemon, asking(daemon, tmp_path) as desk:
        cam = await daemon.peer("cam1", token="a-good-long-token", meta={"model": "x"}, maxFrame=8192)
        await cam.says({"type": "bye", "to": "bob"})
        await cam.hears()
        operator = await desk.operator()
        await operator.says({"type": "show", "peer": "cam1"})
        frame = await operator.hears_frame()
        assert b"a-good-long" not in frame
        answer = await desk.asks("show", peer="cam1")
        assert answer["peer"]["id"] == "cam1"
        assert (answer["meta"], answer["maxFrame"]) == ({"model": "x"}, 8192)
        assert (answer["register"], answer["talk"]) == (["cam* | dome*"], ["bob"])
        assert answer["credential"] == f"token {path}"
        assert answer["recent"] == ["bob"]
        assert (answer["held"], answer["stuck"], answer["challenged"], answer["expires"]) == (False, False, False, None)
        assert await desk.asks("show", peer="bob") == refused("no-such-peer")


async def test_show_where_there_are_no_credentials(desk: Asking, daemon: Daemon) -> None:
    await daemon.peer("alice", "lines")
    answer = await desk.asks("show", peer="alice")
    assert (answer["register"], answer["talk"], answer["credential"], answer["keepalive"]) == ([], None, None, 30.0)


async def test_closed_lists_what_was_refused_to_clients_without_an_id(desk: Asking, daemon: Daemon) -> None:
    cam, stranger = await daemon.peer("cam"), await daemon.connect()
    await stranger.says({"type": "bye", "to": "cam"}, {"type": "register", "id": "tv", "protocol": 2})
    assert [await stranger.hears() for _ in range(2)] == [error("not-registered"), error("bad-message")]
    await cam.says({"type": "unregister"})
    await cam.hears_close()
    (row,) = (await desk.asks("closed", glob="tv"))["closed"]
    assert (row["refused"], row["reason"], row["via"]) == ("register", "bad-message", "tcp")
    assert row["why"] == "`protocol` must be 1: nothing else is spoken here"
    own, refused_row = (await desk.asks("closed", glob="cam"))["closed"]
    assert (own["reason"], refused_row["refused"], refused_row["reason"]) == ("unregistered", "bye", "not-registered")
