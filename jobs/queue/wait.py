"""Waiting for jobs to end: by their files, and by what their clusters know of drivers that died without a word."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.errors import BadRequest
from jobs.queue.files import QUEUE_FILE, find_job, read_queue
from jobs.queue.job import StateName
from jobs.queue.look import look
from jobs.queue.passes import unattended
from jobs.queue.reconcile import without_repeats
from jobs.queue.show import REASON, Row, row, short
from store.errors import StoreError
from store.files import exists
from store.places import Place

FAILED = 1
"""Exit code where all have ended, and one of them has failed or was stopped."""

TIMED_OUT = 124
"""Exit code where the time was over first; that of timeout(1)."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a wait ended."""

    code: int
    """Exit code: 0 where all jobs have succeeded."""
    jobs: list[Row]
    """The jobs that were waited for, as they were at the last look."""


def wait(
    queue: Place,
    names: Sequence[str],
    *,
    timeout: float | None,
    every: float,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> Ended:
    """Wait until jobs have ended, or the time is over.

    names: of the jobs; those that the queue holds now where none is named.
    timeout: seconds; None for no end. every: seconds between two looks.
    say: is given a line for what each job is at first, and for each change.
    tell: is given a line, once, for a cluster that does not answer, and one where nobody may start what waits.
    raises: BadRequest for a queue or a job that is not there.
    """
    until = math.inf if timeout is None else time.monotonic() + timeout
    tell = without_repeats(tell)
    try:
        names = list(dict.fromkeys(names)) or [job.id for job in read_queue(queue, tell)]
        now = _now(queue, names, tell)
    except (OSError, StoreError) as error:  # with exit code 1 it would read as a job that failed
        raise BadRequest(str(error)) from error
    before: dict[str, str] = {}
    while True:
        for each in now:
            if (text := _line(each)) != before.get(each.job):
                say(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}  {text}")
                before[each.job] = text
        left = [each for each in now if not each.state.has_ended]
        if not left:
            return Ended(0 if all(each.state is StateName.SUCCEEDED for each in now) else FAILED, now)
        if (waiting := [each.job for each in left if each.state.waits]) and (text := unattended(queue)):
            tell(f"{', '.join(waiting)}: waits: {text}")
        if (remaining := min(every, until - time.monotonic())) <= 0:
            tell(
                f"{len(left)} of {len(now)} have not ended after {timeout:g} s: {', '.join(each.job for each in left)}"
            )
            return Ended(TIMED_OUT, now)
        time.sleep(remaining)
        try:
            now = _now(queue, names, tell)
        except (BadRequest, OSError, StoreError) as error:
            if isinstance(error, BadRequest) and exists(queue / QUEUE_FILE):  # a job was removed
                raise
            tell(str(error))  # a network disk or a store that is away for a while


def _now(queue: Place, names: Sequence[str], tell: Callable[[str], None]) -> list[Row]:
    return [row(seen) for seen in look([find_job(queue, name) for name in names], tell)]


def _line(job: Row) -> str:
    """What a change is a change of: the state, why, and the step; not every unit of it."""
    step = job.progress.step if job.progress is not None and job.state is StateName.RUNNING else ""
    about = short(job.why, REASON) or step
    return f"{job.job}  {job.state}{f'  {about}' if about else ''}"
