"""`dkvb submit` and `dkvb jobs` as people type them: forms, codes, and what is told of a mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from jobs.cli.queue import jobs
from jobs.queue.files import add, decide, end, find_job, start
from jobs.queue.records import Assignment, End, EndState

ASKED = {
    "name": "tiny",
    "specs": [{"name": "tiny"}],
    "root": "/nowhere/root",
    "images": None,
    "address": "http://127.0.0.1:1",
    "priority": 0,
    "attempts": 3,
    "workers": None,
    "gpus": 0,
    "commit": None,
}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVB_QUEUE", str(tmp_path / "queue"))
    return tmp_path / "queue"


def told(ended, code):
    """The one message of a command that failed."""
    assert ended.code == code, ended.out + ended.err
    _, text = re.split(r"^(?:dkvb|Error): ", ended.err, flags=re.M)
    return text


@pytest.mark.parametrize("name", jobs.commands)
def test_help_of_each_command_has_an_example(name, dkvb):
    ended = dkvb("jobs", name, "--help")
    assert ended.code == 0
    assert f"Example: dkvb jobs {name} " in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "words", [["list"], ["show", "x"], ["logs", "x"], ["stop", "x"], ["retry", "x"], ["reconcile"]]
)
def test_a_queue_that_is_not_there_is_no_empty_queue(words, dkvb, queue):
    text = told(dkvb("jobs", *words), 2)
    assert text == f"{queue}: no dkvb-queue.json there, so it is not a queue; `dkvb submit` makes and names one\n"


def test_a_queue_that_was_not_named_is_asked_for(dkvb, monkeypatch):
    monkeypatch.delenv("DKVB_QUEUE", raising=False)
    text = told(dkvb("jobs", "list"), 2)
    assert "--queue" in text
    assert "DKVB_QUEUE" in text


@pytest.mark.parametrize("words", [["show"], ["logs"], ["logs", "-f"], ["stop"], ["retry"], ["priority"]])
def test_a_misspelt_job_is_told_with_the_nearest(words, dkvb, queue):
    job = add(queue, Assignment(**ASKED))
    command, *options = words
    number = [7] if command == "priority" else []
    assert f"did you mean '{job.id}'?" in told(dkvb("jobs", command, job.id[:-1], *number, *options), 2)


def test_a_list_has_a_line_a_job_however_long_its_reason(dkvb, queue):
    first = add(queue, Assignment(**ASKED))
    attempt = decide(first, "here")
    start(attempt)
    end(attempt, End(state=EndState.FAILED, why=f"{'a long line ' * 50}\nand\x1b[31m more\n", final=True))
    second = add(queue, Assignment(**ASKED))
    assert dkvb("jobs", "priority", second.id, 5).out == f"{second.id}: priority 5\n"
    ended = dkvb("jobs", "list")
    assert ended.code == 0
    one, other = ended.out.splitlines()
    assert one.split()[:4] == [second.id, "queued", "priority", "5"]
    assert other.split()[:2] == [first.id, "failed"]
    assert other.endswith("a long line"), "its first line, whole: a remedy stands at its end"
    listed = json.loads(dkvb("jobs", "list", "--json").out)
    assert [(row["job"], row["state"]) for row in listed] == [(second.id, "queued"), (first.id, "failed")]
    assert listed[1]["why"].endswith("more\n")
    shown = dkvb("jobs", "show", first.id).out
    assert "\x1b" not in shown
    assert "more" in shown


def test_priority_moves_a_job_and_takes_a_negative_number(dkvb, queue):
    job = add(queue, Assignment(**ASKED))
    assert dkvb("jobs", "priority", job.id, "-3").code == 0
    assert find_job(queue, job.id).priority == -3


def test_a_job_that_waits_is_stopped_and_tried_again(dkvb, queue):
    job = add(queue, Assignment(**ASKED))
    assert "is queued; only a failed or a stopped job" in told(dkvb("jobs", "retry", job.id), 2)
    assert dkvb("jobs", "stop", job.id).out == f"{job.id}: ordered to stop\n"
    assert "has stopped already" in told(dkvb("jobs", "stop", job.id), 2)
    assert dkvb("jobs", "logs", job.id, "-f").code == 0
    assert dkvb("jobs", "retry", job.id).out == f"{job.id}: queued again\n"
    assert "queued" in dkvb("jobs", "list").out


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nonsense", "http://127.0.0.1", "", "ftp://h:1"])
def test_what_is_no_address_of_a_job_server_is_refused_and_nothing_is_queued(address, dkvb, queue, tmp_path):
    text = told(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", address), 1)
    assert "is none of host:port, http://host:port, https://host:port or auto" in text
    assert not queue.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://localhost:1"])
def test_a_job_server_that_is_not_there_is_named(address, dkvb, queue, tmp_path):
    text = told(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", address), 1)
    assert f"nothing answers at http://{address.removeprefix('http://')}" in text
    assert not queue.exists()


def test_an_address_beyond_this_machine_is_refused_without_a_token(dkvb, queue, tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    text = told(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", "http://10.1.2.3:8265"), 1)
    assert "no authentication token is in use" in text
    assert "RAY_AUTH_TOKEN_PATH" in text


@pytest.mark.parametrize("queue_name", ["", "in/it"])
def test_a_queue_inside_its_root_is_refused(queue_name, dkvb, tmp_path):
    root = tmp_path / "root"
    words = ["submit", "digits", "--root", root, "--address", "127.0.0.1:1", "--queue", root / queue_name]
    assert "lies in the root" in told(dkvb(*words), 2)


@pytest.mark.parametrize("words", [["reconcile", "--watch", "--every", "0.2"], ["logs", "JOB", "-f"]])
def test_an_interrupt_ends_what_goes_on_with_one_line(words, queue, tmp_path):
    job = add(queue, Assignment(**ASKED))
    words = [sys.executable, "-m", "jobs.cli", "jobs", *(job.id if word == "JOB" else word for word in words)]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        if "--watch" in words:
            assert "nothing answers at http://127.0.0.1:1" in process.stdout.readline()
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "dkvb: interrupted; what was finished is kept\n")
    assert out == "", "a cluster that does not answer is told of once"


def test_watching_goes_on_when_the_queue_cannot_be_read_for_a_while(queue):
    add(queue, Assignment(**ASKED))
    words = [sys.executable, "-m", "jobs.cli", "jobs", "reconcile", "--watch", "--every", "0.2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert "nothing answers" in process.stdout.readline()
        time.sleep(1)  # the first pass is over
        queue.rename(queue.with_name("elsewhere"))  # as a network disk that is gone for a while
        assert "so it is not a queue" in process.stdout.readline()
        queue.with_name("elsewhere").rename(queue)
        time.sleep(1)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
