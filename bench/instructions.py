"""`python -m bench.instructions [REVISION]`: user-space instructions per relayed message, counted by callgrind.

CPU time differs by several percent between two runs of one program; instructions differ by a thousandth. `lockstep.py`
is run twice with a different number of rounds, and the difference is what the additional messages cost: without start,
imports and registrations, and with the clients' share, which is the same for all. With a revision of git, its tree is
counted in turns with this one.
"""

import argparse
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.servers import ROOT

WINDOWS = (1, 16)
"""Messages in flight per pair, as in the other benchmarks."""

SHORT_ROUNDS = 20
"""Rounds of the shorter run: the interpreter has specialized its bytecode by then."""

MORE_ROUNDS = {1: 160, 16: 40}
"""Rounds by which the longer run is longer, by window: each takes a few seconds under callgrind."""

_COLLECTED = re.compile(r"Collected : (\d+)")


class CountError(Exception):
    """A run has failed; the text says how."""


def instructions(tree: Path, window: int) -> float:
    """Count the instructions per message in a source tree.

    Raises:
        CountError: the run fails.
    """
    short, long = SHORT_ROUNDS, SHORT_ROUNDS + MORE_ROUNDS[window]
    (counted, messages), (before, messages_before) = _count(tree, window, long), _count(tree, window, short)
    return (counted - before) / (messages - messages_before)


def _count(tree: Path, window: int, rounds: int) -> tuple[int, int]:
    """Run it once; return the instructions and the messages."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, str(tree / "bench" / "lockstep.py"), str(window), str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise CountError(f"{tree}: {' '.join(command)} ends with {done.returncode}:\n{done.stderr[-2000:]}")
    return int(found[1]), int(done.stdout)


def _extract(revision: str, folder: str) -> Path:
    """Put the package as of a revision into a folder, with the `lockstep.py` that fits it.

    Raises:
        CountError: there is no such revision, or it is from before `lockstep.py`.
    """
    command = ["git", "-C", str(ROOT), "archive", revision, "sigd", "bench/lockstep.py"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CountError(done.stderr.decode().strip())
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Path(folder)


def _compare(trees: dict[str, Path], repetitions: int) -> list[float]:
    """Print a line per window; return the ratios of the first tree to the last."""
    ratios: list[float] = []
    for window in WINDOWS:
        found: dict[str, list[float]] = {name: [] for name in trees}
        for _ in range(repetitions):
            for name, tree in trees.items():
                found[name].append(instructions(tree, window))
        medians = {name: statistics.median(counts) for name, counts in found.items()}
        first, last = next(iter(medians.values())), list(medians.values())[-1]
        ratios.append(first / last)
        told = ", ".join(f"{name} {count:,.0f}" for name, count in medians.items())
        print(f"window {window:2}: {told}" + (f": ratio {first / last:.4f}" if len(trees) > 1 else ""), flush=True)
    return ratios


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a ratio is above --most."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("revision", nargs="?", help="also count this revision of git, and print the ratio to it")
    parser.add_argument("--most", type=float, metavar="RATIO", help="end with 1 if a ratio is above this")
    parser.add_argument("--repetitions", type=int, default=1, help="medians of so many counts (default: 1)")
    options = parser.parse_args(argv)
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            trees = {"here": ROOT}
            if options.revision:
                trees[options.revision] = _extract(options.revision, folder)
            ratios = _compare(trees, options.repetitions)
        except CountError as error:
            print(error, file=sys.stderr)
            return 2
    return int(options.most is not None and max(ratios) > options.most)


if __name__ == "__main__":
    sys.exit(main())
