"""`dkvb data`: data sets that are fetched from a hub, or made out of others."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from jobs.begin.published import SETS, Published, fetch_published
from jobs.cli.options import JSON
from jobs.cli.telling import be_loud, tell_error
from jobs.errors import BadRequest
from jobs.printable import say
from store.places import quoted


@click.group()
def data() -> None:
    """Fetch published data sets, or make one out of another.

    Example: dkvb data cifar10
    """


def _published(wanted: Published) -> None:
    """Add the command that fetches a data set."""

    @data.command(wanted.name, short_help=f"{wanted.about}.")
    @click.argument("out", type=click.Path(path_type=Path), default=Path("data", wanted.name))
    @click.option("--yes", is_flag=True, help="Its terms are accepted and its size is known: do not ask.")
    @JSON
    def fetch(out: Path, *, yes: bool, as_json: bool) -> None:
        fetched = fetch_published(wanted, out, agree=partial(_agree, yes=yes), tell=lambda text: say(text, err=True))
        say(json.dumps(fetched.to_json()) if as_json else fetched.text())

    fetch.help = (
        f"Fetch {wanted.about}, from {wanted.repository} on the hub, to OUT (data/{wanted.name}).\n\n"
        "Licence and size are said first. Ended at any time, the same command goes on; what is at OUT is whole and "
        "checked.\n\n"
        f"Example: dkvb data {wanted.name} --yes"
    )


def _agree(about: str, *, yes: bool) -> bool:
    """Whether the user wants what is offered; raises: BadRequest where nobody can be asked."""
    if not yes:
        be_loud()
    say(about, err=True)
    if not yes and not sys.stdin.isatty():
        raise BadRequest("nothing was fetched: where there is no terminal to ask at, --yes accepts terms and size")
    return yes or click.confirm("Fetch it?", err=True)


for each in SETS:
    _published(each)


@data.command(short_help="LACUNA-100 out of VGGFace2.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--vggface2",
    "tree",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="VGGFace2, unpacked: identity folders, as they are or below train/ and test/.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw of identities and images.")
@JSON
def lacuna100(out: Path, tree: Path, seed: int, *, as_json: bool) -> None:
    """Copy LACUNA-100 out of VGGFace2 to OUT: 100 identities, 400 training and 100 test images each, no image in both.

    Example: dkvb data lacuna100 --vggface2 data/vggface2 data/lacuna100
    """
    from store.lacuna import build

    with _interruptible(out):
        record, new = build(tree, out, seed=seed, tell=lambda text: say(text, err=True))
    about = _about(record)
    say(json.dumps({"out": str(out), "new": new, **about}) if as_json else _text(out, about, new=new))


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record in numbers."""
    drawn = record["drawn"].values()
    return {
        "seed": record["seed"],
        "identities": len(drawn),
        "train": sum(len(identity["train"]) for identity in drawn),
        "test": sum(len(identity["test"]) for identity in drawn),
        "found": record["found"]["identities"],
        "with_enough_files": record["found"]["with_enough_files"],
        "skipped": len(record["skipped"]),
        "left_out": sum(len(identity["left_out"]) for identity in drawn),
    }


def _text(out: Path, about: Mapping[str, Any], *, new: bool) -> str:
    state = "made" if new else "already exists, nothing was done"
    return f"""{out}: LACUNA-100 of seed {about["seed"]} {state}
  {about["identities"]} identities, {about["train"]:,} training and {about["test"]:,} test images, none in both
  drawn from {about["with_enough_files"]} of {about["found"]} identities; {about["skipped"]} folders and files skipped
  {about["left_out"]} files of the drawn identities left out (duplicates, no images): lacuna.json says each and why
Next: dkvb plan lacuna100 --images {quoted(out)}"""


@contextmanager
def _interruptible(out: Path) -> Iterator[None]:
    """Ctrl-C lets the build take away what it had begun, and says so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        tell_error(f"interrupted; a set that is not complete is not left at {out}", kind="Interrupted", code=130)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)
