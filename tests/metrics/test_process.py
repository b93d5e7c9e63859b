"""What the kernel counts for this process, against what others find."""

import os
import resource
import threading
import time
from pathlib import Path

import pytest

from sigd.metrics import process
from tests.footprint import Footprint


def test_what_others_find_too() -> None:
    found, other = process.figures(), Footprint()
    assert found.cpu_seconds == pytest.approx(other.cpu_seconds, abs=0.5)
    assert found.resident_memory_bytes == pytest.approx(other.kib * 1024, rel=0.2)
    assert found.virtual_memory_bytes > found.resident_memory_bytes
    assert found.open_fds == other.descriptors - 1  # it has the folder open
    assert found.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.threads >= threading.active_count()


def test_one_more_of_each() -> None:
    before = process.figures()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with open(os.devnull):
        during = process.figures()
    done.set()
    thread.join()
    assert (during.open_fds, during.threads) == (before.open_fds + 1, before.threads + 1)
    assert process.figures().open_fds == before.open_fds


def test_a_kernel_that_does_not_count_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, stat = process.figures().open_fds, os.stat
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10) if path == "/proc/self/fd" else stat(path))
    assert process.figures().open_fds == expected


def test_when_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started = process.figures().start_time_seconds
    written = Path("/proc/self").stat().st_ctime
    assert started <= time.time()
    assert started == pytest.approx(written, abs=60)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # somebody sets the clock
    assert process.figures().start_time_seconds == started
