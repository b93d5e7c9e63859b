"""What an operator may want to change: each rule staged, and silent just before it has to speak."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.admin.replies import Finding, ListenerEntry, Spread, StatusReply
from sigd.config import Config, Limits, Metrics
from sigd.control.findings import RULES, Facts, findings

NOW = 1_800_000_000.0
DAY = 86_400.0

WELL = StatusReply(
    version="1", pid=1, state="running", now=NOW, uptime=9.0, configuration="5c1e", max_connections=10_000
)
CONFIG = Config()


def found(facts: Facts) -> list[str]:
    return [finding.code for finding in findings(facts)]


def having(**members: Any) -> Facts:
    """Facts of a daemon that is well but for these members of its status, its facts, or its configuration."""
    status = {key: members.pop(key) for key in list(members) if key in StatusReply.__struct_fields__}
    config = {key: members.pop(key) for key in list(members) if key in Config.__struct_fields__}
    limits = {key: members.pop(key) for key in list(members) if key in Limits.__struct_fields__}
    if limits:
        config["limits"] = msgspec.structs.replace(Limits(), **limits)
    replace = msgspec.structs.replace
    return Facts(replace(WELL, **status), replace(CONFIG, **config), **members)


def listener(left: float) -> list[ListenerEntry]:
    return [ListenerEntry(url="tcp://[::1]:1"), ListenerEntry(url="tls://[::]:2", certificate_expires=NOW + left)]


def spread(p99: float, count: int = 1_000) -> Spread:
    return Spread(count=count, p50=0.001, p99=p99)


STAGED: list[tuple[str, str, Facts, Facts]] = [
    ("certificate-expired", "fail", having(listeners=listener(0)), having(listeners=listener(22 * DAY))),
    ("certificate-expires", "warn", having(listeners=listener(21 * DAY)), having(listeners=listener(21.1 * DAY))),
    (
        *("few-descriptors", "warn"),
        having(descriptors=81, max_descriptors=100),
        having(descriptors=80, max_descriptors=100),
    ),
    ("fewer-connections", "warn", having(max_connections=9_999), having(max_connections=10_000)),
    ("nearly-full", "warn", having(links={"tcp": 8_999, "unix": 1}), having(links={"tcp": 8_999, "udp": 90_000})),
    (
        *("buffers-fill", "warn"),
        having(buffer_bytes=51, buffer_bytes_total=100),
        having(buffer_bytes=50, buffer_bytes_total=100),
    ),
    (
        *("limit-hit", "warn"),
        having(limits_lately=["max_frame"], limits_hit={"max_frame": 3}),
        having(limits_hit={"max_frame": 3}),
    ),
    ("bugs", "fail", having(errors={"internal": 1}), having(errors={"bad-message": 1})),
    (
        *("auth-failures", "warn"),
        having(errors_lately=["auth-failed"], errors={"auth-failed": 1}),
        having(errors_lately=["bad-message"], errors={"auth-failed": 1}),
    ),
    ("configuration-broken", "fail", having(disk_fault="F:1:1: unknown key"), having()),
    ("configuration-differs", "warn", having(on_disk=["limits.max_frame 1 -> 2"]), having()),
    ("needs-restart", "warn", having(needs_restart=["limits.max_connections 1 -> 2"]), having()),
    ("socket-unit", "warn", having(misfits=["sigd.socket has udp://127.0.0.1:1, which is in no [[listen]]"]), having()),
    ("insecure", "warn", having(insecure=True, exposed=["tcp://0.0.0.0:1"]), having(exposed=["tcp://0.0.0.0:1"])),
    (
        *("no-metrics", "fail"),
        having(metrics=Metrics(listen="tcp://127.0.0.1:1"), no_metrics="h11 is not installed: pip install it"),
        having(no_metrics="h11 is not installed: pip install it"),
    ),
    ("slow-relay", "warn", having(relay=spread(0.051)), having(relay=spread(0.05))),
    ("slow-rounds", "warn", having(round=spread(0.101)), having(round=spread(0.1))),
    ("lag", "warn", having(lag=spread(0.101)), having(lag=spread(0.1))),
    ("slow-relay", "warn", having(relay=spread(2.0)), having(relay=spread(2.0, 999))),
    ("clock-set", "warn", having(clock_set=(40 * DAY, 9)), having(clock_set=(40 * DAY, 3_600))),
    ("clock-set", "warn", having(clock_set=(-5, 200)), having()),
    ("slept", "warn", having(slept=(13.5, 3_599)), having(slept=(13.5, 3_600))),
    (
        *("little-memory", "warn"),
        having(rss_bytes=91 << 30, memory_max=100 << 30),
        having(rss_bytes=90 << 30, memory_max=100 << 30),
    ),
    ("memory-short", "warn", having(memory_max=1 << 28), having(memory_max=1 << 30)),
    ("record-full", "warn", having(record_seconds=59.0), having(record_seconds=60.0)),
]


@pytest.mark.parametrize(("code", "severity", "bad", "good"), STAGED, ids=[case[0] for case in STAGED])
def test_each_is_found_when_it_is_so_and_only_then(code: str, severity: str, bad: Facts, good: Facts) -> None:
    (finding,) = findings(bad)
    assert (finding.code, finding.severity) == (code, severity)
    assert found(good) in ([], ["certificate-expires"])


def test_sockets_of_systemd_are_opened_anew_by_setup() -> None:
    inherited = [ListenerEntry(url="tcp://127.0.0.1:1", inherited=True)]
    (finding,) = findings(having(needs_restart=["listen[1] added"], listeners=inherited))
    assert finding.advice.startswith("sudo sigctl setup")
    (finding,) = findings(having(needs_restart=["listen[1] added"]))
    assert finding.advice.startswith("systemctl restart sigd")


def test_nothing_is_found_where_all_is_well() -> None:
    assert findings(having()) == []


def test_every_rule_is_staged() -> None:
    rules = {rule for rule in RULES for _, _, bad, _ in STAGED if any(rule(bad))}
    assert rules == set(RULES)


def test_what_does_not_work_comes_first() -> None:
    facts = having(limits_lately=["max_frame"], errors={"internal": 2}, listeners=listener(-3 * DAY))
    assert found(facts) == ["certificate-expired", "bugs", "limit-hit"]


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (-3.5 * DAY, "expired 3 days ago"),
        (1.5 * DAY, "expires in 1 day"),
        (7200, "expires in 2 h"),
    ],
)
def test_how_long_is_said_in_a_unit_that_people_use(left: float, text: str) -> None:
    (finding,) = findings(having(listeners=listener(left)))
    assert finding.text == f"the certificate of tls://[::]:2 {text}"


def test_a_finding_is_short_however_much_there_is() -> None:
    (finding,) = findings(having(needs_restart=[f"key{number} 1 -> 2" for number in range(1_000)]))
    assert finding.text.endswith("key4 1 -> 2 and 995 more")


@given(st.sampled_from(STAGED))
def test_every_text_is_for_people_and_says_what_to_do(case: tuple[str, str, Facts, Facts]) -> None:
    for finding in findings(case[2]):
        assert isinstance(finding, Finding)
        assert finding.text.isprintable()
        assert finding.advice.isprintable()
        assert len(finding.text) > 10
        assert len(finding.advice) > 10
