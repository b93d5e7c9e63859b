"""No link in the documents is dead, and every page is in the index."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, prose, read

INDEX = "docs/README.md"

LINKS = sorted(
    {(page, link) for page in PAGES for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", prose(read(page)))},
)


def anchors(page: str) -> set[str]:
    """Return the anchors that a page's headings have, spelled as GitHub spells them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(read(page)), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_it_leads_somewhere(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
    assert target.exists(), f"there is no {path}"
    if anchor:
        assert anchor in anchors(target.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/") and page != INDEX])
def test_it_is_in_the_index(page: str) -> None:
    assert f"]({page.removeprefix('docs/')})" in read(INDEX)


@pytest.mark.parametrize("folder", ["tutorial", "how-to", "reference"])
def test_the_readme_is_one_link_away_from_every_page(folder: str) -> None:
    pages = [page for page in PAGES if page.startswith(f"docs/{folder}")]
    assert pages
    assert [page for page in pages if f"]({page})" not in read("README.md")] == []
