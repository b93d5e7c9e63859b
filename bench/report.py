"""Samples -> medians, ratios and tables. Text only: nothing is measured here."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.measure import (
    CROWD,
    MILLION,
    OFFER,
    ONE_PAIR,
    WINDOW_1,
    WINDOW_1_MAC,
    WINDOW_1_TLS,
    WINDOW_1_UDP,
    WINDOW_16,
    Results,
    Sample,
    Scenario,
)
from bench.servers import Server

BASELINE = "nats-server"

Figure = Callable[[Sample], float]


def cpu(sample: Sample) -> float:
    """Server CPU per relayed message."""
    return sample.server_cpu_us_per_message


def own_cpu(sample: Sample) -> float:
    """The load generator's CPU per message."""
    return sample.own_cpu_us_per_message


def rate(sample: Sample) -> float:
    """Messages per second."""
    return sample.messages_per_second


def p50(sample: Sample) -> float:
    """Median one-way latency."""
    return sample.p50_us


def p99(sample: Sample) -> float:
    """99th percentile of the one-way latency."""
    return sample.p99_us


def connect_cpu(sample: Sample) -> float:
    """Server CPU per connection that connects and registers."""
    return sample.connect_cpu_us


def rss(sample: Sample) -> float:
    """Resident memory per idle connection, in KiB."""
    return sample.rss_kib_per_connection


def median(samples: Iterable[Sample], figure: Figure) -> float | None:
    """The median of one figure, or None if nothing was measured."""
    values = [figure(sample) for sample in samples]
    return statistics.median(values) if values else None


def ratio(ours: dict[int, Sample], theirs: dict[int, Sample], figure: Figure) -> float | None:
    """The median of the ratios within each round, where both ran within seconds of each other."""
    values = [figure(ours[n]) / figure(theirs[n]) for n in ours.keys() & theirs.keys() if figure(theirs[n]) > 0]
    return statistics.median(values) if values else None


@dataclass(frozen=True)
class Table:
    """A table that prints as aligned text or as Markdown; the first column is text, the others are numbers."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Aligned columns."""
        widths = [max(len(row[i]) for row in [self.headings, *self.rows]) for i in range(len(self.headings))]
        return "\n".join(self._aligned(row, widths) for row in [self.headings, *self.rows])

    @staticmethod
    def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([first, *others])

    def markdown(self) -> str:
        """A GitHub table."""
        rule = ["---"] + ["---:"] * (len(self.headings) - 1)
        return "\n".join("| " + " | ".join(row) + " |" for row in [self.headings, rule, *self.rows])


def number(value: float | None) -> str:
    """Two or three significant digits, as many as such a measurement carries."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def times(value: float | None) -> str:
    """A ratio."""
    return "-" if value is None else f"x{value:.2f}"


def spread(samples: Iterable[Sample], figure: Figure) -> str:
    """Median and, in brackets, the smallest and the largest of all rounds."""
    return _spread([figure(sample) for sample in samples])


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def scenario_table(results: Results, scenario: Scenario, servers: Sequence[Server]) -> Table:
    """One scenario, every server."""
    headings = ["", "CPU us/message", "ratio", "messages/s", "p50 us", "ratio", "p99 us", "load generator's CPU us"]
    baseline = results.rounds(scenario, BASELINE)
    rows: list[list[str]] = []
    for server in filter(scenario.is_for, servers):
        rounds = results.rounds(scenario, server.name)
        samples = list(rounds.values())
        rows.append(
            [
                server.name,
                spread(samples, cpu),
                times(ratio(rounds, baseline, cpu)),
                spread(samples, rate),
                spread(samples, p50),
                times(ratio(rounds, baseline, p50)),
                spread(samples, p99),
                spread(samples, own_cpu),
            ]
        )
    return Table(headings, rows)


def connection_table(results: Results, servers: Sequence[Server]) -> Table:
    """What a connection costs, from the crowd; and how long the process took to its first answer."""
    headings = ["", "connect+register CPU us", "ratio", "idle RSS KiB", "ratio", "start ms"]
    baseline = results.rounds(CROWD, BASELINE)
    rows: list[list[str]] = []
    for server in servers:
        rounds = results.rounds(CROWD, server.name)
        samples = list(rounds.values())
        rows.append(
            [
                server.name,
                spread(samples, connect_cpu),
                times(ratio(rounds, baseline, connect_cpu)),
                spread(samples, rss),
                times(ratio(rounds, baseline, rss)),
                _spread([1000 * seconds for seconds in results.starts.get(server.name, [])]),
            ]
        )
    return Table(headings, rows)


def summary_table(results: Results, servers: Sequence[Server]) -> Table:
    """The README's: medians, with ratios to the baseline where they are compared."""
    headings = [
        "relay",
        "CPU µs per message, window 1",
        "window 1, TLS",
        "window 1, UDP / with mac",
        "window 16",
        "3 kB offer",
        "messages/s, window 1",
        "one pair p50 / p99 µs",
        "idle connection, KiB RSS",
        "load generator's CPU µs",
    ]
    rows: list[list[str]] = []
    for server in servers:
        name = server.name
        one = list(results.rounds(ONE_PAIR, name).values())
        busy = list(results.rounds(WINDOW_1, name).values())
        rows.append(
            [
                f"{name} {server.version}".strip(),
                *(_with_ratio(results, scenario, name) for scenario in (WINDOW_1, WINDOW_1_TLS)),
                " / ".join(
                    number(median(results.rounds(scenario, name).values(), cpu))
                    for scenario in (WINDOW_1_UDP, WINDOW_1_MAC)
                ),
                *(_with_ratio(results, scenario, name) for scenario in (WINDOW_16, OFFER)),
                number(median(busy, rate)),
                f"{number(median(one, p50))} / {number(median(one, p99))}",
                number(median(results.rounds(CROWD, name).values(), rss)),
                number(median(busy, own_cpu)),
            ]
        )
    return Table(headings, rows)


def _with_ratio(results: Results, scenario: Scenario, name: str) -> str:
    rounds = results.rounds(scenario, name)
    relative = ratio(rounds, results.rounds(scenario, BASELINE), cpu)
    value = number(median(rounds.values(), cpu))
    return value if relative is None or name == BASELINE else f"{value} ({times(relative)})"


def rates_line(results: Results) -> str:
    """What rates cost, with its spread; nothing if it was not measured."""
    costs = [f"{name} {_spread(costs)}" for name, costs in results.rates.items()]
    return f"What its rates cost sigd, in CPU us per message: {', '.join(costs)}" if costs else ""


def million_line(results: Results) -> str:
    """What a million peers take; nothing if it was not measured."""
    sample = results.rounds(MILLION, "sigd").get(0)
    if sample is None or results.pauses is None:
        return ""
    return (
        f"A million peers over UDP: {sample.rss_kib / 1024**2:.2f} GiB resident, {number(sample.connect_cpu_us)} us of"
        f" CPU to register each; the collector took {results.pauses.collector_ms:.1f} ms at most, a list of peers"
        f" {results.pauses.peers_ms:.1f} ms."
    )


def noise_line(results: Results) -> str:
    """How far the machine was ours: a run among busy neighbours shows here, and is to be repeated."""
    if not results.noise:
        return "Nothing was measured."
    others, stolen = [n.others for n in results.noise], [n.stolen for n in results.noise]
    return (
        "Elsewhere on the machine, in cores:"
        f" other processes {statistics.median(others):.2f} (at most {max(others):.2f}),"
        f" stolen by the hypervisor {statistics.median(stolen):.2f} (at most {max(stolen):.2f})."
    )
