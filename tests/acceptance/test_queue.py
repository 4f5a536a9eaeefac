"""The queue on a real cluster: jobs that succeed, are stopped, fail and are lost, and what people are told of it."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cluster.errors import ClusterUnreachable
from jobs.queue.commands import stop
from jobs.queue.files import add, find_job, read_queue
from tests.live_queue import DKVB
from tests.processes import is_alive, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def kept(queue, images, finished):
    """The queue with jobs of all kinds in it, and a reconciler that keeps it going."""
    spoilt = shutil.copytree(images, queue.folder / "spoilt")
    picture = spoilt / "train" / "bee" / "0003.png"
    picture.write_bytes(b"\0" * picture.stat().st_size)
    where = ["--root", queue.folder / "good", "--images", images, "--address", queue.head.address, "--workers", 1]
    good = json.loads(queue.run("submit", queue.spec, *where, "--json").stdout)["job"]
    changes = {"name": "poison", "specs": [{"name": "x"}], "root": str(queue.folder / "x"), "time": time.time()}
    poison = add(queue.place, replace(queue.job(good).assignment, **changes))
    nothing = shutil.copytree(images, queue.folder / "nothing")  # until it was submitted
    names = {
        "good": good,
        "spoilt": queue.submit(queue.folder / "spoilt-root", spoilt, name="spoilt"),
        "missing": queue.submit(queue.folder / "missing-root", nothing, name="missing"),
        "poison": poison.id,
    }
    shutil.rmtree(nothing)
    words = [*DKVB, "jobs", "reconcile", "--watch", "--every", "1", "--max-running", "4"]
    with (queue.folder / "watch.txt").open("w") as out:
        watch = subprocess.Popen(words, env=queue.environment(), stdout=out, stderr=out)
    try:
        yield names
        assert watch.poll() is None, (queue.folder / "watch.txt").read_text()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=300) == 130
    finally:
        watch.kill()
        watch.wait()
    told = (queue.folder / "watch.txt").read_text()
    assert "Traceback" not in told
    assert "INFO" not in told, "Ray's own words are not for the user"
    assert f"{names['missing']}: attempt 1 failed: " in told
    assert told.endswith("dkvb: interrupted; jobs that run go on; what waits is started once a reconciler is back\n")


def test_a_job_that_cannot_be_built_fails_at_once_and_says_why(queue, kept):
    state = queue.until(kept["poison"], "failed")
    missing = [f"key '{key}' is missing, expected a table" for key in ("images", "backbone", "sweep")]
    assert state.why == "attempt 1: " + "\n".join(missing)


def test_a_job_without_its_images_fails_at_once_and_says_why(queue, kept):
    state = queue.until(kept["missing"], "failed")
    assert str(queue.folder / "nothing") in state.why
    assert len(queue.job(kept["missing"]).attempts) == 1
    assert "Check location and pattern" in queue.run("jobs", "show", kept["missing"]).stdout


def test_images_that_are_not_there_are_refused_where_the_head_is_this_machine(queue):
    where = ["--root", queue.folder / "y", "--images", queue.folder / "no", "--address", queue.head.address]
    said = queue.run("submit", queue.spec, *where, code=2, RAY_TMPDIR="/nowhere").stderr  # its processes are here
    assert f"{queue.folder / 'no'} is not there, and the cluster runs on this machine" in said


def test_a_job_is_stopped_while_it_is_pending_and_while_it_runs(queue, kept, images):
    pending = queue.submit(queue.folder / "stopped", images, name="pending", priority=5)
    stop(queue.job(pending), queue.told.append)
    assert queue.until(pending, "stopped", "succeeded").name == "stopped"

    running = queue.submit(queue.folder / "stopped", images, name="running", priority=5)
    driver = queue.until_started(running)
    stop(queue.job(running), queue.told.append)
    assert queue.until(running, "stopped", "succeeded").name == "stopped"
    (attempt,) = queue.job(running).attempts
    assert attempt.end.state == "stopped"
    wait_until(lambda: not is_alive(driver), "the end of the driver of a stopped job", 300)
    assert attempt.end.why.startswith("stopped by request")
    assert "has stopped already" in queue.run("jobs", "stop", running, code=2).stderr


def test_a_job_whose_driver_was_killed_gets_another_attempt_and_succeeds(queue, kept, finished, images, unlike):
    root = shutil.copytree(finished.root, queue.folder / "killed")
    shutil.rmtree(root / "linear")
    name = queue.submit(root, images, name="killed", priority=5)
    os.kill(queue.until_started(name), signal.SIGKILL)
    assert queue.until(name, "succeeded", "failed").name == "succeeded"
    first, second = queue.job(name).attempts
    assert (first.end.state, second.end.state) == ("lost", "succeeded")
    assert first.end.why.startswith("its driver is gone (FAILED")
    assert "\n" not in first.end.why
    assert unlike(root, finished.root) == []


def test_passes_at_the_same_time_submit_one_attempt(queue, kept, finished, images):
    name = add(queue.place, replace(queue.job(kept["good"]).assignment, name="many", root=str(finished.root))).id
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: queue.run("jobs", "reconcile", "--max-running", "9"), range(3)))
    queue.until(name, "succeeded", "failed")
    assert [attempt.end.state for attempt in queue.job(name).attempts] == ["succeeded"]


def test_a_job_succeeds_with_the_bytes_of_a_local_run_and_its_log_ends_with_it(queue, kept, finished, unlike):
    log = queue.run("jobs", "logs", kept["good"], "-f").stdout
    assert queue.job(kept["good"]).state(time.time()).name == "succeeded"
    assert unlike(queue.folder / "good", finished.root) == []
    assert re.search(r"Z 1 attempt +begins on http://127\.0\.0\.1:\d+\n", log)
    assert re.search(r"Z 1 succeeded\s*\Z", log)
    for line in queue.run("jobs", "logs", kept["good"], "--json").stdout.splitlines():
        assert json.loads(line)["job"] == kept["good"]
    shown = json.loads(queue.run("jobs", "show", kept["good"], "--json").stdout)
    assert [one["end"]["state"] for one in shown["tries"]] == ["succeeded"]
    assert "has succeeded already" in queue.run("jobs", "stop", kept["good"], code=2).stderr
    assert "only a failed or a stopped job" in queue.run("jobs", "retry", kept["good"], code=2).stderr


def test_a_job_whose_unit_fails_says_which_and_is_not_tried_again(queue, kept):
    state = queue.until(kept["spoilt"], "failed")
    assert state.why.startswith("attempt 1: embeddings[train]: 1 of 4 units failed\n")
    assert "bee/0003.png: not a readable image" in state.why
    (row,) = [row for row in json.loads(queue.run("jobs", "list", "--json").stdout) if row["job"] == kept["spoilt"]]
    assert (row["state"], row["attempts"], row["why"]) == ("failed", 1, state.why)


# Clusters that cannot be used.


@pytest.mark.parametrize("variables", [{"RAY_AUTH_TOKEN": "00" * 32}, {"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}])
def test_a_client_without_the_token_is_turned_away_and_nothing_is_queued(queue, kept, images, variables, monkeypatch):
    before = [job.id for job in read_queue(queue.place)]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterUnreachable, match=r"authentication failed: .*RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"):
        queue.submit(queue.folder / "no", images)
    assert [job.id for job in read_queue(queue.place)] == before


def test_a_queue_whose_cluster_is_gone_keeps_its_jobs_and_says_so(queue, kept, tmp_path):
    gone = replace(queue.job(kept["good"]).assignment, address="http://127.0.0.1:1")
    name = add(tmp_path / "queue", gone).id
    for _ in range(2):
        told = queue.run("jobs", "reconcile", code=1, DKVB_QUEUE=str(tmp_path / "queue"))
        assert f"{name} waits for its cluster: nothing answers at http://127.0.0.1:1" in told.stderr
        assert told.stdout == "1 queued\n"
    assert find_job(tmp_path / "queue", name).attempts == []
