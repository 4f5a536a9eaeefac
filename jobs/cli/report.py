"""The report of an experiment."""

import json
from pathlib import Path
from typing import Any

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT, place
from jobs.cli.output import write
from jobs.printable import say
from store.places import quoted


@click.command(short_help="Write one HTML page of an experiment, or files for TensorBoard.")
@ROOT
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Page to write; unless given, report.html, or none with --tensorboard.",
)
@click.option(
    "--tensorboard",
    "logdir",
    type=place,
    metavar="LOGDIR",
    help="Write an event file into LOGDIR/EXPERIMENT, in place of the one that this command wrote there before. LOGDIR "
    "is a folder or an fsspec URL.",
)
@EXPERIMENT
@JSON
def report(root: Any, output: Path | None, logdir: Any, experiment: str | None, *, as_json: bool) -> None:
    """Write one HTML page: what was forgotten, what was lost, what it cost, where it came from. It needs no network.

    Example: dkvb report roots/cifar10 -o report.html

    For TensorBoard: tables, the numbers in them, figures and the spec, as an event file.
    """
    from jobs.results.experiment import find

    read = find(root, experiment)
    about: dict[str, Any] = {"file": None, "experiment": read.name, "bytes": None, "tensorboard": None}
    lines = []
    if output is not None or logdir is None:
        from jobs.report.page import report as page

        output, data = output or Path("report.html"), page(read)
        write(output, data)
        about |= {"file": str(output), "bytes": len(data)}
        lines.append(f"{output}: {len(data) / 2**20:.2f} MiB; open it in a browser, or print it")
    if logdir is not None:
        from jobs.report.tensorboard import log

        logged = log(read, logdir)
        about["tensorboard"] = str(logged.file)
        lines.append(
            f"{logged.file}: {logged.tables} tables, {logged.scalars:,} scalars, {logged.figures} figures; "
            f"`tensorboard --logdir {quoted(logdir)}` shows them"
        )
    say(json.dumps(about, indent=2) if as_json else "\n".join(lines))
