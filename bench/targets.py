"""The figures sigd is to hold, each checked against one run's results."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measure import (
    CROWD,
    CROWD_UDP,
    MILLION,
    ONE_PAIR,
    WINDOW_1,
    WINDOW_1_MAC,
    WINDOW_1_TLS,
    WINDOW_1_UDP,
    WINDOW_16,
    Pauses,
    Results,
    Sample,
    Scenario,
)
from bench.report import BASELINE, Figure, Table, connect_cpu, cpu, median, p50, ratio, rss


@dataclass(frozen=True)
class Target:
    """One figure: how it is computed for a server of this name, and the most it may be."""

    what: str
    limit: float
    value: Callable[[Results, str], float | None]
    unit: str = ""
    below: bool = False  # strictly

    def met(self, value: float) -> bool:
        """Whether this value holds the target."""
        return value < self.limit if self.below else value <= self.limit


def _against(other: str, scenario: Scenario, figure: Figure) -> Callable[[Results, str], float | None]:
    return lambda results, name: ratio(results.rounds(scenario, name), results.rounds(scenario, other), figure)


def _median(scenario: Scenario, figure: Figure) -> Callable[[Results, str], float | None]:
    return lambda results, name: median(results.rounds(scenario, name).values(), figure)


def _between(scenario: Scenario, other: Scenario) -> Callable[[Results, str], float | None]:
    return lambda results, name: ratio(results.rounds(scenario, name), results.rounds(other, name), cpu)


def _rates(scenario: Scenario) -> Callable[[Results, str], float | None]:
    def value(results: Results, name: str) -> float | None:
        costs = results.rates.get(scenario.name) if name == "sigd" else None
        return statistics.median(costs) if costs else None

    return value


def _start(results: Results, name: str) -> float | None:
    starts = results.starts.get(name)
    return statistics.median(starts) if starts else None


def _of_the_million(figure: Figure) -> Callable[[Results, str], float | None]:
    return lambda results, name: median(results.rounds(MILLION, name).values(), figure)


def _among_a_million(results: Results, name: str) -> float | None:
    among, alone = (median(results.rounds(each, name).values(), cpu) for each in (MILLION, WINDOW_1_UDP))
    return among / alone if among and alone else None


def _paused(figure: Callable[[Pauses], float]) -> Callable[[Results, str], float | None]:
    return lambda results, name: figure(results.pauses) if name == "sigd" and results.pauses else None


def _total_gb(sample: Sample) -> float:
    return sample.rss_kib * 1024 / 1e9


TARGETS = [
    Target("CPU per message, window 1, against nats-server", 1.1, _against(BASELINE, WINDOW_1, cpu)),
    Target("CPU per message, window 1, against peerjs", 0.5, _against("peerjs", WINDOW_1, cpu), below=True),
    Target("CPU per message, window 16, against nats-server", 2.5, _against(BASELINE, WINDOW_16, cpu)),
    Target("one pair, p50, against nats-server", 1.2, _against(BASELINE, ONE_PAIR, p50)),
    Target("idle registered connection at 8 000, RSS", 1.2, _median(CROWD, rss), " KiB"),
    Target("CPU per message among 8 000 connections, against among 100", 1.3, _between(CROWD, WINDOW_1)),
    Target("CPU per message over TLS, window 1, against plain", 2.2, _between(WINDOW_1_TLS, WINDOW_1)),
    Target("CPU per message over UDP, window 1, against TCP", 2.0, _between(WINDOW_1_UDP, WINDOW_1)),
    Target("CPU per message over UDP, authenticated, against TCP", 3.0, _between(WINDOW_1_MAC, WINDOW_1)),
    Target("idle registered peer over UDP at 8 000, RSS", 1.0, _median(CROWD_UDP, rss), " KiB"),
    Target("a million peers over UDP, RSS", 1.2, _of_the_million(_total_gb), " GB"),
    Target("CPU per message among a million over UDP, against among 100", 1.5, _among_a_million),
    Target("the collector's longest pause among a million", 10.0, _paused(lambda pauses: pauses.collector_ms), " ms"),
    Target("the longest list of peers among a million", 5.0, _paused(lambda pauses: pauses.peers_ms), " ms"),
    Target("CPU per message that rates cost, window 1", 0.5, _rates(WINDOW_1), " us"),
    Target("CPU per message that rates cost, window 16", 0.5, _rates(WINDOW_16), " us"),
    Target("connect and register, CPU", 80.0, _median(CROWD, connect_cpu), " us"),
    Target("process start to first answer", 0.5, _start, " s"),
]


def target_table(results: Results, names: Sequence[str]) -> Table:
    """Every target, for every server that speaks sigd's protocol."""
    rows: list[list[str]] = []
    for name in names:
        for target in TARGETS:
            value = target.value(results, name)
            sign = "<" if target.below else "<="
            verdict = "not measured" if value is None else "met" if target.met(value) else "NOT met"
            shown = "-" if value is None else f"{value:.2f}{target.unit}"
            rows.append([f"{name}: {target.what}", f"{sign} {target.limit:g}{target.unit}", shown, verdict])
    return Table(["", "target", "value", ""], rows)
