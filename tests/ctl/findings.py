"""Findings as their tests compare them."""

import grp
import os
from collections.abc import Iterable

from sigd.admin.replies import Finding

GROUP = grp.getgrgid(os.getgid()).gr_name
"""A group that the user of the tests is in."""


def codes(findings: Iterable[Finding]) -> list[str]:
    """Return the codes of findings, each of which has a text and advice."""
    found = list(findings)
    assert all(each.text and each.advice for each in found)
    return [each.code for each in found]
