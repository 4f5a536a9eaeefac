"""Queues and roots in which a file was changed, or is none: nothing hangs, and one job does not stop the others."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from jobs.errors import JobsError
from jobs.queue import reconcile as passes
from jobs.queue.files import add, find_job, read_queue, start
from jobs.queue.job import STALE_S, START_S
from jobs.queue.passes import sign
from store.artefacts import write_json
from store.errors import NotARoot
from tests.jobs.queue.damaged import damaged_queue, damaged_root, in_time
from tests.jobs.queue.waiting import assignment, decided, first_end


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    monkeypatch.setattr(passes, "LOOK_S", 0.0)


@pytest.fixture
def two(tmp_path):
    """A queue of two jobs that run; returns it, the place of the second one's attempt, and both ids."""
    queue = tmp_path / "queue"
    whole, victim = (add(queue, assignment()) for _ in range(2))
    for job in (whole, victim):
        attempt = decided(job, job.assignment.address)
        assert start(attempt)
    sign(queue, 10, pytest.fail)
    return queue, attempt.place, whole.id, victim.id


def one_pass(queue):
    lines: list[str] = []
    passes.reconcile(queue, max_running=2, tell=lines.append)
    return lines


PLANS = [
    {"root": 3, "steps": ["keys/0123456789abcdef"]},
    {"steps": []},
    {"root": "r", "steps": ["keys"]},
    {"root": "r"},
]


@pytest.mark.parametrize("plan", [*PLANS, {"root": "r", "steps": 7}, {"root": "ftp://x", "steps": ["../x/y"]}])
def test_a_damaged_plan_ends_no_pass_and_its_dead_job_is_lost(plan, two):
    queue, attempt, whole, victim = two
    write_json(attempt / "plan.json", plan)
    write_json(attempt / "heartbeat.json", {"time": 1.0})
    told = one_pass(queue)
    assert first_end(find_job(queue, victim)).state == "lost", told
    assert find_job(queue, whole).state(time.time()).name == "running"


BEATS = [{}, {"time": "now"}, {"time": None}, {"time": 1e300}, {"time": float("nan")}, {"time": True}, [1], 7]
STEPS: list[dict[str, object]] = [
    {"step": "keys"},
    {"step": ["keys"], "units": 1, "ended": 0},
    {"step": "keys", "units": "x", "ended": {}},
]


@pytest.mark.parametrize("beat", [*BEATS, *({"time": 1.0, **step} for step in STEPS)])
def test_a_bad_heartbeat_ends_no_list(beat, two, dkvb):
    queue, attempt, whole, victim = two
    (attempt / "heartbeat.json").write_text(json.dumps(beat))
    listed = dkvb("jobs", "list", "--offline", "--queue", queue)
    assert (listed.code, listed.err) == (0, "")
    assert {whole, victim} <= set(listed.out.split())
    assert dkvb("jobs", "show", victim, "--queue", queue).code == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("started.json", {"time": "now", "by": "me"}),
        ("attempt.json", {"address": 3, "time": 1.0, "by": "me"}),
        ("end.json", {"state": "undone", "why": "", "final": False, "time": 1.0}),
        ("end.json", {"state": "lost", "why": None, "final": False, "time": 1.0}),
        ("end.json", {"state": ["lost"], "why": "", "final": False, "time": 1.0}),
    ],
)
def test_a_job_with_a_file_that_is_not_ours_is_told_with_file_and_key_and_left_alone(name, content, two, dkvb):
    queue, attempt, whole, victim = two
    (attempt / name).write_text(json.dumps(content))
    listed = dkvb("jobs", "list", "--queue", queue)
    assert listed.code == 0
    assert whole in listed.out
    assert victim not in listed.out
    assert f"note: {victim}: left out: {attempt / name}: '" in listed.err
    assert any(line.startswith(f"{victim}: left out: ") for line in one_pass(queue))
    with pytest.raises(NotARoot, match="which dkvb never writes"):
        find_job(queue, victim)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["job.json", "heartbeat.json", "plan.json", "log.jsonl", "end.json"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_pipe_or_a_link_in_a_job_is_neither_waited_for_nor_followed(kind, name, two, dkvb):
    queue, attempt, whole, victim = two
    path = (queue / victim if name == "job.json" else attempt) / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with in_time():
        listed = dkvb("jobs", "list", "--queue", queue)
        logs = dkvb("jobs", "logs", victim, "--queue", queue)
        told = one_pass(queue)
    assert whole in listed.out
    what = "neither a file nor a folder" if kind == "pipe" else "a link"
    assert f"{victim}: left out: {path}: is {what}" in listed.err
    assert f"{path}: is {what}" in "".join(told)
    assert logs.code in (1, 2)
    assert "Traceback" not in logs.err


def test_a_bug_that_one_job_meets_is_told_and_holds_up_no_other(two, monkeypatch):
    queue, _, whole, victim = two
    real = passes.why_dead

    def broken(job, *rest, **more):
        if job.id == victim:
            raise ZeroDivisionError("of ours")
        return real(job, *rest, **more)

    monkeypatch.setattr(passes, "why_dead", broken)
    write_json(queue / whole / "attempts" / "0001" / "heartbeat.json", {"time": 1.0})
    assert f"{victim}: ZeroDivisionError: of ours" in one_pass(queue)
    assert first_end(find_job(queue, whole)).state == "lost"


def test_a_heartbeat_from_the_future_that_does_not_change_keeps_no_dead_job_running(two):
    queue, attempt, _, victim = two
    write_json(attempt / "heartbeat.json", {"time": time.time() + 1e7})
    assert find_job(queue, victim).state(time.time()).name == "lost"
    told = one_pass(queue)
    assert any("in the future, and none came after it" in line for line in told), told
    assert first_end(find_job(queue, victim)).state == "lost"


def test_a_driver_whose_clock_is_ahead_lives_as_long_as_its_heartbeat_changes(two, monkeypatch):
    queue, attempt, _, victim = two
    ahead = time.time() + 1e6
    write_json(attempt / "heartbeat.json", {"time": ahead})
    wait = time.sleep

    def beat(seconds: float) -> None:
        write_json(attempt / "heartbeat.json", {"time": ahead + 5})
        wait(seconds)

    monkeypatch.setattr(time, "sleep", beat)
    one_pass(queue)
    assert find_job(queue, victim).attempts[0].end is None


def test_a_start_or_a_decision_from_the_far_future_is_no_sign_of_life(two):
    queue, attempt, _, victim = two
    for name, limit in (("started.json", STALE_S), ("attempt.json", START_S)):
        path = attempt / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "time": time.time() + limit + 1000}))
        assert find_job(queue, victim).state(time.time()).name == "lost"
        (attempt / "started.json").unlink(missing_ok=True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", [0, 20])
def test_queues_damaged_at_random_raise_and_hang_nowhere(first, tmp_path):
    for seed in range(first, first + 20):
        damaged_queue(tmp_path / str(seed), random.Random(seed))


@pytest.mark.timeout(120)
def test_roots_damaged_at_random_raise_and_hang_nowhere(finished, tmp_path):
    for seed in range(40):
        damaged_root(tmp_path / str(seed), random.Random(seed), finished.root)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["dkvb-root.json", "experiments/tiny.json", "units.json", "units", "DONE"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_status_neither_waits_for_a_pipe_nor_follows_a_link(kind, name, own, dkvb, tmp_path):
    inside = own.artefact("sweep").path
    path = own.root / name if name.endswith(("root.json", "tiny.json")) else Path(inside) / name
    victim = tmp_path / "victim"
    path.rename(victim)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(victim)
    with in_time():
        ended = dkvb("status", own.root)
    assert ended.code == 1
    assert f"{path}: is {'a link' if kind == 'link' else 'neither a file nor a folder'}" in ended.err


def test_what_lies_in_a_queue_and_is_no_job_is_passed_over_without_a_word(two, dkvb):
    queue, *_ = two
    (queue / "notes").mkdir()
    (queue / "notes" / "read.me").write_text("x")
    shutil.copy(queue / "dkvb-queue.json", queue / "copy.json")
    assert dkvb("jobs", "list", "--offline", "--queue", queue).err == ""
    assert len(read_queue(queue, pytest.fail)) == 2
    with pytest.raises(JobsError, match="no job 'notes'"):
        find_job(queue, "notes")
