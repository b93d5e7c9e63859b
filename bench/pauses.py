"""`python -m bench.pauses FILE OPTION...`: sigd with these options, that says in FILE for how long it stood still.

What the garbage collector took at a time, and each list of peers: one line of JSON, in milliseconds of CPU (a busy
neighbour on the core is no fault of ours), anew with every list that is made.
"""

import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sigd import cli
from sigd.relay.link import Link
from sigd.relay.registry import Registry
from sigd.relay.router import Router
from sigd.wire.messages import Peers

if TYPE_CHECKING:
    from collections.abc import Callable


class Longest:
    """How long the longest of many took."""

    def __init__(self) -> None:
        self.ms = 0.0
        self._began = 0

    def begin(self) -> None:
        """One begins."""
        self._began = time.thread_time_ns()

    def end(self) -> None:
        """It has ended."""
        self.ms = max(self.ms, (time.thread_time_ns() - self._began) / 1e6)


def _watch(collections: Longest, lists: Longest, file: Path) -> None:
    def collected(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            collections.begin()
        else:
            collections.end()

    gc.callbacks.append(collected)
    peers = Router.peers

    def timed(self: Router, link: Link, message: Peers, now: float) -> None:
        lists.begin()
        peers(self, link, message, now)
        lists.end()
        file.write_text(json.dumps({"collector_ms": collections.ms, "peers_ms": lists.ms}))

    Router.peers = timed  # type: ignore[method-assign]  # measured from outside: the daemon has no hook for it
    claim: Callable[[Registry[Link], str, Link], None] = Registry[Link].claim

    def first(self: Registry[Link], peer: str, link: Link) -> None:
        collections.ms = 0.0  # before, nobody was there to wait
        Registry.claim = claim  # type: ignore[method-assign, assignment]  # its own method again
        claim(self, peer, link)

    Registry.claim = first  # type: ignore[method-assign, assignment]  # measured from outside; `first` undoes it


def main(path: str, *options: str) -> int:
    """Serve until SIGTERM; the exit status."""
    _watch(Longest(), Longest(), Path(path))
    return cli.main(list(options))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
