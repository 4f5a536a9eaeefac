"""Verdicts: what becomes of an attempt whose driver said nothing, by the way in which its process ended."""

import pytest

from cluster.submit import Phase
from jobs.queue.files import add, find_job, start, write_heartbeat, write_outputs
from jobs.queue.records import Heartbeat, Outputs
from jobs.queue.verdict import AGAIN, verdict
from store.files import write_atomic
from tests.jobs.queue.waiting import assignment, decided

SUBMIT = "`dkvb submit --python` names the interpreter, as the cluster's machines find it"


@pytest.fixture
def attempted(tmp_path):
    """A job with one attempt that is decided; returns how it reads now."""
    job = add(tmp_path / "queue", assignment(python="/opt/python"))
    decided(job)
    return lambda: find_job(tmp_path / "queue", job.id)


def ended(job, phase):
    return verdict(job, job.open_attempt, phase)


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        (127, "sh: 1: /opt/python: not found", f"sh: 1: /opt/python: not found (its driver was not started); {SUBMIT}"),
        (
            126,
            "sh: 1: /opt: Permission denied",
            f"sh: 1: /opt: Permission denied (its driver was not started); {SUBMIT}",
        ),
        (
            1,
            "ModuleNotFoundError: No module named 'torch'",
            "ModuleNotFoundError: No module named 'torch' (its driver died at import); on the cluster `/opt/python` "
            f"lacks what dkvb needs: {SUBMIT}",
        ),
        (1, "dkvb: no queue there", "dkvb: no queue there (its driver died before it began, exit code 1)"),
        (0, "", f"/opt/python ended at once and never began (exit code 0), as no Python does; {SUBMIT}"),
    ],
)
def test_a_driver_that_ended_by_itself_before_it_began_has_failed_for_good(code, line, says, attempted):
    ending = ended(attempted(), Phase("ended", "FAILED", line, code))
    assert (ending.state, ending.why, ending.final) == ("failed", says, True)


def test_a_driver_that_could_not_read_the_queue_for_a_while_is_tried_again(attempted):
    ending = ended(attempted(), Phase("ended", "FAILED", "dkvb: s3://b: no answer", AGAIN))
    assert (ending.state, ending.final) == ("failed", False)
    assert ending.why.startswith("dkvb: s3://b: no answer")


@pytest.mark.parametrize("code", [-9, 137])
def test_a_driver_that_was_killed_before_it_began_is_lost(code, attempted):
    ending = ended(attempted(), Phase("ended", "FAILED, killed by SIGKILL", "Importing", code))
    assert (ending.state, ending.final) == ("lost", False)
    assert ending.why == "its driver was killed by SIGKILL before it began: out of memory, or ended by hand"


@pytest.mark.parametrize("text", ["FAILED: runtime_env setup failed: no space left", "STOPPED: Job was stopped."])
def test_a_driver_that_the_cluster_never_started_is_lost_and_says_why(text, attempted):
    ending = ended(attempted(), Phase("ended", text, text.partition(": ")[2], None))
    assert (ending.state, ending.why) == ("lost", f"its driver never began: {text}")


def test_a_driver_that_died_after_its_first_heartbeat_is_lost(attempted):
    attempt = attempted().open_attempt
    start(attempt)
    phase = Phase("ended", "FAILED: Segmentation fault", "Segmentation fault", 1)
    assert ended(attempted(), phase).state == "failed"
    write_heartbeat(attempt, Heartbeat())
    ending = ended(attempted(), phase)
    assert (ending.state, ending.why) == ("lost", "its driver is gone (FAILED: Segmentation fault)")


def test_a_second_driver_that_left_an_attempt_to_the_first_does_not_make_it_fail(attempted):
    start(attempted().open_attempt)
    assert ended(attempted(), Phase("ended", "SUCCEEDED", "", 0)).state == "lost"


def test_an_attempt_whose_outputs_are_done_has_succeeded_however_its_driver_ended(attempted, tmp_path):
    write_outputs(attempted().open_attempt, Outputs(root=str(tmp_path / "root"), steps=["keys/0123456789abcdef"]))
    assert ended(attempted(), Phase("ended", "FAILED", "x", 1)).state == "failed"
    write_atomic(tmp_path / "root" / "keys" / "0123456789abcdef" / "DONE", b"")
    assert ended(attempted(), Phase("ended", "FAILED", "x", 1)).state == "succeeded"
