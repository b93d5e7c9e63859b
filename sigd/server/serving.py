"""The life of a daemon: start, signals, reload, stop."""

import gc
import importlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from sigd import __version__, log
from sigd.config import Config, ConfigError, StartError
from sigd.net import farewell
from sigd.net.clock import AwakeClock
from sigd.net.entrance import RESERVED_DESCRIPTORS
from sigd.net.inheriting import ADVICE, Unnamed, narrowed, with_inherited
from sigd.net.reactor import Reactor
from sigd.relay.record import Record
from sigd.relay.router import Router
from sigd.rules.made import Rules
from sigd.server import restarting
from sigd.server.daemon import Server, warn_of_memory
from sigd.server.doors import asked_at, listening
from sigd.server.service import Service, status_of
from sigd.server.timekeeping import watch_clocks
from sigd.terminal import has_terminal

if TYPE_CHECKING:
    from sigd.config.endpoints import Endpoint

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)

EXIT_HANDED_OVER: Final = 75
"""EX_TEMPFAIL of sysexits.h. The unit restarts after it in any case: stored links would be lost otherwise."""

SWITCH_SECONDS: Final = 0.0002
"""Time for which a computing thread, as for `sigctl why`, keeps the interpreter from the reactor, which lets go at each
system call: with Python's 5 ms a message would take 15 ms.
"""

ADMIN_AFTER_SECONDS: Final = 2.0
"""Delay of the admin desk's loading after the start, unless a request comes earlier: its rate spans ten seconds."""


def run(config: Config, load: Callable[[], Config], config_path: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status, EXIT_HANDED_OVER after SIGUSR2.

    Args:
        config: the initial configuration.
        load: function that reads the configuration again, at SIGHUP.
        config_path: its path, for people.

    Raises:
        ConfigError: a fault in a file of the configuration, or in a socket from systemd.
        StartError: an address cannot be bound.
    """
    log.start(config.log.level, config.log.format)
    service = Service(os.environ)
    _handle_signals_until_exit(service)
    try:
        rules = Rules(with_inherited(config, service.keys))
        _say_misfits(rules.config, service.keys)
        _spare_the_collector()
        sys.setswitchinterval(SWITCH_SECONDS)
        trio.run(serve, rules, lambda: with_inherited(load(), service.keys), config_path, service, clock=AwakeClock())
    except (ConfigError, StartError) as fault:
        service.notifier.status(f"cannot start: {fault.faults[0] if isinstance(fault, ConfigError) else fault}")
        raise
    finally:
        service.close()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the interpreter removes its own handlers before it ends
    if service.exit_status:
        # At once: the next process waits for our exit, and freeing thousands of links takes a tenth of a second.
        os._exit(service.exit_status)
    return 0


def _handle_signals_until_exit(service: Service) -> None:
    """Handle signals while no task receives them.

    By default a signal has its default action before the daemon serves, and again once its end has begun: supervisors
    and people repeat signals, and the default action would end the process with another exit status. Blocking the
    signals would not help: trio's threads would receive them.
    """

    def act(number: int, _frame: object) -> None:
        if service.exit_status is None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in SIGNALS:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, act)


async def serve(
    rules: Rules,
    load: Callable[[], Config],
    config_path: str | None = None,
    service: Service | None = None,
    *,
    unix_time: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Serve until SIGTERM or SIGINT (a second one ends it at once), or until cancelled; reload at SIGHUP.

    Closing the terminal from which the daemon was started also stops it (SIGHUP).

    Args:
        rules: the initial rules.
        load: function that reads the configuration again; raises ConfigError.
        config_path: its path, for people.
        service: sockets and store of systemd; None: there is no systemd.
        unix_time: the wall clock, beside trio's.
        task_status: notified once connections are accepted.

    Returns:
        Whether all links were handed over to the next process (SIGUSR2).

    Raises:
        StartError: an address cannot be bound.
    """
    handed_over = False
    # Under nohup(1), which ignores SIGHUP, the daemon must outlive its terminal.
    at_terminal = has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    config, service = rules.config, service or Service({})
    record = Record(keep_bodies=config.record.bodies, size=config.record.bytes)
    router = Router(config.limits, rules.access, rules.vendor, unix_time, record=record)
    max_connections = _max_connections(config.limits.max_connections)
    reactor = Reactor(router, max_connections)
    warn_of_memory(config)
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
            parcel = None  # the snapshot takes as much memory as the links
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            for door in doors:
                reactor.listen(door)
                log.info("listening", url=door.url)
            if config.metrics.listen is not None:
                await _serve_metrics(nursery, server, config.metrics.listen)
            if asked:
                nursery.start_soon(_serve_admin, server, asked)
            if isinstance(trio.lowlevel.current_clock(), AwakeClock):  # other clocks have no wall clock beside them
                nursery.start_soon(watch_clocks, reactor)
            nursery.start_soon(service.feed_watchdog, reactor)
            nursery.start_soon(service.tell_status, reactor)
            log.info("ready", version=__version__)
            service.notifier.ready(status_of(reactor))
            task_status.started(server)
            async for number in signals:
                if number == signal.SIGHUP and not (at_terminal and not has_terminal()):
                    await server.reload()
                    continue
                if number == signal.SIGUSR2:
                    handed_over = await restarting.hand_over(server, service)
                    if handed_over:
                        service.exit_status = EXIT_HANDED_OVER
                        break
                    continue
                log.info("stopping", signal=signal.Signals(number).name, links=len(reactor))
                if reactor.stopping:
                    service.exit_status = 0
                    break
                service.is_stopping(reactor)
                nursery.start_soon(_stop, reactor, service, nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        log.info("stopped", relayed=router.relayed, **{f"hit.{key}": count for key, count in router.limits_hit.items()})
    return handed_over


def _say_misfits(config: Config, inherited: "Sequence[Endpoint]") -> None:
    """Log mismatches between systemd's sockets and the configuration."""
    for what in narrowed(config, inherited):
        log.warning(f"not everywhere: {what}: {ADVICE}")
    for listener in config.listen:
        if isinstance(listener, Unnamed):
            log.warning(f"unnamed: sigd.socket has {listener.url}, which is in no [[listen]]: {ADVICE}")


async def _serve_admin(server: Server, asked: list[socket.socket]) -> None:
    # Loaded in a thread, after the inherited links have been served: it takes as long as taking over two thousand
    # links.
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


async def _serve_metrics(nursery: trio.Nursery, server: Server, url: str) -> None:
    # Needs an extra, which `Rules` has found installed.
    from sigd.metrics import listener

    sockets = listener.open_sockets(url)
    for where in await nursery.start(listener.serve, sockets, server.reactor, server.exposition, lambda: True):
        log.info("figures", url=where)


async def _stop(reactor: Reactor, service: Service, scope: trio.CancelScope) -> None:
    await farewell.stop(reactor)
    service.exit_status = 0
    scope.cancel()


_NEVER: Final = 1_000_000_000
"""Number of collections before the next older generation is collected; fits a C int."""


def _spare_the_collector() -> None:
    """Keep the garbage collector from examining long-lived objects again and again.

    Links are freed by reference counting: they leave no cycles. Examining all links and modules would take a second
    with a million peers, and block them all. So objects that survive two collections of the youngest few thousand, of 4
    to 12 ms each, are not examined again; cycles left by a fault are found before that. Python 3.14.0 to 3.14.4 has no
    third threshold, and examines part of the old objects as often as the second says: there, objects are old after one
    collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 1, _NEVER)
    if gc.get_threshold()[2] != _NEVER:
        gc.set_threshold(5_000, _NEVER, _NEVER)


def _max_connections(wanted: int) -> int:
    """Return the number of connections, at most as requested, for which descriptors suffice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = hard - RESERVED_DESCRIPTORS
    if hard == resource.RLIM_INFINITY or wanted <= possible:
        return wanted
    log.warning("fewer connections", max_connections=wanted, descriptors=hard, possible=possible)
    return max(1, possible)
