"""Experiments: the demo, a plan, a run."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from jobs.cli.begin import Chosen, check_outside, choose, default_root, forecast, show_begun, show_forecast
from jobs.cli.ending import second_interrupt_ends
from jobs.cli.options import GPUS, IMAGES, JSON, SERIAL, SET, SPEC, WORKERS, place
from jobs.cli.telling import reporter
from jobs.cli.text import show_summaries
from jobs.printable import say
from store.places import Place, quoted

if TYPE_CHECKING:
    from jobs.plan.cost import Planned
    from jobs.plan.plan import Plan
    from jobs.results.experiment import Experiment
    from jobs.run.execute import Placement
    from jobs.spec.schema import Spec


@click.command(short_help="Try everything on handwritten digits, on this machine.")
@click.option("--root", type=place, default="dkvb-demo", show_default=True, help="Folder of all artefacts.")
@WORKERS
@SERIAL
@JSON
def demo(root: Place, workers: int | None, *, serial: bool, as_json: bool) -> None:
    """Run everything on scikit-learn's digits, on this machine: table, figure, what to try next.

    Example: dkvb demo --root /tmp/demo
    """
    from jobs.run.execute import Placement
    from jobs.spec.reading import load_specs

    plans = _plans(load_specs("digits"), root, None)
    show_summaries(_run(plans, root, Placement(workers=workers, serial=serial)), as_json=as_json)
    if as_json:
        return
    where = quoted(root)
    tries = {
        f"table {where} --table classes": "every class, both methods",
        f"unlearn {where} --class 7": "a mask and a checkpoint that has forgotten the sevens",
        f"query {where} keys 7": "which pairs hold the sevens; docs/query.md has more questions",
        f"report {where}": "one page of all of it, for a browser",
        f"demo --root {where}": "again: everything is done already",
        "run DIR": "your own images, in a folder for each class",
    }
    width = max(map(len, tries))
    say("\n".join(["Try next:", *(f"  dkvb {words:{width}}  {about}" for words, about in tries.items())]))


@click.command(short_help="Show what a run would do and cost.")
@SPEC
@IMAGES
@click.option("--root", type=place, help="Show what is done there already, and whether another spec has the name.")
@click.option("--cpus", type=click.IntRange(1), help="CPUs of all workers together; default: those of this machine.")
@click.option("--memory", type=click.FloatRange(0.1), help="GiB of memory of a machine; default: those of this one.")
@SET
@JSON
def plan(
    spec: str,
    images: str | None,
    root: Place | None,
    *,
    cpus: int | None,
    memory: float | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the steps of a spec, what is done, what each needs, and how long all of it takes on this machine.

    SPEC is a TOML file, the name of a shipped spec, or a folder of images, for which one is chosen.

    Example: dkvb plan imagenet1k-clip --cpus 16 --memory 12
    """
    from cluster.machine import machine_memory, usable_cpus
    from jobs.plan.cost import look_ahead, plans_text
    from jobs.plan.minutes import words
    from jobs.run.forgotten import without_forgotten

    chosen = choose(spec, images, changes)
    specs = chosen.specs if root is None else [without_forgotten(each, root) for each in chosen.specs]
    counted = chosen.begun.counted if chosen.begun is not None else None
    plans = [with_name(look_ahead(each, chosen.images, root, counted=counted), root) for each in specs]
    size, cpus = memory * 2**30 if memory is not None else machine_memory(), cpus or usable_cpus()
    found = forecast(plans, cpus=cpus, memory=size)
    if as_json:
        about = [planned.to_json() for planned in plans]
        for one in about:
            one["minutes"] = None if found is None else found.to_json()
        say(json.dumps(about, indent=2))
        return
    if chosen.begun is not None:
        show_begun(chosen.begun, err=False)
        say("")
    whose = "this machine" if memory is None else "--memory"
    say(plans_text(plans, cpus=cpus, memory=size, whose=whose))
    if found is not None:
        say("\n".join(f"  {line}" for line in words(found)))


def with_name(planned: "Planned", root: Place | None) -> "Planned":
    """A plan with a note where another experiment goes by its name on the root."""
    from jobs.run.recorded import refusal, taken_over

    if root is None or planned.done is None:
        return planned
    why = refusal(planned.plan, root)
    note = taken_over(planned.plan, root) if why is None else f"a run would stop: {why}"
    notes = [*planned.found.notes, *([] if note is None else [note])]
    return replace(planned, found=replace(planned.found, notes=notes))


@click.command(short_help="Run or resume an experiment.")
@SPEC
@click.option(
    "--root", type=place, help="Folder or s3:// address of all artefacts.  [of a folder of images: dkvb-NAME here]"
)
@IMAGES
@click.option("--address", metavar="A", help="A Ray cluster (host:port, ray://..., auto); default: here.")
@WORKERS
@GPUS
@SERIAL
@SET
@JSON
def run(
    spec: str,
    root: Place | None,
    *,
    images: str | None,
    address: str | None,
    workers: int | None,
    gpus: float | None,
    serial: bool,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run or resume an experiment; what is done is skipped.

    SPEC is a TOML file, the name of a shipped spec, or a folder of images, for which one is chosen.

    Example: dkvb run cifar10 --root roots/cifar10 --images data/cifar10

    Example: dkvb run photos
    """
    from jobs.run.execute import Placement

    chosen = choose(spec, images, changes)
    if root is None:
        if chosen.begun is None:
            raise click.UsageError("Missing option '--root'.")
        root = default_root(chosen.begun)
    check_outside(root, chosen)
    plans = _plans(chosen.specs, root, chosen.images) if chosen.begun is None else _announce(chosen, root)
    ran = _run(plans, root, Placement(address=address, workers=workers, gpus=gpus, serial=serial))
    show_summaries(ran, as_json=as_json)
    if chosen.begun is not None and not as_json:
        where = quoted(root)
        first = f"dkvb unlearn {where} --class {quoted(ran[0].classes[0])}"
        following = {
            **(
                {f"{first} --method exact": "sums and heads without it"}
                if "sums" in ran[0].steps
                else {first: "a mask, a checkpoint without it"}
            ),
            f"dkvb table {where} --table classes": "every class, both methods",
            f"dkvb report {where}": "one page of all of it, for a browser",
        }
        width = max(map(len, following))
        say("\n".join(["\nNext:", *(f"  {words:<{width}}  {about}" for words, about in following.items())]))


def _announce(chosen: Chosen, root: Place) -> "list[Plan]":
    """Say what was found in a folder of images, which spec was chosen for it, and what the run will take; plan it."""
    from jobs.plan.cost import look_ahead
    from jobs.run.forgotten import without_forgotten

    begun = chosen.begun
    assert begun is not None
    show_begun(begun, err=True)
    specs = [without_forgotten(spec, root) for spec in chosen.specs]
    ahead = [look_ahead(spec, begun.location, root, counted=begun.counted) for spec in specs]
    if not all(planned.is_done for planned in ahead):
        show_forecast(ahead, err=True)
    say(
        f"all of it goes to {root}; the same as a spec, to be changed: "
        f"`dkvb init --images {quoted(begun.location)} -o {quoted(f'{begun.name}.toml')}`\n",
        err=True,
    )
    return [planned.plan for planned in ahead]


def _plans(specs: "list[Spec]", root: Place, images: str | None) -> "list[Plan]":
    """The plans of specs, of what their images hold that was not forgotten on the root."""
    from jobs.plan.plan import make_plan
    from jobs.run.forgotten import without_forgotten

    return [make_plan(without_forgotten(spec, root), images) for spec in specs]


def _run(plans: "list[Plan]", root: Place, placement: "Placement") -> "list[Experiment]":
    """Run plans, then find their experiments on the root."""
    from jobs.results.experiment import find
    from jobs.run.execute import execute

    with second_interrupt_ends():
        execute(plans, root, placement, reporter(root))
    return [find(root, planned.spec.name) for planned in plans]
