"""Parts of the pages that are made of the code: ``python -m tests.pages`` writes them anew.

What lies between the comments ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a page is one of PARTS.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from store.layout import ARRAYS, Layout
from tests.paths import REPOSITORY

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
    for one in sorted(path.iterdir()):
        if (one / "__init__.py").is_file():
            lines += folder(one, inner)
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


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "tree": ("CONTRIBUTING.md", tree),
    "arrays": ("docs/format.md", arrays),
}
"""Name -> page, and what makes the part."""


def with_part(text: str, name: str, part: str) -> str:
    """A page with one of its parts made anew; raises: ValueError where its comments are missing."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin.strip()} ... {end.strip()}")
    return f"{before}{begin}\n{part}\n{end}{after}"


def main() -> None:
    """Write every part."""
    for name, (page, make) in PARTS.items():
        path = REPOSITORY / page
        path.write_text(with_part(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
