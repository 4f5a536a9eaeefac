"""Looking at a queue: what clusters know beyond the files is shown, in bounded time, and nothing is written."""

import json
import socket
import time

import pytest

from jobs.queue import look as look_module
from jobs.queue import show as show_module
from jobs.queue.commands import retry
from jobs.queue.files import add, find_job, start, write_heartbeat
from jobs.queue.passes import sign
from jobs.queue.reconcile import reconcile
from jobs.queue.records import Heartbeat
from tests.jobs.queue.job_server import job_server
from tests.jobs.queue.waiting import assignment, decided, first_end
from tests.processes import message

LAST = "ModuleNotFoundError: No module named 'torch'"
DIED = (
    "FAILED",
    f"failed with exit code 1, last available logs:\nTraceback\n{LAST}\nRunning entrypoint for job x: y\n",
    1,
)


@pytest.fixture
def server():
    with job_server() as made:
        yield made


@pytest.fixture
def job(tmp_path, server):
    """A job whose first attempt is decided, on that server."""
    made = add(tmp_path / "queue", assignment(address=server.address))
    sign(tmp_path / "queue", 10, pytest.fail)
    decided(made, server.address)
    return find_job(tmp_path / "queue", made.id)


@pytest.fixture
def listed(job, dkvb):
    """The line of the job in a list; it says the same with --json."""

    def do(*words):
        named = ["--queue", job.place.parent, *words]
        ended = dkvb("jobs", "list", *named)
        assert (ended.code, ended.err) == (0, "")
        (row,) = json.loads(dkvb("jobs", "list", *named, "--json").out)
        assert row["state"] in ended.out
        assert row["why"][:40] in ended.out
        return row["state"], row["why"]

    return do


def written(job):
    return sorted(path for path in job.place.rglob("*"))


def test_a_driver_that_died_at_import_has_failed_at_the_next_list_which_writes_nothing(job, server, listed, dkvb):
    server.says(*DIED)
    before = written(job)
    state, why = listed()
    assert state == "failed"
    assert why.startswith(f"attempt 1: {LAST} (its driver died at import)")
    assert listed("--offline") == ("running", "starting")
    server.logs = f"Traceback\n{LAST}\n"
    shown = dkvb("jobs", "show", job.id, "--queue", job.place.parent).out
    assert shown.startswith(f"{job.id}: failed, attempt 1: {LAST}")
    assert f"    | {LAST}" in shown
    assert written(job) == before
    assert {method for method, _, _ in (line.partition(" ") for line in server.asked)} == {"GET"}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("PENDING", "starting: pending on its cluster"),
        ("RUNNING", "starting: its driver loads"),
        (None, "its cluster does not know of it yet: a reconciler hands it over"),
    ],
)
def test_a_driver_that_has_not_begun_is_as_far_as_its_cluster_says(status, why, server, listed):
    server.says(status)
    assert listed() == ("running", why)


def test_a_driver_that_its_cluster_forgot_is_lost_unless_it_beats(job, server, listed):
    attempt = job.open_attempt
    assert start(attempt)
    write_heartbeat(attempt, Heartbeat())
    assert listed() == ("running", "")
    write_heartbeat(attempt, Heartbeat(time=time.time() - look_module.QUIET_S - 5))
    assert listed() == ("lost", "attempt 1: its cluster no longer knows of it")


def test_a_reconciler_ends_what_died_at_import_at_once_and_does_not_try_it_again(job, server):
    server.says(*DIED)
    server.logs = f"Traceback\n{LAST}\n"
    lines: list[str] = []
    for _ in range(2):
        assert reconcile(job.place.parent, max_running=1, tell=lines.append).jobs == {"failed": 1}
    (line,) = lines
    assert line.startswith(f"{job.id}: attempt 1 failed: {LAST}")
    ending = first_end(find_job(job.place.parent, job.id))
    assert (ending.state, ending.final, ending.output) == ("failed", True, f"Traceback\n{LAST}")


def test_a_job_server_that_takes_no_job_makes_it_fail_with_the_reason(job, server):
    server.refuses = "the quota is used up"
    assert reconcile(job.place.parent, max_running=1, tell=lambda _: None).jobs == {"failed": 1}
    assert "the quota is used up" in first_end(find_job(job.place.parent, job.id)).why


def test_a_job_that_failed_without_a_word_is_tried_again_and_is_not_to_be_stopped(job, server, dkvb):
    server.says(*DIED)
    assert "has failed already" in message(dkvb("jobs", "stop", job.id, "--queue", job.place.parent), 2)
    said: list[str] = []
    retry(job, said.append)
    assert said[0].startswith(f"attempt 1: {LAST}")
    assert (
        ". The same is tried again, with --images unset; for other images, or another spec, submit a new job" in said[0]
    )
    again = find_job(job.place.parent, job.id)
    assert first_end(again).why.startswith(LAST)
    assert (again.state(time.time()).name, again.charged) == ("queued", 0)


def test_a_cluster_that_does_not_answer_is_one_line_and_its_jobs_are_as_their_files_say(job, dkvb):
    queue = job.place.parent
    for _ in range(2):
        decided(add(queue, assignment()), "http://127.0.0.1:1")
    ended = dkvb("jobs", "list", "--queue", queue)
    assert ended.out.count("running") == 3
    (line,) = ended.err.splitlines()
    assert line.startswith("note: nothing answers at http://127.0.0.1:1: ")
    assert line.endswith("(its jobs are shown as their files say)")
    assert dkvb("jobs", "list", "--offline", "--queue", queue).err == ""


def test_clusters_that_accept_and_say_nothing_are_waited_for_for_a_bounded_time(tmp_path, dkvb, monkeypatch):
    monkeypatch.setattr(look_module, "ANSWER_S", 0.5)
    monkeypatch.setattr(look_module, "ALL_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.create_server(("127.0.0.1", 0)) as other:
        for each in (deaf, other):
            address = f"http://127.0.0.1:{each.getsockname()[1]}"
            decided(add(tmp_path / "queue", assignment(address=address)), address)
        ended = dkvb("jobs", "list", "--queue", tmp_path / "queue")
    assert ended.out.count("running") == 2
    first, second = ended.err.splitlines()
    assert "no Ray job server answers there" in first
    assert "was not asked, as others took too long to answer" in second


def test_a_cluster_that_takes_long_for_each_answer_is_waited_for_for_a_bounded_time(job, server, dkvb, monkeypatch):
    monkeypatch.setattr(look_module, "ALL_S", 1.0)
    for _ in range(5):
        decided(add(job.place.parent, assignment(address=server.address)), server.address)
    server.says("PENDING")
    server.delay_s = 0.4
    ended = dkvb("jobs", "list", "--queue", job.place.parent)
    assert ended.out.count("running") == 6
    assert ended.err == f"note: {server.address}: takes too long to answer (its jobs are shown as their files say)\n"
    assert len(server.asked) < 6


def test_a_log_that_is_followed_ends_where_its_driver_died_without_a_word(job, server, dkvb, monkeypatch):
    monkeypatch.setattr(show_module, "ASK_S", 0.0)
    server.says(*DIED)
    ended = dkvb("jobs", "logs", job.id, "-f", "--queue", job.place.parent)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith(f"note: {job.id}: failed: attempt 1: {LAST}")
