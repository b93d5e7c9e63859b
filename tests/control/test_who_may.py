"""Who is answered at the admin socket: root, the daemon's own user, and a group; the kernel says who it is."""

import grp
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from sigd.config import Admin
from sigd.control.asker import FRAME_SECONDS
from sigd.control.desk import MOST_ASKERS, MOST_REFUSED
from tests.control.asking import Asking, asking, refused
from tests.in_process import CLIENTS, PLAIN, Client, Daemon, within
from tests.net.test_callers import connected_as

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

STRANGER = 12_009
NOBODY = 65_534

GROUP = next(group for group in grp.getgrall() if group.gr_gid not in {0, NOBODY, os.getegid()})
"""Any that this machine has."""


@pytest.fixture
async def desk(daemon: Daemon) -> AsyncIterator[Asking]:
    """A desk that everybody may go to, and that answers members of a group."""
    rules = daemon.server.rules
    rules.config = msgspec.structs.replace(rules.config, admin=Admin(group=GROUP.gr_name))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        async with asking(daemon, Path(folder), mode="0666") as asked:
            yield asked


def comes_as(desk: Asking, user: int, group: int, groups: Sequence[int] = (), framing: str = "prefixed") -> Client:
    """An operator that is this user, in these groups."""
    sock = connected_as(desk.path, user, group, groups)
    sock.setblocking(False)
    client = CLIENTS[framing](trio.socket.from_stdlib_socket(sock))
    desk.operators.append(client)
    return client


@pytest.mark.parametrize(
    ("user", "group", "groups"),
    [
        (0, STRANGER, ()),
        (STRANGER, GROUP.gr_gid, ()),
        (STRANGER, STRANGER, (STRANGER + 1, GROUP.gr_gid)),
    ],
)
async def test_these_are_answered(desk: Asking, user: int, group: int, groups: Sequence[int]) -> None:
    operator = comes_as(desk, user, group, groups)
    await operator.says({"type": "status"})
    assert (await operator.hears())["type"] == "status"


async def test_its_own_user_is(desk: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    operator = comes_as(desk, STRANGER, STRANGER)
    await operator.says({"type": "status"})
    assert (await operator.hears())["type"] == "status"


@pytest.mark.parametrize("framing", PLAIN)
@pytest.mark.parametrize(("user", "group"), [(STRANGER, STRANGER), (STRANGER, 0), (NOBODY, NOBODY)])
async def test_others_are_told_which_group_to_join(
    desk: Asking, framing: str, user: int, group: int, caplog: pytest.LogCaptureFixture
) -> None:
    operator = comes_as(desk, user, group, framing=framing)
    with caplog.at_level(logging.WARNING, "sigd"):
        await operator.says({"type": "status"}, {"type": "drain"})
        (answer,) = await operator.hears_all()
    assert answer == refused("not-allowed")
    assert f"usermod -aG {GROUP.gr_name} " in answer["message"]
    assert [line.split(" pid=")[0] for line in caplog.messages] == [f"admin refused uid={user}"]
    assert not desk.server.drained


async def test_who_belongs_to_a_group_that_does_not_exist(desk: Asking, daemon: Daemon) -> None:
    rules = daemon.server.rules
    rules.config = msgspec.structs.replace(rules.config, admin=Admin(group="no-such-group"))
    operator = comes_as(desk, STRANGER, GROUP.gr_gid)
    await operator.says({"type": "status"})
    assert await operator.hears_all() == [refused("not-allowed")]


async def test_nobody_is_nobody(desk: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is of another user namespace looks like it: a daemon that runs as nobody knows none of them."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    operator = comes_as(desk, NOBODY, NOBODY)
    await operator.says({"type": "status"})
    assert await operator.hears_all() == [refused("not-allowed")]


async def test_who_is_refused_and_says_nothing_is_told_all_the_same(desk: Asking) -> None:
    operator = comes_as(desk, STRANGER, STRANGER, framing="lines")
    began = trio.current_time()
    assert await operator.hears_all() == [refused("not-allowed")]
    assert within(trio.current_time() - began, FRAME_SECONDS)


async def test_strangers_keep_nobody_out(desk: Asking, daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """And the log has one line for all of them."""
    with caplog.at_level(logging.WARNING, "sigd"):
        strangers = [comes_as(desk, STRANGER, STRANGER, framing="lines") for _ in range(MOST_REFUSED + 3)]
        await daemon.settles()
    operators = [await desk.operator() for _ in range(MOST_ASKERS)]
    for operator in operators:
        await operator.says({"type": "closed"})
        assert (await operator.hears())["type"] == "closed"
    heard = [await stranger.hears_all() for stranger in strangers]
    assert (heard.count([]), heard.count([refused("not-allowed")])) == (3, MOST_REFUSED)
    assert len(caplog.messages) == 1
