"""All metrics of a running daemon in Prometheus's format.

They are plain integers at their sources and become metrics only here, on request. No label ever contains input from
outside: each has a few values, known in advance.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import trio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sigd import __version__
from sigd.config import Limits
from sigd.metrics import process
from sigd.net import handshakes
from sigd.net.histogram import Histogram
from sigd.net.reactor import Reactor
from sigd.relay.endings import STOPPING, UNREGISTERED
from sigd.relay.router import Router
from sigd.relay.wall import Wall
from sigd.wire import datagram
from sigd.wire.errors import ErrorCode

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

OTHER: Final = "other"
"""Label for any unknown value, so that no label contains input from outside."""

REASONS: Final = (
    *(code.value for code in ErrorCode if code.closes),
    *("left", "connection lost", UNREGISTERED, "not registered", "http", "mqtt", "tls where none is spoken", STOPPING),
    *(handshakes.FAILED, handshakes.TIMED_OUT, datagram.UNACKNOWLEDGED, datagram.NOT_WHOLE),
)
"""Reasons for the end of links: an error's code, or one of these few words, which have hyphens between them in a
label.
"""


FRESH_SECONDS: Final = 1.0
"""Maximum age of metrics shared between requests: frequent requests cannot keep the daemon busy."""


class Exposition:
    """The metrics as text of the type CONTENT_TYPE, for requests over HTTP and at the admin socket."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._text = b""
        self._made_at = -FRESH_SECONDS
        self._making = trio.Lock()

    async def text(self) -> bytes:
        """Return the metrics, at most FRESH_SECONDS old. Collecting new ones takes two milliseconds."""
        async with self._making:
            if trio.current_time() >= self._made_at + FRESH_SECONDS:
                self._text, self._made_at = exposition(self._reactor), trio.current_time()
        return self._text


def exposition(reactor: Reactor) -> bytes:
    """Return the metrics as text."""
    return generate_latest(_Figures(reactor))


class _Figures(Collector):
    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current value."""
        reactor, router = self._reactor, self._reactor.router
        yield _labelled("sigd_build_info", "The version that runs.", "version", {__version__: 1})
        yield from _links(reactor)
        yield from _messages(router)
        yield _durations(
            "sigd_relay_latency_seconds",
            "How long messages were in here, from the beginning of the round that read them to its end.",
            reactor.relay_seconds,
        )
        yield _durations("sigd_reactor_round_seconds", "How long rounds of the reactor took.", reactor.round_seconds)
        yield _durations(
            "sigd_event_loop_lag_seconds",
            "How long other tasks, as TLS handshakes, held up a reactor that had work to do.",
            reactor.turn_seconds,
        )
        yield from _clocks(router.wall)
        yield from _process()


def _links(reactor: Reactor) -> Iterator[Metric]:
    router = reactor.router
    yield _labelled(
        "sigd_links",
        "Links at this moment, by what carries them.",
        "transport",
        reactor.links,
    )
    yield _gauge("sigd_peers", "Registered peers.", len(router.registry))
    yield _gauge(
        "sigd_unregistered_links",
        "Links over streams that have not registered yet.",
        len(router.admission.unregistered),
    )
    yield _gauge(
        "sigd_dtls_sessions",
        "Conversations in DTLS, those included that are shaking hands.",
        0 if reactor.sessions is None else len(reactor.sessions),
    )
    yield _gauge(
        "sigd_buffer_bytes",
        "Memory that all buffers take together (limits.buffer_bytes_total), without the record, which gives way.",
        router.buffers.of_links,
    )
    yield _labelled(
        "sigd_links_closed_total",
        "Links that have ended, by reason.",
        "reason",
        _known(router.closed, REASONS),
    )


def _messages(router: Router) -> Iterator[Metric]:
    received = {kind.__struct_config__.tag: count for kind, count in router.received.items()}
    yield _labelled(
        "sigd_messages_received_total",
        "Messages from clients that could be read, by type.",
        "type",
        {str(tag): count for tag, count in received.items()},
    )
    yield _counter("sigd_messages_relayed_total", "Messages passed on to another peer.", router.relayed)
    yield _counter("sigd_received_bytes_total", "What clients have sent, framing included.", router.bytes_received)
    yield _counter("sigd_sent_bytes_total", "What clients were sent, framing included.", router.bytes_sent)
    yield _labelled(
        "sigd_errors_total",
        "Errors that clients were answered with, by code.",
        "code",
        _known(router.errors, ErrorCode),
    )
    yield _labelled(
        "sigd_limits_hit_total",
        "How often a limit was reached, by its key in the configuration; those that never were are left out.",
        "limit",
        {key: count for key, count in _known(router.limits_hit, Limits.__struct_fields__).items() if count},
    )


def _clocks(wall: Wall) -> Iterator[Metric]:
    yield _counter("sigd_slept_seconds_total", "Seconds for which the daemon, or its machine, did not run.", wall.slept)
    yield _counter("sigd_clock_steps_total", "Times that the wall clock was set.", wall.steps)


def _process() -> Iterator[Metric]:
    try:
        found = process.figures()
    except OSError:
        return  # not visible to us; our own counters follow all the same
    yield _counter("process_cpu_seconds_total", "CPU time spent, user and system.", found.cpu_seconds)
    yield _gauge("process_resident_memory_bytes", "Resident memory.", found.resident_memory_bytes)
    yield _gauge("process_virtual_memory_bytes", "Virtual memory.", found.virtual_memory_bytes)
    yield _gauge("process_open_fds", "Open file descriptors.", found.open_fds)
    yield _gauge("process_max_fds", "Most file descriptors that may be open.", found.max_fds)
    yield _gauge("process_threads", "Threads.", found.threads)
    yield _gauge("process_start_time_seconds", "When the process started, Unix time.", found.start_time_seconds)


def _known(counts: Mapping[ErrorCode, int] | Mapping[str, int], keys: Iterable[str]) -> dict[str, int]:
    """Return every known key with its count, and all others summed under one."""
    found = {_label(key): 0 for key in keys}
    for key, count in counts.items():
        label = _label(key)
        if label not in found:
            label = OTHER
        found[label] = found.get(label, 0) + count
    return found


def _label(key: str) -> str:
    return str(key).replace(" ", "-")


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _durations(name: str, text: str, histogram: Histogram) -> Metric:
    buckets = [("+Inf" if bound == math.inf else f"{bound:g}", count) for bound, count in histogram.cumulative()]
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
