"""One pass over the queue: what died is said to be dead, what waits is started; nothing is remembered in between.

Any number of passes may run at once, anywhere: what they decide on is created once (`jobs.queue.files`).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from cluster.errors import ClusterError
from cluster.submit import Phase, RayJobs, ray_jobs
from jobs.errors import JobsError
from jobs.queue.files import decide, end, find_job, read_queue
from jobs.queue.job import STALE_S, Attempt, Job
from store.artefacts import Artefact
from store.errors import StoreError
from store.places import Place, place

OUTPUT_LINES = 20
"""Lines of a dead driver's output that are kept."""

TOLD = 20
"""Lines that are remembered and not told again."""

LOOK_S = 15.0
"""Seconds in which a living driver's heartbeat changes, whatever its clock says."""


class Clusters:
    """The job servers of one pass; one that does not answer is told of once and left alone."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._found: dict[str, RayJobs | None] = {}

    def get(self, address: str) -> RayJobs | None:
        """The job server at an address, or None."""
        if address not in self._found:
            try:
                self._found[address] = ray_jobs(address)
            except ClusterError as error:
                self._tell(str(error))
                self._found[address] = None
        return self._found[address]

    def lost(self, address: str, error: ClusterError) -> None:
        """It answered before and does not now."""
        self._tell(str(error))
        self._found[address] = None


def reconcile(queue: Place, *, max_running: int, tell: Callable[[str], None]) -> dict[str, int]:
    """One pass.

    max_running: jobs that may run at a time. Each pass counts for itself, so several at once can overshoot it.
    tell: is given what was done, a line each.
    returns: number of jobs by state, after it.
    """
    clusters = Clusters(tell)
    for job in read_queue(queue, tell):
        if job.open_attempt is not None:
            with _alone(job, tell):
                settle(job, clusters, tell)
    jobs = read_queue(queue)
    running = sum(job.open_attempt is not None for job in jobs)
    for job in jobs:
        waits = job.open_attempt is None and job.state(time.time()).name in ("queued", "lost")
        if waits and running < max_running:
            with _alone(job, tell):
                running += start(job, clusters, tell)
    found: dict[str, int] = {}
    for job in read_queue(queue):
        name = job.state(time.time()).name
        found[name] = found.get(name, 0) + 1
    return found


def watch(queue: Place, *, max_running: int, every: float, tell: Callable[[str], None]) -> NoReturn:
    """Pass after pass, until interrupted; a queue that was there and cannot be reached for a while is tried again.

    every: seconds between two passes.
    raises: what the first pass raises.
    """
    tell = told_once(tell)
    reconcile(queue, max_running=max_running, tell=tell)
    while True:
        time.sleep(every)
        try:
            reconcile(queue, max_running=max_running, tell=tell)
        except (JobsError, OSError, StoreError) as error:
            tell(str(error))


@contextmanager
def _alone(job: Job, tell: Callable[[str], None]) -> Iterator[None]:
    """What goes wrong with one job is told, and does not keep the others waiting."""
    try:
        yield
    except (JobsError, OSError, StoreError) as error:
        tell(f"{job.id}: {error}")
    except Exception as error:  # a bug of ours, or of a library: the other jobs have no part in it
        tell(f"{job.id}: {type(error).__name__}: {error}")


def start(job: Job, clusters: Clusters, tell: Callable[[str], None]) -> bool:
    """Begin the next attempt; False where its cluster does not answer."""
    address = str(job.asked["address"])
    if clusters.get(address) is None:
        return False
    if (attempt := decide(job, address)) is not None:
        submit(job, attempt, clusters, tell)
    return True


def submit(job: Job, attempt: Attempt, clusters: Clusters, tell: Callable[[str], None]) -> None:
    """Hand an attempt to its cluster; harmless where that was done already."""
    address = str(attempt.decided["address"])
    if (cluster := clusters.get(address)) is None:
        return
    words = ["jobs.queue.driver", str(job.place.parent), job.id, str(attempt.number)]
    try:
        if cluster.submit(attempt.submission, words, variables={"DKVB_COMMIT": str(job.asked["commit"] or "")}):
            tell(f"{job.id}: attempt {attempt.number} submitted to {address}")
    except ClusterError as error:
        clusters.lost(address, error)  # the next pass submits it


def settle(job: Job, clusters: Clusters, tell: Callable[[str], None]) -> None:
    """See what became of the open attempt of a job: let it run, submit it, stop it, or say that it is dead."""
    attempt = job.open_attempt
    assert attempt is not None, "only an open attempt can be settled"
    cluster, phase = ask(attempt, clusters, stop=job.stop_ordered)
    job = find_job(job.place.parent, job.id)  # read after the cluster was asked: a driver says its end, then ends
    if (attempt := job.open_attempt) is None:
        return
    if job.stop_ordered and attempt.started is None:
        conclude(job, attempt, "stopped", "it had not started", tell)  # should it still start, it sees this and ends
    elif cluster is not None and phase is None and attempt.started is None:
        submit(job, attempt, clusters, tell)
    elif dead := why_dead(job, attempt, phase, asked=cluster is not None):
        ask(attempt, clusters, stop=True)
        if outputs_stand(attempt):
            conclude(job, attempt, "succeeded", f"its outputs stand, though {dead}", tell)
        elif job.stop_ordered:
            conclude(job, attempt, "stopped", dead, tell)
        else:
            conclude(job, attempt, "lost", dead, tell, output=last_output(cluster, attempt))


def ask(attempt: Attempt, clusters: Clusters, *, stop: bool) -> tuple[RayJobs | None, Phase | None]:
    """The cluster of an attempt and what it says of it; nothing of both where it does not answer.

    stop: have it ended there, unless it has.
    """
    address = str(attempt.decided["address"])
    if (cluster := clusters.get(address)) is None:
        return None, None
    try:
        phase = cluster.phase(attempt.submission)
        if stop and phase is not None and phase.state != "ended":
            cluster.stop(attempt.submission)
    except ClusterError as error:
        clusters.lost(address, error)
        return None, None
    return cluster, phase


def why_dead(job: Job, attempt: Attempt, phase: Phase | None, *, asked: bool) -> str | None:
    """Why an attempt without an end must be dead; None if it may live."""
    if phase is not None and phase.state == "ended":
        return f"its driver is gone ({phase.text})"
    beyond = attempt.silence(time.time())
    if beyond > 0:
        why = f"no heartbeat came ({beyond:.0f} s too long)"
        if attempt.heartbeat is not None and float(attempt.heartbeat["time"]) > time.time():
            why = f"its last heartbeat lies {beyond + STALE_S:.0f} s in the future, and none came after it"
    elif asked and phase is None:
        why = "the cluster no longer knows of it"
    else:
        return None
    return None if beats(job, attempt) else why


def beats(job: Job, attempt: Attempt) -> bool:
    """Whether something comes of an attempt while one looks: a clock may be wrong, and an address another cluster's."""
    time.sleep(LOOK_S)
    now = find_job(job.place.parent, job.id).attempts[attempt.number - 1]
    return (now.started, now.heartbeat) != (attempt.started, attempt.heartbeat)


def conclude(job: Job, attempt: Attempt, state: Any, why: str, tell: Callable[[str], None], **more: Any) -> None:
    """Write the end of an attempt, unless its driver did so meanwhile."""
    if end(attempt, state, why=why, final=False, **more):
        tell(f"{job.id}: attempt {attempt.number} {state}: {why}")


def outputs_stand(attempt: Attempt) -> bool:
    """Whether everything that an attempt was to make is there, as far as that can be seen from here."""
    if attempt.plan is None:
        return False
    try:
        root = place(attempt.plan["root"])
        return bool(attempt.plan["steps"]) and all(
            Artefact(root, *step.split("/")).done for step in attempt.plan["steps"]
        )
    except (OSError, StoreError):  # the next attempt sees
        return False


def last_output(cluster: RayJobs | None, attempt: Attempt) -> str:
    """The last lines that a driver printed, where its cluster still has them: what it says before it has a log."""
    try:
        lines = cluster.output(attempt.submission).splitlines() if cluster is not None else []
    except ClusterError:
        lines = []
    return "\n".join(lines[-OUTPUT_LINES:])


def told_once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """The same without a line that was among the last few: a pass finds again what the pass before it found."""
    last: deque[str] = deque(maxlen=TOLD)

    def do(text: str) -> None:
        if text not in last:
            tell(text)
        last.append(text)

    return do
