"""Findings for the operator: a fixed list of rules, each a pure function of the daemon's state."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sigd.admin.replies import Finding, StatusReply
from sigd.rules.memory import shortage
from sigd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from sigd.config import Config

EXPIRY_SECONDS: Final = 21 * 86_400.0
"""Seconds before expiry: certificates of 90 days are renewed 30 days ahead, so renewal has failed for nine days."""

DESCRIPTORS_PART: Final = 0.8
LINKS_PART: Final = 0.9
BUFFERS_PART: Final = 0.5
MEMORY_PART: Final = 0.9
"""Share of a limit above which the rest may be gone tomorrow."""

RELAY_SECONDS: Final = 0.05
"""Relay time that a call does not notice: as long as a message takes across a country."""

ROUND_SECONDS: Final = 0.1
LAG_SECONDS: Final = 0.1
"""Reactor lag that matters: every link waits for it, while a round mostly takes one or two milliseconds."""

MEASURED: Final = 1_000
"""Minimum number of measurements: with fewer, a single slow one, such as the first, exceeds one in a hundred."""

RECORD_SECONDS: Final = 60.0
"""Minimum reach of the record: the time to notice a failed call and to ask why."""

CLOCKS_SECONDS: Final = 3_600.0
"""Seconds for which a clock step is a finding: the default lifetime of TURN credentials, so none is older."""

_LISTED: Final = 5
"""Maximum number of items that a text names; there may be hundreds."""


class Facts(NamedTuple):
    """The state of a daemon.

    Attributes:
        status: its status without findings.
        config: the configuration in force.
        limits_lately: keys of the limits hit within the last minute.
        errors_lately: codes of the errors sent within the last minute.
        on_disk: changes that a reload would make.
        disk_fault: the first fault that prevents a reload.
        needs_restart: settings that take effect only after a restart.
        misfits: mismatches between systemd's sockets and the configuration.
        exposed: URLs of the listeners that other machines can reach.
        no_metrics: the missing part of the extra `metrics`.
        clock_set: seconds of the last wall clock step, and its age; None: none since the start.
        slept: seconds of the last suspension, and its age; None: none since the start.
        memory_max: bytes at which the kernel kills the daemon.
        record_seconds: reach of the record once it is full.
    """

    status: StatusReply
    config: "Config"
    limits_lately: Sequence[str] = ()
    errors_lately: Sequence[str] = ()
    on_disk: Sequence[str] = ()
    disk_fault: str = ""
    needs_restart: Sequence[str] = ()
    misfits: Sequence[str] = ()
    exposed: Sequence[str] = ()
    no_metrics: str = ""
    clock_set: tuple[float, float] | None = None
    slept: tuple[float, float] | None = None
    memory_max: int | None = None
    record_seconds: float | None = None


def findings(facts: Facts) -> list[Finding]:
    """Return all findings, the most serious first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: finding.severity != "fail")


def _certificates(facts: Facts) -> Iterator[Finding]:
    for listener in facts.status.listeners:
        if listener.certificate_expires is None:
            continue
        left = listener.certificate_expires - facts.status.now
        advice = "renew it, then run sigctl reload"
        if left <= 0:
            text = f"the certificate of {listener.url} expired {_days(-left)} ago"
            yield Finding(code="certificate-expired", severity="fail", text=text, advice=advice)
        elif left <= EXPIRY_SECONDS:
            text = f"the certificate of {listener.url} expires in {_days(left)}"
            yield Finding(code="certificate-expires", severity="warn", text=text, advice=advice)


def _descriptors(facts: Facts) -> Iterator[Finding]:
    now, most = facts.status.descriptors, facts.status.max_descriptors
    if most and now > DESCRIPTORS_PART * most:
        text = f"{now} of {most} descriptors are in use"
        advice = "raise LimitNOFILE= of the service, or lower limits.max_connections"
        yield Finding(code="few-descriptors", severity="warn", text=text, advice=advice)


def _fewer_connections(facts: Facts) -> Iterator[Finding]:
    wanted, possible = facts.config.limits.max_connections, facts.status.max_connections
    if possible < wanted:
        text = f"limits.max_connections is {wanted}, but the file descriptors suffice only for {possible}"
        advice = "raise LimitNOFILE= of the service, or lower limits.max_connections; then restart"
        yield Finding(code="fewer-connections", severity="warn", text=text, advice=advice)


def _links(facts: Facts) -> Iterator[Finding]:
    now = sum(count for via, count in facts.status.links.items() if via in {"tcp", "tls", "unix"})
    most = facts.status.max_connections
    if now >= LINKS_PART * most:
        text = f"{now} of at most {most} connections are open"
        advice = "raise limits.max_connections and restart; sigctl peers --sort idle lists the silent ones"
        yield Finding(code="nearly-full", severity="warn", text=text, advice=advice)


def _buffers(facts: Facts) -> Iterator[Finding]:
    now, most = facts.status.buffer_bytes, facts.config.limits.buffer_bytes_total
    if now > BUFFERS_PART * most:
        text = f"buffers take {now} of at most {most} bytes: clients do not read, or do not finish their messages"
        advice = "find them with sigctl peers --sort outbox; raise limits.buffer_bytes_total if memory allows"
        yield Finding(code="buffers-fill", severity="warn", text=text, advice=advice)


def _limits_hit(facts: Facts) -> Iterator[Finding]:
    for key in facts.limits_lately:
        count = facts.status.limits_hit.get(key, 0)
        text = f"limits.{key} was hit within the last minute, {count} times since the start"
        advice = f"if your own clients hit it, raise limits.{key} (see sigd.toml(5)); the log may name them"
        yield Finding(code="limit-hit", severity="warn", text=text, advice=advice)


def _bugs(facts: Facts) -> Iterator[Finding]:
    count = facts.status.errors.get(ErrorCode.INTERNAL, 0)
    if count:
        text = f"internal errors (bugs in sigd) since the start: {count}"
        advice = "report the tracebacks in the log: journalctl -u sigd --grep bug"
        yield Finding(code="bugs", severity="fail", text=text, advice=advice)


def _failed_credentials(facts: Facts) -> Iterator[Finding]:
    if ErrorCode.AUTH_FAILED in facts.errors_lately:
        count = facts.status.errors.get(ErrorCode.AUTH_FAILED, 0)
        text = f"credentials were refused within the last minute, {count} since the start"
        advice = "journalctl -u sigd --grep auth-failed lists the addresses; if one is yours, compare its secret"
        yield Finding(code="auth-failures", severity="warn", text=text, advice=advice)


def _not_reloaded(facts: Facts) -> Iterator[Finding]:
    if facts.disk_fault:
        text = f"the configuration on disk has faults: {facts.disk_fault}"
        advice = "a restart would fail: correct the file; sigctl check lists all faults"
        yield Finding(code="configuration-broken", severity="fail", text=text, advice=advice)
    elif facts.on_disk:
        text = f"changes on disk are not applied yet: {_some(facts.on_disk)}"
        yield Finding(code="configuration-differs", severity="warn", text=text, advice="run sigctl reload")


def _not_restarted(facts: Facts) -> Iterator[Finding]:
    if facts.needs_restart:
        text = f"a restart is needed to apply: {_some(facts.needs_restart)}"
        advice = "systemctl restart sigd: connections stay, except TLS and DTLS"
        if any(change.startswith("listen") for change in facts.needs_restart) and _by_systemd(facts):
            advice = "sudo sigctl setup: it sets the addresses of sigd.socket, and restarts both units"
        yield Finding(code="needs-restart", severity="warn", text=text, advice=advice)


def _misfits(facts: Facts) -> Iterator[Finding]:
    for what in facts.misfits:
        yield Finding(code="socket-unit", severity="warn", text=what, advice="sudo sigctl setup, or change [[listen]]")


def _by_systemd(facts: Facts) -> bool:
    return any(listener.inherited for listener in facts.status.listeners)


def _insecure(facts: Facts) -> Iterator[Finding]:
    if facts.config.insecure and facts.exposed:
        text = f"any client that reaches {_some(facts.exposed)} may claim any free peer ID"
        advice = "configure [auth], and remove insecure = true"
        yield Finding(code="insecure", severity="warn", text=text, advice=advice)


def _no_metrics(facts: Facts) -> Iterator[Finding]:
    if facts.config.metrics.listen is not None and facts.no_metrics:
        text = f"metrics.listen is set, but metrics are unavailable: {facts.no_metrics.partition(':')[0]}"
        advice = facts.no_metrics.partition(": ")[2] or "install the extra metrics"
        yield Finding(code="no-metrics", severity="fail", text=text, advice=advice)


def _slow(facts: Facts) -> Iterator[Finding]:
    status = facts.status
    machine = "see whether the machine is busy with something else (top), or the daemon (sigctl top)"
    if status.relay.count >= MEASURED and status.relay.p99 > RELAY_SECONDS:
        text = f"one message in a hundred takes more than {status.relay.p99 * 1000:.0f} ms to relay"
        yield Finding(code="slow-relay", severity="warn", text=text, advice=machine)
    if status.round.count >= MEASURED and status.round.p99 > ROUND_SECONDS:
        text = f"one round in a hundred takes more than {status.round.p99 * 1000:.0f} ms, and all clients wait for it"
        yield Finding(code="slow-rounds", severity="warn", text=text, advice=machine)
    if status.lag.count >= MEASURED and status.lag.p99 > LAG_SECONDS:
        text = f"other tasks of the daemon delay the relay by more than {status.lag.p99 * 1000:.0f} ms"
        advice = "many TLS handshakes may cause this: lower limits.tls_handshakes, or give the daemon more CPU time"
        yield Finding(code="lag", severity="warn", text=text, advice=advice)


def _clocks(facts: Facts) -> Iterator[Finding]:
    if facts.clock_set is not None and facts.clock_set[1] < CLOCKS_SECONDS:
        seconds, ago = facts.clock_set
        way = "forward" if seconds > 0 else "back"
        text = f"the wall clock was set {way} by {_span(abs(seconds))}, {_span(ago)} ago: credentials follow it"
        advice = "set the clock before sigd starts: sudo systemctl enable systemd-time-wait-sync, or chrony-wait"
        yield Finding(code="clock-set", severity="warn", text=text, advice=advice)
    if facts.slept is not None and facts.slept[1] < CLOCKS_SECONDS:
        seconds, ago = facts.slept
        text = f"sigd did not run for {_span(seconds)}, {_span(ago)} ago: its clients waited, and may have left"
        advice = "see whether the machine was suspended, paused or swapping, or CPUQuota= is too low"
        yield Finding(code="slept", severity="warn", text=text, advice=advice)


def _memory(facts: Facts) -> Iterator[Finding]:
    now, most = facts.status.rss_bytes, facts.memory_max
    if most is not None and now > MEMORY_PART * most:
        text = f"{now} bytes of memory are in use, and at {most} the kernel kills the daemon"
        advice = "raise MemoryMax= of the service, or lower limits.buffer_bytes_total and limits.max_connections"
        yield Finding(code="little-memory", severity="warn", text=text, advice=advice)


def _memory_needed(facts: Facts) -> Iterator[Finding]:
    short = shortage(facts.config, facts.memory_max)
    if short is not None:
        yield Finding(code="memory-short", severity="warn", text=short[0], advice=short[1])


def _record(facts: Facts) -> Iterator[Finding]:
    reaches = facts.record_seconds
    if reaches is not None and reaches < RECORD_SECONDS:
        text = f"the record is full and reaches back {reaches:.0f} s: sigctl why may come too late"
        yield Finding(code="record-full", severity="warn", text=text, advice="raise record.bytes, and restart")


RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _certificates,
    _bugs,
    _not_reloaded,
    _not_restarted,
    _misfits,
    _insecure,
    _fewer_connections,
    _descriptors,
    _links,
    _clocks,
    _memory,
    _memory_needed,
    _buffers,
    _limits_hit,
    _failed_credentials,
    _slow,
    _no_metrics,
    _record,
)
"""Rules in order of their findings: causes before consequences."""


def _days(seconds: float) -> str:
    days = int(seconds // 86_400)
    return f"{days} day{'' if days == 1 else 's'}" if days else f"{seconds / 3600:.0f} h"


def _span(seconds: float) -> str:
    if seconds >= 2 * 3_600:
        return _days(seconds)
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _some(things: Sequence[str]) -> str:
    more = len(things) - _LISTED
    return ", ".join(things[:_LISTED]) + (f" and {more} more" if more > 0 else "")
