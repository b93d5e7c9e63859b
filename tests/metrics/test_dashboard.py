"""The dashboard: that what it asks for is there, and that each panel says what it shows, and in what."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio

import sigd
from tests.metrics.http import Watched, exposed
from tests.metrics.test_exposition import busy
from tests.needs import needs

FILE = Path(sigd.__file__).parents[1] / "contrib/grafana/sigd.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES: list[dict[str, Any]] = BOARD["templating"]["list"]
QUERIES: list[str] = [
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *(annotation["expr"] for annotation in BOARD["annotations"]["list"]),
]
UNITS = {"short", "cps", "Bps", "bytes", "s", "percentunit"}
BY_SCRAPER = {"job", "instance"}
"""Labels that Prometheus adds."""


def test_there_are_panels() -> None:
    assert len(PANELS) > 10
    assert BOARD["schemaVersion"] >= 38  # of Grafana 10


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
class TestPanel:
    def test_says_what_it_shows(self, panel: dict[str, Any]) -> None:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS

    def test_asks_the_chosen_source_for_the_chosen_daemons(self, panel: dict[str, Any]) -> None:
        assert panel["targets"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            names = re.findall(r"(?:sigd|process)_\w+", target["expr"])
            assert target["expr"].count('{job="$job",instance=~"$instance"}') == len(names) > 0

    def test_its_unit_is_that_of_its_queries(self, panel: dict[str, Any]) -> None:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            if "histogram_quantile" in target["expr"]:
                assert unit == "s"
            elif "_bytes_total" in target["expr"]:
                assert unit == "Bps"
            elif re.search(r"_total\b", target["expr"]):
                assert unit in {"cps", "percentunit"}


def test_its_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_source_is_chosen() -> None:
    assert [(variable["name"], variable["type"]) for variable in VARIABLES] == [
        ("datasource", "datasource"),
        ("job", "query"),
        ("instance", "query"),
    ]


async def test_what_it_asks_for_is_there(watched: Watched) -> None:
    await busy(watched.daemon)
    watched.daemon.router.limits_hit["linger_ms"] += 1
    samples = [line for line in (await exposed(watched.daemon)).decode().splitlines() if not line.startswith("#")]
    names = {re.split("[{ ]", line)[0] for line in samples}
    labels = {label for line in samples for label in re.findall(r'[{,]([a-z]+)="', line)}
    for query in (*QUERIES, *(variable["definition"] for variable in VARIABLES[1:])):
        assert set(re.findall(r"(?:sigd|process)_\w+", query)) <= names
        by = {label for found in re.findall(r"by \(([^)]*)\)", query) for label in found.split(", ")}
        assert by <= labels | BY_SCRAPER


async def test_promtool_can_read_its_queries(tmp_path: Path) -> None:
    promtool = needs("promtool")
    rules = [{"record": "a", "expr": query.replace("$__rate_interval", "1m")} for query in QUERIES]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # which is YAML too
    done = await trio.run_process(
        [promtool, "check", "rules", "--lint=none", str(file)], capture_stdout=True, capture_stderr=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
