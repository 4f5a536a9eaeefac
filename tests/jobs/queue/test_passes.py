"""Who looks after a queue: the sign of each pass, and what is said where there was none of late."""

import re
import time

import pytest

from jobs.queue.files import add
from jobs.queue.passes import PASS_FILE, UNSEEN_S, sign, unattended
from jobs.queue.reconcile import reconcile
from store.artefacts import write_json
from tests.jobs.queue.waiting import assignment, decided


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("DKVB_QUEUE", str(tmp_path / "queue"))
    add(tmp_path / "queue", assignment())
    return tmp_path / "queue"


def seen(queue, seconds_ago, every=10.0):
    write_json(queue / PASS_FILE, {"time": time.time() - seconds_ago, "by": "here:1", "every": every})


def test_a_list_in_which_jobs_wait_says_that_no_reconciler_was_ever_there(queue, dkvb):
    ended = dkvb("jobs", "list")
    assert ended.err == (
        "note: nothing has looked after this queue yet: what waits is not started, and what dies is not tried again; "
        f"start a reconciler: `dkvb jobs reconcile --queue {queue} --watch`\n"
    )
    assert ended.out.splitlines()[1].endswith("  waits for a reconciler")


def test_it_says_since_when_and_nothing_while_one_comes_back(queue, dkvb):
    assert dkvb("jobs", "reconcile").code == 1
    ended = dkvb("jobs", "list")
    assert (ended.err, ended.out.splitlines()[1].endswith("  is next")) == ("", True)
    seen(queue, UNSEEN_S + 60)
    since = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(time.time() - UNSEEN_S - 60))
    assert f"nothing has looked after this queue since {since}: " in dkvb("jobs", "list").err


def test_jobs_that_wait_say_behind_how_many(queue, dkvb):
    sign(queue, 10, pytest.fail)
    decided(add(queue, assignment()), "http://127.0.0.1:1")
    add(queue, assignment())
    lines = dkvb("jobs", "list", "--offline").out.splitlines()
    assert [re.split(r"\d\d:\d\d  ", line)[1] for line in lines[1:]] == [
        "starting",
        "waits for its turn, behind 1",
        "waits for its turn, behind 2",
    ]


@pytest.mark.parametrize("command", ["show", "retry"])
def test_whoever_looks_at_a_job_that_waits_is_told_too(command, queue, dkvb):
    job = add(queue, assignment())
    if command == "retry":
        assert dkvb("jobs", "stop", job.id).code == 0
    assert "nothing has looked after this queue yet" in dkvb("jobs", command, job.id).err


def test_a_reconciler_that_comes_rarely_is_waited_for(queue):
    seen(queue, 1000, every=600.0)
    assert unattended(queue) == ""
    seen(queue, 1000, every=60.0)
    assert "since" in unattended(queue)


def test_a_pass_by_the_way_leaves_no_sign(queue):
    reconcile(queue, max_running=0, tell=lambda _: None)
    assert not (queue / PASS_FILE).exists()
    reconcile(queue, max_running=0, tell=lambda _: None, every=10.0)
    assert unattended(queue) == ""


def test_no_sign_is_left_where_the_disk_of_a_queue_is_away(tmp_path):
    sign(tmp_path / "away" / "queue", 10, pytest.fail)
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("content", ["", "[]", "null", '{"time": "x"}', '{"time": 1e99}', '{"every": {}}', "\x00"])
def test_a_sign_that_others_wrote_is_none(content, queue, dkvb):
    (queue / PASS_FILE).write_text(content)
    assert "nothing has looked after this queue yet" in unattended(queue)
    assert dkvb("jobs", "list").code == 0
    (queue / PASS_FILE).unlink()
    (queue / PASS_FILE).mkdir()
    assert unattended(queue)
