"""Jobs as people see them: how far, what they wait for, what was lost, and by whom they ended."""

import time

import pytest

from cluster.submit import Phase
from jobs.queue.files import add, add_command, end, find_job, start, write_heartbeat
from jobs.queue.look import Seen
from jobs.queue.records import Command, CommandKind, End, EndState, Heartbeat
from jobs.queue.show import as_text, rows, show_text
from jobs.queue.show import show as details
from jobs.queue.verdict import verdict
from jobs.run.progress import Tally
from store.artefacts import write_json
from tests.jobs.queue.waiting import assignment, decided


@pytest.fixture
def begun(tmp_path):
    """A job whose driver lives, and its attempt."""
    job = add(tmp_path / "queue", assignment())
    attempt = decided(job)
    assert start(attempt)
    return job, attempt


def again(job):
    return Seen(job=find_job(job.place.parent, job.id))


def tally(**more):
    return Tally(**{"step": "keys", "units": 10, "ended": 2, "failed": 0, **more})


@pytest.mark.parametrize(
    ("more", "about"),
    [
        ({}, "keys 2/10"),
        ({"failed": 2}, "keys 2/10, 2 failed"),
        ({"failed": 1, "lost": 1}, "keys 2/10, 1 failed, 1 worker lost"),
        ({"lost": 3}, "keys 2/10, 3 workers lost"),
        ({"waits": "CPUs"}, "waits for CPUs, keys 2/10"),
    ],
)
def test_a_job_that_runs_says_how_far_it_is_what_was_lost_and_what_it_waits_for(more, about, begun):
    job, attempt = begun
    write_heartbeat(attempt, Heartbeat(tally=tally(**more)))
    assert as_text(rows([again(job)])).splitlines()[1].endswith(f"  {about}")
    text = show_text(again(job))
    assert f"  progress   {about.removeprefix('waits for CPUs, ')}" in text
    assert text.splitlines()[0] == f"{job.id}: running{', waits for CPUs' if more.get('waits') else ''}"


def test_a_job_that_is_asked_to_stop_says_so_and_how_far_it_is(begun):
    job, attempt = begun
    write_heartbeat(attempt, Heartbeat(tally=tally()))
    add_command(job, Command(kind=CommandKind.STOP))
    assert as_text(rows([again(job)])).endswith("  stopping, keys 2/10")


def test_a_job_that_was_stopped_by_request_says_that_and_not_that_its_driver_is_gone(begun):
    job, attempt = begun
    write_heartbeat(attempt, Heartbeat(tally=tally()))
    add_command(job, Command(kind=CommandKind.STOP))
    there = find_job(job.place.parent, job.id)
    ending = verdict(there, attempt, Phase("ended", "STOPPED: Job was intentionally stopped.", "", None))
    assert (ending.state, ending.why) == ("stopped", "stopped by request")


def test_who_started_an_attempt_and_who_drove_it_is_named(begun):
    job, attempt = begun
    assert end(attempt, End(state=EndState.STOPPED, why="stopped by request", final=True))
    (line,) = [line for line in show_text(again(job)).splitlines() if line.startswith("  attempt 1  ")]
    assert " started by submit or reconciler " in line
    assert ", driver " in line
    assert line.endswith(": stopped by request")


def test_a_list_fits_the_terminal_and_its_columns_stand_below_their_heads(begun):
    job, attempt = begun
    assert end(attempt, End(state=EndState.FAILED, why=f"'/x' holds {'names, ' * 90}", final=True))
    head, line = as_text(rows([again(job)]), columns=120).splitlines()
    assert len(line) <= 120
    assert head.split("  ")[0] == "JOB"
    at = head.index("SUBMITTED (UTC)")
    assert line[at:].startswith(time.strftime("%Y-%m-%d "))
    assert line[head.index("PROGRESS OR REASON") :].startswith("attempt 1: '/x' holds names, ")
    assert show_text(again(job)).count("names, ") >= 90


@pytest.mark.parametrize(("state", "told"), [("succeeded", None), ("failed", "came to"), ("stopped", "came to")])
def test_how_far_a_job_came_is_not_told_as_progress_once_it_has_ended(state, told, begun):
    job, attempt = begun
    write_heartbeat(attempt, Heartbeat(tally=tally()))
    assert end(attempt, End(state=EndState(state), why="", final=True))
    text, found = show_text(again(job)), details(again(job))
    assert "progress" not in text
    assert ("  came to    keys 2/10\n" in text) is (told is not None)
    assert bool(found["progress"]) is (told is not None)


def test_commands_and_attempts_are_in_the_order_of_time_and_attempts_in_their_own_whatever_clocks_say(tmp_path):
    job = add(tmp_path / "queue", assignment())
    for time_of_attempt, kind, time_of_command in [(100, CommandKind.STOP, 150), (300, CommandKind.RETRY, 250)]:
        job = find_job(job.place.parent, job.id)
        attempt = decided(job)
        write_json(attempt.place / "attempt.json", {**attempt.decision.to_json(), "time": time_of_attempt})
        assert end(attempt, End(state=EndState.STOPPED, why="", output="its last words"))
        add_command(job, Command(kind=kind, time=time_of_command, attempts=1))
    early = decided(find_job(job.place.parent, job.id))
    write_json(early.place / "attempt.json", {**early.decision.to_json(), "time": 50})
    add_command(find_job(job.place.parent, job.id), Command(kind=CommandKind.PRIORITY, value=7, time=400))
    lines = show_text(again(job)).splitlines()
    history = lines[[line.split()[0] for line in lines].index("submitted") + 1 :]
    assert [" ".join(line.split()[: 2 if "attempt" in line else 1]) for line in history] == [
        "attempt 1", "|", "stop", "retry", "attempt 2", "|", "attempt 3", "priority",
    ]  # fmt: skip
    assert history[-1].endswith(" to 7")
