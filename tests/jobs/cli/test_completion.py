"""Completion: what a shell is told, and that it is told nothing where there is nothing to tell."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from store.artefacts import read_record, write_record
from tests.paths import REPOSITORY

DKVB = Path(sys.executable).with_name("dkvb")


@pytest.fixture
def offered(dkvb, monkeypatch):
    """What is offered for the last of some words, as bash asks: values by their kind."""

    def ask(*words, shell="bash"):
        monkeypatch.setenv("_DKVB_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", shlex.join(["dkvb", *map(str, words)]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        ended = dkvb()
        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        return {kind: [line.partition(",")[2] for line in lines if line.startswith(f"{kind},")] for kind in KINDS}

    return ask


KINDS = ("plain", "file", "dir")


@pytest.fixture
def two(own):
    """A root with two experiments, one of whose classes has a name with a space."""
    record = read_record(own.root / "experiments" / "tiny.json")
    write_record(own.root / "experiments" / "other.json", {**record, "name": "other"})
    return own.root


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
def test_specs_are_offered_by_their_names_and_files_beside_them(command, offered):
    found = offered(command, "cifar10")
    assert found["plain"] == ["cifar10", "cifar10-compare", "cifar100"]
    assert found["file"] == ["cifar10"]
    assert len(offered(command, "")["plain"]) == len([*(REPOSITORY / "jobs/spec/shipped").glob("*.toml")])


@pytest.mark.parametrize(
    "words",
    [
        ("unlearn", "ROOT", "--class", ""),
        ("unlearn", "ROOT", "--class", "ant", "--class", ""),
        ("query", "ROOT", "keys", ""),
        ("query", "ROOT", "why", "ant", "--forgot", ""),
        ("measure", "ROOT", "--class", ""),
        ("figure", "ROOT", "--kind", "along", "--class", ""),
    ],
)
def test_classes_of_the_root_on_the_line_are_offered(words, offered, finished):
    found = offered(*(finished.root if word == "ROOT" else word for word in words))
    assert found["plain"] == finished.classes
    begun = (*words[:-1], finished.classes[1][:1])
    some = offered(*(finished.root if word == "ROOT" else word for word in begun))
    assert some["plain"] == [name for name in finished.classes if name.startswith(finished.classes[1][:1])]


def test_experiments_are_offered_and_classes_of_the_one_that_is_named(offered, two, finished):
    assert offered("table", two, "--experiment", "")["plain"] == ["other", "tiny"]
    assert offered("table", two, "--experiment", "t")["plain"] == ["tiny"]
    assert offered("unlearn", two, "--class", "")["plain"] == []  # of which of the two?
    assert offered("unlearn", two, "--experiment", "other", "--class", "")["plain"] == finished.classes


@pytest.mark.parametrize("root", ["nowhere", "s3://bucket/root", "s3://", "/dev/null", "\x1b[31m"])
def test_a_root_that_is_none_offers_nothing_and_says_nothing(root, offered):
    assert offered("unlearn", root, "--class", "")["plain"] == []
    assert offered("table", root, "--experiment", "")["plain"] == []


def test_a_name_is_quoted_for_bash_and_one_that_a_terminal_would_obey_is_not_offered(offered, own, monkeypatch):
    monkeypatch.setattr(type(own), "classes", ["a b", "a'c", "a\x1b[2J", "a\u202ed", "ae"])
    assert offered("unlearn", own.root, "--class", "a")["plain"] == ["'a b'", "'a'\"'\"'c'", "ae"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_this_command(shell, dkvb):
    ended = dkvb("completion", shell)
    assert ended.code == 0
    assert f"_DKVB_COMPLETE={shell}_complete" in ended.out
    assert "dkvb" in ended.out


def test_bash_itself_completes_a_class_by_that_script(finished, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    line = ["dkvb", "unlearn", str(finished.root), "--class", "c"]
    script = f"""
{subprocess.run([DKVB, "completion", "bash"], capture_output=True, text=True, check=True).stdout}
COMP_WORDS=({shlex.join(line)}) COMP_CWORD={len(line) - 1}
_dkvb_completion dkvb
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = os.pathsep.join([str(DKVB.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PATH": path}
    )
    assert done.stdout.split() == [name for name in finished.classes if name.startswith("c")], done.stderr
