"""What people order of a job that is there: to stop, and to try again."""

import time
from collections.abc import Callable

from jobs.errors import BadRequest
from jobs.queue import Job, order
from jobs.reconcile import Clusters, settle


def stop(job: Job, tell: Callable[[str], None]) -> None:
    """Order a job to stop; at once where that can be done, by its driver otherwise.

    raises: BadRequest for a job that has ended.
    """
    state = job.state(time.time())
    if state.name in ("succeeded", "failed", "stopped"):
        raise BadRequest(f"{job.id}: has {state.name} already")
    order(job, "stop")
    tell(f"{job.id}: ordered to stop")
    if job.open_attempt is not None:
        settle(job, Clusters(tell), tell)


def retry(job: Job) -> None:
    """Order a job to be tried again, with as many attempts as it had at first.

    raises: BadRequest for a job that has not ended, or has succeeded.
    """
    state = job.state(time.time())
    if state.name not in ("failed", "stopped"):
        raise BadRequest(f"{job.id}: is {state.name}; only a failed or a stopped job can be tried again")
    order(job, "retry", attempts=len(job.attempts))
