"""Every question of docs/query.md runs as it stands, and its tables have the heads that are shown there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import dkvb_unlearning
from jobs.cli.query import query
from jobs.results.experiment import find
from jobs.results.heads import WORDS
from jobs.unlearn import Request, unlearn
from tests.asked import PAGE, SHOWN, answer, commands

TEXT = PAGE.read_text()
ASKED = commands(TEXT)
NAMES = {"dog": "bee", "classes 46 701": "classes 4 7", "classes(46, 701)": "classes(4, 7)", "test:4943": "test:3"}
"""What is on the root of the page, and what is on the small one."""


@pytest.fixture(scope="module")
def asked(finished, tmp_path_factory):
    root = shutil.copytree(finished.root, tmp_path_factory.mktemp("asked") / "root")
    done = unlearn(find(root, None), Request(classes=["cat"]), measured=False)
    return root, Path(done.mask).parent.name


def here(text, digest):
    """The same with names of the small root."""
    for there, own in NAMES.items():
        text = text.replace(there, own)
    (shown,) = {*re.findall(r"\b(?:collateral|--mask|measure roots/cifar10) ([0-9a-f]{4})\b", TEXT)}
    return re.sub(rf"\b{shown}\b", digest, text)


def heads(output):
    """The heads of the first table, or how the first line begins."""
    lines = output.splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [cell.strip() for cell in table[0].split("|")] if table else [lines[0].split(":")[0]]


def test_there_are_questions_of_each_kind():
    told = {command.split()[3] for command, _ in ASKED if command.startswith(f"dkvb query {SHOWN} ")}
    assert told == {*query.commands}


@pytest.mark.parametrize(("command", "output"), ASKED, ids=[command for command, _ in ASKED])
def test_a_question_runs_and_answers_under_the_heads_that_are_shown(command, output, asked):
    root, digest = asked
    found = answer(here(command, digest), str(root))
    assert heads(found) == heads(here(output, digest))


def test_the_python_of_the_page_runs(asked):
    root, digest = asked
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(here(block, digest).replace(SHOWN, str(root)), names)
    assert names["answer"].right_before >= 0
    for text in re.findall(r"`(study\.query\.[^`]+)`", here(TEXT, digest)):
        if "..." not in text:
            assert eval(text, names) is not None


def test_each_column_that_a_table_of_the_page_explains_is_one_of_the_answers(asked):
    explained = re.findall(r"^\| [^|]+ \| (`[^|]+`) \|", TEXT, re.MULTILINE)
    columns = {name for cell in explained for name in re.findall(r"`(\w+)`", cell)}
    root, digest = asked
    study = dkvb_unlearning.open_root(root)
    why = study.query.why("bee", forgot="cat")
    frames = [
        study.query.keys("cat"),
        study.query.overlap("cat", "bee"),
        study.query.overlap(),
        study.query.collateral(digest),
        why.pairs,
        why.went,
        why.lost,
    ]
    there = {name for frame in frames for name in frame.columns}
    assert columns <= there
    assert {"hit_share", "count", "predicted"} <= columns & {*WORDS}
