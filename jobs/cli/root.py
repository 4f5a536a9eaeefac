"""What is on a root: its state, its tables, and requests to forget."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.completing import classes as class_names
from jobs.cli.ending import end_on_signals
from jobs.cli.options import EXPERIMENT, FORM, FORM_JSON, JSON, OUTPUT, ROOT, Number, with_asker
from jobs.cli.output import Lines, put
from jobs.printable import say, shown
from jobs.results.names import COMPARE_TABLES, SETS_TABLES, SWEEP_TABLES
from store.places import Place, quoted

if TYPE_CHECKING:
    from jobs.certificate import Asker
    from jobs.results.experiment import StepStatus

TABLES_HELP = """Print a result table.

Example: dkvb table roots/cifar10 --table classes --format latex -o classes.tex

md and latex show the columns that matter most; --columns all has the rest.

\b
Of the sweep:
summary     one row per method: means over classes, worst classes
classes     one row per class, before and at the N of the rule
sweep       one row per class and N
sets        of sets of classes: one row per method and size
Of what a spec's [compare] asks for:
compare     one row per method: masks beside baselines, controls and oracles
oracle_gap  the two oracles beside each other
attacks     one row per method and attack, beside the oracle
metrics     one row per method and metric of an extension, beside the oracle
selection   rules that choose N, and how far from the best each is
costs       one row per method: what one request costs
scope       several classes, one after another, single items
*_rows      each class and seed, as stored
"""


@click.command(short_help="How far the experiments on a root are; --verify: is it damaged?")
@ROOT
@click.option(
    "--verify",
    "reads_all",
    is_flag=True,
    help="Read every file: is it as it was written? Also certificates, and the log.",
)
@click.option("--watch", is_flag=True, help="Go on until all is done: one line per change.")
@click.option("--every", type=Number(0.1), default=5, show_default=True, help="--watch: seconds between two looks.")
@JSON
def status(root: Place, *, reads_all: bool, watch: bool, every: float, as_json: bool) -> None:
    """How far the experiments on a root are, from what is on disk.

    Example: dkvb status roots/cifar10

    Until all is done: dkvb status roots/cifar10 --watch

    Is anything damaged? dkvb status roots/cifar10 --verify
    """
    from jobs.results.experiment import status as read_status
    from store.artefacts import ROOT_FILE, ROOT_FORMAT, root_format

    if reads_all and watch:
        raise click.UsageError(
            "a look at every file is not for looking again and again: verify or watch, leave one of them out"
        )
    if reads_all:
        _verify(root, as_json=as_json)
        return
    if watch:
        _watch(root, every, as_json=as_json)
        return
    rows = read_status(root)
    if as_json:
        say(json.dumps([row.to_json() for row in rows], indent=2))
        return
    if not rows:
        say(f"{root}: no experiment yet; `dkvb run SPEC --root {quoted(root)}` makes one")
    for row in rows:
        say(_line(row))
    if old := [row for row in rows if row.checksums is False]:
        say(f"no checksums: {len(old)} of these steps, made by an older version; damage to them may go unseen")
    if (version := root_format(root / ROOT_FILE)) != ROOT_FORMAT:
        say(
            f"format {version}, of an older version: `dkvb root upgrade {quoted(root)}` adds names along the axes of "
            "its arrays"
        )


def _line(row: "StepStatus") -> str:
    units = "" if row.units is None else f"{row.standing} of {row.units} units"
    return f"{shown(row.experiment):<16} {shown(row.step):<18} {row.state:<11} {units:<20} {row.digest}"


def _watch(root: Place, every: float, *, as_json: bool) -> None:
    """Print every step, then those that changed, until all are done."""
    from jobs.results.watch import changes

    end_on_signals("a run goes on as before")
    for rows in changes(root, every, tell=partial(say, err=True)):
        for row in rows:
            say(json.dumps(row.to_json()) if as_json else _line(row))
        sys.stdout.flush()


def _verify(root: Place, *, as_json: bool) -> None:
    from jobs.integrity import verify

    integrity = verify(root)
    say(json.dumps(integrity.to_json(), indent=2) if as_json else integrity.text(root))
    if not integrity.sound:
        sys.exit(1)


@click.command(short_help="Drop damaged files, so that a run makes them again.")
@ROOT
@JSON
def repair(root: Place, *, as_json: bool) -> None:
    """Drop damaged files and what was made of them; the run that made them then makes them again.

    Certificates are copied from the log of requests. The log itself is left as it is: nothing makes it again.

    Example: dkvb repair roots/cifar10
    """
    from jobs.integrity import repair as drop_damaged

    with Lines(as_json=as_json) as lines:
        found = drop_damaged(root, lines.tell)
        lines.more = found.to_json()
        if as_json:
            return
        if found.sound:
            say(f"{root}: nothing is damaged")
        elif found.damaged or found.records:
            say("the same `dkvb run` as before makes it again")


@click.command(short_help="Print a result table.", help=TABLES_HELP)
@ROOT
@click.option(
    "--table",
    "name",
    type=click.Choice([*SWEEP_TABLES, *SETS_TABLES, *COMPARE_TABLES]),
    default="summary",
    show_default=True,
)
@click.option(
    "--columns",
    multiple=True,
    metavar="NAME,NAME",
    help="These columns, by their heads or by their names of docs/format.md, in this order; all: every one. Unless "
    "given, md and latex show a few, and the other formats all.",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="The rows of a class, or of its number as in #17; repeatable.",
    shell_complete=class_names,
)
@click.option("--method", "methods", multiple=True, metavar="NAME", help="The rows of a method; repeatable.")
@FORM
@FORM_JSON
@OUTPUT
@EXPERIMENT
def table(
    root: Place,
    *,
    name: str,
    columns: tuple[str, ...],
    classes: tuple[str, ...],
    methods: tuple[str, ...],
    form: str,
    output: Path | None,
    experiment: str | None,
) -> None:
    """Print one table."""
    from jobs.query.stored import Stored
    from jobs.results import compare_tables, parts, sets_tables, sweep_tables
    from jobs.results.experiment import find
    from jobs.results.formats import FORMATS, READ, latex, markdown
    from jobs.results.heads import for_people

    tables = {key: make for part in (sweep_tables, sets_tables, compare_tables) for key, make in part.TABLES.items()}
    read = find(root, experiment)
    whole = tables[name](read)
    wanted = [Stored(read).index(each) for each in classes]
    rows = parts.rows(whole, name, classes=wanted, methods=methods)
    asked = columns not in ((), (parts.ALL,))
    if asked:
        rows = rows.select(parts.columns(whole, columns))
    if form not in READ:
        put(FORMATS[form](rows), output)
        return
    if not columns:
        rows = parts.few(rows, name)
    text = parts.legend(name, read, rows.columns)
    shown = for_people(rows, whole.columns if asked else ())
    put(latex(shown, text) if form == "latex" else markdown(shown) + (f"\n{text}\n" if text else ""), output)


class _OfTheRule(click.Option):
    """An option whose default is the share of the rule, which is looked up where it is shown: numpy loads with it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from dkvb.orders import TAU

        record = super().get_help_record(ctx)
        return None if record is None else (record[0], f"{record[1]}  [default: {TAU:g}, where there is no --budget]")


@click.command(short_help="Forget classes: write a mask and a checkpoint, and measure it.")
@ROOT
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="A class to forget; repeat for several.",
    shell_complete=class_names,
)
@click.option(
    "--items",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Items to forget (exact, retrain): their keys, one per line, or a column item_key of Parquet or CSV.",
)
@click.option(
    "--method",
    type=click.Choice(["uva", "uve", "exact", "retrain"]),
    default="uva",
    show_default=True,
    help="uva: the most activated pairs go first; uve: the pairs of one example after another; "
    'exact: items leave the sums of values that are made by method = "lda", as if never seen; '
    "retrain: values are trained anew without the items, which takes as long as training them did.",
)
@click.option("--budget", type=int, metavar="N", help="How many pairs (uva), or examples of each class (uve).")
@click.option(
    "--share",
    cls=_OfTheRule,
    type=float,
    metavar="S",
    help="Instead of N: the smallest N whose pairs hold this share of the class's training activations.",
)
@click.option(
    "--scope",
    type=click.Choice(["global", "per-codebook"]),
    default="global",
    show_default=True,
    help="Order the pairs (uva) of all codebooks together, or of each by itself.",
)
@click.option(
    "--rank",
    type=click.Choice(["activations", "values", "contrast"]),
    help="Order the pairs (uva) by the class's hits, by their votes for it, or by its hits less 0.02 of all "
    "others'; unless given as the sweep of the spec does.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order of the examples (uve).")
@click.option(
    "--commit",
    is_flag=True,
    help="Destroy the sums and checkpoints before (exact); alone: those that earlier requests left.",
)
@click.option(
    "--purge",
    "purges",
    is_flag=True,
    help="Make all that was made of the items anew without them, and destroy what was before, masks too; with masks, "
    "or with exact and --commit.",
)
@click.option("--workers", type=click.IntRange(1), help="--purge: worker processes (default: one per CPU).")
@click.option("--serial", is_flag=True, help="--purge: in this process, without Ray.")
@click.option("--mask-only", is_flag=True, help="No checkpoint; the same request without it adds one.")
@click.option("--no-measure", "measured", is_flag=True, default=True, flag_value=False, help="Do not measure it.")
@with_asker
@EXPERIMENT
@JSON
def unlearn(
    root: Place,
    *,
    experiment: str | None,
    classes: tuple[str, ...],
    items: Path | None,
    method: str,
    budget: int | None,
    share: float | None,
    scope: str,
    rank: str | None,
    seed: int,
    commit: bool,
    purges: bool,
    workers: int | None,
    serial: bool,
    mask_only: bool,
    measured: bool,
    asker: "Asker",
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Write a mask and a checkpoint that has forgotten the given classes together, and a certificate of it.

    What was forgotten and what was lost is measured on the training and test items, from what is stored.

    Example: dkvb unlearn roots/cifar10 --class cat --class dog

    For a server that holds the model: dkvb unlearn roots/cifar10 --class cat --mask-only

    As if never seen, and for good: dkvb unlearn roots/mine --method exact --items gone.txt --commit --purge

    Until an exact model is there, the mask; then: dkvb unlearn roots/cifar10 --class cat --method retrain

    A mask now, then all of the root anew without the class: dkvb unlearn roots/cifar10 --class cat --purge
    """
    by_items = method in ("exact", "retrain")
    if not classes and items is None and not (commit and method == "exact"):
        either = " or '--items'" if by_items else ""
        raise click.UsageError(f"Missing option '--class'{either}.")
    if not purges:
        _refuse([*["--workers"] * (workers is not None), *["--serial"] * serial], "--purge")
    if by_items:
        masks_only = {"--budget": budget, "--share": share, "--rank": rank, "--seed": seed, "--mask-only": mask_only}
        _refuse([*(name for name, given in masks_only.items() if given), *["--scope"] * (scope != "global")], "masks")
        if method == "retrain":
            _refuse(["--commit"] * commit, "--method exact")
            _refuse(["--purge"] * purges, "masks, or with --method exact and --commit")
        if purges and not commit:
            raise click.UsageError("--purge: destroys what was before, so it needs --commit.")
    else:
        _refuse([*["--items"] * (items is not None), *["--commit"] * commit], "--method exact or retrain")
    purging = None
    if purges:
        from jobs.cli.purging import Purging

        purging = Purging(root=root, workers=workers, serial=serial, as_json=as_json)
    if by_items:
        from jobs.cli.exact import Words, forget, retrain

        words = Words(classes, items, asker, key_file, as_json)
        if method == "retrain":
            retrain(root, experiment, words, measured=measured)
        else:
            forget(root, experiment, words, commit=commit, purging=purging)
        return
    from jobs.cli.masks import mask
    from jobs.unlearn import Request

    mask(
        root,
        experiment,
        Request(classes=list(classes), method=method, budget=budget, share=share, scope=scope, rank=rank, seed=seed),
        mask_only=mask_only,
        measured=measured,
        asker=asker,
        key_file=key_file,
        as_json=as_json,
        purging=purging,
    )


def _refuse(names: list[str], where: str) -> None:
    """Refuse options that mean something with other methods alone."""
    if names:
        raise click.UsageError(f"{', '.join(names)}: only with {where}; leave it out.")
