"""Evidence of requests: a certificate and its files, and the log of all requests on a root."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT, place
from jobs.cli.telling import tell_error
from jobs.errors import BadRequest
from jobs.printable import say, shown
from store.places import Place, quoted

if TYPE_CHECKING:
    from jobs.certificate import Finding

KEEP = "keep a copy of all of it before anything else is done: it may be evidence; "


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
    """Check a certificate: its signature, its entry in the log of the root, and every file it names.

    ROOT is where these files lie, if not where the certificate lies. PUB is an Ed25519 public key (PEM).
    FILE may be a folder that `dkvb export` wrote, or the certificate in one: then what lies in that folder is checked.
    Files that a later request destroyed are said to be; with --key only if it signed that.

    Example: dkvb verify roots/cifar10/unlearned/3fa2c61b7d90e5a4/certificate.json --key auditor.pub
    """
    findings, note = _checked(file, root, key_file)
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    for finding in () if as_json else findings:
        say(finding.text())
    failed = any(finding.holds is False for finding in findings)
    if not as_json:
        say(f"{KEEP * failed}{note}", err=True)
    if failed:
        sys.exit(1)


def _checked(file: Place, root: Place | None, key_file: Path | None) -> tuple[list["Finding"], str]:
    """What checking an exported folder, or a certificate on a root, shows; and what was not looked at."""
    from jobs.verification import root_of
    from jobs.verification import verify as check
    from store.artefacts import CERTIFICATE, ROOT_FILE, open_root
    from store.files import exists

    is_folder = isinstance(file, Path) and file.is_dir()
    if is_folder and exists(file / ROOT_FILE):
        raise BadRequest(
            f"{file}: is a root; `dkvb status {quoted(file)} --verify` reads all of it, "
            f"`dkvb log {quoted(file)}` its log"
        )
    folder = file if is_folder else file.parent
    own = root_of(folder / CERTIFICATE)
    beside = is_folder or (root is None and file.name == CERTIFICATE)
    if beside and isinstance(folder, Path) and (own is None or not exists(own / ROOT_FILE)):
        from dkvb.pretrained import CONFIG

        if is_folder or (folder / CONFIG).is_file():
            from jobs.models.export import verify_exported

            if root is not None:
                raise click.UsageError("ROOT: an exported folder is checked by itself; leave it out.")
            return verify_exported(folder, key_file), "not looked at: the root that the model was made on"
    file = folder / CERTIFICATE if is_folder else file
    if root is not None:
        open_root(root, create=False)
    findings = check(file, root, key_file)
    own = root_of(file) if root is None else root
    return findings, (
        f"not looked at: what the certificate does not name; `dkvb log {quoted(own)}` checks all requests, "
        f"`dkvb status {quoted(own)} --verify` every file"
    )


@click.command(short_help="List the requests made on a root; was any changed or removed?")
@ROOT
@click.option(
    "--replay",
    "replays",
    is_flag=True,
    help="Make the sums of exact requests again from embeddings and keys, and compare them with the records.",
)
@EXPERIMENT
@JSON
def log(root: Place, *, replays: bool, experiment: str | None, as_json: bool) -> None:
    """The requests to forget and to learn that were made on a root, the oldest first.

    Exit code 1 if any was changed or removed.

    Example: dkvb log roots/cifar10

    Those of one experiment: dkvb log roots/cifar10 --experiment cifar10

    Do exact requests give the same sums again? dkvb log roots/cifar10 --replay
    """
    if replays:
        _replay(root, experiment, as_json=as_json)
        return
    from jobs.evidence import entries, faults, of_experiment
    from jobs.evidence import log as read
    from jobs.results.experiment import find
    from jobs.standing import standing_faults
    from store.artefacts import open_root

    there = standing_faults(open_root(root, create=False))
    changed = faults(root)
    wrong = there | changed
    asked = None if experiment is None else find(root, experiment)
    rows = read(root, None if asked is None else of_experiment(entries(root), asked))
    if as_json:
        say(json.dumps(rows, indent=2))
    elif not rows:
        of = "" if asked is None else f" of {shown(asked.name)}"
        say(f"{root}: no request to forget or to learn anything was made{of} yet")
    for row in () if as_json else rows:
        who = f"{shown(row['by'] or '-')} {shown(row['ticket'] or '-')}"
        names = ", ".join(map(shown, row["classes"]))
        signed = "signed" if row["signed"] else "unsigned"
        if row["signed"] and row["entry"] in map(str, changed):
            signed = "signed, but something is wrong with it"
        how = row["method"] if row["budget"] is None else f"{row['method']} N = {row['budget']}"
        some = "no further items" if row["items"] == 0 else _items(row["items"])
        what = names or some
        if names and row["method"] == "purge":
            what = f"{some}, all of {names} among them"
        commit = f"; the earlier state {'NOT ' * (row['entry'] in map(str, there))}destroyed" if row["commit"] else ""
        say(f"{row['made']}  {who}  {how}: {what}{commit}  {row['unlearned']}  {signed}")
    if not as_json:
        say(
            f"{KEEP * bool(wrong)}not looked at: models and masks; "
            f"`dkvb status {quoted(root)} --verify` reads every file",
            err=True,
        )
    if wrong:
        tell_error(("; " if as_json else "\ndkvb: ").join(wrong.values()), kind="Changed", code=1)
        sys.exit(1)


def _items(number: int | None) -> str:
    return "items" if number is None else f"{number} item{'s' * (number != 1)}"


def _replay(root: Place, name: str | None, *, as_json: bool) -> None:
    """Replay the exact requests of one experiment, or of all that have any; exit code 1 where one differs."""
    from jobs.replay import as_text, replay
    from jobs.results.experiment import experiments, find

    asked = experiments(root) if name is None else [find(root, name)]
    replayed = [(one, replay(one)) for one in asked]
    if as_json:
        say(json.dumps({one.name: [request.to_json() for request in made] for one, made in replayed}, indent=2))
    for one, made in () if as_json else replayed:
        say(as_text(one, made))
    if any(request.same is False for _, made in replayed for request in made):
        sys.exit(1)
