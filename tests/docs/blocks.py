"""Code blocks of the pages, with what a comment above each says about running it.

A block is run as it stands, page by page, in a folder that holds what the pages speak of (`tests.docs.sandbox`); a
page's blocks find what those before them left. A comment on the line above a block says otherwise:

    <!-- run: each -->        every command in a folder of its own
    <!-- run: digits -->      where `dkvb demo` was really run
    <!-- run: cluster -->     beside a real Ray cluster
    <!-- run: s3 -->          against an object store
    <!-- run: FILE -->        by that file of the tests
    <!-- file: NAME -->       not run, but written into that file
    <!-- not run: WHY -->     nowhere: its `dkvb` commands must exist, and nothing else is known of it
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import REPOSITORY

RUN = ("console", "python", "pycon", "toml")
"""Languages of blocks that are run, or read as a spec."""

READ = ("json", "yaml")
"""Languages of blocks that are parsed."""

PAGES_RUN_BY = {
    "docs/models.md": "tests/acceptance/test_models_page.py",
    "docs/query.md": "tests/acceptance/test_asked.py",
}
"""Page -> the tests that run the whole of it."""

RUNNERS = ("page", "each", "digits", "cluster", "s3")
"""What runs blocks here; others are files of the tests."""

SHOWN = ("text", "py", "{toctree}")
"""What is no code: text, signatures, and the table of contents."""

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (?P<verb>run|not run|file): (?P<what>[^\n]+) -->\n *\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    """Path in the repository."""
    line: int
    language: str
    text: str
    """Without the indent of the list that it may be in."""
    runner: str
    """What runs it: "page" unless a comment says otherwise; "" for nothing."""
    reason: str
    """Why nothing runs it."""
    file: str
    """The file that it is written to, if any."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[tuple[str, str]]:
        """Each command of a console block, continued lines joined, and what is printed below it."""
        found: list[tuple[str, str]] = []
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
            found.append((command, output))
        return found


def pages() -> list[Path]:
    """Pages whose blocks are run: those of docs but notes on decisions, and the README."""
    docs = REPOSITORY / "docs"
    return [REPOSITORY / "README.md", *(page for page in sorted(docs.rglob("*.md")) if page.parent.name != "decisions")]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        mark = MARK.search(text[: found.start() + len(found["indent"])])
        own = PAGES_RUN_BY.get(str(page.relative_to(REPOSITORY)), "page")
        said = {} if mark is None else {mark["verb"]: mark["what"]}
        yield Block(
            page=str(page.relative_to(REPOSITORY)),
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            text=re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            runner="" if "not run" in said else said.get("run", own),
            reason=said.get("not run", ""),
            file=said.get("file", ""),
        )


BLOCKS = [block for page in pages() for block in blocks(page)]
"""All of them."""
