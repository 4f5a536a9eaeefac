"""Looking at jobs: their files, and beyond them what their clusters know at this moment. Nothing is written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jobs.errors import JobsError
from jobs.queue.clusters import Clusters
from jobs.queue.files import find_job
from jobs.queue.job import Attempt, Job
from jobs.queue.records import End, EndState
from jobs.queue.verdict import verdict, with_output
from store.errors import StoreError

ANSWER_S = 5.0
"""Seconds a cluster may take to answer somebody who waits for it."""

ALL_S = 10.0
"""Seconds after which nothing more is asked."""

QUIET_S = 30.0
"""Seconds without a heartbeat after which it counts that a cluster does not know of a driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job as it is now, though its files may not say so yet."""

    job: Job
    """With the end of its last attempt, where its cluster tells of it."""
    ending: End | None = None
    """That end, where no file has it: the next pass of a reconciler writes it."""
    note: str = ""
    """What its cluster says of a driver that has not begun."""


def look(jobs: Sequence[Job], tell: Callable[[str], None], *, output: bool = False) -> list[Seen]:
    """Look at jobs, in bounded time; one whose cluster does not answer is as its files say.

    tell: is given a line for each cluster that does not answer.
    output: whether to fetch the last lines that a dead driver printed.
    """

    def silent(text: str) -> None:
        tell(f"{text} (its jobs are shown as their files say)")

    clusters = Clusters(silent, answer_s=ANSWER_S, until=time.monotonic() + ALL_S)
    return [see(job, clusters, output=output) for job in jobs]


def see(job: Job, clusters: Clusters, *, output: bool = False) -> Seen:
    """Look at one job; output: whether to fetch the last lines that a dead driver printed."""
    if (attempt := job.open_attempt) is None:
        return Seen(job=job)
    cluster, phase = clusters.ask(attempt)
    if cluster is None:
        return Seen(job=job)
    try:
        job = find_job(job.place.parent, job.id)  # read after the cluster was asked: a driver says its end, then ends
    except (JobsError, OSError, StoreError):  # changed meanwhile; the next look tells of it
        return Seen(job=job)
    if (attempt := job.open_attempt) is None:
        return Seen(job=job)
    if phase is None and attempt.start is None:
        return Seen(job=job, note="its cluster does not know of it yet: a reconciler hands it over")
    if phase is None and _age(attempt) > QUIET_S:
        return _ended(job, attempt, End(state=EndState.LOST, why="its cluster no longer knows of it"))
    if phase is not None and phase.state == "ended":
        ending = verdict(job, attempt, phase)
        return _ended(job, attempt, with_output(ending, cluster, attempt) if output else ending)
    if phase is not None and attempt.start is None:
        note = "pending on its cluster" if phase.state == "pending" else "its driver loads"
        return Seen(job=job, note=f"starting: {note}")
    return Seen(job=job)


def _ended(job: Job, attempt: Attempt, ending: End) -> Seen:
    attempts = [*job.attempts[:-1], replace(attempt, end=ending)]
    return Seen(job=replace(job, attempts=attempts), ending=ending)


def _age(attempt: Attempt) -> float:
    """Seconds since the last sign of life of an attempt that started, by the clocks of both."""
    last = attempt.heartbeat or attempt.start
    return 0.0 if last is None else abs(time.time() - last.time)
