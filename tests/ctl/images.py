"""Images that `sigctl setup` sets up, below a folder."""

from pathlib import Path

NAME = "sigd.example.net"
"""The server's name."""


def files(image: Path) -> dict[str, bytes]:
    """All files of an image by their paths in it."""
    return {f"/{path.relative_to(image)}": path.read_bytes() for path in image.rglob("*") if path.is_file()}
