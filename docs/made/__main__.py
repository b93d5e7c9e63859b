"""Write all pages that are made from the code: `python -m docs.made` (`make docs`)."""

from pathlib import Path

from docs.made.pages import pages

ROOT = Path(__file__).parents[2]

for name, text in pages().items():
    (ROOT / name).write_text(text)
