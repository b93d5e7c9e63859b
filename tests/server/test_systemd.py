"""What systemd hands over and what it is told: its two protocols, over real sockets and descriptors."""

import array
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.server import systemd
from sigd.server.systemd import MOST_DESCRIPTORS, MOST_STATUS, Notifier, inherited, watchdog_seconds
from tests.daemon import HANG_SECONDS

OURS = str(os.getpid())


class Listener:
    """systemd's end: a datagram socket that takes what is said, and the descriptors with it."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.setblocking(False)

    def hears(self) -> tuple[list[str], list[int]]:
        """The lines of the next message, and copies of its descriptors."""
        text, control, _, _ = self.sock.recvmsg(10_000, socket.CMSG_SPACE(254 * 4))
        descriptors = array.array("i")
        for level, kind, data in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            descriptors.frombytes(data)
        return text.decode().split("\n"), list(descriptors)

    def lines(self) -> list[str]:
        lines, descriptors = self.hears()
        assert not descriptors
        return lines


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.sock.close()


@pytest.fixture
def notifier(listener: Listener) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": listener.sock.getsockname()})
    yield made
    made.close()


# What is told


def test_readiness_and_the_end(listener, notifier):
    assert notifier.wanted
    assert notifier.ready("peers: 0")
    assert notifier.stopping()
    assert listener.lines() == ["READY=1", "STATUS=peers: 0"]
    assert listener.lines() == ["STOPPING=1"]


def test_a_reload_says_when_it_began(listener, notifier):
    before = time.monotonic_ns() // 1_000
    assert notifier.reloading()
    assert notifier.ready()
    first, second = listener.lines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1_000
    assert listener.lines() == ["READY=1"]


def test_life_and_more_time(listener, notifier):
    assert notifier.watchdog()
    assert notifier.extend_timeout(2.5)
    assert listener.lines() == ["WATCHDOG=1"]
    assert listener.lines() == ["EXTEND_TIMEOUT_USEC=2500000"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 peers", "5 peers"),
        ("one\nREADY=1\r\ntwo", "one READY=1 two"),
        ("\udcff", "?"),
        ("x" * 10_000, "x" * MOST_STATUS),
    ],
)
def test_a_status_is_one_line_whatever_is_in_it(listener, notifier, text, expected):
    assert notifier.status(text)
    assert listener.lines() == [f"STATUS={expected}"]


def test_an_abstract_address():
    listener = Listener(f"\0sigd-test-{OURS}")
    notifier = Notifier({"NOTIFY_SOCKET": f"@sigd-test-{OURS}"})
    try:
        assert notifier.watchdog()
        assert listener.lines() == ["WATCHDOG=1"]
    finally:
        notifier.close()
        listener.sock.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_nobody_listens(address):
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier.wanted
    assert not notifier.ready("peers: 0")
    assert not notifier.store("bag", [0])
    assert not notifier.barrier(10)


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody", "/" + "x" * 200])
def test_who_does_not_take_it_costs_nothing(address):
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier.ready()
    assert not notifier.barrier(10)
    notifier.close()
    notifier.close()
    assert not notifier.watchdog()


def test_who_does_not_read_is_not_waited_for(listener, notifier):
    said = 0
    while notifier.status("x" * 400):
        said += 1
        assert said < 100_000
    assert said > 0
    assert not notifier.barrier(10)
    listener.lines()
    assert notifier.watchdog()


def test_children_do_not_speak_for_us(listener):
    environ = {"NOTIFY_SOCKET": listener.sock.getsockname(), "PATH": "/bin"}
    Notifier(environ).close()
    assert environ == {"PATH": "/bin"}


# The store


def test_stored_descriptors_are_the_same_files(listener, notifier):
    reading, writing = os.pipe()
    assert notifier.store("sigd-bag", [reading, writing])
    lines, copies = listener.hears()
    assert lines == ["FDSTORE=1", "FDNAME=sigd-bag", "FDPOLL=0"]
    assert [os.fstat(copy).st_ino for copy in copies] == [os.fstat(reading).st_ino, os.fstat(writing).st_ino]
    for descriptor in (reading, writing, *copies):
        os.close(descriptor)


def test_more_than_fit_into_a_message_go_in_several(listener, notifier):
    with open(os.devnull) as file:
        assert notifier.store("many", [file.fileno()] * 600)
    batches = [listener.hears()[1] for _ in range(3)]
    assert [len(batch) for batch in batches] == [253, 253, 94]
    for descriptor in [each for batch in batches for each in batch]:
        os.close(descriptor)


def test_none_are_stored(listener, notifier):
    assert notifier.store("none", [])
    with pytest.raises(BlockingIOError):
        listener.hears()


def test_one_that_is_not_open_is_not_stored(notifier):
    assert not notifier.store("gone", [MOST_DESCRIPTORS + 10_000])


def test_removing(listener, notifier):
    assert notifier.remove("sigd-snapshot")
    assert listener.lines() == ["FDSTOREREMOVE=1", "FDNAME=sigd-snapshot"]


@pytest.mark.parametrize("name", ["", "a:b", "a\nREADY=1", "a b", "\u00e4", "x" * 256])
def test_a_name_that_systemd_would_not_take(listener, notifier, name):
    for attempt in (lambda: notifier.store(name, [0]), lambda: notifier.remove(name)):
        with pytest.raises(ValueError, match="is not a valid name"):
            attempt()
    with pytest.raises(BlockingIOError):
        listener.hears()


def test_a_barrier_waits_until_all_has_been_acted_on(listener, notifier):
    done = threading.Event()

    def acts() -> None:
        select.select([listener.sock], [], [], HANG_SECONDS)
        lines, [copy] = listener.hears()
        assert lines == ["BARRIER=1"]
        done.set()
        os.close(copy)

    acting = threading.Thread(target=acts)
    acting.start()
    assert notifier.barrier(10)
    assert done.is_set()
    acting.join()


def test_a_barrier_does_not_wait_for_ever(listener, notifier):
    before = time.monotonic()
    assert not notifier.barrier(0.05)
    assert time.monotonic() - before >= 0.05
    for copy in listener.hears()[1]:
        os.close(copy)


# The watchdog


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": OURS}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "1s"}, None),
        ({"WATCHDOG_USEC": "9" * 10_000}, None),
    ],
)
def test_how_often_the_watchdog_is_fed(environ, seconds):
    assert watchdog_seconds(environ) == seconds
    assert not environ


# What is handed over


PROGRAM = """
import json, os, sys
from sigd.server.systemd import inherited
os.environ.update(LISTEN_PID=str(os.getpid()), **json.loads(sys.argv[1]))
found = inherited(os.environ)
print(json.dumps([[*each, os.get_inheritable(each.descriptor)] for each in found]))
assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
"""


def handed(descriptors: list[int], **environ: str) -> list[list[object]]:
    """What another process makes of these descriptors, as its numbers 3 and so on, and of LISTEN_ variables."""
    # A shell puts them where systemd would; all are above 9, which it does not reach.
    high = [os.dup2(each, 100 + number) for number, each in enumerate(descriptors)]
    moves = " ".join(f"{3 + number}<&{each}" for number, each in enumerate(high))
    command = ["/bin/bash", "-c", f'exec "$@" {moves}', "-", sys.executable, "-c", PROGRAM, json.dumps(environ)]
    done = subprocess.run(command, pass_fds=high, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    for each in high:
        os.close(each)
    assert done.returncode == 0, done.stderr
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_descriptors_are_told_apart_by_name_and_kind():
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bag,
        socket.create_connection(listening.getsockname()) as connected,
        open(os.memfd_create("snapshot")) as snapshot,
    ):
        given = [each.fileno() for each in (listening, datagram, bag, connected, snapshot)]
        found = handed(given, LISTEN_FDS="5", LISTEN_FDNAMES="sigd:sigd:sigd-bag:connection:sigd-snapshot")
    assert found == [
        ["sigd", 3, "listening", False],
        ["sigd", 4, "datagram", False],
        ["sigd-bag", 5, "seqpacket", False],
        ["connection", 6, "stream", False],
        ["sigd-snapshot", 7, "file", False],
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_order_in_which_they_come_means_nothing(order: tuple[int, ...]):
    """It differs from one boot to the next, and stored ones come last or first."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bag,
    ):
        named = [("sigd", listening.fileno()), ("sigd-other", datagram.fileno()), ("sigd-bag", bag.fileno())]
        given = [named[number] for number in order]
        found = handed([fd for _, fd in given], LISTEN_FDS="3", LISTEN_FDNAMES=":".join(name for name, _ in given))
    assert {name: kind for name, _, kind, _ in found} == {
        "sigd": "listening",
        "sigd-other": "datagram",
        "sigd-bag": "seqpacket",
    }


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"LISTEN_FDS": "2"}, ["unknown", "unknown"]),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, ["a", "unknown"]),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": ":b"}, ["unknown", "b"]),
        ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b:c"}, ["a"]),
        ({"LISTEN_FDS": "5", "LISTEN_FDNAMES": "a:b:c:d:e"}, ["a", "b"]),
    ],
)
def test_names_and_descriptors_that_are_not_as_many(environ, names):
    with open(os.devnull) as file:
        assert [each[0] for each in handed([file.fileno()] * 2, **environ)] == names


@pytest.mark.parametrize("count", ["", "0", "-1", "x", str(MOST_DESCRIPTORS + 1), "9" * 10_000])
def test_no_number_of_descriptors(count):
    environ = {"LISTEN_PID": OURS, "LISTEN_FDS": count, "LISTEN_FDNAMES": "a"}
    assert inherited(environ) == []
    assert not environ


@pytest.mark.parametrize("pid", ["", "1", "x", "\u0663"])
def test_what_is_for_another_process_is_not_touched(pid):
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "PATH": "/bin"}
    assert inherited(environ) == []
    assert environ == {"PATH": "/bin"}


def test_it_is_of_the_standard_library_alone():
    program = "import sys; before = set(sys.modules); import sigd.server.systemd; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-Sc", program], capture_output=True, text=True, timeout=HANG_SECONDS, check=True
    )
    new = {name for name in loaded.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert new == {"sigd", "sigd.server", "sigd.server.systemd"}
    assert systemd.FIRST_DESCRIPTOR == 3
