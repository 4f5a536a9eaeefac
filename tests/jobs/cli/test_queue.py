"""`dkvb submit` and `dkvb jobs` as people type them: forms, codes, and what is told of a mistake."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from jobs.cli.queue import jobs
from jobs.queue.files import add, end, find_job, log_of, start
from jobs.queue.records import End, EndState
from jobs.queue.show import WIDTH
from store.artefacts import write_json
from tests.jobs.queue.waiting import assignment, decided
from tests.processes import message


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVB_QUEUE", str(tmp_path / "queue"))
    return tmp_path / "queue"


@pytest.mark.parametrize("name", jobs.commands)
def test_help_of_each_command_has_an_example(name, dkvb):
    ended = dkvb("jobs", name, "--help")
    assert ended.code == 0
    assert f"Example: dkvb jobs {name} " in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "x"],
        ["logs", "x"],
        ["wait"],
        ["stop", "x"],
        ["retry", "x"],
        ["reconcile"],
        ["service", "systemd"],
    ],
)
def test_a_queue_that_is_not_there_is_no_empty_queue(words, dkvb, queue):
    text = message(dkvb("jobs", *words), 2)
    assert text == f"{queue}: no dkvb-queue.json there, so it is not a queue; `dkvb submit` makes and names one\n"


NAMELESS = [
    ["list"],
    ["show", "j"],
    ["logs", "j"],
    ["stop", "j"],
    ["retry", "j"],
    ["priority", "j", "1"],
    ["wait"],
    ["service", "cronjob"],
    ["reconcile"],
]


@pytest.mark.parametrize("words", NAMELESS, ids=lambda words: words[0])
def test_a_queue_that_was_not_named_is_asked_for(words, dkvb, monkeypatch):
    monkeypatch.delenv("DKVB_QUEUE", raising=False)
    text = message(dkvb("jobs", *words), 2)
    assert text.startswith("jobs: found no queue, neither --queue nor DKVB_QUEUE; give --queue FOLDER")
    assert "`dkvb submit` printed it" in text
    assert "Usage" not in text


@pytest.mark.parametrize("words", [["show"], ["logs"], ["logs", "-f"], ["wait"], ["stop"], ["retry"], ["priority"]])
def test_a_misspelt_job_is_told_with_the_nearest(words, dkvb, queue):
    job = add(queue, assignment())
    command, *options = words
    number = [7] if command == "priority" else []
    assert f"did you mean '{job.id}'?" in message(dkvb("jobs", command, job.id[:-1], *number, *options), 2)


def test_a_list_has_a_line_a_job_however_long_its_reason(dkvb, queue):
    first = add(queue, assignment())
    attempt = decided(first)
    start(attempt)
    end(attempt, End(state=EndState.FAILED, why=f"{'a long line ' * 50}\nand\x1b[31m more\n", final=True))
    second = add(queue, assignment())
    assert dkvb("jobs", "priority", second.id, 5).out == f"{second.id}: priority 5\n"
    ended = dkvb("jobs", "list")
    assert ended.code == 0
    head, one, other = ended.out.splitlines()
    assert head.split("  ")[0] == "JOB"
    assert one.split()[:4] == [second.id, "queued", "5", "0"]
    assert other.split()[:4] == [first.id, "failed", "0", "1"]
    assert [line.index(cell) for line, cell in ((head, "PRIORITY"), (one, "5  "))] == [head.index("PRIORITY")] * 2
    assert other.endswith(" ...")
    assert max(map(len, ended.out.splitlines())) <= WIDTH
    listed = json.loads(dkvb("jobs", "list", "--json").out)
    assert [(row["job"], row["state"]) for row in listed] == [(second.id, "queued"), (first.id, "failed")]
    assert listed[1]["why"].endswith("more\n")
    shown = dkvb("jobs", "show", first.id).out
    assert "a long line " * 49 in shown
    assert "\x1b" not in shown
    assert "more" in shown


def test_priority_moves_a_job_and_takes_a_negative_number(dkvb, queue):
    job = add(queue, assignment())
    assert dkvb("jobs", "priority", job.id, "-3").code == 0
    assert find_job(queue, job.id).priority == -3


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, "{}: priority 4, from its next attempt on, should it need one; the one that runs goes on\n"),
        ("failed", "{}: priority 4, once it is tried again; it has failed\n"),
        ("succeeded", "dkvb: {}: has succeeded; there is nothing left to start\n"),
    ],
)
def test_a_priority_of_a_job_that_does_not_wait_says_when_it_counts(state, told, dkvb, queue):
    job = add(queue, assignment())
    attempt = decided(job)
    if state:
        assert end(attempt, End(state=EndState(state), why="so it was", final=True))
    ended = dkvb("jobs", "priority", job.id, 4)
    assert (ended.out or ended.err) == told.format(job.id)
    assert find_job(queue, job.id).priority == (0 if state == "succeeded" else 4)


def test_a_job_that_failed_is_tried_again_as_it_was_submitted_and_says_why_it_failed(dkvb, queue):
    job, good = (add(queue, assignment(images="/data/smal")) for _ in range(2))
    assert end(decided(job), End(state=EndState.FAILED, why="found no images\nthere", final=True))
    assert end(decided(good), End(state=EndState.SUCCEEDED, why="", final=True))
    assert f"{good.id}: has succeeded; only a failed" in message(dkvb("jobs", "retry", good.id), 2)
    ended = dkvb("jobs", "retry", job.id)
    assert ended.err.startswith(
        "note: attempt 1: found no images; there. The same is tried again, with --images /data/smal; for other images"
    )
    assert "`dkvb submit --name NAME`\n" in ended.err


def test_a_job_that_waits_is_stopped_and_tried_again(dkvb, queue):
    job = add(queue, assignment())
    assert "is queued; only a failed or a stopped job" in message(dkvb("jobs", "retry", job.id), 2)
    assert dkvb("jobs", "stop", job.id).out == f"{job.id}: is asked to stop\n"
    assert "has stopped already" in message(dkvb("jobs", "stop", job.id), 2)
    assert dkvb("jobs", "logs", job.id, "-f").code == 0
    assert dkvb("jobs", "retry", job.id).out == f"{job.id}: queued again\n"
    assert "queued" in dkvb("jobs", "list").out


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nonsense", "http://127.0.0.1", "", "ftp://h:1"])
def test_what_is_no_address_of_a_job_server_is_refused_and_nothing_is_queued(address, dkvb, queue, tmp_path):
    text = message(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", address), 1)
    assert "is not host:port, http://host:port, https://host:port or auto" in text
    assert not queue.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://localhost:1"])
def test_a_job_server_that_is_not_there_is_named(address, dkvb, queue, tmp_path):
    text = message(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", address), 1)
    assert f"nothing answers at http://{address.removeprefix('http://')}" in text
    assert not queue.exists()


def test_an_address_beyond_this_machine_is_refused_without_a_token(dkvb, queue, tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    text = message(dkvb("submit", "digits", "--root", tmp_path / "root", "--address", "http://10.1.2.3:8265"), 1)
    assert "no authentication token is in use" in text
    assert "RAY_AUTH_TOKEN_PATH" in text


@pytest.mark.parametrize("python", ["./venv/bin/python", "venv/bin/python", "", "/opt/", "python -O", "a\nb"])
def test_what_names_no_interpreter_on_every_machine_is_refused_and_nothing_is_queued(python, dkvb, queue, tmp_path):
    words = ["submit", "digits", "--root", tmp_path / "root", "--address", "127.0.0.1:1", "--python", python]
    text = message(dkvb(*words), 2)
    assert text.startswith("--python: found ")
    assert "expected a path that begins with / or a name such as python3.12" in text
    assert not queue.exists()


@pytest.mark.parametrize("queue_name", ["", "in/it"])
def test_a_queue_inside_its_root_is_refused(queue_name, dkvb, tmp_path):
    root = tmp_path / "root"
    words = ["submit", "digits", "--root", root, "--address", "127.0.0.1:1", "--queue", root / queue_name]
    assert "lies in the root" in message(dkvb(*words), 2)


@contextmanager
def begun(*words):
    """A command that goes on, as a process of its own."""
    command = [sys.executable, "-m", "jobs.cli", "jobs", *words]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_interrupted(process, still):
    """An interrupt ends it, and it says what stays as it is and prints nothing more."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, f"dkvb: interrupted; {still}\n")
    assert out == ""


def assert_passes(process, job):
    """Another pass is made: it leaves out a job that is damaged now."""
    write_json(job.place / "attempts" / "0001" / "attempt.json", {"address": 3, "time": 1.0, "by": "me"})
    while "nothing answers at " in (line := process.stdout.readline()):  # for fewer jobs than before
        pass
    assert line.startswith(f"{job.id}: left out: ")


WATCH = ("reconcile", "--watch", "--every", "0.2")


def test_an_interrupt_ends_watching_and_a_cluster_that_does_not_answer_is_told_of_once(queue):
    _, first, second = (add(queue, assignment()) for _ in range(3))
    with begun(*WATCH) as process:
        assert "nothing answers at http://127.0.0.1:1" in process.stdout.readline()
        assert_passes(process, first)
        assert_passes(process, second)
        assert_interrupted(process, "jobs that run go on; what waits is started once a reconciler is back")


def test_a_pass_that_did_not_reach_a_cluster_ends_with_1_and_names_the_jobs_that_wait(dkvb, queue):
    job = add(queue, assignment())
    ended = dkvb("jobs", "reconcile")
    assert (ended.code, ended.out) == (1, "1 queued\n")
    assert ended.err.startswith(f"dkvb: {job.id} waits for its cluster: nothing answers at http://127.0.0.1:1: ")
    ended = dkvb("jobs", "reconcile", "--json")
    answer = json.loads(ended.out)
    assert (ended.code, answer["done"], answer["jobs"]) == (1, [], {"queued": 1})
    assert json.loads(ended.err)["error"]["message"] == answer["unreached"][0]
    assert dkvb("jobs", "reconcile", "--max-running", 0).code == 0


def test_watching_tells_how_attempts_end_though_their_drivers_said_it(queue):
    job = add(queue, assignment())
    attempt = decided(job, job.assignment.address)
    assert start(attempt)
    with begun(*WATCH) as process:
        assert process.stdout.readline().startswith(f"{job.id} waits for its cluster: ")
        end(attempt, End(state=EndState.FAILED, why="no room on the disk", final=True))
        assert process.stdout.readline() == f"{job.id}: attempt 1 failed: no room on the disk\n"


def test_an_interrupt_ends_the_following_of_a_log(queue):
    job = add(queue, assignment())
    attempt = decided(job)
    assert start(attempt)
    with log_of(attempt) as log:
        log.write({"time": 1.0, "job": job.id, "attempt": 1, "event": "unit", "unit": "00001"})
    with begun("logs", job.id, "-f") as process:
        assert "00001" in process.stdout.readline()
        assert_interrupted(process, "the job goes on as before")


def test_watching_goes_on_when_the_queue_cannot_be_read_for_a_while(queue):
    _, first, second = (add(queue, assignment()) for _ in range(3))
    with begun(*WATCH) as process:
        assert "nothing answers" in process.stdout.readline()
        assert_passes(process, first)
        queue.rename(queue.with_name("elsewhere"))  # as a network disk that is gone for a while
        assert any("so it is not a queue" in line for line in iter(process.stdout.readline, ""))  # a pass may be on
        queue.with_name("elsewhere").rename(queue)
        assert_passes(process, second)
