"""What is on a root: its state, its tables, and requests to forget."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.options import EXPERIMENT, FORM, FORM_JSON, JSON, OUTPUT, ROOT, place
from jobs.cli.output import put
from jobs.printable import say, shown
from jobs.results.names import COMPARE_TABLES, SETS_TABLES, SWEEP_TABLES
from store.places import Place

TABLES_HELP = """Print a result table.

Example: dkvb table roots/cifar10 --table classes --format latex -o classes.tex

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
@JSON
def status(root: Place, *, reads_all: bool, as_json: bool) -> None:
    """How far the experiments on a root are, from what is on disk.

    Example: dkvb status roots/cifar10

    Is anything damaged? dkvb status roots/cifar10 --verify
    """
    from jobs.results.experiment import status as read_status
    from store.artefacts import ROOT_FILE, ROOT_FORMAT, root_format

    if reads_all:
        _verify(root, as_json=as_json)
        return
    rows = read_status(root)
    if as_json:
        say(json.dumps([row.to_json() for row in rows], indent=2))
        return
    if not rows:
        say(f"{root}: no experiment yet; `dkvb run SPEC --root {root}` makes one")
    for row in rows:
        units = "" if row.units is None else f"{row.standing} of {row.units} units"
        say(f"{shown(row.experiment):<16} {shown(row.step):<18} {row.state:<11} {units:<20} {row.digest}")
    if old := [row for row in rows if row.checksums is False]:
        say(f"no checksums: {len(old)} of these steps, made by an older version; damage to them may go unseen")
    if (version := root_format(root / ROOT_FILE)) != ROOT_FORMAT:
        say(
            f"format {version}, of an older version: `dkvb root upgrade {root}` adds names along the axes of its arrays"
        )


def _verify(root: Place, *, as_json: bool) -> None:
    from jobs.integrity import verify

    integrity = verify(root)
    say(json.dumps(integrity.to_json(), indent=2) if as_json else integrity.text(root))
    if not integrity.sound:
        sys.exit(1)


@click.command(short_help="Drop damaged files, so that a run makes them again.")
@ROOT
def repair(root: Place) -> None:
    """Drop damaged files and what was made of them; the run that made them then makes them again.

    Certificates are copied from the log of requests. The log itself is left as it is: nothing makes it again.

    Example: dkvb repair roots/cifar10
    """
    from jobs.integrity import repair as drop_damaged

    found = drop_damaged(root, say)
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
@FORM
@FORM_JSON
@OUTPUT
@EXPERIMENT
def table(root: Place, *, name: str, form: str, output: Path | None, experiment: str | None) -> None:
    """Print one table."""
    from jobs.results import compare_tables, sets_tables, sweep_tables
    from jobs.results.experiment import find
    from jobs.results.formats import FORMATS, READ
    from jobs.results.heads import for_people

    parts = (sweep_tables, sets_tables, compare_tables)
    tables = {key: make for part in parts for key, make in part.TABLES.items()}
    notes = {key: text for part in parts for key, text in part.NOTES.items()}
    rows = tables[name](find(root, experiment))
    made = FORMATS[form](for_people(rows) if form in READ else rows)
    note = f"\n{notes[name]}\n" if form == "md" and name in notes else ""
    put(made + note if isinstance(made, str) else made, output)


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
    required=True,
    metavar="NAME",
    help="A class to forget; repeat for several.",
)
@click.option(
    "--method",
    type=click.Choice(["uva", "uve"]),
    default="uva",
    show_default=True,
    help="uva: the most activated pairs go first; uve: the pairs of one example after another.",
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
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order of the examples (uve).")
@click.option("--mask-only", is_flag=True, help="No checkpoint; the same request without it adds one.")
@click.option("--no-measure", "measured", is_flag=True, default=True, flag_value=False, help="Do not measure it.")
@click.option("--by", metavar="NAME", help="Who asks; for the certificate.")
@click.option("--reason", metavar="TEXT", help="Why; for the certificate.")
@click.option("--ticket", metavar="ID", help="Number of the request; for the certificate.")
@click.option(
    "--sign",
    "key_file",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Sign the certificate with an Ed25519 private key (PEM).",
)
@EXPERIMENT
@JSON
def unlearn(
    root: Place,
    *,
    experiment: str | None,
    classes: tuple[str, ...],
    method: str,
    budget: int | None,
    share: float | None,
    scope: str,
    seed: int,
    mask_only: bool,
    measured: bool,
    by: str | None,
    reason: str | None,
    ticket: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Write a mask and a checkpoint that has forgotten the given classes together, and a certificate of it.

    What was forgotten and what was lost is measured on the training and test items, from what is stored.

    Example: dkvb unlearn roots/cifar10 --class cat --class dog

    For a server that holds the model: dkvb unlearn roots/cifar10 --class cat --mask-only
    """
    from jobs.certificate import Asker
    from jobs.results.experiment import find
    from jobs.unlearn import Request, unlearn
    from jobs.unlearned import as_text

    request = Request(classes=list(classes), method=method, budget=budget, share=share, scope=scope, seed=seed)
    done = unlearn(
        find(root, experiment),
        request,
        mask_only=mask_only,
        measured=measured,
        asker=Asker(by=by, reason=reason, ticket=ticket, command=("dkvb", *sys.argv[1:])),
        key_file=key_file,
    )
    say(json.dumps(done.to_json(), indent=2) if as_json else as_text(done))


@click.command(short_help="Check a certificate and every file it names.")
@click.argument("file", type=place)
@click.argument("root", type=place, required=False)
@click.option(
    "--key",
    "key_file",
    metavar="PUB",
    type=click.Path(path_type=Path),
    help="Public key that the signature must be made with.",
)
@JSON
def verify(file: Place, root: Place | None, *, key_file: Path | None, as_json: bool) -> None:
    """Check a certificate: its signature and every file it names.

    ROOT is where these files lie, if not where the certificate lies. PUB is an Ed25519 public key (PEM).

    Example: dkvb verify roots/cifar10/unlearned/3fa2c61b7d90e5a4/certificate.json --key auditor.pub
    """
    from jobs.certificate import verify as check

    findings = check(file, root, key_file)
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    for finding in () if as_json else findings:
        say(f"{'holds' if finding.holds else 'FAILS':<6} {shown(finding.what)}: {finding.says}")
    if not all(finding.holds for finding in findings):
        sys.exit(1)


@click.command(short_help="List the requests to forget; was any changed or removed?")
@ROOT
@JSON
def log(root: Place, *, as_json: bool) -> None:
    """The requests to forget that were made on a root, the oldest first. Exit code 1 if any was changed or removed.

    Example: dkvb log roots/cifar10
    """
    from jobs.evidence import faults
    from jobs.evidence import log as read
    from store.artefacts import open_root

    wrong = faults(open_root(root, create=False))
    rows = read(root)
    if as_json:
        say(json.dumps(rows, indent=2))
    elif not rows:
        say(f"{root}: no request to forget anything was made yet")
    for row in () if as_json else rows:
        who = f"{shown(row['by'] or '-')} {shown(row['ticket'] or '-')}"
        names = ", ".join(map(shown, row["classes"]))
        signed = "signed" if row["signed"] else "unsigned"
        say(f"{row['made']}  {who}  {row['method']} N = {row['budget']}  {names}  {row['unlearned']}  {signed}")
    for text in wrong.values():
        say(f"dkvb: {text}", err=True)
    if wrong:
        sys.exit(1)
