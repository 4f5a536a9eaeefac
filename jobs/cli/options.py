"""Arguments and options that several commands share."""

import math
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from jobs.cli import completing
from store import places
from store.addresses import written_out
from store.errors import BadAddress


def place(text: str) -> places.Place:
    """A folder, or an address such as s3://bucket/folder."""
    try:
        return places.place(written_out(text))
    except BadAddress as error:
        raise click.BadParameter(str(error)) from error


def with_asker(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say who asks, for a certificate: it gets them as one `asker`, and `key_file`."""

    @wraps(command)
    def asked(*, by: str | None, reason: str | None, ticket: str | None, **given: Any) -> None:
        from jobs.certificate import Asker

        who = Asker(by=by, reason=reason, ticket=ticket, command=("dkvb", *sys.argv[1:]))
        command(asker=who, **given)

    made: Callable[..., Any] = asked
    for option in reversed(ASKER):
        made = option(made)
    return made


class Number(click.FloatRange):
    """A number, at least so large; "nan" and "inf", which Python reads as numbers too, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; ends the command where it is none."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is no finite number", param, ctx)


ROOT = click.argument("root", type=place)
SPEC = click.argument("spec", shell_complete=completing.specs)
EXPERIMENT = click.option(
    "--experiment",
    metavar="NAME",
    help="Which experiment, where the root holds several.",
    shell_complete=completing.experiments,
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
IMAGES = click.option("--images", metavar="DIR", help="Where the images lie: a folder or an fsspec URL.")
SET = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the spec: keys.sample=5000; repeatable. Values are TOML.",
)
WORKERS = click.option("--workers", type=click.IntRange(1), help="Worker processes (default: one per CPU).")
GPUS = click.option(
    "--gpus",
    type=Number(0),
    help="GPUs per worker in steps that compute on them. Unless given: 1 where a node has any; a cluster that grows "
    "from none needs the number.",
)
SERIAL = click.option("--serial", is_flag=True, help="In this process, without Ray.")
FORM = click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "latex", "parquet", "json"]),
    default="md",
    show_default=True,
    help="md and latex are for people: plain heads, per cent. The others are for programs.",
)
ASKER = (
    click.option("--by", metavar="NAME", help="Who asks; for the certificate."),
    click.option("--reason", metavar="TEXT", help="Why; for the certificate."),
    click.option("--ticket", metavar="ID", help="Number of the request; for the certificate."),
    click.option(
        "--sign",
        "key_file",
        metavar="KEY",
        type=click.Path(path_type=Path),
        help="Sign the certificate with an Ed25519 private key (PEM).",
    ),
)
FORM_JSON = click.option("--json", "form", flag_value="json", help="The same as --format json.")
OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write; standard output unless given."
)
