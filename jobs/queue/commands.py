"""What people ask of the queue: to take a job, to stop one, to try one again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.submit import ray_jobs
from jobs.errors import BadRequest, BadSpec
from jobs.provenance import commit
from jobs.queue.files import add, order, read_queue
from jobs.queue.job import Job
from jobs.queue.reconcile import Clusters, reconcile, settle
from jobs.spec.reading import as_table
from jobs.spec.schema import Spec, check_name
from store.addresses import written_out
from store.places import Place, absolute, is_address

QUEUE = "dkvb-queue"
"""Name of the queue beside a root, unless another is named."""


def submit(
    specs: list[Spec], root: Place, *, address: str, queue: Place | None, tell: Callable[[str], None], **asked: Any
) -> Job:
    """Put a job into the queue, and start it at once if nothing else runs there.

    queue: None for the folder `dkvb-queue` beside the root.
    asked: name (None: the first spec's), images, priority, attempts, workers, gpus.
    raises: BadSpec; BadRequest for a folder that cannot be the queue; ClusterError for a cluster that cannot be used.
    """
    name = asked.pop("name") or specs[0].name
    check_name("--name", name)
    images = asked.pop("images")
    if not images and any(spec.images.kind != "digits" for spec in specs):
        raise BadSpec(f"{name}: images of kind {specs[0].images.kind!r} lie somewhere: give --images DIR")
    images = images and written_out(images)
    if images and not is_address(images):
        images = str(absolute(Path(images)))
    root = absolute(root)
    queue = absolute(queue) if queue is not None else root.parent / QUEUE
    if root in (queue, *queue.parents):
        raise BadRequest(f"{queue}: lies in the root, expected a folder beside it: name one with --queue")
    ray_jobs(address)  # a wrong address is the user's to mend, now
    whole = {
        "name": name,
        "specs": [as_table(spec) for spec in specs],
        "root": str(root),
        "images": images,
        "address": address,
    }
    job = add(queue, {**whole, **asked, "commit": commit()})
    if same := [other.id for other in read_queue(queue) if is_same(job, other)]:
        tell(f"note: {same[0]} asks for the same and has not ended: what it finishes, {job.id} finds standing")
    reconcile(queue, max_running=1, tell=tell)
    return job


def is_same(job: Job, other: Job) -> bool:
    """Whether another job, which has not ended, makes the same on the same root."""
    alike = all(job.asked[key] == other.asked[key] for key in ("specs", "root", "images"))
    return alike and other.id != job.id and other.state(time.time()).name in ("queued", "running", "lost")


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
