"""Drivers that cannot begin: their exit code and last line are all that anybody learns."""

import os
import subprocess
import sys

import pytest

from jobs.queue.files import add, find_job
from jobs.queue.verdict import AGAIN
from tests.jobs.queue.waiting import assignment, decided


def driven(*words):
    """The driver as a cluster runs it, elsewhere; returns its exit code and the last line that it printed."""
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "jobs.queue.driver", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1]


def test_a_queue_that_the_cluster_does_not_reach_is_said_in_one_line(tmp_path):
    code, line = driven(tmp_path / "queue", "tiny-000000", 1)
    assert code == 1
    assert line.startswith(f"dkvb: {tmp_path / 'queue'}: no dkvb-queue.json there, so it is not a queue; ")
    assert line.endswith("where the driver runs: you and the cluster must both reach the queue)")


def test_an_attempt_that_is_not_there_is_said_in_one_line(tmp_path):
    job = add(tmp_path / "queue", assignment())
    code, line = driven(tmp_path / "queue", job.id, 1)
    assert (code, f"{job.id} has no attempt 1 (as seen from " in line) == (1, True)


@pytest.mark.slow  # two minutes of retries by the client of the store, where the machine is busy
def test_a_queue_on_a_store_that_does_not_answer_may_be_reached_later(monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    code, line = driven("s3://bucket/queue", "tiny-000000", 1)
    assert (code, line.startswith("dkvb: s3://bucket/queue")) == (AGAIN, True), line


@pytest.mark.parametrize("root", ["ftp://x/y", "s3://nobody@here:x/y"])
def test_a_root_that_is_no_place_ends_an_attempt_with_the_reason(root, tmp_path):
    job = add(tmp_path / "queue", assignment(root=root))
    decided(job)
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "jobs.queue.driver", str(tmp_path / "queue"), job.id, "1"]
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    (attempt,) = find_job(tmp_path / "queue", job.id).attempts
    assert (ended.returncode, ended.stderr) == (1, "")
    assert attempt.heartbeat is not None
    assert attempt.end is not None
    assert attempt.end.state == "failed"
    assert attempt.end.why
