"""Commands of the pages: each is there with its options, and each command there is has an example."""

import re
import shlex

import click
import pytest

from jobs.cli.main import cli
from tests.docs.blocks import BLOCKS, FENCE, pages

INLINE = re.compile(r"`(dkvb [a-z-][^`]*)`")


def wrong(line: str) -> str:
    """What is wrong with a `dkvb ...` line: a command or an option that is not there; empty if nothing is."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        skipped = sum(isinstance(each, click.Argument) for each in command.params)
        words, own = words[skipped:], {name for each in command.params for name in each.opts}
        while words and words[0] in own:  # with its value
            words = words[2:]
        if not words:
            return ""
        if words[0].isupper():  # stands for any of them
            return ""
        if words[0] not in command.commands:
            return f"there is no `{words[0]}`"
        command, words = command.commands[words[0]], words[1:]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}
    given = [word.partition("=")[0] for word in words if re.match(r"--[a-z]|-[a-z]$", word)]
    return ", ".join(f"no option {name}" for name in given if name not in known)


LINES = [(block, line) for block in BLOCKS for line, _ in block.commands() if line.startswith("dkvb ")]


@pytest.mark.parametrize(("block", "line"), LINES, ids=[f"{block}: {line[:60]}" for block, line in LINES])
def test_a_command_of_a_block_is_there_with_its_options(block, line):
    assert wrong(line) == ""


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_command_in_the_text_is_there_with_its_options(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    lines = [re.sub(r"\s+", " ", line) for line in INLINE.findall(text)]
    some = [line for line in lines if not re.search(r"[|<]|\.\.\.", line)]
    assert {line: said for line in some if (said := wrong(line))} == {}


def test_what_is_not_there_is_seen():
    assert wrong("dkvb runn x") == "there is no `runn`"
    assert wrong("dkvb query roots/x kys cat") == "there is no `kys`"
    assert wrong("dkvb query roots/x --experiment y kys cat") == "there is no `kys`"
    assert wrong("dkvb query roots/x --experiment y keys cat") == ""
    assert wrong("dkvb run x --rot y --root z") == "no option --rot"
    assert wrong("dkvb query roots/x keys cat --limit 3 # --nothing") == ""
    assert wrong("dkvb --version") == ""


def every(command: click.Command, name: str) -> dict[str, click.Command]:
    """All commands below one, by what is typed."""
    if not isinstance(command, click.Group):
        return {name: command}
    return {
        key: each for inner, below in command.commands.items() for key, each in every(below, f"{name} {inner}").items()
    }


@pytest.mark.parametrize(("name", "command"), every(cli, "dkvb").items(), ids=every(cli, "dkvb"))
def test_each_command_has_an_example_in_its_help_and_on_a_page(name, command):
    *above, last = name.split()[1:]
    example = rf"dkvb {' '.join(above)}{' [^ ]+' if above == ['query'] else ''} {last}\b".replace("  ", " ")
    assert re.search(rf"Example: {example}", " ".join((command.help or "").split()))
    assert any(re.match(example, line) for block, line in LINES if not block.page.startswith("docs/reference"))
