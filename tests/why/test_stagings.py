"""Each rule finds what it is about, keeps quiet about the neighbour, and says it as its golden file has it."""

import os
import re
from pathlib import Path

import msgspec
import pytest

from sigd.why import addresses, described, detectors, reach, trickling
from sigd.why.ladder import verdict_lines
from sigd.why.verdict import Verdict
from tests.why.staged import Stage
from tests.why.stagings import STAGED, Staging

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = Path(__file__).parents[2] / "docs" / "why.md"


def judged(staging: Staging) -> Verdict:
    stage = Stage()
    staging(stage)
    return stage.judged()


def text_of(verdict: Verdict) -> str:
    lines = "".join(f"{line}\n" for line in verdict_lines(verdict))
    return re.sub(r"\d\d:\d\d:\d\d", "00:00:00", lines)  # local time


def json_of(verdict: Verdict) -> str:
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode() + "\n"


@pytest.mark.parametrize("rule", STAGED)
def test_the_rule_finds_it(rule):
    assert judged(STAGED[rule].fails).rule == rule


@pytest.mark.parametrize("rule", STAGED)
def test_the_rule_keeps_quiet_about_the_neighbour(rule):
    verdict = judged(STAGED[rule].neighbour)
    assert verdict.rule == STAGED[rule].instead, verdict.likely


@pytest.mark.parametrize("rule", STAGED)
def test_the_verdict_is_the_golden_one(rule):
    """To write them anew after a change that is meant: SIGD_GOLDEN=write, and read the diff."""
    verdict = judged(STAGED[rule].fails)
    for ending, text in (("txt", text_of(verdict)), ("json", json_of(verdict))):
        path = GOLDEN / f"{rule}.{ending}"
        if os.environ.get("SIGD_GOLDEN") == "write":
            path.write_text(text)
        assert path.read_text() == text


def test_every_golden_file_is_of_a_rule():
    assert {path.stem for path in GOLDEN.iterdir()} == set(STAGED)


@pytest.mark.parametrize("rule", STAGED)
def test_a_verdict_is_plain_english_of_a_few_lines(rule):
    verdict = judged(STAGED[rule].fails)
    assert verdict.likely.endswith((".", "?"))
    assert 1 <= len(verdict.advice) <= 4
    for line in (verdict.likely, *verdict.advice):
        assert line.isprintable()
        assert "{" not in line.replace('{"type": "candidate", "candidate": null}', "")
        assert len(line) <= 320
    assert verdict.advice == [line.strip() for line in verdict.advice if line]


def test_every_rule_is_in_the_document_in_the_order_of_judging():
    found = re.findall(r"^\| `([a-z-]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert found == list(STAGED)
    assert addresses.REGISTRIES_UPDATED in DOCUMENT.read_text()


def test_every_rule_that_a_verdict_may_name_is_staged():
    """Names in the modules of rules: those of findings, `kind` standing for offer and answer."""
    sources = "".join(Path(module.__file__ or "").read_text() for module in (detectors, described, trickling, reach))
    named = set(re.findall(r'Diagnosis\(\s*"([a-z-]+)"', sources)) | {"offer-refused", "answer-refused"}
    assert named == set(STAGED)
