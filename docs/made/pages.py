"""All files that are made from the code, by their paths in the tree."""

from docs.made.commands import commands
from docs.made.configuration import configuration
from docs.made.errors import errors
from docs.made.picture import picture
from docs.made.stacks import stacks
from docs.made.vectors import vectors


def pages() -> dict[str, str]:
    """Return the text of each file."""
    return {
        "docs/picture.svg": picture(),
        "docs/reference/commands.md": commands(),
        "docs/reference/configuration.md": configuration(),
        "docs/reference/errors.md": errors(),
        "docs/reference/stacks.md": stacks(),
        "docs/vectors.json": vectors(),
    }
