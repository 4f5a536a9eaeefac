"""The queue: a job's state is what its files say, on a disk and on an object store, whoever wrote what when."""

import json
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import BadRequest
from jobs.queue.commands import prioritise, retry, stop
from jobs.queue.driver import drive
from jobs.queue.files import (
    QUEUE_FILE,
    add,
    add_command,
    decide,
    end,
    find_job,
    read_queue,
    start,
    write_heartbeat,
)
from jobs.queue.job import STALE_S, START_S, Attempt, Job
from jobs.queue.look import Seen
from jobs.queue.records import Command, CommandKind, Decision, End, EndState, Heartbeat, Signed
from jobs.queue.show import as_text, rows, show, show_text
from jobs.run.progress import Tally
from store.artefacts import as_json
from store.files import write_atomic
from store.places import place
from tests.jobs.queue.waiting import assignment, decided, first_end

NOW = 1_000_000.0


@pytest.fixture(params=["disk", "object store"])
def queue(request, tmp_path):
    if request.param == "disk":
        return tmp_path / "queue"
    return place(f"{request.getfixturevalue('bucket')}/queue")


@pytest.fixture
def on_disk(tmp_path):
    return tmp_path / "queue"


def again(job):
    """The job as its files say now."""
    return find_job(job.place.parent, job.id)


def name_of(job, now=None):
    return again(job).state(time.time() if now is None else now).name


def ended(job, state, *, final=False):
    """One more attempt, from its decision to its end."""
    attempt = decided(again(job))
    assert start(attempt)
    assert end(attempt, End(state=EndState(state), why="so it was", final=final))


def silent(text):
    raise AssertionError(f"nothing was to be told, but {text}")


# States.


def test_a_job_goes_from_queued_to_running_to_succeeded(queue):
    job = add(queue, assignment())
    assert (name_of(job), job.attempts) == ("queued", [])
    attempt = decided(job)
    assert again(job).state(time.time()).why == "starting"
    assert start(attempt)
    assert again(job).state(time.time()) == again(job).state(time.time() + STALE_S - 5)
    assert name_of(job) == "running"
    assert name_of(job, time.time() + STALE_S + 5) == "lost"
    tally = Tally(step="keys", units=7, ended=3, failed=0)
    write_heartbeat(attempt, Heartbeat(time=time.time() + STALE_S, tally=tally))
    assert name_of(job, time.time() + 2 * STALE_S - 5) == "running"
    assert rows(Seen(job=job) for job in read_queue(queue))[0].progress == tally
    assert end(attempt, End(state=EndState.SUCCEEDED, why="", final=True))
    assert name_of(job, time.time() + 1e9) == "succeeded"


def test_an_end_is_said_once_and_stays(queue):
    attempt = decided(add(queue, assignment()))
    assert end(attempt, End(state=EndState.LOST, why="first", final=False))
    assert not end(attempt, End(state=EndState.SUCCEEDED, why="second", final=True))
    assert first_end(read_queue(queue)[0]).why == "first"


def test_a_final_failure_ends_a_job_and_another_is_tried_again_up_to_its_limit(queue):
    job = add(queue, assignment(attempts=2))
    ended(job, "failed")
    assert (name_of(job), again(job).state(0).why) == ("queued", "attempt 1: so it was")
    ended(job, "lost")
    assert (name_of(job), again(job).state(0).why) == ("failed", "attempt 2: so it was (the last of 2)")
    other = add(queue, assignment())
    ended(other, "failed", final=True)
    assert name_of(other) == "failed"
    lost = add(queue, assignment())
    ended(lost, "lost")
    assert name_of(lost) == "lost"


def test_a_retry_renews_the_attempts_and_is_refused_while_there_is_nothing_to_retry(queue):
    job = add(queue, assignment(attempts=2))
    with pytest.raises(BadRequest, match="is queued; only a failed or a stopped job"):
        retry(job, silent)
    told: list[str] = []
    ended(job, "lost")
    ended(job, "lost")
    retry(again(job), told.append)
    assert (name_of(job), again(job).charged) == ("queued", 0)
    ended(job, "lost")
    assert name_of(job) == "lost"
    ended(job, "failed")
    assert name_of(job) == "failed"
    retry(again(job), told.append)
    ended(job, "succeeded")
    with pytest.raises(BadRequest, match="succeeded; only a failed"):
        retry(again(job), told.append)
    assert len(again(job).attempts) == 5


def test_a_queued_job_is_stopped_at_once_and_a_retry_takes_it_up_again(queue):
    job = add(queue, assignment())
    stop(job, lambda _: None)
    assert name_of(job) == "stopped"
    with pytest.raises(BadRequest, match="has stopped already"):
        stop(again(job), silent)
    retry(again(job), silent)
    assert name_of(job) == "queued"


def test_a_decided_job_that_did_not_start_is_stopped_and_its_driver_then_does_nothing(on_disk, capsys):
    job = add(on_disk, assignment())
    lines: list[str] = []
    attempt = decided(job, job.assignment.address)
    stop(again(job), lines.append)
    assert name_of(job) == "stopped"
    assert "nothing answers" in lines[0]
    assert lines[1:] == [
        f"{job.id}: is asked to stop",
        f"{job.id}: attempt 1 stopped: stopped by request; it had not started",
    ]
    assert drive(again(job), again(job).attempts[0]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert not (attempt.place / "started.json").exists()


def test_a_running_job_that_is_ordered_to_stop_says_so_until_its_driver_has_ended(on_disk):
    job = add(on_disk, assignment())
    attempt = decided(job, job.assignment.address)
    assert start(attempt)
    stop(again(job), lambda _: None)
    assert (name_of(job), again(job).state(time.time()).why) == ("running", "stopping")
    end(attempt, End(state=EndState.LOST, why="the driver was told to end", final=False))
    assert name_of(job) == "stopped"


def test_a_job_that_succeeded_though_it_was_to_stop_has_succeeded(on_disk):
    job = add(on_disk, assignment())
    attempt = decided(job)
    add_command(again(job), Command(kind=CommandKind.STOP))
    end(attempt, End(state=EndState.SUCCEEDED, why="", final=True))
    assert name_of(job) == "succeeded"


def test_silence_is_counted_from_the_last_word():
    def attempt(**parts):
        return Attempt(number=1, place=place("q/job/attempts/0001"), **parts)

    decision, beat = Decision(address="here", time=NOW), Heartbeat(time=NOW + 500)
    assert attempt(decision=decision).silence(NOW + START_S + 7) == 7
    assert attempt(decision=decision, start=Signed(time=NOW + 11)).silence(NOW + 11 + STALE_S + 3) == 3
    assert attempt(decision=decision, start=Signed(time=NOW), heartbeat=beat).silence(NOW + 500) == -STALE_S
    assert attempt(decision=decision).submission == "dkvb-job-1"


# Laws.

ENDS = st.sampled_from(["succeeded", "failed", "final", "stopped", "lost", "open"])
COMMANDS = st.sampled_from([*CommandKind])


@given(st.lists(ENDS | COMMANDS, max_size=9), st.integers(1, 3))
def test_whatever_happened_a_job_is_in_one_state_and_its_laws_hold(events, limit):
    commands: list[Command] = []
    attempts: list[Attempt] = []
    for event in events:
        if isinstance(event, CommandKind):
            commands.append(Command(kind=event, attempts=len(attempts), value=len(commands)))
            continue
        state = "failed" if event == "final" else event
        ending = None if event == "open" else End(state=EndState(state), why="x", final=event == "final")
        decision = Decision(address="here", time=NOW)
        attempts.append(Attempt(number=len(attempts) + 1, place=place("q/j/attempts/1"), decision=decision, end=ending))
    asked = assignment(attempts=limit, time=NOW)
    job = Job(id="j", place=place("q/j"), assignment=asked, commands=commands, attempts=attempts)
    name = job.state(NOW).name
    succeeded = "succeeded" in [a.end.state for a in attempts if a.end]
    is_open = bool(attempts) and attempts[-1].end is None
    assert (name == "succeeded") == succeeded
    assert (name == "running") == (is_open and not succeeded)
    if name == "queued":
        assert not job.is_to_stop
        assert job.charged < limit
    if name == "failed":
        assert job.charged > 0
    if name == "stopped":
        assert job.is_to_stop
    assert job.state(NOW + 10 * START_S).name in ({"lost"} if name == "running" else {name})
    assert job.priority == ([0] + [each.value for each in commands if each.kind == "priority"])[-1]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), max_size=7))
def test_higher_priority_goes_first_and_age_decides_among_equals(asked):
    jobs = [
        Job(id=f"j{i}", place=place(f"q/j{i}"), assignment=assignment(priority=priority, time=NOW + age))
        for i, (priority, age) in enumerate(asked)
    ]
    ranked = [int(job.id[1:]) for job in sorted(jobs, key=lambda job: job.rank)]
    assert ranked == sorted(range(len(asked)), key=lambda i: (-asked[i][0], asked[i][1], i))


def test_a_priority_that_was_ordered_moves_a_job_to_the_front(queue):
    first, second, third = (add(queue, assignment(name=name)) for name in ("one", "two", "three"))
    prioritise(third, 7)
    assert [job.id for job in read_queue(queue)] == [third.id, first.id, second.id]
    prioritise(again(third), -1)
    assert [row.job for row in rows(Seen(job=job) for job in read_queue(queue))] == [first.id, second.id, third.id]


# Many at once.


def try_to_decide(address, name):
    return decide(find_job(place(address), name), "here") is not None


def test_of_many_reconcilers_in_threads_one_decides_and_one_says_the_end(queue):
    job = add(queue, assignment())
    with ThreadPoolExecutor(11) as pool:
        assert sum(pool.map(lambda _: decide(job, "here") is not None, range(11))) == 1
        attempt = again(job).attempts[0]
        assert sum(pool.map(lambda n: end(attempt, End(state=EndState.LOST, why=str(n), final=False)), range(11))) == 1
        list(pool.map(lambda _: prioritise(job, 1), range(11)))
    assert len(again(job).attempts) == 1
    assert len(again(job).commands) == 11


def test_of_many_reconcilers_in_processes_one_decides(queue):
    job = add(queue, assignment())
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        decided = sum(pool.map(try_to_decide, [str(queue)] * 5, [job.id] * 5))
    assert decided == len(again(job).attempts)
    assert decided >= 1  # one that read after another had decided, decides on the next


def test_a_second_driver_of_the_same_attempt_does_nothing(on_disk, capsys):
    job = add(on_disk, assignment())
    attempt = decided(job)
    assert start(attempt)
    before = sorted(on_disk.rglob("*"))
    assert drive(again(job), again(job).attempts[0]) == 0
    assert "is another's" in capsys.readouterr().out
    assert sorted(on_disk.rglob("*")) == before


# What else lies in the folder.


def test_torn_and_foreign_files_do_not_break_the_list(queue):
    job = add(queue, assignment())
    attempt = decided(job)
    prioritise(job, 3)
    for path, data in {
        queue / "notes.json": b"{}",
        queue / "torn" / "job.json": b'{"format": "dkvb-j',
        queue / "list" / "job.json": b"[]",
        queue / "other" / "job.json": b'{"name": "other"}',
        queue / "we ird" / "job.json": as_json(assignment().to_json()),
        queue / "empty" / "readme.json": b"",
        queue / job.id / "orders" / "0002.json": b'{"order"',
        queue / job.id / "orders" / "0003.json": b'{"order": "dance"}',
        queue / job.id / "orders" / "zzz.json": b"[1]",
        attempt.place / "heartbeat.json": b'{"time": 12',
        attempt.place / "started.json": b"null",
        queue / job.id / "attempts" / "0001" / "more" / "end.json": b"{}",
    }.items():
        write_atomic(path, data)
    (found,) = read_queue(queue)
    assert (found.id, found.priority, len(found.commands)) == (job.id, 3, 1)
    assert found.state(time.time()).name == "running"
    assert as_text(rows([Seen(job=found)])).splitlines()[1].startswith(f"{job.id}  running")
    assert json.loads(json.dumps(show(Seen(job=found))))["tries"][0]["heartbeat"] is None
    assert show_text(Seen(job=again(job))).startswith(f"{job.id}: running, starting")


def test_an_unknown_job_is_told_with_the_nearest(queue):
    job = add(queue, assignment())
    with pytest.raises(BadRequest, match=f"no job '{job.id[:-1]}'; did you mean '{job.id}'\\? \\(there: {job.id}\\)"):
        find_job(queue, job.id[:-1])


def test_a_folder_that_is_no_queue_is_told_from_an_empty_queue(queue):
    for ask in (read_queue, lambda folder: find_job(folder, "tiny-000000")):
        with pytest.raises(BadRequest, match=f"{queue}: no {QUEUE_FILE} there, so it is not a queue; `dkvb submit`"):
            ask(queue)
    add(queue, assignment())
    with pytest.raises(BadRequest, match="is not a queue"):
        read_queue(queue.parent)


def test_a_folder_with_other_files_does_not_become_a_queue(queue):
    write_atomic(queue / "holiday.jpg", b"sun")
    with pytest.raises(BadRequest, match="holds other files"):
        add(queue, assignment())
