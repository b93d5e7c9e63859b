"""What an operator has the daemon do: what is asked, what is told, and the exit status."""

import io

import pytest

from sigd.admin import questions
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import ScriptedDaemon, golden


def test_a_kick_has_the_reason_that_one_gives(daemon: ScriptedDaemon, sigctl: Sigctl):
    assert sigctl("kick", "cam1", "--reason", "moved to hall 2")[0] == 0
    assert sigctl("kick", "cam1")[0] == 0
    assert daemon.asked == [questions.AskKick(peer="cam1", reason="moved to hall 2"), questions.AskKick(peer="cam1")]


@pytest.mark.parametrize("reason", ["", "x" * 129, "\u00e9", "a\nb", "\x1b[2J"])
def test_what_the_wire_would_not_carry_is_no_reason(sigctl: Sigctl, reason):
    status, _, err = sigctl("kick", "cam1", f"--reason={reason}")
    assert (status, err) == (
        2,
        "sigctl: kick: argument --reason: not 1 to 128 characters of printable ASCII; see `sigctl kick --help`\n",
    )


def test_a_ping_waits_as_long_as_one_says(daemon: ScriptedDaemon, sigctl: Sigctl):
    assert sigctl("ping", "cam1", "--timeout", "0.5")[0] == 0
    assert daemon.asked == [questions.AskPing(peer="cam1", timeout=0.5)]
    daemon.refuses("ping", "no-answer", "nothing came within 5 s")
    assert sigctl("ping", "cam1") == (4, "", "sigctl: nothing came within 5 s\n")


@pytest.mark.parametrize("timeout", ["0", "-1", "301", "nan", "inf", "x"])
def test_what_is_no_time_to_wait(sigctl: Sigctl, timeout):
    assert sigctl("ping", "cam1", f"--timeout={timeout}")[0] == 2


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        ({"before": "a", "after": "a"}, 0, "no change: configuration a\n"),
        ({"before": "a", "after": "a", "reloaded": ["/s"]}, 0, "reloaded: /s\nconfiguration a\n"),
        (
            {"before": "a", "after": "b", "needsRestart": ["listen[1] (new)"]},
            0,
            "needs restart: listen[1] (new)\n"
            "listeners open at a restart; if systemd holds the sockets: sudo sigctl setup\n"
            "configuration a -> b\n",
        ),
        (
            {"before": "a", "after": "a", "faults": ["f.toml:1:2: x", "f.toml:3:4: y"]},
            1,
            "f.toml:1:2: x\nf.toml:3:4: y\n2 faults; configuration a remains in force\n",
        ),
    ],
)
def test_a_reload_tells_what_came_of_it(daemon: ScriptedDaemon, sigctl: Sigctl, reply, status, said):
    daemon.says("reload", {"schema": 1, "type": "reload", **reply})
    assert sigctl("reload") == (status, said, "")
    assert sigctl("reload", "--json")[0] == status


WOULD_END = {
    "schema": 1,
    "type": "reload",
    "before": "a",
    "after": "a",
    "reloaded": ["/s"],
    "needsRestart": ["listen[1] added"],
    "wouldEnd": 12,
    "wouldEndPeers": ["cam1", "cam2"],
    "shown": "0123",
}


def test_a_reload_that_would_end_links_says_whose_and_changes_nothing(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("reload", WOULD_END)
    assert sigctl("reload") == (
        1,
        "would be reloaded: /s\nwould need a restart: listen[1] added\n"
        "a reload would end 12 links, whose credentials are no longer valid: cam1, cam2 and 10 more\n"
        "nothing was changed; to go ahead: sigctl reload --yes; configuration a\n",
        "",
    )
    assert sigctl("reload", "--json")[0] == 1
    assert daemon.asked == [questions.AskReload(end_links=False)] * 2


@pytest.mark.parametrize(
    ("said", "reloads"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_at_a_terminal_it_asks(daemon: ScriptedDaemon, sigctl: Sigctl, monkeypatch, said, reloads):
    keyboard = io.StringIO(said)
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keyboard)
    daemon.says("reload", WOULD_END, golden("reload"))
    status, _, err = sigctl("reload")
    assert "would end 12 links" in err
    assert status == (0 if reloads else 1)
    assert daemon.asked == [questions.AskReload(end_links=False), *[questions.AskReload(shown="0123")] * reloads]


def test_a_reload_that_may_end_links_asks_nobody(daemon: ScriptedDaemon, sigctl: Sigctl):
    assert sigctl("reload", "--yes")[0] == 0
    assert daemon.asked == [questions.AskReload()]


def test_a_drain_is_asked_for(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("drain", golden("drain") | {"links": 1, "drain": 0.5})
    assert sigctl("drain") == (0, "draining: 1 link told to reconnect, over 0.5 s; then sigd exits\n", "")
    assert daemon.asked == [questions.AskDrain()]
