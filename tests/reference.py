"""Pages of reference that are made of the code: commands from click, Python from docstrings, read without importing it.

`tests.pages` puts them into docs/reference.
"""

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from tests.paths import REPOSITORY

OWN_TESTS = {
    "dkvb demo": "run: digits",
    "dkvb submit": "run: tests/acceptance/test_queue.py",
    "dkvb jobs": "run: tests/jobs/cli/test_queue.py",
    "dkvb completion": "not run: writes to files of your shell",
    "dkvb data lacuna100": "not run: needs VGGFace2",
    "dkvb data": "run: tests/jobs/begin/test_published.py",
    "dkvb push": "not run: sends to a hub",
    "dkvb cluster check": "run: tests/cluster/files/test_schemas.py",
}
"""Beginning of a command -> the mark of its examples (`tests.docs.blocks`), where they are not run like the others."""

MODULES: dict[str, dict[str, tuple[str, tuple[str, ...] | None]]] = {
    "Experiments": {
        "dkvb": ("dkvb_unlearning.py", ("open_root",)),
        "dkvb.open(root)": ("jobs/opened.py", ("OpenExperiment", "Tables")),
        "dkvb.open(root).query": ("jobs/query/questions.py", ("Questions",)),
        "Why a class suffered": ("jobs/query/items.py", ("Why",)),
        "What a request did": ("jobs/query/measure.py", ("Measured", "Known")),
    },
    "Models": {
        "dkvb.torch": ("dkvb/torch.py", None),
        "dkvb.bottleneck": ("dkvb/bottleneck.py", None),
        "dkvb.recorded": ("dkvb/recorded.py", None),
        "dkvb.checkpoint": ("dkvb/checkpoint.py", None),
        "dkvb.backbone_spec": ("dkvb/backbone_spec.py", ("BackboneSpec", "embedding_width")),
        "dkvb.backbones": ("dkvb/backbones.py", None),
    },
    "The method": {
        f"dkvb.{name}": (f"dkvb/{name}.py", None)
        for name in (
            "settings",
            "projection",
            "keys",
            "codes",
            "counts",
            "values",
            "lda",
            "sums",
            "orders",
            "neighbours",
            "sweep",
        )
    },
    "Measures": {
        f"dkvb.{name}": (f"dkvb/{name}.py", None)
        for name in ("metrics", "membership", "ulira", "roc", "probes", "overlap", "statistics")
    },
}
"""Part -> heading -> file, and which of its names; None: all that are public."""

SHORTER = {"open_root": "dkvb.open"}
"""Name in the code -> name by which people call it."""


def commands() -> str:
    """Every command: what it does, an example, its arguments and options."""
    from jobs.cli.main import cli

    root = click.Context(cli, info_name="dkvb", max_content_width=100)
    return "\n".join(part for context in walk(root) for part in command(context))


def walk(context: click.Context) -> Iterator[click.Context]:
    """Contexts of all commands below one, in the order of their names."""
    if isinstance(context.command, click.Group):
        for name, inner in sorted(context.command.commands.items()):
            below = click.Context(inner, info_name=name, parent=context)
            yield below
            yield from walk(below)


def command(context: click.Context) -> Iterator[str]:
    """Lines of one command."""
    words = [each.info_name or "" for each in ancestors(context)]
    name = " ".join(words)
    mark = next((mark for begin, mark in OWN_TESTS.items() if name.startswith(begin)), "run: each")
    yield f"## {name}\n"
    for paragraph in cleandoc(context.command.help or "").split("\n\n"):
        said, _, example = re.sub(r"\s+", " ", paragraph).rpartition("dkvb " + words[1])
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```\n"
        elif said and (said.endswith(": ") or said.endswith("? ")):
            yield f"{said.strip()}\n\n<!-- {mark} -->\n```console\n$ dkvb {words[1]}{example}\n```\n"
        else:
            yield f"{prose(paragraph)}\n"
    yield f"```text\n{context.command_path} {' '.join(context.command.collect_usage_pieces(context))}\n```\n"
    records = [found for each in context.command.get_params(context) if (found := each.get_help_record(context))]
    rows = [f"| `{cell(name)}` | {prose(cell(about))} |" for name, about in records if about and "--help" not in name]
    if rows:
        yield "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n"
    if isinstance(context.command, click.Group):
        inner = [
            f"[{' '.join([*words, name])}](#{'-'.join([*words, name])})" for name in sorted(context.command.commands)
        ]
        yield f"Commands: {', '.join(inner)}.\n"


def ancestors(context: click.Context) -> list[click.Context]:
    """A context below those that it is in."""
    return [*(ancestors(context.parent) if context.parent else []), context]


def cell(text: str) -> str:
    """Text that does not end a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def prose(text: str) -> str:
    """Text in which nothing outside backticks is markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else escaped(part) for part in parts)


def escaped(text: str) -> str:
    """Text outside backticks: options get some, everything else that is markup a backslash."""
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]+)", r"`\1`", re.sub(r"([*_<>\[\]])", r"\\\1", text))


def python(*parts: str) -> str:
    """What is public in parts of MODULES: signatures and docstrings."""
    lines: list[str] = []
    for part in parts:
        lines.append(f"## {part}\n")
        for heading, (file, names) in MODULES[part].items():
            lines += module(heading, file, names)
    return "\n".join(lines)


def module(heading: str, file: str, names: tuple[str, ...] | None) -> Iterator[str]:
    """Lines of one module, or of some names of it."""
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    yield f"### {heading}\n"
    if names is None:
        yield docstring(ast.get_docstring(tree) or "")
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if names is None or node.name in names:
            yield from public(node, "")


def public(node: ast.FunctionDef | ast.ClassDef, where: str) -> Iterator[str]:
    """Lines of a function, or of a class with its public methods and fields."""
    name = SHORTER.get(node.name, f"{where}{node.name}")
    if isinstance(node, ast.FunctionDef):
        is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
        yield f"#### {name}\n" if not where else f"**{prose(name)}**\n"
        yield f"```py\n{attribute(name, node) if is_property else signature(name, node)}\n```\n"
        yield docstring(ast.get_docstring(node) or "")
        return
    yield f"#### {name}\n"
    yield docstring(ast.get_docstring(node) or "")
    rows = list(fields(node))
    if rows:
        yield "\n".join(["| field | type | meaning |", "|---|---|---|", *rows]) + "\n"
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            yield from public(inner, f"{name}.")


def fields(node: ast.ClassDef) -> Iterator[str]:
    """Rows of the fields of a class that have a docstring below them."""
    for one, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            about = cell(prose(str(below.value.value)))
            yield f"| `{ast.unparse(one.target)}` | `{cell(ast.unparse(one.annotation))}` | {about} |"


def attribute(name: str, node: ast.FunctionDef) -> str:
    """A property as one reads it."""
    return f"{name}: {plain(node.returns)}"


def signature(name: str, node: ast.FunctionDef) -> str:
    """A function as one calls it, on one line where that is not too long."""
    arguments = node.args
    first = [*arguments.posonlyargs, *arguments.args]
    if "." in name and first and first[0].arg in ("self", "cls"):
        first = first[1:]
    given = [
        *[None] * (len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)),
        *arguments.defaults,
    ]
    texts = [argument(each, default) for each, default in zip(first, given[len(given) - len(first) :], strict=True)]
    if arguments.vararg:
        texts.append(f"*{argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        texts.append("*")
    texts += [argument(*each) for each in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    returns = f" -> {plain(node.returns)}"
    line = f"{name}({', '.join(texts)}){returns}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + f"){returns}"


def argument(node: ast.arg, default: ast.expr | None) -> str:
    """An argument with its type and default."""
    typed = f"{node.arg}: {plain(node.annotation)}" if node.annotation else node.arg
    return typed if default is None else f"{typed} = {ast.unparse(default)}"


def plain(node: ast.expr | None) -> str:
    """A type, without quotes."""
    return "" if node is None else ast.unparse(node).replace("'", "")


NAMED = re.compile(r"^(?:\*?[a-z_]\w*(?:, \*?[a-z_]\w*)*): ")
"""How a paragraph begins that says what an argument is, or what is raised or returned."""


def docstring(text: str) -> str:
    """A docstring as Markdown: its paragraphs, and a list of what it says of arguments, results and errors."""
    blocks = []
    for paragraph in text.split("\n\n"):
        lines: list[str] = []
        for line in paragraph.splitlines():
            if NAMED.match(line):
                name, _, rest = line.partition(": ")
                lines.append(f"- *{prose(name)}*: {prose(rest)}")
            elif line.startswith("    ") and lines and lines[-1].startswith("- "):
                lines[-1] += f" {prose(line.strip())}"
            else:
                lines.append(prose(line.strip()))
        for number in range(len(lines) - 1, 0, -1):
            if lines[number].startswith("- ") and not lines[number - 1].startswith("- "):
                lines.insert(number, "")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
