"""Links of the pages as GitHub shows them: every file and every heading that one names is there."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import FENCE
from tests.paths import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def bare(text: str) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`(?!\])", "``", FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return {*found}


def dead(page: Path) -> list[str]:
    """Links of a page that lead nowhere in this repository."""
    wrong = []
    for target in LINK.findall(bare(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_link_is_dead(page):
    assert dead(page) == []


def test_every_link_to_elsewhere_is_https():
    links = [target for page in PAGES for target in LINK.findall(bare(page.read_text(encoding="utf-8")))]
    assert [target for target in links if re.match(r"[a-z]+:", target) and not target.startswith("https://")] == []
    assert len(links) > 100


def test_dead_links_are_seen(tmp_path):
    (tmp_path / "b.md").write_text("# One `two`: three\n\n## Same\n\n## Same\n\n```text\n# none\n```\n")
    links = ["b.md", "b.md#one-two-three", "b.md#same-1", "#here", "c.md", "b.md#none", "b.md#same-2", "#there"]
    text = "# Here\n" + "".join(f"[x]({link})\n" for link in links) + "`[x](gone.md)`\n"
    (tmp_path / "a.md").write_text(text)
    assert dead(tmp_path / "a.md") == ["c.md", "b.md#none", "b.md#same-2", "#there"]
