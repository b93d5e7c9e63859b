"""The outer half: boots the box, has one module of scenarios run in it, and reads what came of each."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

BOX = str(Path(__file__).with_name("systemd-box"))

BOOT_SECONDS = 300
"""For a boot with all of its scenarios, each of which has a limit of its own."""


class Box:
    """Boots on demand, once for each module of scenarios.

    Attributes:
        scenarios: a folder with a copy of them.
        stage: where sigd has been installed, to be copied over the root in there.
        interpreter: what runs them.
    """

    def __init__(self, scenarios: str, stage: str, interpreter: str) -> None:
        self.scenarios = scenarios
        self.stage = stage
        self.interpreter = interpreter
        self._came_of: dict[str, dict[str, Any]] = {}
        self._said: dict[str, str] = {}

    def shows(self, module: ModuleType, scenario: str) -> str:
        """Have the scenarios of a module run, if they have not, and fail with what failed in this one.

        Returns:
            How long it took, and what it has measured.
        """
        name = module.__name__
        if name not in self._came_of:
            self._boot(name)
        came = self._came_of[name].get(scenario)
        assert came is not None, f"it did not come to that:\n{self._said[name]}"
        assert came["fault"] is None, f"{came['fault']}\n{came['journal']}"
        return f"{came['seconds']} s: {came['measured']}"

    def _boot(self, name: str) -> None:
        command = [BOX, "--", self.interpreter, "-m", "tests.systemd.inside", self.stage, name]
        done = subprocess.run(
            command, cwd=self.scenarios, capture_output=True, text=True, timeout=BOOT_SECONDS, check=False
        )
        self._said[name] = done.stderr[-10_000:]
        self._came_of[name] = {each["scenario"]: each for each in map(json.loads, done.stdout.splitlines())}


def scenarios(module: ModuleType) -> Sequence[str]:
    """The names of its scenarios, in their order."""
    return [name for name in vars(module) if name.startswith("shows_")]
