"""A restart that drops nobody: connections outlive the process that holds them."""

import contextlib
import ssl
import subprocess
import time
from collections.abc import Iterator

from tests.systemd.crowd import Crowd
from tests.systemd.inside import configure, drop_in, journal, main_pid, make_certificate, run, shown, systemctl, until
from tests.systemd.peer import connected

MANY = """
[limits]
trusted = ["127.0.0.0/8"]
max_connections = 12000
messages_per_second = 1000000
messages_burst = 1000000
bytes_per_second = 1000000000
bytes_burst = 1000000000
drain_ms = 1000
"""
"""A crowd on one machine."""

TCP = '[[listen]]\nurl = "tcp://127.0.0.1:7337"\n'

MOST_PAUSE_SECONDS = 1.0
"""With 9 000 idle links, from the last message before to the first after."""

TRIES = 3
"""Restarts, one of which has to be as short: the machine may do something else meanwhile, and then it takes longer."""


@contextlib.contextmanager
def playing(pairs: int, idle: int = 0) -> Iterator[Crowd]:
    """A crowd that plays with a daemon that has just been started."""
    configure(TCP + MANY)
    systemctl("start", "sigd.service")
    crowd = Crowd(pairs, idle)
    try:
        crowd.serve_first()
        crowd.play(1)
        assert not crowd.wrong
        crowd.pause_seconds = 0.0
        yield crowd
    finally:
        crowd.close()


def _restart_beside(crowd: Crowd) -> float:
    """Restart while they play, then go on for a while; how long the restart took."""
    before, began = main_pid(), time.monotonic()
    with subprocess.Popen(["systemctl", "restart", "sigd.service"], text=True) as restart:
        crowd.play(0, restart)
        took = time.monotonic() - began
    assert restart.returncode == 0
    assert main_pid() not in {0, before}
    reached = crowd.reached()
    crowd.play(2)
    assert not crowd.wrong, (len(crowd.wrong), crowd.wrong[:5])
    assert all(now > then for now, then in zip(crowd.reached(), reached, strict=True)), "a message was lost"
    assert int(shown("NFileDescriptorStore")) == 0, "what was taken up is not kept"
    return took


def shows_1000_peers_at_play_over_a_restart() -> object:
    with playing(pairs=500) as crowd:
        took = _restart_beside(crowd)
        return f"{crowd.heard} messages, pause {crowd.pause_seconds:.2f} s, restart {took:.2f} s"


def shows_9000_idle_links_over_a_restart() -> object:
    with playing(pairs=1, idle=9_000) as crowd:
        said: list[str] = []
        for _ in range(TRIES):
            crowd.pause_seconds = 0.0
            took = _restart_beside(crowd)
            said.append(f"pause {crowd.pause_seconds:.2f} s, restart {took:.2f} s")
            if crowd.pause_seconds <= MOST_PAUSE_SECONDS:
                return said
        raise AssertionError(said)


def shows_three_restarts_in_a_row() -> object:
    with playing(pairs=10) as crowd:
        return [f"{_restart_beside(crowd):.2f} s" for _ in range(3)]


def shows_a_handover_that_nobody_has_asked_systemd_for() -> None:
    """The signal alone: systemd starts the next one by the exit status."""
    configure(TCP)
    systemctl("start", "sigd.service")
    before = main_pid()
    with connected() as alice, connected() as bob:
        assert alice.registers("alice")["type"] == bob.registers("bob")["type"] == "registered"
        run("kill", "-USR2", str(before))
        until(lambda: main_pid() not in {0, before}, "there is another one")
        alice.says(type="message", to="bob", data="still here")
        assert bob.hears() == {"type": "message", "from": "alice", "data": "still here"}


def shows_half_a_frame_and_a_unix_link_over_a_restart() -> None:
    drop_in("[Socket]\nListenStream=/run/sigd/sigd.sock\nSocketMode=0666\n", "sigd.socket")
    systemctl("restart", "sigd.socket")
    configure(TCP + '[[listen]]\nurl = "unix:/run/sigd/sigd.sock"\n')
    systemctl("start", "sigd.service")
    with connected() as alice, connected("/run/sigd/sigd.sock") as bob:
        assert alice.registers("alice")["type"] == bob.registers("bob")["type"] == "registered"
        alice.sock.sendall(b'{"type":"message","to":"bob","da')
        systemctl("restart", "sigd.service")
        alice.sock.sendall(b'ta":1}\n')
        assert bob.hears() == {"type": "message", "from": "alice", "data": 1}
        bob.says(type="message", to="alice", data=2)
        assert alice.hears() == {"type": "message", "from": "bob", "data": 2}
        with connected() as other:
            assert other.registers("bob")["type"] == "error", "the ID is still taken"


def _registrations(peer_id: str) -> int:
    said = journal("-u", "sigd.service", f"SIGD_PEER={peer_id}")
    return sum(each["MESSAGE"].startswith("registered") for each in said)


def shows_a_link_in_datagrams_over_a_restart() -> None:
    url = "udp://127.0.0.1:7337"
    configure(f'log.level = "debug"\n{TCP}[[listen]]\nurl = "{url}"\n')
    systemctl("start", "sigd.service")
    listens = ["/usr/local/bin/sigctl", "listen", "--json", "--id", "bob", "--count", "2", "--timeout", "20", url]
    with subprocess.Popen(listens, stdout=subprocess.PIPE, text=True) as bob:
        until(lambda: _registrations("bob") == 1, "bob is registered")
        for text in ("before", "after"):
            run("/usr/local/bin/sigctl", "send", url, "bob", text)
            if text == "before":
                systemctl("restart", "sigd.service")
        assert bob.stdout is not None
        heard = bob.stdout.read()
    assert bob.returncode == 0
    assert [text in heard for text in ("before", "after")] == [True, True]
    assert _registrations("bob") == 1, "it was the same link"


def shows_tls_links_told_to_come_back_at_once() -> None:
    certificate = make_certificate()
    configure('[[listen]]\nurl = "tls://127.0.0.1:7337"\n' + certificate)
    systemctl("start", "sigd.service")
    context = ssl.create_default_context(cafile="/etc/sigd/tls.pem")
    context.check_hostname = False
    with connected(context=context) as peer:
        assert peer.registers("alice")["type"] == "registered"
        systemctl("restart", "sigd.service")
        heard = peer.hears()
        assert (heard["type"], heard["reconnectAfterMs"]) == ("goingAway", 0)
        assert peer.hears() == {}
    with connected(context=context) as peer:
        assert peer.registers("alice")["type"] == "registered"


def shows_that_a_stop_hands_nothing_over() -> None:
    with playing(pairs=2) as crowd:
        systemctl("stop", "sigd.socket")
        with subprocess.Popen(["systemctl", "stop", "sigd.service"], text=True) as stop:
            crowd.play(0, stop)
        crowd.play(0.2)
        assert crowd.wrong.count("a connection has ended") == 4
        assert int(shown("NFileDescriptorStore")) == 0
