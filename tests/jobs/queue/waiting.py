"""Jobs as tests put them into a queue, and what became of them."""

from typing import Any

from jobs.queue.files import decide
from jobs.queue.job import Attempt, Job
from jobs.queue.records import Assignment, End


def assignment(**changes: Any) -> Assignment:
    """What a job is to do, on a cluster that does not answer; fields changed."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "specs": [{"name": "tiny"}],
        "root": "/nowhere/root",
        "images": None,
        "address": "http://127.0.0.1:1",
        "priority": 0,
        "attempts": 3,
    }
    return Assignment(**{**fields, **changes})


def decided(job: Job, address: str = "here") -> Attempt:
    """The job's next attempt, on which nobody else decided."""
    attempt = decide(job, address)
    assert attempt is not None
    return attempt


def first_end(job: Job) -> End:
    """How the first attempt of a job ended."""
    end = job.attempts[0].end
    assert end is not None
    return end
