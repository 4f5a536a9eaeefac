"""What is told beside the answer: quiet, verbose, into a file; and errors in JSON."""

import json
import logging
import os
import re
import signal
import subprocess
import sys

import click
import pytest

from jobs import printable
from jobs.cli import telling
from jobs.cli.main import cli


def leaves(command=cli, name=""):
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        return {name.strip(): command}
    return {
        words: leaf
        for inner, each in command.commands.items()
        for words, leaf in leaves(each, f"{name} {inner}").items()
    }


def options(command):
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("words", leaves())
def test_every_command_tells_as_it_is_asked_to(words):
    assert {"--json", "-q", "--quiet", "-v", "--verbose", "--log-file"} <= options(leaves()[words])


@pytest.mark.parametrize("before", [True, False])
def test_quiet_leaves_the_answer_alone(before, dkvb, run_words):
    words = ("-q", *run_words()) if before else (*run_words(), "--quiet")
    ended = dkvb(*words)
    assert (ended.code, ended.err) == (0, "")
    assert "tiny: train accuracy" in ended.out
    loud = dkvb(*run_words())
    assert loud.out == ended.out
    assert "done already" in loud.err, "quiet is over with the command"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("status", "nowhere"), "dkvb: nowhere: "),
        (("run", "cifra10", "--root", "r"), "dkvb: "),
        (("table", "r", "--format", "xls"), "Error: "),
        (("runn",), "Error: "),
    ],
)
def test_quiet_still_tells_an_error(words, text, dkvb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loud, quiet = dkvb(*words), dkvb("-q", *words)
    assert text in quiet.err
    assert (quiet.code, quiet.err, quiet.out) == (loud.code, loud.err, loud.out)


def test_verbose_tells_where_an_error_came_from(dkvb, tmp_path):
    assert "Traceback" not in dkvb("status", tmp_path / "none").err
    ended = dkvb("status", tmp_path / "none", "-v")
    assert ended.code == dkvb("status", tmp_path / "none").code
    assert "Traceback (most recent call last):" in ended.err
    assert ended.err.splitlines()[-1].startswith("dkvb: ")


def test_log_messages_are_told_from_the_level_on_that_was_asked_for(dkvb, monkeypatch, tmp_path):
    def messages(*_):
        logger = logging.getLogger("cluster.session")
        logger.debug("ant %d", 3)
        logger.info("bee")
        logger.warning("note: cat")
        return []

    monkeypatch.setattr("jobs.results.experiment.status", messages)
    told = {words: dkvb("status", tmp_path, "--json", *words).err for words in (("-v",), ("-vv",), ("-q", "-v"))}
    assert {words: [name for name in ("ant 3", "bee", "cat") if name in err] for words, err in told.items()} == {
        ("-v",): ["bee", "cat"],
        ("-vv",): ["ant 3", "bee", "cat"],
        ("-q", "-v"): [],
    }
    assert all(err.count("cat") <= 1 for err in told.values())


TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")


def test_a_log_file_keeps_what_is_told_with_times_and_grows(dkvb, run_words, tmp_path):
    path = tmp_path / "new.log"
    assert dkvb(*run_words(), "-q", "--log-file", path).err == ""
    assert dkvb("status", tmp_path / "none", "--log-file", path).code != 0
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(TIME.match(line) for line in lines)
    texts = [TIME.sub("", line) for line in lines]
    assert texts[0].startswith("dkvb run ")
    assert any(text.startswith("step step=embeddings[train] units=4 standing=0") for text in texts)
    assert sum(text.startswith("unit step=sweep") for text in texts) == 4
    assert texts[-2].startswith("dkvb status ")
    assert texts[-1].startswith(f"dkvb: {tmp_path / 'none'}: ")


def test_a_log_file_that_cannot_be_written_is_told_before_anything_is_done(dkvb, run_words, tmp_path):
    ended = dkvb(*run_words(), "--log-file", tmp_path / "none" / "a.log")
    assert ended.code == 2
    assert "a.log: cannot be written: No such file or directory" in ended.err
    assert not (tmp_path / "root").exists()


def test_after_a_command_all_is_as_before(dkvb, tmp_path):
    before, level = sys.stderr, logging.getLogger("jobs").level
    dkvb("-q", "-vv", "--log-file", tmp_path / "a.log", "status", tmp_path / "none")
    assert sys.stderr is before
    assert (printable.HEARD, telling.TOLD.verbose, telling.TOLD.loud, telling.TOLD.handler) == ([], 0, None, None)
    assert (logging.getLogger("jobs").level, logging.getLogger("jobs").handlers) == (level, [])


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("status", "nowhere", "--json"), "NotARoot", None),
        (("run", "cifra10", "--root", "r", "--json"), "BadSpec", 2),
        (("table", "r", "--json", "--table", "magic"), "UsageError", 2),
        (("unlearn", "r", "--json"), "UsageError", 2),
        (("runn", "--json"), "UsageError", 2),
        (("jobs", "list", "--json"), "BadRequest", 2),
    ],
)
def test_an_error_is_json_where_json_was_asked_for(words, kind, code, dkvb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DKVB_QUEUE", raising=False)
    ended, plain = dkvb(*words), dkvb(*(word for word in words if word != "--json"))
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    error = json.loads(line)["error"]
    assert set(error) == {"kind", "message", "exit_code"}
    assert error["exit_code"] == ended.code == plain.code
    assert code in (None, ended.code)
    assert error["kind"] == kind
    assert error["message"].splitlines()[0] in plain.err


def test_a_word_behind_two_dashes_asks_for_no_json(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dkvb", "query", "r", "keys", "--", "--json"])
    assert not telling.wants_json()


def test_an_interrupt_is_json_too(tmp_path):
    code = "import signal, os, jobs.cli.main as m; m.cli = lambda **_: os.kill(os.getpid(), signal.SIGTERM); m.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--json"], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert json.loads(done.stderr)["error"]["kind"] == "Interrupted"
    assert tmp_path.exists()
