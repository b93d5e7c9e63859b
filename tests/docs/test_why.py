"""docs/why.md shows a verdict that is given."""

import re

from sigd.why.ladder import verdict_lines
from tests.docs.pages import blocks
from tests.why.staged import HOST, SRFLX, Stage


def test_the_verdict_is_one_that_is_given():
    (shown,) = (block for block in blocks("docs/why.md", "text") if block.startswith("$ sigctl why cam1 bob\n"))
    stage = Stage()
    stage.call([HOST, SRFLX], [HOST])
    lines = [re.sub(r"\d\d:\d\d:\d\d", "00:00:00", line) for line in verdict_lines(stage.judged(), unicode=True)]
    assert re.sub(r"\d\d:\d\d:\d\d", "00:00:00", shown).splitlines()[1:] == lines
