"""A running daemon and the operations on it."""

import importlib
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from sigd import log, metrics
from sigd.admin.replies import ReloadReply
from sigd.config import Config, ConfigError, Fault, StartError, digest
from sigd.net.inheriting import Unnamed, as_read, narrowed
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.reactor import Reactor
from sigd.relay.router import Router
from sigd.rules.made import Rules, listeners_of
from sigd.rules.memory import memory_max, shortage
from sigd.server.service import Service, status_of
from sigd.toml.changes import changes

if TYPE_CHECKING:
    from sigd.metrics.exposition import Exposition

MOST_NAMED: Final = 10
"""Maximum number of peers named whose links a reload would end; the total is reported in any case."""

CHANGED_SINCE: Final = "the configuration has changed since the question: run sigctl reload again"


class Server:
    """A running daemon, for operators, for tests and for embedding programs.

    Attributes:
        rules: the rules in force.
        router: the router, with all registered peers.
        reactor: the reactor, with all links.
        doors: the listeners.
        urls: their URLs.
        started: start time in seconds on trio's clock.
        config_path: path of the configuration.
        inherited: descriptors of the listeners opened by systemd.
        max_connections: maximum number of connections, as far as descriptors suffice.
        needs_restart: changed settings that take effect only after a restart.
    """

    def __init__(
        self,
        rules: Rules,
        router: Router,
        reactor: Reactor,
        doors: list[ListeningSocket],
        load: Callable[[], Config],
        service: Service,
        *,
        max_connections: int,
        config_path: str | None,
    ) -> None:
        self.rules = rules
        self._started_with = rules.config
        self._load = load
        self.router = router
        self.reactor = reactor
        self.doors = doors
        self.urls = [door.url for door in doors]
        self.started = trio.current_time()
        self.config_path = config_path
        self.max_connections = max_connections
        self.needs_restart: list[str] = []
        self.inherited = service.descriptors
        self._service = service
        self._reloading = trio.Lock()
        self._exposition: Exposition | None = None

    @property
    def digest(self) -> str:
        """The digest of the configuration in force, as written: `sigctl check` computes the same."""
        return digest(as_read(self.rules.config))

    @property
    def misfits(self) -> list[str]:
        """Return mismatches between systemd's sockets and the configuration."""
        config = self.rules.config
        found = narrowed(as_read(config), self._service.keys)
        unnamed = [each.url for each in config.listen if isinstance(each, Unnamed)]
        return found + [f"sigd.socket has {url}, which is in no [[listen]]" for url in unnamed]

    def differences(self) -> tuple[list[str], list[str]]:
        """Return the changes of a reload, files included, and those that wait for a restart.

        Raises:
            ConfigError: faults that would prevent the reload.
            OSError: the configuration cannot be read.
        """
        rules = Rules(self._load())
        return self._differences(rules), self._for_a_restart(rules)

    def _for_a_restart(self, rules: Rules) -> list[str]:
        return [str(each) for each in changes(self._started_with, rules.config) if each.needs_restart]

    def _differences(self, rules: Rules) -> list[str]:
        found = [str(each) for each in changes(self.rules.config, rules.config) if not each.needs_restart]
        return found + self.rules.changed_files(rules)

    def drain(self) -> None:
        """Stop gracefully, telling all clients to reconnect later: the effect of SIGTERM."""
        os.kill(os.getpid(), signal.SIGTERM)

    async def exposition(self) -> bytes:
        """Return the metrics for Prometheus, at most a second old.

        Raises:
            StartError: the extra `metrics` is not installed.
        """
        if why_not := metrics.missing():
            raise StartError("[metrics]", why_not)
        # The first import takes a tenth of a second, which would block everybody.
        await trio.to_thread.run_sync(importlib.import_module, "sigd.metrics.exposition")
        from sigd.metrics.exposition import Exposition

        self._exposition = self._exposition or Exposition(self.reactor)
        return await self._exposition.text()

    async def reload(self, *, end_links: bool = True, shown: str = "") -> ReloadReply:
        """Reload the configuration; if anything is wrong, nothing changes.

        Args:
            end_links: whether the reload may end links; if it would and may not, nothing changes either.
            shown: fingerprint of the rules that the operator has confirmed; empty: any.
        """
        notifier = self._service.notifier
        async with self._reloading:
            notifier.reloading()
            report = await self._reloaded(end_links=end_links, shown=shown)
        notifier.ready("reload failed: nothing has changed" if report.faults else status_of(self.reactor))
        return report

    async def _reloaded(self, *, end_links: bool, shown: str) -> ReloadReply:
        before = self.digest
        try:
            rules = Rules(self._load())
            self._keep_strangers_out(rules.config)
        except (ConfigError, OSError) as fault:
            what = [str(each) for each in fault.faults] if isinstance(fault, ConfigError) else [str(fault)]
            log.warning("reload failed: nothing has changed", faults=len(what), first=what[0])
            return ReloadReply(faults=what, before=before, after=before)
        except Exception as fault:  # a bug in the reading: running links are not affected
            log.error("reload failed: nothing has changed", fault)
            return ReloadReply(faults=["a bug in the server: see its log"], before=before, after=before)
        if shown not in {"", rules.fingerprint}:
            return ReloadReply(faults=[CHANGED_SINCE], before=before, after=before)
        would_end = [] if end_links else self.router.admission.would_end(rules.access)
        if would_end:
            return ReloadReply(
                before=before,
                after=before,
                reloaded=self._differences(rules),
                needs_restart=self._for_a_restart(rules),
                would_end=len(would_end),
                would_end_peers=would_end[:MOST_NAMED],
                shown=rules.fingerprint,
            )
        report = self._report(rules, before)
        report.ended = await self._have_hold(rules)
        warn_of_memory(rules.config)
        log.info("reloaded", links=len(self.reactor), ended=report.ended)
        return report

    def _report(self, rules: Rules, before: str) -> ReloadReply:
        """Describe the changes of a reload, and log them."""
        report = ReloadReply(before=before, after=digest(as_read(rules.config)))
        report.needs_restart = self._for_a_restart(rules)
        for change in report.needs_restart:
            log.warning(f"needs restart: {change}")
        self.needs_restart = report.needs_restart
        report.reloaded = self._differences(rules)
        for what in report.reloaded:
            log.info(f"reloaded: {what}")
        return report

    async def _have_hold(self, rules: Rules) -> int:
        """Put rules in force; return the number of links ended."""
        before, self.rules = self.rules, rules
        if before.config.log.format != rules.config.log.format:
            log.start(rules.config.log.level, rules.config.log.format)
        log.set_level(rules.config.log.level)
        self.router.limits = rules.config.limits
        listeners_now = dict(listeners_of(rules.config))
        for door in self.doors:
            if isinstance(door, StreamListener):
                door.context = rules.contexts.get(door.key, door.context)
            elif door.key in listeners_now:
                door.sealed_only = rules.config.needs_seal(listeners_now[door.key]) and not door.is_local
        if self.reactor.sessions is not None:
            self.reactor.sessions.change(rules.dtls_contexts)
        vendor = rules.vendor if before.vends_otherwise(rules) else self.router.admission.vendor
        return await self.reactor.change(rules.access, vendor)

    def _keep_strangers_out(self, config: Config) -> None:
        """Check that the open listeners would not expose peers under the new configuration.

        Raises:
            ConfigError: they would not have been opened under it.
        """
        wanted = dict(listeners_of(self._started_with)) | dict(listeners_of(config))
        faults: list[Fault] = []
        for door in self.doors:
            advice = config.why_loopback_only(wanted[door.key])
            if advice and not door.is_local:
                faults.append(Fault(door.url, f"beyond loopback and open until a restart: {advice}"))
        if faults:
            raise ConfigError(faults)


def warn_of_memory(config: Config) -> None:
    """Log a warning if the configuration exceeds the memory limit of this process."""
    short = shortage(config, memory_max())
    if short is not None:
        log.warning("little memory", why=short[0], advice=short[1])
