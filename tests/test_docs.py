"""The guides name files that exist, and the theory page names every file of the inversion."""

from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "sample_data" / "README.md", *sorted(DOCS.glob("*.md"))]


def headings(page):
    """The anchors that a page offers, as GitHub makes them."""
    lines = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    """Relative links of a page, to files and to headings in them."""
    for target in re.findall(r"\]\(([^)#\s]*(?:#[^)\s]*)?)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in headings(linked), f"{page.name} links to {target}"


def test_every_picture_is_shown():
    """A picture in docs/ that no page shows is left over."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in DOCS.glob("*.png"):
        assert picture.name in text


def test_theory_names_every_file_of_the_inversion():
    """`docs/theory.md` and the files of ``napari_invrecon/recon/``, one by one."""
    recon = REPOSITORY / "napari_invrecon" / "recon"
    files = {path.name for path in recon.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"`(\w+\.py)`", (DOCS / "theory.md").read_text(encoding="utf-8")))
    assert files - named == set(), "files that docs/theory.md leaves out"
    assert named - files == set(), "files that docs/theory.md names but that are not there"
