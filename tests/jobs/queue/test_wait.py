"""Waiting for jobs: a line per change, exit codes for scripts, and jobs that an interrupt leaves alone."""

import signal
import threading
import time

import pytest

from jobs.queue.files import add, add_command, end, find_job, start, write_heartbeat
from jobs.queue.passes import sign
from jobs.queue.records import Command, CommandKind, End, EndState, Heartbeat
from jobs.run.progress import Tally
from tests.jobs.cli.test_queue import begun
from tests.jobs.queue.job_server import job_server
from tests.jobs.queue.waiting import assignment, decided
from tests.processes import message


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVB_QUEUE", str(tmp_path / "queue"))
    return tmp_path / "queue"


def running(queue):
    """A job with a driver that lives."""
    job = add(queue, assignment())
    attempt = decided(job, job.assignment.address)
    assert start(attempt)
    return job, attempt


def ended(queue, state):
    job, attempt = running(queue)
    assert end(attempt, End(state=EndState(state), why="so it was", final=True))
    return job


def changes(out):
    """What each line tells, without its time."""
    return [line.split("Z  ", 1)[1] for line in out.splitlines()]


def test_jobs_that_all_succeeded_are_code_0(queue, dkvb):
    first, second = ended(queue, "succeeded"), ended(queue, "succeeded")
    waited = dkvb("jobs", "wait")
    assert (waited.code, waited.err) == (0, "")
    assert sorted(changes(waited.out)) == sorted(f"{job.id}  succeeded" for job in (first, second))


def test_one_that_failed_or_was_stopped_is_code_1_and_others_do_not_count_unless_named(queue, dkvb):
    good, bad, waits = ended(queue, "succeeded"), ended(queue, "failed"), add(queue, assignment())
    assert dkvb("jobs", "wait", good.id).code == 0
    both = dkvb("jobs", "wait", good.id, bad.id, good.id)
    assert (both.code, changes(both.out)) == (
        1,
        [f"{good.id}  succeeded", f"{bad.id}  failed  attempt 1: so it was"],
    )
    add_command(waits, Command(kind=CommandKind.STOP))
    assert dkvb("jobs", "wait", waits.id).code == 1


def test_time_that_is_over_is_a_code_of_its_own_and_names_what_has_not_ended(queue, dkvb):
    job = add(queue, assignment())
    waited = dkvb("jobs", "wait", "--timeout", 0.3, "--every", 0.1)
    assert (waited.code, changes(waited.out)) == (124, [f"{job.id}  queued"])
    first, second = waited.err.splitlines()
    assert first.startswith(f"note: {job.id}: waits: nothing has looked after this queue yet: ")
    assert first.endswith(f"start a reconciler: `dkvb jobs reconcile --queue {queue} --watch`")
    sign(queue, 10, pytest.fail)
    assert "reconciler" not in dkvb("jobs", "wait", "--timeout", 0.3, "--every", 0.1).err
    assert second == f"note: 1 of 1 have not ended after 0.3 s: {job.id}"


def test_an_empty_queue_has_nothing_to_wait_for(queue, dkvb):
    (queue).mkdir()
    (queue / "dkvb-queue.json").write_text("{}")
    assert dkvb("jobs", "wait").code == 0


def test_a_misspelt_job_and_a_queue_that_is_not_there_are_code_2(queue, dkvb):
    assert "is not a queue" in message(dkvb("jobs", "wait"), 2)
    job = add(queue, assignment())
    assert f"did you mean '{job.id}'?" in message(dkvb("jobs", "wait", job.id[:-1]), 2)


def test_a_line_is_told_per_change_and_none_per_unit(queue, dkvb):
    job, attempt = running(queue)

    def work():
        for step, units in (("keys", 3), ("values", 1)):
            for unit in range(units):
                tally = Tally(step=step, units=units, ended=unit, failed=0)
                write_heartbeat(attempt, Heartbeat(tally=tally))
                time.sleep(0.3)
        end(attempt, End(state=EndState.SUCCEEDED, why="", final=True))

    thread = threading.Thread(target=work)
    thread.start()
    waited = dkvb("jobs", "wait", "--every", 0.1, "--timeout", 60)
    thread.join()
    assert waited.code == 0
    told = changes(waited.out)
    assert told[-3:] == [f"{job.id}  running  keys", f"{job.id}  running  values", f"{job.id}  succeeded"]
    assert len(told) == len(set(told))
    assert waited.err.count("nothing answers") == 1, "a cluster that does not answer is told of once"


def test_a_driver_that_died_without_a_word_is_not_waited_for(queue, dkvb):
    with job_server() as server:
        job = add(queue, assignment(address=server.address))
        decided(job, server.address)
        server.says("FAILED", "last logs:\nImportError: of ours\n", 1)
        waited = dkvb("jobs", "wait", "--timeout", 60)
    assert waited.code == 1
    assert "failed  attempt 1: ImportError: of ours" in waited.out


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_an_interrupt_leaves_the_jobs_alone_and_says_so(number, code, word, queue):
    job, _ = running(queue)
    before = sorted(queue.rglob("*"))
    with begun("wait", "--every", "0.1") as process:
        assert process.stdout.readline().endswith(f"{job.id}  running\n")
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    assert process.returncode == code
    assert err.splitlines()[-1] == f"dkvb: {word}; the jobs go on as before"
    assert sorted(queue.rglob("*")) == before
    assert find_job(queue, job.id).state(time.time()).name == "running"


def test_waiting_goes_on_when_the_queue_cannot_be_read_for_a_while(queue):
    job, attempt = running(queue)
    with begun("wait", "--every", "0.1") as process:
        assert "running" in process.stdout.readline()
        queue.rename(queue.with_name("elsewhere"))
        while "so it is not a queue" not in process.stderr.readline():
            pass
        queue.with_name("elsewhere").rename(queue)
        end(attempt, End(state=EndState.SUCCEEDED, why="", final=True))
        assert process.wait(timeout=300) == 0
        assert process.stdout.readline().endswith(f"{job.id}  succeeded\n")
