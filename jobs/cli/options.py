"""Arguments and options that several commands share."""

from pathlib import Path

import click

from store import places
from store.addresses import written_out
from store.errors import BadAddress


def place(text: str) -> places.Place:
    """A folder, or an address such as s3://bucket/folder."""
    try:
        return places.place(written_out(text))
    except BadAddress as error:
        raise click.BadParameter(str(error)) from error


ROOT = click.argument("root", type=place)
EXPERIMENT = click.option("--experiment", metavar="NAME", help="Which experiment, where the root holds several.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
IMAGES = click.option("--images", metavar="DIR", help="Where the images lie: a folder or an fsspec URL.")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Worker processes (default: one per CPU).")
GPUS = click.option(
    "--gpus",
    type=click.FloatRange(0),
    help="GPUs per worker in steps that compute on them. Unless given: 1 where a node has any; a cluster that grows "
    "from none needs the number.",
)
SERIAL = click.option("--serial", is_flag=True, help="In this process, without Ray: for debugging.")
FORM = click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "latex", "parquet", "json"]),
    default="md",
    show_default=True,
    help="md and latex are for people: plain heads, per cent. The others are for programs.",
)
FORM_JSON = click.option("--json", "form", flag_value="json", help="The same as --format json.")
OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write; standard output unless given."
)
