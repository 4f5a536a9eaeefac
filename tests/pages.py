"""Parts of the pages that are made of the code: ``python -m tests.pages`` writes them anew.

What lies between the comments ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a page is one of PARTS.
"""

import ast
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.spec.mistakes import SCHEMA
from store.columns import TABLES, Column
from store.layout import ARRAYS, COORDINATES, Layout
from tests import spec_pages
from tests.paths import REPOSITORY
from tests.reference import commands, python

ROOMS = ("cluster", "dkvb", "store", "jobs")


def tree() -> str:
    """Every module and what its docstring begins with."""
    lines = [line("", REPOSITORY / "dkvb_unlearning.py")]
    for room in ROOMS:
        lines += folder(REPOSITORY / room, "")
    return "".join(f"    {text}\n" for text in lines)


def folder(path: Path, indent: str) -> list[str]:
    """A package: what it is, its modules, its folders."""
    lines = [f"{indent}{path.name + '/':<{24 - len(indent)}}{about(path / '__init__.py')}"]
    inner = indent + "  "
    files = sorted(file for file in path.glob("*.py") if file.name != "__init__.py")
    lines += [line(inner, file) for file in files]
    for inside in sorted(path.iterdir()):
        if (inside / "__init__.py").is_file():
            lines += folder(inside, inner)
    return lines


def line(indent: str, file: Path) -> str:
    """A module in the tree."""
    return f"{indent}{file.name:<{24 - len(indent)}}{about(file)}"


def about(file: Path) -> str:
    """The first sentence, or paragraph, of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.sub(r"\s+", " ", text.partition("\n\n")[0]).removesuffix(".")


def arrays() -> str:
    """The arrays of `store.layout`."""
    rows = [array(name, layout) for name, layout in ARRAYS.items()]
    return "\n".join(["| step | array | axes | type | chunk | meaning |", "|---|---|---|---|---|---|", *rows, ""])


def array(name: str, layout: Layout) -> str:
    """A row of the table."""
    shown = f"`{name}/<{layout.each}>`" if layout.each else f"`{name}`"
    dtype = "uint16/32" if layout.dtype == "count" else layout.dtype
    chunk = ", ".join(f"{length} along {axis}" for axis, length in layout.chunk.items()) or "whole"
    return f"| {layout.step} | {shown} | {', '.join(layout.dims)} | {dtype} | {chunk} | {layout.meaning} |"


def coordinates() -> str:
    """The coordinates of `store.layout`; those of both splits together are named in the text."""
    rows = [
        f"| `{name}` | {' or '.join(dims[0] for dims in (how.dims, *how.also))} | {how.dtype} | {how.meaning} |"
        for name, how in COORDINATES.items()
        if not how.dims[0].startswith("item_")
    ]
    return "\n".join(["| coordinate | axis | type | meaning |", "|---|---|---|---|", *rows, ""])


def columns(table: str) -> str:
    """A table of `store.columns`: its files, what a row is, and the columns in order."""
    about = TABLES[table]
    files = ", ".join(f"`{file}`" for file in about.files)
    rows = [column(name, each) for name, each in about.columns.items()]
    head = [f"{files}: a row is {about.row}.", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def column(name: str, about: Column) -> str:
    """A row of the table."""
    return f"| {name} | {about.dtype.__name__} | {about.unit} | {about.meaning} |"


def decisions() -> str:
    """The pages of docs/decisions, by their headings: `# 001: Title` in a file 001-*.md.

    raises: ValueError for a page whose heading has another number than its file, or a number that is missing.
    """
    links = []
    for number, page in enumerate(sorted((REPOSITORY / "docs" / "decisions").glob("*.md")), start=1):
        heading = page.read_text(encoding="utf-8").partition("\n")[0]
        if not heading.startswith(f"# {number:03d}: ") or not page.name.startswith(f"{number:03d}-"):
            raise ValueError(f"{page.name}: headed {heading!r}, expected number {number:03d}")
        links.append(f"- [{heading.removeprefix('# ')}](docs/decisions/{page.name})\n")
    return "".join(links)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "tree": ("CONTRIBUTING.md", tree),
    "decisions": ("CONTRIBUTING.md", decisions),
    "arrays": ("docs/format.md", arrays),
    "coordinates": ("docs/format.md", coordinates),
    "keys": ("docs/spec.md", spec_pages.keys),
    **{f"columns of {name}": ("docs/format.md", partial(columns, name)) for name in TABLES},
    "commands": ("docs/reference/cli.md", commands),
    "experiments and models": ("docs/reference/python.md", partial(python, "Experiments", "Models")),
    "mathematics": ("docs/reference/mathematics.md", partial(python, "The method", "Measures")),
}
"""Name -> page, and what makes the part."""


def with_part(text: str, name: str, part: str) -> str:
    """A page with one of its parts made anew; raises: ValueError where its comments are missing."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"no {begin.strip()} ... {end.strip()}")
    return f"{before}{begin}\n{part}\n{end}{after}"


def main() -> None:
    """Write every part, and the JSON Schema of specs."""
    SCHEMA.write_text(spec_pages.schema_text(), encoding="utf-8")
    for name, (page, make) in PARTS.items():
        path = REPOSITORY / page
        path.write_text(with_part(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
