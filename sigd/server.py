"""Puts it together: listeners, reactor, signals, reload, the end."""

import contextlib
import gc
import resource
import signal
import socket
import time
from collections.abc import Callable, Generator

import trio

from sigd import __version__, log
from sigd.config import Config, ConfigError, Fault, StartError
from sigd.net import listeners
from sigd.net.entrance import RESERVED_DESCRIPTORS
from sigd.net.listeners import Door
from sigd.net.ports import Port
from sigd.net.reactor import Reactor
from sigd.relay.router import Router
from sigd.rules import ListenerKey, Rules, listeners_of
from sigd.toml_changes import changes

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(rules: Rules, load: Callable[[], Config]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Args:
        rules: what holds at first.
        load: reads the configuration again, at SIGHUP.

    Raises:
        StartError: an address cannot be listened on.
    """
    log.start(rules.config.log.level)
    _spare_the_collector()
    trio.run(serve, rules, load)
    return 0


async def serve(
    rules: Rules, load: Callable[[], Config], task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until SIGTERM or SIGINT (a second one ends it at once), or until cancelled; reload at SIGHUP.

    Args:
        rules: what holds at first.
        load: reads the configuration again; raises ConfigError.
        task_status: told when connections are taken.

    Raises:
        StartError: an address cannot be listened on.
    """
    limits = rules.config.limits
    router = Router(limits, rules.access, rules.vendor, time.time)
    reactor = Reactor(router, _max_connections(limits.max_connections))
    with _listening(rules, reactor) as doors, trio.open_signal_receiver(*SIGNALS) as signals:
        server = Server(rules, router, reactor, doors)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            for door in doors:
                reactor.listen(door)
                log.info("listening", url=door.url)
            log.info("ready", version=__version__)
            task_status.started(server)
            async for number in signals:
                if number == signal.SIGHUP:
                    server.reload(load)
                    continue
                log.info("stopping", signal=signal.Signals(number).name, links=len(reactor))
                if reactor.stopping:
                    break
                nursery.start_soon(_stop, reactor, nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        log.info("stopped", relayed=router.relayed, **{f"hit.{key}": count for key, count in router.limits_hit.items()})


async def _stop(reactor: Reactor, scope: trio.CancelScope) -> None:
    await reactor.stop()
    scope.cancel()


class Server:
    """A running daemon, for tests and for who embeds it.

    Attributes:
        rules: what holds.
        router: who is registered.
        reactor: their links.
        doors: where they come from.
        urls: where it listens.
    """

    def __init__(self, rules: Rules, router: Router, reactor: Reactor, doors: list[Door | Port]) -> None:
        self.rules = rules
        self._started_with = rules.config
        self.router = router
        self.reactor = reactor
        self.doors = doors
        self.urls = [door.url for door in doors]

    def reload(self, load: Callable[[], Config]) -> None:
        """Read the configuration again and have it hold; with any fault in it everything stays as it is."""
        try:
            rules = Rules(load())
            self._keep_strangers_out(rules.config)
        except (ConfigError, OSError) as fault:
            what = [str(each) for each in fault.faults] if isinstance(fault, ConfigError) else [str(fault)]
            log.warning("reload failed: nothing has changed", faults=len(what), first=what[0])
            return
        except Exception as fault:  # a bug in reading: those who are here are none the worse for it
            log.error("reload failed: nothing has changed", fault)
            return
        before, self.rules = self.rules, rules
        for change in changes(self._started_with, rules.config):
            if change.needs_restart:
                log.warning(f"needs restart: {change}")
        for change in changes(before.config, rules.config):
            if not change.needs_restart:
                log.info(f"reloaded: {change}")
        for name in before.changed_files(rules):
            log.info(f"reloaded: {name}")
        log.set_level(rules.config.log.level)
        self.router.limits = rules.config.limits
        listeners_now = dict(listeners_of(rules.config))
        for door in self.doors:
            if isinstance(door, Door):
                door.context = rules.contexts.get(door.key, door.context)
            elif door.key in listeners_now:
                door.sealed_only = rules.config.needs_seal(listeners_now[door.key]) and not door.is_local
        if self.reactor.sessions is not None:
            self.reactor.sessions.change(rules.dtls_contexts)
        vendor = rules.vendor if before.vends_otherwise(rules) else self.router.admission.vendor
        ended = self.reactor.change(rules.access, vendor)
        log.info("reloaded", links=len(self.reactor), ended=ended)

    def _keep_strangers_out(self, config: Config) -> None:
        """Judge the listeners as they are, which only a restart changes, by whom they would let in then.

        Raises:
            ConfigError: they would not have been opened like that.
        """
        wanted = dict(listeners_of(self._started_with)) | dict(listeners_of(config))
        faults: list[Fault] = []
        for door in self.doors:
            advice = config.why_loopback_only(wanted[door.key])
            if advice and not door.is_local:
                faults.append(Fault(door.url, f"beyond loopback, and open until a restart: {advice}"))
        if faults:
            raise ConfigError(faults)


@contextlib.contextmanager
def _listening(rules: Rules, reactor: Reactor) -> Generator[list[Door | Port]]:
    doors: list[Door | Port] = []
    config = rules.config
    try:
        for key, listener in listeners_of(config):
            for sock in listeners.open_listeners(listener.address, config.why_loopback_only(listener)):
                if listener.address.scheme == "dtls":
                    doors.append(_dtls_port(sock, key, rules, reactor))
                elif sock.type == socket.SOCK_DGRAM:
                    doors.append(Port(sock, key, reactor.datagrams.links, sealed_only=config.needs_seal(listener)))
                else:
                    doors.append(Door(sock, key, rules.contexts[key]))
        yield doors
    finally:
        for door in doors:
            listeners.close_listener(door.sock)


def _dtls_port(sock: socket.socket, key: ListenerKey, rules: Rules, reactor: Reactor) -> Port:
    # What they know is in an extra, which `Rules` has found installed.
    from sigd.net.dtls import DTLSPort
    from sigd.net.dtls_session import Sessions

    try:
        port = DTLSPort(sock, key, rules.dtls_contexts[key])
    except StartError:
        sock.close()
        raise
    if reactor.sessions is None:
        reactor.sessions = Sessions(reactor)
    reactor.sessions.ports.append(port)
    return port


def _spare_the_collector() -> None:
    """Have the garbage collector look at little, and at nothing twice.

    Links are freed by reference counting: they leave no cycles. A walk over all of them, and all modules, would take a
    second with a million peers, and everybody would wait for it. So what has outlived two looks at the youngest few
    thousand objects, 1 or 2 ms each, is not looked at again; what a fault leaves behind in cycles is found before that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 1, 1_000_000_000)


def _max_connections(wanted: int) -> int:
    """As many connections as asked for, if there are descriptors for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = hard - RESERVED_DESCRIPTORS
    if hard == resource.RLIM_INFINITY or wanted <= possible:
        return wanted
    log.warning("fewer connections", max_connections=wanted, descriptors=hard, possible=possible)
    return max(1, possible)
