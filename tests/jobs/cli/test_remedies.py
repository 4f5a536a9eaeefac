"""What a message says to do can be done: each `dkvb COMMAND` and `--option` that the source names is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from jobs.cli.main import cli

HERE = Path(__file__).resolve().parents[3]
PACKAGES = ("cluster", "dkvb", "store", "jobs")
COMMAND = re.compile(r"(?:`|^(?:  |Next: )?)dkvb ((?:[a-z][a-z0-9]*\b ?)+)([^`\n]*)", re.MULTILINE)
"""In backticks, or on a line of its own."""
LINE = re.compile(r"`(?:dkvb|openssl|tensorboard) [^`]*`|^(?:  |Next: |Example: )?dkvb [a-z][^`\n]*", re.MULTILINE)
"""A command with all its words."""
FILLED = {
    "jobs/certificate.py": {"out"},
    "jobs/cli/data.py": {"wanted.name"},
    "jobs/cli/entrypoint.py": {"spec"},
    "jobs/cli/run.py": {"where"},
    "jobs/report/beside.py": {"images"},
    "jobs/report/origin.py": {"which"},
    "jobs/report/tensorboard.py": {"name"},
    "jobs/queue/verdict.py": {"name"},
    "store/checksums.py": {"root"},
}
"""File -> what it fills into commands that is quoted already, or a name of our own."""
OTHERS = re.compile(r"`(?!dkvb)[a-z]+ [^`]*`")
"""Commands of other programs."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

RUNS = ("demo", "run")
ASKS = ("figure", "measure", "query")
SAID_BY = {
    "cluster/demand.py": ("run", "submit"),
    "cluster/local.py": RUNS,
    "cluster/pools.py": ("run", "submit"),
    "cluster/session.py": RUNS,
    "cluster/submit.py": ("submit",),
    "jobs/begin/begun.py": ("init", "run"),
    "jobs/begin/written.py": ("init",),
    "jobs/certificate.py": ("verify",),
    "jobs/cli/begin.py": ("init", "plan", "run"),
    "jobs/cli/cluster.py": ("cluster check",),
    "jobs/begin/published.py": ("init", "data cifar10"),
    "jobs/cli/entrypoint.py": ("run",),
    "jobs/cli/pods.py": ("cluster render", "run"),
    "jobs/cli/data.py": ("data lacuna100", "data cifar10"),
    "jobs/cli/query.py": ("query keys", "measure"),
    "jobs/cli/queue.py": ("jobs list", "jobs reconcile", "jobs service"),
    "jobs/cli/root.py": ("table", "unlearn"),
    "jobs/cli/run.py": ("run", "table", "unlearn"),
    "jobs/diff.py": ("diff",),
    "jobs/diff_methods.py": ("diff",),
    "jobs/evidence.py": ("unlearn",),
    "jobs/exact.py": ("unlearn",),
    "jobs/figures/__init__.py": ("figure",),
    "jobs/figures/store.py": ("figure",),
    "jobs/gpu.py": ("run",),
    "jobs/images/splits.py": ("run", "submit"),
    "jobs/models/card.py": ("verify",),
    "jobs/models/chosen.py": ("export",),
    "jobs/models/export.py": ("export",),
    "jobs/models/pictures.py": ("export",),
    "jobs/models/push.py": ("push",),
    "jobs/plan/cost.py": ("plan",),
    "jobs/plan/found.py": ("plan",),
    "jobs/plan/plan.py": ("run", "plan"),
    "jobs/query/measure.py": ("unlearn",),
    "jobs/query/retrained.py": ("measure",),
    "jobs/query/stored.py": ASKS,
    "jobs/queue/commands.py": ("submit",),
    "jobs/queue/passes.py": ("jobs reconcile",),
    "jobs/queue/service.py": ("jobs service",),
    "jobs/report/beside.py": ("run",),
    "jobs/report/tensorboard.py": ("table",),
    "jobs/run/recorded.py": ("plan", "run", "submit"),
    "store/locations.py": ("plan", "run", "submit", "learn"),
    "jobs/results/parts.py": ("table",),
    "jobs/results/sets_tables.py": ("table",),
    "jobs/spec/overlay.py": ("init", "plan", "run", "submit"),
    "jobs/spec/reading.py": ("plan", "run", "submit"),
    "jobs/results/experiment.py": (*ASKS, "table", "report", "unlearn"),
}
"""File -> the commands that can print what it says: each option that it names must be one of all of these."""

ELSEWHERE = (
    "cluster/files/",
    "dkvb/efficientnet_lite.py",
    "dkvb/weights.py",
    "jobs/provenance.py",
    "store/artefacts.py",
)
"""What names options of other programs: those of Ray, pip, the hub's client and git."""


def texts(path: Path) -> Iterator[str]:
    """Every string of a module but docstrings and help texts, which no message says; "0" for what is filled in."""
    tree = ast.parse(path.read_text())
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            silent.update(ast.walk(node) if isinstance(node.value, ast.Constant | ast.JoinedStr) else ())
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("option", "argument", "command"):
            silent.update(ast.walk(node))
        if isinstance(node, ast.JoinedStr):
            silent.update(part for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if node in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def unquoted(path: Path) -> Iterator[str]:
    """What the source fills into commands of messages, and a shell might not take as one word."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts: list[Any] = [
                part.value for part in node.values if isinstance(part, ast.Constant | ast.FormattedValue)
            ]
            text = "".join(part if isinstance(part, str) else f"\0{n}\0" for n, part in enumerate(parts))
            filled = [parts[int(n)] for run in LINE.findall(text) for n in re.findall("\0([0-9]+)\0", run)]
            yield from (one for one in map(ast.unparse, filled) if not re.match(r"(quoted|unused)\(", one))


def command(words: str) -> click.Command | None:
    """The command that some words begin with; None where there is none."""
    found: click.Command = cli
    for word in words.split():
        if not isinstance(found, click.Group):
            break
        if (inner := found.commands.get(word)) is None:
            return None if found is cli else found
        found = inner
    return found


def options(found: click.Command) -> set[str]:
    """Names of its options."""
    return {name for one in found.params for name in (*one.opts, *one.secondary_opts)}


def all_options(words: str) -> set[str]:
    """Names of the options of a command, and of the group that it is in."""
    found = command(words)
    assert found is not None, words
    return options(found) | options(cli.commands[words.split()[0]])


FILES = [str(path.relative_to(HERE)) for package in PACKAGES for path in sorted((HERE / package).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES)
def test_every_command_that_a_message_names_is_there_with_its_options(file):
    for text in texts(HERE / file):
        for words, rest in COMMAND.findall(text):
            found = command(words)
            assert found is not None, f"{file}: `dkvb {words}`"
            missing = {*OPTION.findall(rest)} - options(found)
            assert not missing, f"{file}: `dkvb {words}{rest}`: no {missing}"


@pytest.mark.parametrize("file", FILES)
def test_what_users_named_is_quoted_in_every_command_of_a_message(file):
    """Pasted as it is, a command must find a root that is called `my root`."""
    assert {*unquoted(HERE / file)} <= FILLED.get(file, set())


@pytest.mark.parametrize("file", FILES)
def test_every_option_that_a_message_names_is_one_of_the_commands_that_say_it(file):
    if file.startswith(ELSEWHERE):
        return
    alone = {
        name
        for text in texts(HERE / file)
        if not text.startswith("--")
        for name in OPTION.findall(OTHERS.sub("", COMMAND.sub("", text)))
    }
    assert not alone or file in SAID_BY, f"{file} names {alone}: which commands say it? Add it to SAID_BY"
    said_by = {words: all_options(words) for words in SAID_BY.get(file, ())}
    if file.startswith("jobs/cli/"):  # a file of several commands, each of which says its own
        said_by = {" or ".join(said_by): set().union(*said_by.values())}
    for words, there in said_by.items():
        assert not alone - there, f"{file}, said by dkvb {words}: {alone - there}"


def test_the_list_of_who_says_what_names_files_and_commands_that_are_there():
    for file, words in SAID_BY.items():
        assert (HERE / file).is_file()
        assert all(command(one) not in (None, cli) for one in words)
