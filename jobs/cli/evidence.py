"""Evidence of requests: a certificate and its files, and the log of all requests on a root."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT, place
from jobs.cli.telling import tell_error
from jobs.printable import say, shown
from store.places import Place


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
    FILE may be a folder that `dkvb export` wrote: then each of its files is checked too.

    Example: dkvb verify roots/cifar10/unlearned/3fa2c61b7d90e5a4/certificate.json --key auditor.pub
    """
    if isinstance(file, Path) and file.is_dir():
        from jobs.models.export import verify_exported

        if root is not None:
            raise click.UsageError("ROOT: an exported folder is checked by itself; leave it out.")
        findings = verify_exported(file, key_file)
    else:
        from jobs.certificate import verify as check

        findings = check(file, root, key_file)
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    for finding in () if as_json else findings:
        say(f"{'holds' if finding.holds else 'FAILS':<6} {shown(finding.what)}: {finding.says}")
    if not all(finding.holds for finding in findings):
        sys.exit(1)


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

    Do exact requests give the same sums again? dkvb log roots/cifar10 --replay
    """
    if replays:
        _replay(root, experiment, as_json=as_json)
        return
    if experiment is not None:
        raise click.UsageError("--experiment: only with --replay; leave it out.")
    from jobs.evidence import faults
    from jobs.evidence import log as read
    from store.artefacts import open_root

    wrong = faults(open_root(root, create=False))
    rows = read(root)
    if as_json:
        say(json.dumps(rows, indent=2))
    elif not rows:
        say(f"{root}: no request to forget or to learn anything was made yet")
    for row in () if as_json else rows:
        who = f"{shown(row['by'] or '-')} {shown(row['ticket'] or '-')}"
        names = ", ".join(map(shown, row["classes"]))
        signed = "signed" if row["signed"] else "unsigned"
        how = row["method"] if row["budget"] is None else f"{row['method']} N = {row['budget']}"
        what = names or ("no more" if row["items"] == 0 else "items")
        commit = ", what was before destroyed" if row["commit"] else ""
        say(f"{row['made']}  {who}  {how}  {what}{commit}  {row['unlearned']}  {signed}")
    if wrong:
        tell_error(("; " if as_json else "\ndkvb: ").join(wrong.values()), kind="Changed", code=1)
        sys.exit(1)


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
    if not all(request.same for _, made in replayed for request in made):
        sys.exit(1)
