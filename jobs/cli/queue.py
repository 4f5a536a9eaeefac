"""Commands of the queue: submit, and `dkvb jobs`."""

import json

import click

from jobs.cli.options import GPUS, JSON, place
from jobs.errors import BadRequest
from jobs.printable import say
from store.places import Place


def _named(_context: click.Context, _option: click.Parameter, queue: Place | None) -> Place:
    if queue is None:
        raise BadRequest(
            "jobs: found no queue, neither --queue nor DKVB_QUEUE; give --queue FOLDER, as `dkvb submit` printed it "
            "(dkvb-queue beside the root, unless you named another), or set DKVB_QUEUE to it once"
        )
    return queue


QUEUE = click.option(
    "--queue",
    type=place,
    envvar="DKVB_QUEUE",
    callback=_named,
    help="The queue that `dkvb submit` named; or DKVB_QUEUE.",
)
JOB = click.argument("job")


@click.command(short_help="Put a spec into a queue, as a Ray job.")
@click.argument("spec")
@click.option("--root", type=place, required=True, help="Folder or s3:// address of all artefacts, as workers see it.")
@click.option("--images", metavar="DIR", help="Where the images lie, as workers see it.")
@click.option("--address", metavar="A", required=True, help="Job server: http://host:8265, or auto for this machine's.")
@click.option("--queue", type=place, envvar="DKVB_QUEUE", help="Default: dkvb-queue beside the root; or DKVB_QUEUE.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--name", help="Name of the job.  [default: the spec's]")
@click.option(
    "--attempts", type=click.IntRange(1), default=3, show_default=True, help="Attempts before the job counts as failed."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Worker processes; ask for more than fit, and the cluster grows."
)
@GPUS
@JSON
def submit(
    spec: str,
    root: Place,
    *,
    images: str | None,
    address: str,
    queue: Place | None,
    priority: int,
    name: str | None,
    attempts: int,
    workers: int | None,
    gpus: float | None,
    as_json: bool,
) -> None:
    """Queue a spec as a Ray job; it starts at once if nothing else runs from that queue.

    Example: dkvb submit cifar10 --root /shared/roots/cifar10 --images /shared/cifar10 --address auto
    """
    from jobs.queue.commands import submit as put
    from jobs.queue.files import find_job
    from jobs.queue.show import row
    from jobs.spec.reading import load_specs

    job = put(
        load_specs(spec),
        root,
        address=address,
        tell=lambda text: say(text, err=True),
        queue=queue,
        name=name,
        images=images,
        priority=priority,
        attempts=attempts,
        workers=workers,
        gpus=gpus,
    )
    folder = job.place.parent
    about = row(find_job(folder, job.id))
    say(json.dumps({**about.to_json(), "queue": str(folder)}) if as_json else f"{job.id}: {about.state} in {folder}")
    if not as_json:
        say(f"Keep it going: dkvb jobs reconcile --queue {folder} --watch", err=True)


@click.group(short_help="List, follow, stop and retry queued jobs.")
def jobs() -> None:
    """The queue: what waits, runs and has ended; stop, retry, and the reconciler that starts what waits.

    Example: dkvb jobs list --queue roots/dkvb-queue
    """


@jobs.command(name="list")
@QUEUE
@JSON
def list_jobs(queue: Place, *, as_json: bool) -> None:
    """One line per job: running ones, then those that wait in the order they will start, then the rest.

    Example: dkvb jobs list --queue roots/dkvb-queue
    """
    from jobs.queue.files import read_queue
    from jobs.queue.show import as_text, rows

    shown = rows(read_queue(queue, lambda text: say(f"note: {text}", err=True)))
    if as_json:
        say(json.dumps([row.to_json() for row in shown], indent=2))
    else:
        say(as_text(shown) or f"{queue}: no job")


@jobs.command()
@JOB
@QUEUE
@JSON
def show(job: str, queue: Place, *, as_json: bool) -> None:
    """Show one job: what was asked, every command on it, every attempt and how it ended.

    Example: dkvb jobs show cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.files import find_job
    from jobs.queue.show import show as details
    from jobs.queue.show import show_text

    shown = find_job(queue, job)
    say(json.dumps(details(shown), indent=2) if as_json else show_text(shown))


@jobs.command()
@JOB
@QUEUE
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@JSON
def logs(job: str, queue: Place, *, follow: bool, as_json: bool) -> None:
    """The log of all attempts: steps, units, notes, the end.

    Example: dkvb jobs logs cifar10-3fa2c1 -f --queue roots/dkvb-queue
    """
    from jobs.queue.files import find_job
    from jobs.queue.show import follow as grow
    from jobs.queue.show import log_lines, log_text

    for line in grow(queue, job) if follow else log_lines(find_job(queue, job)):
        say(json.dumps(line) if as_json else log_text(line))


@jobs.command()
@JOB
@QUEUE
def stop(job: str, queue: Place) -> None:
    """Stop a job, whether it waits, is pending on its cluster, or runs; `retry` takes it up again.

    Example: dkvb jobs stop cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import stop as end
    from jobs.queue.files import find_job

    end(find_job(queue, job), say)


@jobs.command()
@JOB
@QUEUE
def retry(job: str, queue: Place) -> None:
    """Queue a failed or a stopped job again; what it finished is kept.

    Example: dkvb jobs retry cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import retry as again
    from jobs.queue.files import find_job

    again(find_job(queue, job))
    say(f"{job}: queued again")


@jobs.command(context_settings={"ignore_unknown_options": True})  # a number below 0 is no option
@JOB
@click.argument("number", type=int)
@QUEUE
def priority(job: str, number: int, queue: Place) -> None:
    """Move a job that waits: higher goes first.

    Example: dkvb jobs priority cifar10-3fa2c1 10 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import prioritise
    from jobs.queue.files import find_job

    prioritise(find_job(queue, job), number)
    say(f"{job}: priority {number}")


@jobs.command()
@QUEUE
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--max-running", type=click.IntRange(0), default=1, show_default=True, help="Jobs at a time.")
@click.option("--every", type=click.FloatRange(0.1), default=10, show_default=True, help="Seconds between two passes.")
def reconcile(queue: Place, *, watch: bool, max_running: int, every: float) -> None:
    """Start what waits, by priority and age; give a job whose driver died a new attempt.

    Several may run at once, and any may be killed.

    Example: dkvb jobs reconcile --queue roots/dkvb-queue --watch
    """
    from jobs.queue.reconcile import reconcile as once
    from jobs.queue.reconcile import watch as keep_going

    if watch:
        keep_going(queue, max_running=max_running, every=every, tell=say)
    counts = once(queue, max_running=max_running, tell=say)
    say(", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or f"{queue}: no job")
