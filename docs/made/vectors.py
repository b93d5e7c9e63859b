"""The test vectors of protocol.md as JSON, for tests of clients. The page is the only source."""

import json
from typing import Any

from tests.protocol_md.document import HOLE, SECTIONS, Block, code
from tests.protocol_md.play import turns

END = "S: end of file"


def vectors() -> str:
    """Return the file."""
    made = {
        "protocol": 1,
        "about": "Made from protocol.md by `make docs`. Bytes are in hexadecimal; `client` sends, `server` answers.",
        "tokens": [
            dict(zip(("secret", "user", "token"), map(code, row.values()), strict=True))
            for row in SECTIONS["4.2"].table("secret").rows
        ],
        "macs": [
            {
                "name": code(row["vector"]),
                "key": row["key"].strip("`"),
                "text": code(row["computed over"]).replace(r"\n", "\n"),
                "mac": code(row["is"]),
            }
            for row in SECTIONS["13.8"].table("vector").rows
        ],
        "exchanges": [
            exchange(number, block)
            for number, section in SECTIONS.items()
            for block in section.blocks
            if block.kind == "hex" and not HOLE.search("\n".join(block.lines))
        ],
    }
    return json.dumps(made, indent=1, ensure_ascii=True) + "\n"


def exchange(section: str, block: Block) -> dict[str, Any]:
    """Return the bytes of a hex example on a new link, in order, and whether the server closes at the end."""
    closes = block.lines[-1] == END
    sides = {"C": "client", "S": "server"}
    lines = block.lines[:-1] if closes else block.lines
    return {
        "section": section,
        "bytes": [{sides[turn.side]: turn.data.hex()} for turn in turns(lines)],
        "closes": closes,
    }
