"""The life of a daemon: start, signals, reload, the end."""

import functools
import gc
import importlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from sigd import __version__, log
from sigd.config import Config, ConfigError, StartError
from sigd.net.clock import AwakeClock
from sigd.net.entrance import RESERVED_DESCRIPTORS
from sigd.net.inheriting import ADVICE, Unnamed, narrowed, with_inherited
from sigd.net.reactor import Reactor
from sigd.relay.record import Record
from sigd.relay.router import Router
from sigd.rules import Rules
from sigd.server import restarting
from sigd.server.daemon import Server
from sigd.server.doors import asked_at, listening
from sigd.server.service import Service, status_of
from sigd.server.timekeeping import watch_clocks
from sigd.terminal import has_terminal

if TYPE_CHECKING:
    from sigd.config.addresses import Key

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)

EXIT_HANDED_OVER: Final = 75
"""EX_TEMPFAIL of sysexits.h. The unit starts us again whenever it sees that: what nobody takes up would be lost."""

ADMIN_AFTER_SECONDS: Final = 2.0
"""After the start, unless somebody asks before: what can be asked includes the rate of the last ten seconds."""


def run(config: Config, load: Callable[[], Config], config_path: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status, which is EXIT_HANDED_OVER after SIGUSR2.

    Args:
        config: what holds at first.
        load: reads the configuration again, at SIGHUP.
        config_path: the file that it reads, for people.

    Raises:
        ConfigError: a file that the configuration names is at fault, or a socket that systemd hands over.
        StartError: an address cannot be listened on.
    """
    log.start(config.log.level, config.log.format)
    service = Service(os.environ)
    try:
        rules = Rules(with_inherited(config, service.keys))
        _say_misfits(rules.config, service.keys)
        _spare_the_collector()
        serve_here = functools.partial(serve, process_ends=True)
        handed_over = trio.run(
            serve_here, rules, lambda: with_inherited(load(), service.keys), config_path, service, clock=AwakeClock()
        )
    except (ConfigError, StartError) as fault:
        service.notifier.status(f"cannot start: {fault.faults[0] if isinstance(fault, ConfigError) else fault}")
        raise
    finally:
        service.close()
    if handed_over:
        # At once: the next process waits for our end, and to free thousands of links takes a tenth of a second.
        os._exit(EXIT_HANDED_OVER)
    return 0


async def serve(
    rules: Rules,
    load: Callable[[], Config],
    config_path: str | None = None,
    service: Service | None = None,
    *,
    process_ends: bool = False,
    unix_time: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Serve until SIGTERM or SIGINT (a second one ends it at once), or until cancelled; reload at SIGHUP.

    The SIGHUP of a terminal that is closed stops the daemon, too, where that was started from it.

    Args:
        rules: what holds at first.
        load: reads the configuration again; raises ConfigError.
        config_path: the file that it reads, for people.
        service: what systemd has for us; None: there is none.
        process_ends: the process ends with it, by its exit status: signals that come after the last one change nothing.
        unix_time: the wall clock, beside trio's.
        task_status: told when connections are taken.

    Returns:
        Whether all links were handed over to the next process (SIGUSR2).

    Raises:
        StartError: an address cannot be listened on.
    """
    handed_over = False
    # Under nohup(1), which ignores SIGHUP, the daemon is to outlive its terminal.
    at_terminal = has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    config, service = rules.config, service or Service({})
    record = Record(keep_bodies=config.record.bodies, size=config.record.bytes)
    router = Router(config.limits, rules.access, rules.vendor, unix_time, record=record)
    max_connections = _max_connections(config.limits.max_connections)
    reactor = Reactor(router, max_connections)
    parcel = restarting.left_by_another(service)
    with (
        listening(rules, reactor, service.listeners) as doors,
        asked_at(config.admin, service.admin) as asked,
        trio.open_signal_receiver(*SIGNALS) as signals,
    ):
        server = Server(
            rules, router, reactor, doors, load, service, max_connections=max_connections, config_path=config_path
        )
        if parcel is not None:
            restarting.take_up(server, reactor, parcel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            for door in doors:
                reactor.listen(door)
                log.info("listening", url=door.url)
            if config.metrics.listen is not None:
                await _serve_metrics(nursery, reactor, config.metrics.listen)
            if asked:
                nursery.start_soon(_serve_admin, server, asked)
            if isinstance(trio.lowlevel.current_clock(), AwakeClock):  # others have no wall clock beside them
                nursery.start_soon(watch_clocks, reactor)
            nursery.start_soon(service.feed_watchdog, reactor)
            nursery.start_soon(service.tell_status, reactor)
            log.info("ready", version=__version__)
            service.notifier.ready(status_of(reactor))
            task_status.started(server)
            async for number in signals:
                if number == signal.SIGHUP and not (at_terminal and not has_terminal()):
                    server.reload()
                    continue
                if number == signal.SIGUSR2:
                    handed_over = await restarting.hand_over(server, service)
                    if handed_over:
                        break
                    continue
                log.info("stopping", signal=signal.Signals(number).name, links=len(reactor))
                if reactor.stopping:
                    break
                service.is_stopping(reactor)
                nursery.start_soon(_stop, reactor, nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        if process_ends:  # and its exit status with it, whatever comes until then
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        log.info("stopped", relayed=router.relayed, **{f"hit.{key}": count for key, count in router.limits_hit.items()})
    return handed_over


def _say_misfits(config: Config, inherited: "Sequence[Key]") -> None:
    """Log in what the sockets that systemd has opened do not fit the configuration."""
    for what in narrowed(config, inherited):
        log.warning(f"not everywhere: {what}: {ADVICE}")
    for listener in config.listen:
        if isinstance(listener, Unnamed):
            log.warning(f"unnamed: sigd.socket has {listener.url}, which no [[listen]] names: {ADVICE}")


async def _serve_admin(server: Server, asked: list[socket.socket]) -> None:
    # Loaded beside the rounds, and after those who were handed over have been served: it takes as long as to take up
    # two thousand of them.
    with trio.move_on_after(ADMIN_AFTER_SECONDS):
        async with trio.open_nursery() as nursery:
            for sock in asked:
                nursery.start_soon(_until_asked, sock, nursery.cancel_scope)
    await trio.to_thread.run_sync(importlib.import_module, "sigd.control.desk")
    from sigd.control.desk import Desk

    await Desk(server).serve(asked)


async def _until_asked(sock: socket.socket, scope: trio.CancelScope) -> None:
    await trio.lowlevel.wait_readable(sock)
    scope.cancel()


async def _serve_metrics(nursery: trio.Nursery, reactor: Reactor, url: str) -> None:
    # Of an extra, which `Rules` has found installed.
    from sigd.metrics import listener

    for where in await nursery.start(listener.serve, listener.open_sockets(url), reactor, lambda: True):
        log.info("figures", url=where)


async def _stop(reactor: Reactor, scope: trio.CancelScope) -> None:
    await reactor.stop()
    scope.cancel()


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
