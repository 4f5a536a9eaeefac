"""Commands of the queue: submit, and `dkvb jobs`."""

import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.ending import end_on_signals
from jobs.cli.options import GPUS, JSON, SET, SPEC, Number, place
from jobs.cli.output import Lines, show_new
from jobs.errors import BadRequest
from jobs.printable import room, say
from store.places import Place, quoted

if TYPE_CHECKING:
    from jobs.queue.show import Row


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
OFFLINE = click.option("--offline", is_flag=True, help="Ask no cluster: show what the files of the queue say.")
EVERY = click.option("--every", type=Number(0.1), default=10, show_default=True, help="Seconds between two passes.")
MAX_RUNNING = click.option(
    "--max-running", type=click.IntRange(0), default=1, show_default=True, help="Jobs at a time."
)


def _note(text: str) -> None:
    say(f"note: {text}", err=True)


def _note_unattended(queue: Place, shown: "Iterable[Row]") -> None:
    """Say where jobs wait and nothing will start them."""
    from jobs.queue.passes import unattended

    if any(row.state.waits for row in shown) and (text := unattended(queue)):
        _note(text)


def _line_of_json(text: str) -> None:
    say(json.dumps({"done": [text]}))


def _say_row(queue: Place, job: str) -> None:
    """Print a job as `jobs list --json` has it, by its files."""
    from jobs.queue.files import find_job
    from jobs.queue.look import Seen
    from jobs.queue.show import row

    say(json.dumps(row(Seen(job=find_job(queue, job))).to_json(), indent=2))


@click.command(short_help="Put a spec into a queue, as a Ray job.")
@SPEC
@click.option("--root", type=place, required=True, help="Folder or s3:// address of all artefacts, as workers see it.")
@click.option("--images", metavar="DIR", help="Where the images lie, as workers see it.")
@click.option(
    "--address",
    metavar="A",
    required=True,
    help="Job server: http://host:PORT; auto: the one at 127.0.0.1:8265 (or RAY_API_SERVER_ADDRESS).",
)
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
@click.option(
    "--python",
    metavar="P",
    help="Interpreter of driver and workers, as the cluster's machines find it: a path or a name.  [default: the "
    "`python` that the head finds, and the workers' own]",
)
@SET
@JSON
def submit(
    spec: str,
    root: Place,
    *,
    changes: tuple[str, ...],
    images: str | None,
    address: str,
    queue: Place | None,
    priority: int,
    name: str | None,
    attempts: int,
    workers: int | None,
    gpus: float | None,
    python: str | None,
    as_json: bool,
) -> None:
    """Queue a spec as a Ray job; it starts at once if nothing else runs from that queue.

    Example: dkvb submit cifar10 --root /shared/roots/cifar10 --images /shared/cifar10 --address auto
    """
    from jobs.queue.commands import submit as put
    from jobs.queue.files import find_job
    from jobs.queue.look import Seen
    from jobs.queue.passes import unattended
    from jobs.queue.show import row
    from jobs.spec.reading import load_specs

    job = put(
        load_specs(spec, changes),
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
        python=python,
    )
    folder = job.place.parent
    about = row(Seen(job=find_job(folder, job.id)))
    say(json.dumps({**about.to_json(), "queue": str(folder)}) if as_json else f"{job.id}: {about.state} in {folder}")
    if text := unattended(folder):
        _note(text)


@click.group(short_help="List, follow, await, stop and retry queued jobs.")
def jobs() -> None:
    """The queue: what waits, runs and has ended; stop, retry, and the reconciler that starts what waits.

    Example: dkvb jobs list --queue roots/dkvb-queue
    """


@jobs.command(name="list")
@QUEUE
@OFFLINE
@JSON
def list_jobs(queue: Place, *, offline: bool, as_json: bool) -> None:
    """One line per job: running ones, then those that wait in the order they will start, then the rest.

    A long reason is cut; `dkvb jobs show JOB` has all of it.
    The clusters of those that run are asked, for some seconds at most: a driver that died may have said nothing.

    Example: dkvb jobs list --queue roots/dkvb-queue
    """
    from jobs.queue.files import read_queue
    from jobs.queue.look import Seen, look
    from jobs.queue.passes import unattended
    from jobs.queue.show import WIDTH, as_text, rows

    found = read_queue(queue, _note)
    seen = [Seen(job=job) for job in found] if offline else look(found, _note)
    shown = rows(seen, attended=not unattended(queue))
    _note_unattended(queue, shown)
    if as_json:
        say(json.dumps([row.to_json() for row in shown], indent=2))
    else:
        say(as_text(shown, room(WIDTH)) or f"{queue}: no job")


@jobs.command()
@JOB
@QUEUE
@OFFLINE
@JSON
def show(job: str, queue: Place, *, offline: bool, as_json: bool) -> None:
    """Show one job: what was asked, every command on it, every attempt and how it ended.

    Example: dkvb jobs show cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.files import find_job
    from jobs.queue.look import Seen, look
    from jobs.queue.show import row, show_text
    from jobs.queue.show import show as details

    found = find_job(queue, job)
    (shown,) = [Seen(job=found)] if offline else look([found], _note, output=True)
    _note_unattended(queue, [row(shown)])
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
    from jobs.queue.look import Seen
    from jobs.queue.show import follow as grow
    from jobs.queue.show import log_lines, log_text, row

    if follow:
        end_on_signals("the job goes on as before")
        _note_unattended(queue, [row(Seen(job=find_job(queue, job)))])
    for line in grow(queue, job, _note) if follow else log_lines(find_job(queue, job)):
        say(json.dumps(line) if as_json else log_text(line))


@jobs.command()
@JOB
@QUEUE
@JSON
def stop(job: str, queue: Place, *, as_json: bool) -> None:
    """Stop a job, whether it waits, is pending on its cluster, or runs; `retry` takes it up again.

    Example: dkvb jobs stop cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import stop as end
    from jobs.queue.files import find_job

    end(find_job(queue, job), _note if as_json else say)
    if as_json:
        _say_row(queue, job)


@jobs.command()
@JOB
@QUEUE
@JSON
def retry(job: str, queue: Place, *, as_json: bool) -> None:
    """Queue a failed or a stopped job again, as it was submitted; what it finished is kept.

    Example: dkvb jobs retry cifar10-3fa2c1 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import retry as again
    from jobs.queue.files import find_job
    from jobs.queue.passes import unattended

    again(find_job(queue, job), _note)
    if text := unattended(queue):
        _note(text)
    if as_json:
        _say_row(queue, job)
        return
    say(f"{job}: queued again")


@jobs.command(context_settings={"ignore_unknown_options": True})  # a number below 0 is no option
@JOB
@click.argument("number", type=int)
@QUEUE
@JSON
def priority(job: str, number: int, queue: Place, *, as_json: bool) -> None:
    """Move a job that waits: higher goes first. One that runs goes on; the number counts for its next attempt.

    Example: dkvb jobs priority cifar10-3fa2c1 10 --queue roots/dkvb-queue
    """
    from jobs.queue.commands import prioritise
    from jobs.queue.files import find_job

    when = prioritise(find_job(queue, job), number)
    if as_json:
        _say_row(queue, job)
        return
    say(f"{job}: priority {number}{f', {when}' if when else ''}")


@jobs.command()
@click.argument("names", metavar="[JOB]...", nargs=-1)
@QUEUE
@click.option("--timeout", type=Number(0), metavar="S", help="Seconds; unless given, however long it takes.")
@click.option("--every", type=Number(0.1), default=5, show_default=True, help="Seconds between two looks.")
@JSON
def wait(names: tuple[str, ...], queue: Place, *, timeout: float | None, every: float, as_json: bool) -> None:
    """Wait until jobs have ended: those named, or all that are in the queue now. One line per change.

    Exit code 0: all have succeeded. 1: one has failed or was stopped. 124: the time was over. An interrupt (130) ends
    the waiting alone. Nothing is started: that is what `dkvb jobs reconcile` does.

    Example: dkvb jobs wait --timeout 3600 --queue roots/dkvb-queue && dkvb report roots/cifar10
    """
    from jobs.queue.wait import wait as until_ended

    end_on_signals("the jobs go on as before")
    tell = partial(say, err=as_json)
    ended = until_ended(queue, names, timeout=timeout, every=every, say=tell, tell=_note)
    if as_json:
        say(json.dumps([row.to_json() for row in ended.jobs], indent=2))
    sys.exit(ended.code)


@jobs.command()
@QUEUE
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@MAX_RUNNING
@EVERY
@JSON
def reconcile(queue: Place, *, watch: bool, max_running: int, every: float, as_json: bool) -> None:
    """Start what waits, by priority and age; give a job whose driver died a new attempt.

    Several may run at once, and any may be killed. `dkvb jobs service` prints files that keep one going.
    A line tells of each attempt that begins or ends. Exit code 1: a cluster that jobs wait for was not reached; with
    --watch that is told, once, and the next pass tries again.

    Example: dkvb jobs reconcile --queue roots/dkvb-queue --watch
    """
    from cluster.errors import ClusterUnreachable
    from jobs.queue.reconcile import reconcile as once
    from jobs.queue.reconcile import watch as keep_going

    end_on_signals("jobs that run go on; what waits is started once a reconciler is back")
    if watch:
        keep_going(queue, max_running=max_running, every=every, tell=_line_of_json if as_json else say)
    with Lines(as_json=as_json) as lines:
        made = once(queue, max_running=max_running, tell=lines.tell, every=every)
        lines.more = {"jobs": {**made.jobs}, "unreached": made.unreached}
    if not as_json:
        say(", ".join(f"{count} {name}" for name, count in sorted(made.jobs.items())) or f"{queue}: no job")
    if made.unreached:
        raise ClusterUnreachable("\n".join(made.unreached))


@jobs.command()
@click.argument("kind", type=click.Choice(["systemd", "cronjob"]))
@QUEUE
@MAX_RUNNING
@click.option(
    "--every", type=Number(0.1), help="Seconds between two passes.  [default: 10; cronjob: 60, whole minutes]"
)
@click.option("--name", default="dkvb-reconcile", show_default=True, help="Of the unit, or of the CronJob.")
@click.option("--image", help="cronjob: container image with dkvb in it, with its tag.")
@click.option("--secret", help="cronjob: the Secret that holds the cluster's token under `auth_token`.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new file; standard output unless given.")
@JSON
def service(
    kind: str,
    queue: Place,
    *,
    max_running: int,
    every: float | None,
    name: str,
    image: str | None,
    secret: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print a file that keeps `reconcile` going: a systemd unit for this machine, or a CronJob for Kubernetes.

    The comments at its top say how to install it. Nothing is started, and no secret is written.

    Example: dkvb jobs service systemd --queue /shared/roots/dkvb-queue -o dkvb-reconcile.service
    """
    from jobs.queue.service import Service, cronjob, unit

    if kind == "systemd" and (image or secret):
        raise BadRequest("jobs service: --image and --secret are for a cronjob; a unit runs the dkvb that is installed")
    asked = Service(queue=queue, max_running=max_running, every=every or (10 if kind == "systemd" else 60), name=name)
    text = unit(asked, _note) if kind == "systemd" else cronjob(asked, image=image, secret=secret, tell=_note)
    install = "install it, as the lines at its top say"
    following = install if kind == "systemd" else f"dkvb cluster check {quoted(output)}"
    show_new(output, text, as_json=as_json, following=following)
