"""Figures, as files for papers and pages."""

import json
from pathlib import Path
from typing import Any

import click

from jobs.cli import completing
from jobs.cli.options import EXPERIMENT, JSON, ROOT
from jobs.cli.output import write
from jobs.errors import BadRequest
from jobs.figures import FOR_PAPER, FORMATS, KINDS, Choice, draw
from jobs.printable import say

WORDS = "\n".join(f"{kind:<11} {about}" for kind, about in KINDS.items())


@click.command(
    short_help="Draw a figure for a paper or a page.",
    help=f"""Draw a figure of one column (3.3 inches) as svg or pdf, for papers, or png, with its caption above it.

Example: dkvb figure roots/cifar10 --kind along -o along.pdf

\b
Kinds:
{WORDS}
""",
)
@ROOT
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="What to show.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="A class, or its number as in #17; repeatable.",
    shell_complete=completing.classes,
)
@click.option(
    "--mask", metavar="MASK", help="A mask file, or the folder or digest that `dkvb unlearn` wrote for a request."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, .svg, .pdf or .png; EXPERIMENT-KIND.png here unless given.",
)
@EXPERIMENT
@JSON
def figure(
    root: Any,
    kind: str,
    *,
    classes: tuple[str, ...],
    mask: str | None,
    output: Path | None,
    experiment: str | None,
    as_json: bool,
) -> None:
    """Draw, and write the file."""
    from jobs.results.experiment import find

    form = "png" if output is None else output.suffix[1:].lower()
    if form not in FORMATS:
        raise BadRequest(f"{output}: expected a file that ends in .svg, .pdf or .png")
    read = find(root, experiment)
    path = Path(f"{read.name}-{kind}.png") if output is None else output
    drawn = draw(read, kind, Choice(classes=classes, mask=mask), form=form)
    write(path, drawn.data)
    about = {"file": str(path), "experiment": read.name, "kind": kind, "caption": drawn.caption}
    said = f"\nCaption: {drawn.caption}" if form in FOR_PAPER else ""
    say(json.dumps(about, indent=2) if as_json else f"Figure: {path}{said}")
