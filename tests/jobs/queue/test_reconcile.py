"""What a reconciler makes of an attempt when it cannot ask the cluster, and when clocks differ."""

import threading
import time

import pytest

from jobs.queue import reconcile as reconcile_module
from jobs.queue.files import add, add_command, end, find_job, start, write_heartbeat, write_outputs
from jobs.queue.reconcile import NAMED, REMEMBERED, reconcile, without_repeats
from jobs.queue.records import Command, CommandKind, End, EndState, Heartbeat, Outputs
from store.files import write_atomic
from tests.jobs.queue.waiting import assignment, decided


def again(job):
    return find_job(job.place.parent, job.id)


def name_of(job):
    return again(job).state(time.time()).name


@pytest.fixture
def unwatched(tmp_path, monkeypatch):
    """An attempt whose heartbeat is of an hour ago, by its own clock or in truth."""
    monkeypatch.setattr(reconcile_module, "LOOK_S", 0.5)
    job = add(tmp_path / "queue", assignment())
    attempt = decided(job, job.assignment.address)
    assert start(attempt)
    write_heartbeat(attempt, Heartbeat(time=time.time() - 3600))
    return job, attempt


def test_an_attempt_that_is_silent_is_lost_and_its_cluster_is_told_of_once(unwatched):
    job = unwatched[0]
    lines: list[str] = []
    made = reconcile(job.place.parent, max_running=1, tell=lines.append)
    assert made.jobs == {"lost": 1}
    (waits,), (lost,) = made.unreached, lines
    assert waits.startswith(f"{job.id} waits for its cluster: nothing answers at http://127.0.0.1:1: ")
    assert lost.startswith(f"{job.id}: attempt 1 lost: no heartbeat came")
    assert again(job).attempts[0].end.final is False


def test_an_attempt_whose_clock_is_an_hour_late_lives_while_it_beats(unwatched):
    job, attempt = unwatched
    beating = threading.Event()

    def beat():
        while not beating.wait(0.1):
            write_heartbeat(attempt, Heartbeat(time=time.time() - 3600))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        reconcile(job.place.parent, max_running=1, tell=lambda _: None)
    finally:
        beating.set()
        thread.join()
    assert again(job).attempts[0].end is None


@pytest.mark.parametrize("root", ["s3://nobody@here:x/y", "/nowhere"])
def test_a_root_that_cannot_be_looked_at_does_not_keep_other_jobs_waiting(unwatched, root):
    job, attempt = unwatched
    write_outputs(attempt, Outputs(root=root, steps=["keys/0123456789abcdef"]))
    other = add(job.place.parent, assignment())
    reconcile(job.place.parent, max_running=1, tell=lambda _: None)
    assert name_of(job) == "lost"
    assert name_of(other) == "queued"


def test_a_lost_attempt_whose_outputs_stand_has_succeeded(unwatched, tmp_path):
    job, attempt = unwatched
    write_outputs(attempt, Outputs(root=str(tmp_path / "root"), steps=["keys/0123456789abcdef"]))
    write_atomic(tmp_path / "root" / "keys" / "0123456789abcdef" / "DONE", b"")
    reconcile(job.place.parent, max_running=1, tell=lambda _: None)
    assert name_of(job) == "succeeded"
    assert "its outputs stand, though no heartbeat came" in again(job).attempts[0].end.why


def test_a_cluster_that_no_job_needs_is_not_asked_and_jobs_beyond_some_are_counted(tmp_path):
    jobs = [add(tmp_path / "queue", assignment()) for _ in range(NAMED + 2)]
    assert reconcile(tmp_path / "queue", max_running=0, tell=pytest.fail).unreached == []
    (waits,) = reconcile(tmp_path / "queue", max_running=1, tell=pytest.fail).unreached
    assert f", {jobs[NAMED - 1].id} and 2 more wait for their cluster: nothing answers at " in waits


def test_ends_that_others_wrote_between_two_passes_are_told_once_each_with_its_reason(tmp_path):
    queue = tmp_path / "queue"
    ended_before, failed, good, waits = (add(queue, assignment()) for _ in range(4))
    end(decided(ended_before), End(state=EndState.FAILED, why="long ago", final=True))
    first = reconcile(queue, max_running=0, tell=pytest.fail)
    end(decided(failed), End(state=EndState.FAILED, why="no images\nthere", final=True))
    end(decided(good), End(state=EndState.SUCCEEDED, why="", final=True))
    add_command(waits, Command(kind=CommandKind.STOP))
    lines: list[str] = []
    second = reconcile(queue, max_running=0, tell=lines.append, before=first)
    assert sorted(lines) == sorted(
        [
            f"{failed.id}: attempt 1 failed: no images; there",
            f"{good.id}: attempt 1 succeeded",
            f"{waits.id}: stopped",
        ]
    )
    reconcile(queue, max_running=0, tell=pytest.fail, before=second)


def test_a_line_that_was_told_is_not_told_again_though_others_came_between():
    lines: list[str] = []
    tell = without_repeats(lines.append)
    for line in ["a", "b", "a", "b", "a", *(str(number) for number in range(REMEMBERED)), "a"]:
        tell(line)
    assert lines == ["a", "b", *(str(number) for number in range(REMEMBERED)), "a"]
