"""Programs that tests need besides Python. A test without its program is skipped with the reason, but fails in CI.

A part may be there only half, such as a compiler without its runtimes: tests ask for what they use, not for a name.
"""

import os
import shutil
from typing import NoReturn

import pytest


def lacks(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where all that tests need is installed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def needs(program: str) -> str:
    """Return the path of a program that the test cannot do without."""
    found = shutil.which(program)
    if found is None:
        lacks(f"{program} is not installed")
    return found
