"""Puts it together: listeners, reactor, signals, the end."""

import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Generator

import trio

from sigd import __version__, log
from sigd.config import Config, parse_listen
from sigd.net import listeners
from sigd.net.reactor import RESERVED_DESCRIPTORS, Reactor
from sigd.relay.router import Router


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        StartError: an address cannot be listened on.
    """
    log.start(config.log.level)
    _spare_the_collector()
    trio.run(serve, config)
    return 0


async def serve(config: Config, task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until SIGTERM or SIGINT (a second one ends it at once), or until cancelled.

    Args:
        config: what to listen on, and within which limits.
        task_status: told when connections are taken.

    Raises:
        StartError: an address cannot be listened on.
    """
    with _listening(config) as sockets, trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        router = Router(config.limits)
        reactor = Reactor(router, _max_connections(config.limits.max_connections))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            for sock in sockets:
                reactor.listen(sock)
                log.info("listening", url=listeners.url_of(sock))
            log.info("ready", version=__version__)
            task_status.started(Server(router, reactor, [listeners.url_of(sock) for sock in sockets]))
            async for number in signals:
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
        router: the rules, and who is registered.
        reactor: the stream links.
        urls: where it listens.
    """

    def __init__(self, router: Router, reactor: Reactor, urls: list[str]) -> None:
        self.router = router
        self.reactor = reactor
        self.urls = urls


@contextlib.contextmanager
def _listening(config: Config) -> Generator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    try:
        for url in config.listen:
            sockets += listeners.open_listeners(parse_listen(url), insecure=config.insecure)
        yield sockets
    finally:
        for sock in sockets:
            listeners.close_listener(sock)


def _spare_the_collector() -> None:
    """Have the garbage collector look at little, and seldom.

    Links are freed by reference counting: they leave no cycles. Walking all of them (and all modules) at every
    quarter more of them costs a tenth of what connecting and registering cost, and pauses that grow with their number.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)


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
