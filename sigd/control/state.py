"""The daemon's status, findings included."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from sigd import __version__, metrics
from sigd.admin.replies import ListenerEntry, Spread, StatusReply
from sigd.config import ConfigError
from sigd.control.findings import Facts, findings
from sigd.control.samples import Samples
from sigd.metrics import process
from sigd.net.listeners import StreamListener
from sigd.rules.certificates import expiry
from sigd.rules.memory import memory_max

if TYPE_CHECKING:
    import ssl

    from sigd.control.operated import Operated
    from sigd.net.histogram import Histogram
    from sigd.relay.link import Link
    from sigd.rules.made import Rules

LINKS_AT_ONCE: Final = 1_000
"""Number of links counted before other tasks run: half a millisecond of work."""

DISK_SECONDS: Final = 10.0
"""Minimum interval between reads of the configuration on disk: `sigctl top` asks every second."""

_Found = tuple[Sequence[str], Sequence[str], str]


class State:
    """The state of a daemon beyond its counters.

    Attributes:
        samples: recent samples.
    """

    def __init__(self, server: "Operated") -> None:
        self.samples = Samples()
        self._server = server
        self._disk = _Disk(server)
        self._digested: tuple[Rules, str] | None = None
        self._expiries: dict[ssl.SSLContext, float | None] = {}

    async def status(self) -> StatusReply:
        """Return the complete status, findings included."""
        server, router, reactor = self._server, self._server.router, self._server.reactor
        now, unix_now = trio.current_time(), router.admission.unix_time()
        rss, descriptors, most = _process()
        status = StatusReply(
            version=__version__,
            pid=os.getpid(),
            state="draining" if reactor.stopping else "running",
            now=unix_now,
            uptime=router.wall.elapsed(server.started, now),
            configuration=self._digest(),
            config_file=server.config_path,
            listeners=self._listeners(),
            links=await self._links(),
            peers=len(router.registry),
            unregistered=len(router.admission.unregistered),
            max_connections=server.max_connections,
            relayed=router.relayed,
            relayed_per_second=self.samples.relayed_per_second,
            messages={str(kind.__struct_config__.tag): count for kind, count in router.received.items() if count},
            bytes_received=router.bytes_received,
            bytes_sent=router.bytes_sent,
            errors={str(code): count for code, count in router.errors.items()},
            closed=dict(router.closed),
            limits_hit=dict(router.limits_hit),
            buffer_bytes=router.buffers.of_links,
            relay=_spread(reactor.relay_seconds),
            round=_spread(reactor.round_seconds),
            lag=_spread(reactor.turn_seconds),
            rss_bytes=rss,
            descriptors=descriptors,
            max_descriptors=most,
            record_bytes=router.record.charge,
        )
        status.findings = findings(await self._facts(status, now))
        return status

    def _digest(self) -> str:
        # Once for each set of rules: it blocks for 12 ms.
        if self._digested is None or self._digested[0] is not self._server.rules:
            self._digested = self._server.rules, self._server.digest
        return self._digested[1]

    def _listeners(self) -> list[ListenerEntry]:
        # A DTLS listener shows the certificate of its table, from which a TLS context was made as well.
        contexts = self._server.rules.contexts
        shown = [
            (door, door.context if isinstance(door, StreamListener) else contexts.get(door.key))
            for door in self._server.doors
        ]
        # Each context is read once, and dropped when a reload replaces it.
        before, self._expiries = self._expiries, {}
        for _, context in shown:
            if context is not None and context not in self._expiries:
                self._expiries[context] = before[context] if context in before else expiry(context)
        return [
            ListenerEntry(
                url=door.url,
                inherited=door.sock.fileno() in self._server.inherited,
                certificate_expires=None if context is None else self._expiries[context],
            )
            for door, context in shown
        ]

    async def _links(self) -> dict[str, int]:
        """Count links by transport, without those about to end."""
        router = self._server.router
        found: Counter[str] = Counter()
        links: list[Link] = [*router.registry.holders.values(), *router.admission.unregistered]
        for start in range(0, len(links), LINKS_AT_ONCE):
            some = links[start : start + LINKS_AT_ONCE]
            found.update(link.via for link in some)
            found["lines"] += sum(link.patient for link in some)
            await trio.lowlevel.checkpoint()
        return dict(found)

    async def _facts(self, status: StatusReply, now: float) -> Facts:
        server, router = self._server, self._server.router
        self.samples.look(router, now)
        whole_since = router.record.history("", "", router.wall.ahead(now)).whole_since
        on_disk, for_a_restart, fault = await self._disk.compared(now)
        return Facts(
            status,
            server.rules.config,
            limits_lately=self.samples.limits.lately(now),
            errors_lately=self.samples.errors.lately(now),
            on_disk=on_disk,
            disk_fault=fault,
            needs_restart=list(dict.fromkeys([*server.needs_restart, *for_a_restart])),
            misfits=server.misfits,
            exposed=[door.url for door in server.doors if not door.is_local],
            no_metrics="" if server.rules.config.metrics.listen is None else metrics.missing(),
            clock_set=_ago(router.wall.last_step, now),
            slept=_ago(router.wall.last_sleep, now),
            memory_max=memory_max(),
            record_seconds=status.now - whole_since if whole_since else None,
        )


class _Disk:
    """The configuration on disk, compared with the one in force."""

    def __init__(self, server: "Operated") -> None:
        self._server = server
        self._rules = server.rules
        self._due = 0.0
        self._found: _Found = (), (), ""

    async def compared(self, now: float) -> _Found:
        """Return the changes of a reload, those of a restart, and the first fault that prevents both."""
        if self._server.config_path is not None and (now >= self._due or self._rules is not self._server.rules):
            self._due, self._rules = now + DISK_SECONDS, self._server.rules
            self._found = await trio.to_thread.run_sync(self._compare)
        return self._found

    def _compare(self) -> _Found:
        try:
            return (*self._server.differences(), "")
        except ConfigError as fault:
            return (), (), str(fault.faults[0])
        except OSError as fault:
            return (), (), str(fault)


def _process() -> tuple[int, int, int]:
    """Return resident bytes, open descriptors and their limit; 0 if the system does not tell."""
    try:
        figures = process.figures()
    except OSError:
        return 0, 0, 0
    return figures.resident_memory_bytes, figures.open_fds, max(0, figures.max_fds)


def _ago(what: tuple[float, float] | None, now: float) -> tuple[float, float] | None:
    """Return the seconds noted, and their age."""
    return None if what is None else (what[1], now - what[0])


def _spread(histogram: "Histogram") -> Spread:
    return Spread(count=len(histogram), p50=histogram.quantile(0.5), p99=histogram.quantile(0.99))
