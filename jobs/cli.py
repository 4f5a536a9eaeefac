"""The command line: parse, call one function, print."""

from dkvb_unlearning import begin

if __name__ == "__main__":
    begin()  # before the other imports: it says whose code they find

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from cluster.errors import ClusterError
from dkvb.errors import BadBudget, DkvbError
from jobs.cli_cluster import cluster
from jobs.cli_data import data
from jobs.cli_jobs import jobs, submit
from jobs.errors import BadRequest, BadSpec, JobsError
from jobs.options import EXPERIMENT, IMAGES, JSON, ROOT, TABLE_NAMES, WORKERS, place
from jobs.shown import say, shown
from store.errors import StoreError


def main() -> NoReturn:
    """Run the command line; a user's mistake ends in one message, never in a traceback."""
    # Until a session stands there is nothing to close, and an interrupt inside an import would not surface as one.
    signal.signal(signal.SIGINT, lambda *_: _end_at_once("interrupted; what was finished stands", 130))
    signal.signal(signal.SIGTERM, lambda *_: _end_at_once("told to end (SIGTERM); what was finished stands", 143))
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; what was finished stands, and the same command goes on from there", 130)
    except (BadSpec, BadRequest, BadBudget) as error:
        _fail(str(error), 2)
    except (ClusterError, DkvbError, JobsError, StoreError) as error:
        _fail(str(error), 1)
    except MemoryError as error:
        _fail(f"not enough memory{f': {error}' if str(error) else ''}; what was finished stands", 1)
    except BrokenPipeError:
        sys.stdout = None  # Who read us has gone; say nothing more.
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}; what was finished stands", 1)
    sys.exit(0)


def _end_at_once(message: str, code: int) -> NoReturn:
    os.write(2, f"dkvb: {message}\n".encode())  # a print could be what was interrupted
    os._exit(code)


def _fail(message: str, code: int) -> NoReturn:
    say(f"dkvb: {message}", err=True)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dkvb-unlearning", prog_name="dkvb")
def cli() -> None:
    """Make image classifiers forget classes: without retraining, at cluster scale, with proof.

    Begin with `dkvb demo`.
    """


@cli.command()
@click.option("--root", type=place, default="dkvb-demo", show_default=True, help="Folder of all artefacts.")
@WORKERS
@JSON
def demo(root: Any, workers: int | None, *, as_json: bool) -> None:
    """The whole pipeline on scikit-learn's digits, on this machine: table, figure, what to try next.

    Example: dkvb demo --root /tmp/demo
    """
    from jobs.spec import load_specs

    _show_summaries(_run(load_specs("digits"), root, None, workers=workers), as_json=as_json)
    if as_json:
        return
    say(f"""Try next:
  dkvb table {root} --table classes            every class, both methods
  dkvb unlearn {root} --class 7                a mask and a checkpoint that has forgotten the sevens
  dkvb demo --root {root}                      again: everything stands already
  dkvb plan cifar10 --images DIR               your own images: see README.md""")


@cli.command()
@click.argument("spec")
@IMAGES
@click.option("--root", type=place, help="Show what stands there already.")
@JSON
def plan(spec: str, images: str | None, root: Any | None, *, as_json: bool) -> None:
    """Steps, digests, what stands, and what it will cost. SPEC is a TOML file or the name of a shipped spec.

    Example: dkvb plan imagenet1k-clip
    """
    from jobs.description import describe, describe_text
    from jobs.spec import load_specs

    about = [describe(one, images, root) for one in load_specs(spec)]
    whole = about[0] if len(about) == 1 else about
    say(json.dumps(whole, indent=2) if as_json else describe_text(about))


@cli.command()
@click.argument("spec")
@click.option("--root", type=place, required=True, help="Folder or s3:// address of all artefacts.")
@IMAGES
@click.option("--address", metavar="A", help="A Ray cluster (host:port, ray://..., auto); default: here.")
@WORKERS
@click.option("--gpus", type=click.FloatRange(0), default=0, help="GPUs a worker holds.")
@click.option("--serial", is_flag=True, help="In this process, without Ray: for debugging.")
@JSON
def run(spec: str, root: Any, images: str | None, *, as_json: bool, **where: Any) -> None:
    """Run or resume an experiment; what stands is skipped. SPEC is a TOML file or the name of a shipped spec.

    Example: dkvb run cifar10 --root roots/cifar10 --images data/cifar10
    """
    from jobs.spec import load_specs

    _show_summaries(_run(load_specs(spec), root, images, **where), as_json=as_json)


@cli.command()
@ROOT
@click.option("--verify", "reads_all", is_flag=True, help="Read every file and compare it with its checksum.")
@JSON
def status(root: Any, *, reads_all: bool, as_json: bool) -> None:
    """How far a root is, from what is on disk.

    Example: dkvb status roots/cifar10

    Is anything damaged? dkvb status roots/cifar10 --verify
    """
    from jobs.experiment import status as read_status

    if reads_all:
        _verify(root, as_json=as_json)
        return
    rows = read_status(root)
    if as_json:
        say(json.dumps(rows, indent=2))
    elif not rows:
        say(f"{root}: no experiment yet; `dkvb run SPEC --root {root}` makes one")
    for row in () if as_json else rows:
        units = "" if row["units"] is None else f"{row['standing']} of {row['units']} units"
        say(f"{shown(row['experiment']):<16} {shown(row['step']):<18} {row['state']:<11} {units:<20} {row['digest']}")
    if not as_json and (old := [row for row in rows if row["checksums"] is False]):
        say(f"no checksums: {len(old)} of these steps, made by an older version; damage to them may go unseen")


def _verify(root: Any, *, as_json: bool) -> None:
    from jobs.integrity import verify

    found = verify(root)
    say(json.dumps(found.to_json(), indent=2) if as_json else found.text(root))
    if not found.sound:
        sys.exit(1)


@cli.command()
@ROOT
def repair(root: Any) -> None:
    """Drop damaged files and what was made of them; the run that made them then makes them again.

    Example: dkvb repair roots/cifar10
    """
    from jobs.integrity import repair as drop_damaged

    if drop_damaged(root, say).sound:
        say(f"{root}: nothing is damaged")
    else:
        say("the same `dkvb run` as before makes it again")


@cli.command()
@ROOT
@click.option(
    "--table",
    "name",
    type=click.Choice(TABLE_NAMES),
    default="summary",
    show_default=True,
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "latex", "parquet", "json"]),
    default="md",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; standard output unless given.")
@EXPERIMENT
def table(root: Any, name: str, form: str, output: Path | None, experiment: str | None) -> None:
    """Result tables: of the sweep (summary, classes, sweep), and of what a spec's [compare] asks for (all others).

    Example: dkvb table roots/cifar10 --table classes --format latex -o classes.tex
    """
    from jobs import proof, summary
    from jobs.experiment import find

    tables, notes = {**summary.TABLES, **proof.TABLES}, {**summary.NOTES, **proof.NOTES}
    made: str | bytes = summary.FORMATS[form](tables[name](find(root, experiment)))
    data = made.encode() if isinstance(made, str) else made
    if form == "md" and name in notes:
        data += f"\n{notes[name]}\n".encode()
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        _write(output, data)


@cli.command()
@ROOT
@click.option(
    "--class",
    "classes",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A class to forget; repeat for several.",
)
@click.option("--method", type=click.Choice(["uva", "uve"]), default="uva", show_default=True)
@click.option("--budget", type=int, metavar="N", help="Pairs (uva) or examples of each class (uve).")
@click.option(
    "--share",
    type=float,
    metavar="S",
    help="Share of the class's activations (uva) or items (uve). Without it and --budget, both methods take the "
    "smallest N that holds 0.99 of the class's activations.",
)
@click.option("--scope", type=click.Choice(["global", "per-codebook"]), default="global", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of the examples (uve).")
@click.option("--mask-only", is_flag=True, help="No checkpoint; the same request without it adds one.")
@EXPERIMENT
@JSON
def unlearn(
    root: Any, experiment: str | None, classes: tuple[str, ...], *, mask_only: bool, as_json: bool, **asked: Any
) -> None:
    """Write a mask and a checkpoint that has forgotten the given classes together.

    Example: dkvb unlearn roots/cifar10 --class cat --class dog

    For a server that holds the model: dkvb unlearn roots/cifar10 --class cat --mask-only
    """
    from jobs.experiment import find
    from jobs.unlearn import Request, told, unlearn

    done = unlearn(find(root, experiment), Request(classes=list(classes), **asked), mask_only=mask_only)
    say(json.dumps(done, indent=2) if as_json else told(done))


def _run(specs: list[Any], root: Any, images: str | None, **where: Any) -> list[Any]:
    """Run specs in a session, then find their experiments on the root."""
    from cluster.session import session
    from jobs.experiment import find
    from jobs.plan import make_plan
    from jobs.progress import Reporter
    from jobs.run import run as run_plans
    from store.artefacts import open_root

    plans = [make_plan(spec, images) for spec in specs]
    open_root(root, create=True)
    where["gpus_per_worker"] = where.pop("gpus", 0)
    stands = all(plan.stands(root) for plan in plans)
    where["serial"] = where.get("serial", False) or stands  # Nothing to do: no cluster for that.
    with _second_interrupt_ends(), session(**where) as executor:
        run_plans(plans, root, executor, Reporter(root=root))
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
        _end_at_once("interrupted twice; ended at once, what was finished stands", 130)


def _show_summaries(experiments: list[Any], *, as_json: bool) -> None:
    """The model before, the summary table and the figure of each experiment."""
    from jobs.summary import TABLES, heads, model_before, records

    if as_json:
        summaries = [
            {
                "name": one.name,
                "model": model_before(one),
                "test_accuracy": heads(one),
                "summary": records(TABLES["summary"](one)),
            }
            for one in experiments
        ]
        say(json.dumps(summaries[0] if len(summaries) == 1 else summaries, indent=2))
        return
    for one in experiments:
        _show_summary(one)


def _show_summary(experiment: Any) -> None:
    from jobs.headline import by_class, sweep_table
    from jobs.report import figure
    from jobs.summary import NOTES, TABLES, headline, left_out_text, markdown, side_by_side

    rows = sweep_table(experiment)
    say(f"\n{headline(experiment)}\n")
    say(markdown(side_by_side(TABLES["summary"](experiment))))
    say("".join(f"{line}\n" for line in left_out_text(by_class(rows))) + NOTES["summary"])
    path = experiment.root / f"{experiment.name}.png"
    try:
        figure(rows, path, title=f"{experiment.name}: forgetting each class by itself")
        say(f"Figure: {path}")
    except BadRequest as error:
        say(f"No figure: {error}")
    if "tuning" in experiment.steps:
        say(f"""Compared with baselines, controls and oracles:
  dkvb table {experiment.root} --table compare --experiment {experiment.name}
  and in place of compare: oracle_gap, attacks, selection, costs, scope""")


def _write(path: Path, data: bytes) -> None:
    from store.places import write_atomic

    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
            path.write_bytes(data)
        else:
            write_atomic(path, data)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be written: {error.strerror}") from error


for command in (submit, jobs, cluster, data):
    cli.add_command(command)

if __name__ == "__main__":
    main()
