"""One pass over the queue: attempts that died are ended, jobs that wait are started; nothing is remembered in between.

Any number of passes may run at once, anywhere: what they decide on is created once (`jobs.queue.files`).
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from cluster.errors import ClusterError, SubmissionRefused
from cluster.submit import Phase
from jobs.errors import JobsError
from jobs.printable import in_one_line
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

NAMED = 20
"""Jobs that are named in a line, at most."""

LOOK_S = 15.0
"""Seconds in which a living driver's heartbeat changes, whatever its clock says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a pass over a queue came to."""

    jobs: dict[StateName, int]
    """How many are in each state, after it."""
    ended: frozenset[str]
    """How each attempt of the queue ended that has, and which jobs were stopped without one: a line each."""
    unreached: list[str]
    """The clusters that it needed and that did not answer, and the jobs that wait for them: a line each."""


def reconcile(
    queue: Place,
    *,
    max_running: int,
    tell: Callable[[str], None],
    every: float | None = None,
    before: Pass | None = None,
) -> Pass:
    """Make one pass over a queue.

    max_running: jobs that may run at a time. Each pass counts for itself, so several at once can overshoot it.
    every: seconds until the next pass, which the queue is told of; None where nobody comes back.
    tell: is given a line for what was done, and for what ended since the pass before, whoever said so.
    before: that pass; None: what had ended when this one began is not told.
    """
    clusters = Clusters(lambda _: None)
    found = read_queue(queue, tell)
    known = before.ended if before is not None else _ended(found)
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
    now = read_queue(queue)
    ended = _ended(now)
    for text in sorted(ended - known):
        tell(text)
    return Pass(
        jobs=Counter(job.state(time.time()).name for job in now),
        ended=ended,
        unreached=[text for address, why in clusters.unreached.items() if (text := _waits(address, why, now))],
    )


def end_text(job: Job, attempt: Attempt) -> str:
    """How an attempt ended, in one line; empty for one that has not."""
    if attempt.end is None:
        return ""
    why = in_one_line(attempt.end.why)
    return f"{job.id}: attempt {attempt.number} {attempt.end.state}{f': {why}' if why else ''}"


def _ended(jobs: Iterable[Job]) -> frozenset[str]:
    """How attempts ended, and which jobs were stopped while none was open."""
    texts = {text for job in jobs for attempt in job.attempts if (text := end_text(job, attempt))}
    for job in jobs:
        last = job.attempts[-1].end if job.attempts else None
        stopped = job.state(time.time()).name is StateName.STOPPED
        if stopped and (last is None or last.state is not EndState.STOPPED):
            texts.add(f"{job.id}: stopped")
    return frozenset(texts)


def _waits(address: str, why: str, jobs: Sequence[Job]) -> str:
    """Which jobs wait for a cluster that was not reached, and why it was not; empty where none does."""
    names = []
    for job in jobs:
        attempt = job.open_attempt
        asked = attempt.decision.address if attempt is not None else job.assignment.address
        if asked == address and not job.state(time.time()).name.has_ended:
            names.append(job.id)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    wait = "waits for its cluster" if len(names) == 1 else "wait for their cluster"
    return f"{', '.join(names[:NAMED])}{more} {wait}: {why}" if names else ""


def watch(queue: Place, *, max_running: int, every: float, tell: Callable[[str], None]) -> NoReturn:
    """Make pass after pass, until interrupted; a queue that was there and cannot be reached is tried again.

    every: seconds between two passes.
    raises: what the first pass raises.
    """
    tell = without_repeats(tell)
    made: Pass | None = None
    while True:
        try:
            made = reconcile(queue, max_running=max_running, tell=tell, every=every, before=made)
            for text in made.unreached:
                tell(text)
        except (JobsError, OSError, StoreError) as error:
            if made is None:
                raise
            tell(str(error))
        time.sleep(every)


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
        end(attempt, End(state=EndState.FAILED, why=str(error), final=error.final))
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
        end(attempt, End(state=EndState.STOPPED, why=f"{BY_REQUEST}; it had not started"))
    elif cluster is not None and phase is None and attempt.start is None:
        submit(job, attempt, clusters, tell)
    elif phase is not None and phase.state == "ended":
        end(attempt, with_output(verdict(job, attempt, phase), cluster, attempt))
    elif why := why_dead(job, attempt, phase, answered=cluster is not None):
        clusters.ask(attempt, stop=True)
        end(attempt, with_output(lost(job, attempt, why), cluster, attempt))


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


def without_repeats(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell only what is not among the last few lines: a pass finds again what the pass before it found."""
    last: deque[str] = deque(maxlen=REMEMBERED)

    def do(text: str) -> None:
        if text not in last:
            tell(text)
        last.append(text)

    return do
