"""The commands that docs/how-to/netcats.md shows, one by one."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs/how-to/netcats.md"


class Row(NamedTuple):
    """A program, and the command that a section shows for it."""

    program: str
    command: str
    remark: str

    @property
    def wants_quit(self) -> bool:
        """Whether it stays at the end of its input."""
        return "end that with `quit`" in self.remark

    def filled(self, port: int, authority: str = "") -> list[str]:
        """The command as it is run here."""
        text = self.command.replace("HOST", "localhost" if authority else "127.0.0.1")
        return shlex.split(re.sub(r"\bCA\b", authority, text.replace("PORT", str(port))))


def rows(section: str) -> list[Row]:
    """The rows of a section's table."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = [Row(*match) for match in re.findall(r"^\| ([^|]+?) \| `([^`|]+)` \| ?(.*?) ?\|$", text, re.MULTILINE)]
    assert found, section
    return found
