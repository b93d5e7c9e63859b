"""Whether a program of others is there."""

import os
import shutil

import pytest


def needs(program: str) -> None:
    """Skip, locally alone, where a program is not installed."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"needs {program}")
