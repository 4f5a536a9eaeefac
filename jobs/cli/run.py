"""Experiments: the demo, a plan, a run."""

import json
import signal
from typing import TYPE_CHECKING

import click

from jobs.cli.ending import end_at_once
from jobs.cli.options import GPUS, IMAGES, JSON, SERIAL, WORKERS, place
from jobs.cli.text import show_summaries
from jobs.printable import say
from store.places import Place

if TYPE_CHECKING:
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

    show_summaries(_run(load_specs("digits"), root, None, Placement(workers=workers, serial=serial)), as_json=as_json)
    if as_json:
        return
    say(f"""Try next:
  dkvb table {root} --table classes            every class, both methods
  dkvb unlearn {root} --class 7                a mask and a checkpoint that has forgotten the sevens
  dkvb query {root} keys 7                     which pairs hold the sevens; docs/query.md has more questions
  dkvb report {root}                           one page of all of it, for a browser
  dkvb demo --root {root}                      again: everything is done already
  dkvb plan cifar10 --images DIR               your own images: see README.md""")


@click.command(short_help="Show what a run would do and cost.")
@click.argument("spec")
@IMAGES
@click.option("--root", type=place, help="Show what is done there already.")
@JSON
def plan(spec: str, images: str | None, root: Place | None, *, as_json: bool) -> None:
    """Show the steps of a spec, what is done, and what it will cost. SPEC is a TOML file or the name of a shipped spec.

    Example: dkvb plan imagenet1k-clip
    """
    from jobs.plan.cost import describe, describe_text
    from jobs.spec.reading import load_specs

    about = [describe(each, images, root) for each in load_specs(spec)]
    whole = about[0] if len(about) == 1 else about
    say(json.dumps(whole, indent=2) if as_json else describe_text(about))


@click.command(short_help="Run or resume an experiment.")
@click.argument("spec")
@click.option("--root", type=place, required=True, help="Folder or s3:// address of all artefacts.")
@IMAGES
@click.option("--address", metavar="A", help="A Ray cluster (host:port, ray://..., auto); default: here.")
@WORKERS
@GPUS
@SERIAL
@JSON
def run(
    spec: str,
    root: Place,
    *,
    images: str | None,
    address: str | None,
    workers: int | None,
    gpus: float | None,
    serial: bool,
    as_json: bool,
) -> None:
    """Run or resume an experiment; what is done is skipped. SPEC is a TOML file or the name of a shipped spec.

    Example: dkvb run cifar10 --root roots/cifar10 --images data/cifar10
    """
    from jobs.run.execute import Placement
    from jobs.spec.reading import load_specs

    placement = Placement(address=address, workers=workers, gpus=gpus, serial=serial)
    show_summaries(_run(load_specs(spec), root, images, placement), as_json=as_json)


def _run(specs: "list[Spec]", root: Place, images: str | None, placement: "Placement") -> "list[Experiment]":
    """Run specs, then find their experiments on the root."""
    from jobs.plan.plan import make_plan
    from jobs.results.experiment import find
    from jobs.run.execute import execute
    from jobs.run.progress import Reporter

    plans = [make_plan(spec, images) for spec in specs]
    with _second_interrupt_ends():
        execute(plans, root, placement, Reporter(root=root))
    return [find(root, spec.name) for spec in specs]


class _second_interrupt_ends:
    """The first Ctrl-C closes the session in order; the second does not wait for that."""

    def __enter__(self) -> None:
        self.before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self.first)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def first(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.second)
        raise KeyboardInterrupt

    def second(self, *_: object) -> None:
        end_at_once("interrupted twice; ended at once, what was finished is kept", 130)
