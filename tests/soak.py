"""A soak: everything that the hostile can think of, storm after storm, beside peers who behave.

Those must lose nothing and wait for little. After each storm all of the hostile let go, and then nothing of them may be
left in the daemon: no descriptor, no ID, no memory that adds up. `make soak` plays it; the seed that it prints plays
the same acts again (who comes before whom is up to the machine).
"""

import argparse
import contextlib
import random
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from tests import certificates
from tests.calls.public import token
from tests.daemon import Daemon, running_daemon
from tests.footprint import Footprint, eventually
from tests.hostile import CALM, GATEWAY, Field, play
from tests.pairs import Pair, Pairs
from tests.plain import Plain

STORM_SECONDS = 6.0
"""How long a storm lasts, unless less time is left: each act has its turn in it, and a minute has room for seven."""

CALM_SECONDS = 30.0
"""Until when all is gone that a storm leaves: of those who were not let in yet many are not there any more."""

P99_MS = 500.0
"""What 99 of 100 round trips of the pairs must stay below: five times what they take where two cores are shared by the
daemon, the hostile and the pairs, and nobody else."""

SLOPE_KIB = 400.0
"""By how much memory may grow from storm to storm, each of several thousand connections: by nothing of any of them."""

SETTLES = 4
"""Storms until memory has found its level: there may be more of everything at once than there ever was before."""

MOST_LINES = 10
"""Of the log in one report, of one storm."""

_HIT = re.compile(r" hit\.(\S+)")


class Soak:
    """One run.

    Attributes:
        faults: what must not be, and is.
    """

    def __init__(self, daemon: Daemon, field: Field, pairs: Pairs, seed: int, p99_ms: float) -> None:
        self.faults: list[str] = []
        self._p99_ms = p99_ms
        self._daemon = daemon
        self._field = field
        self._pairs = pairs
        self._seed = seed
        self._holds = Footprint(daemon.process.pid)
        self._descriptors = [self._holds.descriptors]
        self._kib = [self._holds.kib]

    def run(self, seconds: float) -> None:
        """Let storms pass for so long, or until there is a fault."""
        end = time.monotonic() + seconds
        storm = 0
        while not self.faults and (left := end - time.monotonic()) > 0:
            self._storm(storm, min(left, STORM_SECONDS))
            self._calm(storm)
            storm += 1
        self._end()

    def _storm(self, storm: int, seconds: float) -> None:
        async def for_a_while() -> None:
            with trio.move_on_after(seconds):
                await play(self._field, f"{self._seed} {storm}")

        self._field.configure()
        self._field.reload()
        try:
            trio.run(for_a_while)
        except* AssertionError as faults:
            self.faults += [f"storm {storm}: {fault}" for fault in faults.exceptions]
        self._field.let_go()
        self._field.configure(CALM)
        self._field.reload()

    def _calm(self, storm: int) -> None:
        """See to it that nothing is left of a storm."""
        if self._daemon.process.poll() is not None:
            self.faults.append(f"storm {storm}: the daemon has ended: {self._daemon.log[-MOST_LINES:]}")
            return
        before = self._descriptors[0]
        if not eventually(lambda: self._holds.descriptors <= before, CALM_SECONDS):
            self.faults.append(f"storm {storm}: {self._holds.descriptors} descriptors are open, {before} were before")
        self._descriptors.append(self._holds.descriptors)
        self._kib.append(self._holds.kib)
        expected = sorted([*self._field.victims, "warden"])
        if not eventually(lambda: self._registered() == expected, CALM_SECONDS):
            self.faults.append(f"storm {storm}: registered are {self._registered()}")
        if not self._pairs.talking:
            self.faults.append(f"storm {storm}: a pair has given up")
        lines = self._daemon.log[:]
        del self._daemon.log[: len(lines)]  # a soak may last for days
        self.faults += [line for line in lines if " ERROR " in line or _peer(line) in self._field.victims][:MOST_LINES]

    def _registered(self) -> list[str]:
        """Whoever is, as a warden is told; or what that is told instead, while the reload is still to come."""
        with Plain(("127.0.0.1", self._field.port)) as warden:
            warden.says({"type": "register", "id": "warden", "token": GATEWAY}, {"type": "peers"})
            warden.hears()
            listed = warden.hears()
            return [peer["id"] for peer in listed["peers"]] if listed else []

    def _end(self) -> None:
        report = self._pairs.part()
        self.faults += report.faults
        if report.p99 > self._p99_ms:
            self.faults.append(f"p99 is {report.p99:.1f} ms, and may be {self._p99_ms:g} ms")
        slope = self._slope()
        if slope > SLOPE_KIB:
            self.faults.append(f"memory grows by {slope:.0f} KiB from storm to storm")
        status = self._daemon.stop()
        if status or not any(" stopping " in line and line.endswith(" links=0\n") for line in self._daemon.log):
            self.faults.append(f"the daemon ended with status {status}: {self._daemon.log[-2:]}")
        print(f"acts: {_counts(self._field.acts)}")
        print(f"told: {_counts(self._field.heard)}")
        print(f"hits: {', '.join(_HIT.findall(''.join(self._daemon.log[-1:])))}")
        print(f"pairs: {report}")
        print(f"descriptors: {_series(self._descriptors)}")
        print(f"KiB: {_series(self._kib)}; {slope:+.0f} from each storm to the next")

    def _slope(self) -> float:
        """How much memory each storm has added, once it has found its level."""
        settled = self._kib[1 + SETTLES :]
        return statistics.linear_regression(range(len(settled)), settled).slope if len(settled) > 1 else 0.0


def _peer(line: str) -> str:
    """Whose end a line of the log tells of."""
    return line.partition(" closed peer=")[2].partition(" ")[0]


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


def _series(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


@contextlib.contextmanager
def soaking(seed: int, p99_ms: float) -> Iterator[Soak]:
    """A daemon in the middle of its peers: of those who behave, and those who do not."""
    with tempfile.TemporaryDirectory() as folder:
        field = Field(Path(folder))
        with running_daemon("--config", str(field.configure())) as daemon:
            tcp, tls, local = daemon.urls
            field.process = daemon.process
            field.port, field.tls_port = (int(url.rpartition(":")[2]) for url in (tcp, tls))
            ca = str(certificates.folder() / "servers-ca.pem")
            doors = ((tcp, "prefixed"), (tcp, "lines"), (tcp, "tls"), (tls, "tls"), (local, "prefixed"))
            pairs = [
                Pair(names := (f"{name}-a", f"{name}-b"), url, framing, ca, {each: _shows(each) for each in names})
                for name, (url, framing) in enumerate(doors)
            ]
            field.victims = [name for pair in pairs for name in pair.names]
            with Pairs(*pairs, pause=0.05) as talking:
                yield Soak(daemon, field, talking, seed, p99_ms)


def _shows(name: str) -> dict[str, str]:
    return token(f"{time.time() + 30 * 86_400:.0f}:{name}")


def main() -> int:
    """Play a soak; the exit status says whether all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of storms (60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of all acts (any)")
    parser.add_argument("--p99", type=float, default=P99_MS, help=f"milliseconds that pairs may wait ({P99_MS:g})")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    with soaking(options.seed, options.p99) as soak:
        soak.run(options.seconds)
    for fault in soak.faults:
        print(f"FAULT: {fault.strip()}")
    print("FAILED" if soak.faults else "all came back")
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
