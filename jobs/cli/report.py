"""The report of an experiment."""

import json
from pathlib import Path
from typing import Any

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT
from jobs.cli.output import write
from jobs.printable import say


@click.command(short_help="Write one HTML page of an experiment.")
@ROOT
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write.",
)
@EXPERIMENT
@JSON
def report(root: Any, output: Path, experiment: str | None, *, as_json: bool) -> None:
    """Write one HTML page: what was forgotten, what was lost, what it cost, where it came from. It needs no network.

    Example: dkvb report roots/cifar10 -o report.html
    """
    from jobs.report.page import report as page
    from jobs.results.experiment import find

    read = find(root, experiment)
    data = page(read)
    write(output, data)
    if as_json:
        say(json.dumps({"file": str(output), "experiment": read.name, "bytes": len(data)}, indent=2))
        return
    say(f"{output}: {len(data) / 2**20:.2f} MiB; open it in a browser, or print it")
