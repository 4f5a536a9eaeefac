"""What people ask of the queue: to take a job, to stop one, to try one again."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cluster.submit import RayJobs, ray_jobs
from dkvb.limits import nearest
from jobs.errors import BadRequest, BadSpec
from jobs.printable import in_one_line
from jobs.provenance import commit
from jobs.queue.clusters import Clusters
from jobs.queue.files import add, add_command, end, find_job, read_queue
from jobs.queue.job import Job, StateName
from jobs.queue.look import see
from jobs.queue.reconcile import end_text, reconcile, settle
from jobs.queue.records import Assignment, Command, CommandKind, is_python
from jobs.spec.reading import as_table
from jobs.spec.schema import Spec, check_name
from store.addresses import written_out
from store.errors import ImagesMissing
from store.places import Place, absolute, is_address

QUEUE = "dkvb-queue"
"""Name of the queue beside a root, unless another is named."""


def submit(
    specs: list[Spec],
    root: Place,
    *,
    address: str,
    tell: Callable[[str], None],
    queue: Place | None = None,
    name: str | None = None,
    images: str | None = None,
    priority: int = 0,
    attempts: int = 3,
    workers: int | None = None,
    gpus: float | None = None,
    python: str | None = None,
) -> Job:
    """Put a job into the queue, and start it at once if nothing else runs there.

    address: of a job server.
    queue: None for the folder `dkvb-queue` beside the root.
    name: of the job; None for that of the first spec.
    images: a folder or an address; None for bundled ones.
    python: interpreter of driver and workers, as the cluster's machines find it; None for theirs.
    raises: BadSpec; BadRequest for a folder that cannot be the queue, or a `python` that names no interpreter;
        ClusterError for a cluster that cannot be used.
    """
    name = name or specs[0].name
    check_name("--name", name)
    if python is not None and not is_python(python):
        raise BadRequest(
            f"--python: found {python!r}, expected a path that begins with / or a name such as python3.12, "
            "as the cluster's machines have it"
        )
    if not images and any(spec.images.kind != "digits" for spec in specs):
        raise BadSpec(
            f"{name}: images of kind {specs[0].images.kind!r} have to be read from somewhere: give --images DIR"
        )
    images = images and written_out(images)
    if images and not is_address(images):
        images = str(absolute(Path(images)))
    root = absolute(root)
    queue = absolute(queue) if queue is not None else root.parent / QUEUE
    if root in (queue, *queue.parents):
        raise BadRequest(f"{queue}: lies in the root, expected a folder beside it: name one with --queue")
    server = ray_jobs(address)  # a wrong address is the user's to correct, now
    if images and not is_address(images):
        check_images(specs, Path(images), server, tell)
    assignment = Assignment(
        name=name,
        specs=[as_table(spec) for spec in specs],
        root=str(root),
        images=images,
        address=address,
        priority=priority,
        attempts=attempts,
        workers=workers,
        gpus=gpus,
        python=python,
        commit=commit(),
    )
    job = add(queue, assignment)
    if same := [other.id for other in read_queue(queue) if is_same(job, other)]:
        tell(f"note: {same[0]} asks for the same and has not ended; {job.id} will skip what it finishes")
    for text in reconcile(queue, max_running=1, tell=tell).unreached:
        tell(f"note: {text}")
    return job


def check_images(specs: Sequence[Spec], images: Path, server: RayJobs, tell: Callable[[str], None]) -> None:
    """Check that images are where the specs look for them, if this machine can tell; tell of what it cannot.

    raises: BadRequest where the cluster runs on this machine and they are not there; ClusterUnreachable.
    """
    if not images.exists():
        near = nearest_sibling(images)
        if server.is_here():
            raise BadRequest(
                f"--images: {images} is not there, and the cluster runs on this machine{near or ';'} give the folder "
                "that holds the images (`dkvb data` downloads some data sets)"
            )
        tell(
            f"note: {images} is not there on this machine{near}{' It' if near else '; it'} must be there on the cluster"
        )
    elif os.access(images, os.R_OK | os.X_OK) and server.is_here():
        from jobs.images.counted import count

        try:
            for spec in specs:
                count(spec.images, str(images), seconds=0.0)
        except ImagesMissing as error:
            raise BadRequest(f"{error} The cluster runs on this machine, and would find no more") from error


def nearest_sibling(path: Path) -> str:
    """A hint at what is there instead of the first part of a path that is not; empty where nothing is near."""
    while not path.parent.exists():
        path = path.parent
    with suppress(OSError):
        return nearest(path.name, [each.name for each in path.parent.iterdir()])
    return ""


def is_same(job: Job, other: Job) -> bool:
    """Whether another job, which has not ended, makes the same on the same root."""
    mine, theirs = job.assignment, other.assignment
    alike = (mine.specs, mine.root, mine.images) == (theirs.specs, theirs.root, theirs.images)
    return alike and other.id != job.id and not other.state(time.time()).name.has_ended


def stop(job: Job, tell: Callable[[str], None]) -> None:
    """Ask a job to stop; it does at once where that can be done, by its driver otherwise.

    raises: BadRequest for a job that has ended.
    """
    clusters = Clusters(tell)
    state = see(job, clusters).job.state(time.time())
    if state.name.has_ended:
        raise BadRequest(f"{job.id}: has {state.name} already")
    add_command(job, Command(kind=CommandKind.STOP))
    tell(f"{job.id}: is asked to stop")
    if job.open_attempt is not None:
        settle(find_job(job.place.parent, job.id), clusters, tell)
        job = find_job(job.place.parent, job.id)
        if text := end_text(job, job.attempts[-1]):
            tell(text)


def retry(job: Job, tell: Callable[[str], None]) -> None:
    """Ask for a job to be tried again, with as many attempts as it had at first.

    tell: is given a line where its cluster does not answer, and one for why a job failed.
    raises: BadRequest for a job that has not ended, or has succeeded.
    """
    seen = see(job, Clusters(tell))
    job, state = seen.job, seen.job.state(time.time())
    if state.name not in (StateName.FAILED, StateName.STOPPED):
        now = "has" if state.name is StateName.SUCCEEDED else "is"
        raise BadRequest(f"{job.id}: {now} {state.name}; only a failed or a stopped job can be tried again")
    if seen.ending is not None:
        end(job.attempts[-1], seen.ending)
    if state.name is StateName.FAILED:
        images = job.assignment.images or "unset"
        tell(
            f"{in_one_line(state.why)}. The same is tried again, with --images {images}; for other images, or "
            "another spec, submit a new job: `dkvb submit --name NAME`"
        )
    add_command(job, Command(kind=CommandKind.RETRY, attempts=len(job.attempts)))


def prioritise(job: Job, priority: int) -> str:
    """Move a job among those that wait: higher goes first; returns when that counts, for one that does not wait.

    raises: BadRequest for a job that has succeeded.
    """
    state = job.state(time.time()).name
    if state is StateName.SUCCEEDED:
        raise BadRequest(f"{job.id}: has succeeded; there is nothing left to start")
    add_command(job, Command(kind=CommandKind.PRIORITY, value=priority))
    if state is StateName.RUNNING:
        return "from its next attempt on, should it need one; the one that runs goes on"
    return f"once it is tried again; it has {state}" if state.has_ended else ""
