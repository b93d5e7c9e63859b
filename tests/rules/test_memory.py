"""Memory: what the limits allow, added up, and held against what the process may have."""

import re
from pathlib import Path

import pytest

from sigd.config import Config, Limits, Listener
from sigd.rules.memory import MIB, RESTART_PART, memory_max, needs, peak, shortage

UNIT = Path(__file__).parent.parent.parent / "systemd" / "sigd.service"

PLAIN = Config(listen=(Listener("tcp://127.0.0.1:1"), Listener("udp://127.0.0.1:1")))
ALL = Config(
    listen=(
        *PLAIN.listen,
        Listener("tls://127.0.0.1:2", certificate="c", key="k"),
        Listener("dtls://127.0.0.1:2", certificate="c", key="k"),
        Listener("unix:/s"),
    )
)


def unit_bytes() -> int:
    """Return the MemoryMax= of the shipped unit."""
    found = re.search(r"^MemoryMax=(\d+)G$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 30


@pytest.mark.parametrize("config", [Config(), PLAIN, ALL], ids=["default", "plain", "all"])
def test_the_shipped_limits_fit_into_the_shipped_unit_with_a_restart(config: Config) -> None:
    assert shortage(config, unit_bytes()) is None
    assert peak(config) == round(sum(needs(config).values()) * RESTART_PART) < unit_bytes()


def test_only_what_is_listened_on_counts() -> None:
    assert set(needs(Config())) == {"process", "limits.buffer_bytes_total", "limits.max_connections"}
    assert set(needs(ALL)) == {*needs(Config()), "limits.udp_links", "limits.dtls_sessions"}
    assert needs(ALL)["limits.max_connections"] > 5 * needs(PLAIN)["limits.max_connections"]


def test_what_does_not_fit_is_named_with_a_remedy() -> None:
    config = Config(limits=Limits(max_connections=1_000_000))
    short = shortage(config, unit_bytes())
    assert short is not None
    text, advice = short
    assert "but the kernel allows 1024 MiB (limits.max_connections 1954 MiB, " in text
    found = re.fullmatch(
        r"MemoryMax=(\d+)M in the unit \(sudo systemctl edit sigd\), or lower limits\.max_connections", advice
    )
    assert found is not None
    assert shortage(config, int(found[1]) * MIB) is None
    assert shortage(config, None) is None


@pytest.mark.parametrize(("text", "expected"), [("1073741824\n", 1 << 30), ("9223372036854771712\n", None)])
def test_version_1_of_control_groups(tmp_path: Path, text: str, expected: int | None) -> None:
    group = tmp_path / "memory" / "system.slice" / "sigd.service"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(text)
    (group.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    own = tmp_path / "cgroup"
    own.write_text("9:name=systemd:/x\n5:cpu,memory:/system.slice/sigd.service\n0::/\n")
    assert memory_max(own, tmp_path) == expected


# -- control groups


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A tree of control groups, in the third of which we are."""
    folder = tmp_path / "groups"
    (folder / "system.slice" / "sigd.service").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("1:cpu:/elsewhere\n0::/system.slice/sigd.service\n")
    return folder


@pytest.mark.parametrize(
    ("own", "around", "expected"),
    [
        ("max\n", "max\n", None),
        ("1000\n", "max\n", 1000),
        ("max\n", "2000\n", 2000),
        ("1000\n", "2000\n", 1000),
        ("3000\n", "2000\n", 2000),
        (None, "2000\n", 2000),
        ("?", None, None),
    ],
)
def test_the_least_bound_around_counts(
    groups: Path, tmp_path: Path, own: str | None, around: str | None, expected: int | None
) -> None:
    for folder, text in ((groups / "system.slice" / "sigd.service", own), (groups / "system.slice", around)):
        if text is not None:
            (folder / "memory.max").write_text(text)
    assert memory_max(tmp_path / "cgroup", groups) == expected


@pytest.mark.parametrize("text", [None, "", "4:memory:/x\n", "0::/\n"])
def test_without_a_group_there_is_no_bound(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cgroup").write_text(text)
    assert memory_max(tmp_path / "cgroup", tmp_path) is None
