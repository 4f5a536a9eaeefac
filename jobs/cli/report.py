"""The report of an experiment."""

from pathlib import Path
from typing import Any

import click

from jobs.cli.options import EXPERIMENT, ROOT
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
def report(root: Any, output: Path, experiment: str | None) -> None:
    """Write one HTML page: what was forgotten, what was lost, what it cost, where it came from. It needs no network.

    Example: dkvb report roots/cifar10 -o report.html
    """
    from jobs.report.page import report as page
    from jobs.results.experiment import find

    data = page(find(root, experiment))
    write(output, data)
    say(f"{output}: {len(data) / 2**20:.2f} MiB; open it in a browser, or print it")
