"""One pass over the queue: attempts that died are ended, jobs that wait are started; nothing is remembered in between.

Any number of passes may run at once, anywhere: what they decide on is created once (`jobs.queue.files`).
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from cluster.errors import ClusterError, SubmissionRefused
from cluster.submit import Phase
from jobs.errors import JobsError
from jobs.queue.clusters import Clusters
from jobs.queue.files import decide, end, find_job, read_queue
from jobs.queue.job import STALE_S, Attempt, Job, StateName
from jobs.queue.passes import sign
from jobs.queue.records import End, EndState
from jobs.queue.verdict import BY_REQUEST, lost, verdict, with_output
from store.errors import StoreError
from store.places import Place

REMEMBERED = 20
"""Lines that are remembered and not told again."""

LOOK_S = 15.0
"""Seconds in which a living driver's heartbeat changes, whatever its clock says."""


def reconcile(
    queue: Place, *, max_running: int, tell: Callable[[str], None], every: float | None = None
) -> dict[StateName, int]:
    """Make one pass over a queue.

    max_running: jobs that may run at a time. Each pass counts for itself, so several at once can overshoot it.
    every: seconds until the next pass, which the queue is told of; None where nobody comes back.
    tell: is given what was done, a line each.
    returns: number of jobs by state, after it.
    """
    clusters = Clusters(tell)
    found = read_queue(queue, tell)
    if every is not None:
        sign(queue, every, tell)
    for job in found:
        if job.open_attempt is not None:
            with _alone(job, tell):
                settle(job, clusters, tell)
    jobs = read_queue(queue)
    running = sum(job.open_attempt is not None for job in jobs)
    for job in jobs:
        waits = job.open_attempt is None and job.state(time.time()).name.waits
        if waits and running < max_running:
            with _alone(job, tell):
                running += start(job, clusters, tell)
    return Counter(job.state(time.time()).name for job in read_queue(queue))


def watch(queue: Place, *, max_running: int, every: float, tell: Callable[[str], None]) -> NoReturn:
    """Make pass after pass, until interrupted; a queue that was there and cannot be reached is tried again.

    every: seconds between two passes.
    raises: what the first pass raises.
    """
    tell = without_repeats(tell)
    reconcile(queue, max_running=max_running, tell=tell, every=every)
    while True:
        time.sleep(every)
        try:
            reconcile(queue, max_running=max_running, tell=tell, every=every)
        except (JobsError, OSError, StoreError) as error:
            tell(str(error))


@contextmanager
def _alone(job: Job, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what goes wrong with one job within the block; it does not keep the others waiting."""
    try:
        yield
    except (JobsError, OSError, StoreError) as error:
        tell(f"{job.id}: {error}")
    except Exception as error:  # a bug of ours, or of a library: the other jobs have no part in it
        tell(f"{job.id}: {type(error).__name__}: {error}")


def start(job: Job, clusters: Clusters, tell: Callable[[str], None]) -> bool:
    """Begin the next attempt; False where its cluster does not answer."""
    address = job.assignment.address
    if clusters.get(address) is None:
        return False
    if (attempt := decide(job, address)) is not None:
        submit(job, attempt, clusters, tell)
    return True


def submit(job: Job, attempt: Attempt, clusters: Clusters, tell: Callable[[str], None]) -> None:
    """Hand an attempt to its cluster; harmless where that was done already. One that it does not take has failed."""
    asked, address = job.assignment, attempt.decision.address
    if (cluster := clusters.get(address)) is None:
        return
    queue = str(job.place.parent)
    try:
        submitted = cluster.submit(
            attempt.submission,
            ["jobs.queue.driver", queue, job.id, str(attempt.number)],
            # Ray remembers for minutes that an environment could not be set up; each attempt has one of its own.
            variables={"DKVB_COMMIT": asked.commit or "", "DKVB_ATTEMPT": attempt.submission},
            metadata={"job_name": asked.name, "root": asked.root, "queue": queue},
            python=asked.python,
        )
    except SubmissionRefused as error:
        conclude(job, attempt, End(state=EndState.FAILED, why=str(error), final=error.final), tell)
    except ClusterError as error:
        clusters.lost(address, error)  # the next pass submits it
    else:
        if submitted:
            tell(f"{job.id}: attempt {attempt.number} submitted to {address}")


def settle(job: Job, clusters: Clusters, tell: Callable[[str], None]) -> None:
    """See what became of the open attempt of a job: let it run, submit it, stop it, or say that it is dead."""
    attempt = job.open_attempt
    assert attempt is not None, "only an open attempt can be settled"
    cluster, phase = clusters.ask(attempt, stop=job.is_to_stop)
    job = find_job(job.place.parent, job.id)  # read after the cluster was asked: a driver says its end, then ends
    if (attempt := job.open_attempt) is None:
        return
    if job.is_to_stop and attempt.start is None:
        # Should it still start, it sees this and ends.
        conclude(job, attempt, End(state=EndState.STOPPED, why=f"{BY_REQUEST}; it had not started"), tell)
    elif cluster is not None and phase is None and attempt.start is None:
        submit(job, attempt, clusters, tell)
    elif phase is not None and phase.state == "ended":
        conclude(job, attempt, with_output(verdict(job, attempt, phase), cluster, attempt), tell)
    elif why := why_dead(job, attempt, phase, answered=cluster is not None):
        clusters.ask(attempt, stop=True)
        conclude(job, attempt, with_output(lost(job, attempt, why), cluster, attempt), tell)


def why_dead(job: Job, attempt: Attempt, phase: Phase | None, *, answered: bool) -> str | None:
    """Why an attempt must be dead whose end nobody has told of; None if it may live.

    phase: what its cluster says; answered: whether it says anything.
    """
    beyond = attempt.silence(time.time())
    if beyond > 0:
        why = f"no heartbeat came ({beyond:.0f} s too long)"
        if attempt.heartbeat is not None and attempt.heartbeat.time > time.time():
            why = f"its last heartbeat lies {beyond + STALE_S:.0f} s in the future, and none came after it"
    elif answered and phase is None:
        why = "the cluster no longer knows of it"
    else:
        return None
    return None if beats(job, attempt) else why


def beats(job: Job, attempt: Attempt) -> bool:
    """Whether a living driver shows itself while one looks: clocks may differ, an address may be another cluster's."""
    time.sleep(LOOK_S)
    now = find_job(job.place.parent, job.id).attempts[attempt.number - 1]
    return (now.start, now.heartbeat) != (attempt.start, attempt.heartbeat)


def conclude(job: Job, attempt: Attempt, ending: End, tell: Callable[[str], None]) -> None:
    """Write the end of an attempt, unless its driver did so meanwhile."""
    if end(attempt, ending):
        tell(f"{job.id}: attempt {attempt.number} {ending.state}: {ending.why}")


def without_repeats(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell only what is not among the last few lines: a pass finds again what the pass before it found."""
    last: deque[str] = deque(maxlen=REMEMBERED)

    def do(text: str) -> None:
        if text not in last:
            tell(text)
        last.append(text)

    return do
