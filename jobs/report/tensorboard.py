"""An experiment for TensorBoard, as one event file: its tables as text, their numbers as scalars, its figures as
images, and the keys of its spec as hyperparameters.

source: torch.utils.tensorboard; what runs, tags, steps and event files are is TensorBoard's.
"""

import io
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from jobs.errors import BadRequest
from jobs.figures import KINDS, draw
from jobs.report.beside import done
from jobs.report.series import SERIES, Point, series, settings
from jobs.report.toml import toml
from jobs.results import compare_tables, parts, sets_tables, sweep_tables
from jobs.results.experiment import Experiment
from jobs.results.formats import markdown
from jobs.results.heads import for_people
from jobs.spec.reading import as_table
from store.errors import PlaceUnreachable
from store.files import names, remove, write_atomic
from store.places import Place

Made = TypeVar("Made")

TABLES = {**sweep_tables.TABLES, **sets_tables.TABLES, **compare_tables.TABLES}

ROWS = 500
"""Most rows of a table that are shown."""

FILE = re.compile(r"events\.out\.tfevents\.(\d{10,})\.dkvb")
"""An event file of this module, and when it was written: what is called otherwise is somebody else's."""

CHARTS = {
    "train_forget": "training items of the class still known",
    "test_forget": "test items of the class still known",
    "test_retain": "test items of the other classes right",
}
"""Columns of the sweep that have a chart with a line for each class, and what they are."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What was written, and how much of each."""

    file: Place
    tables: int
    figures: int
    scalars: int


def log(experiment: Experiment, logdir: Place) -> Logged:
    """Write the event file of an experiment into the run of its name, in place of the one written before.

    Tables and figures that it does not have, or not yet, are left out, and figures of a chosen class.

    raises: BadRequest where tensorboard or matplotlib is missing, no table is finished, or logdir cannot be written;
    what reading a root and writing a place raise.
    """
    try:
        import matplotlib  # noqa: F401
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadRequest(f"TensorBoard's files: {error}; pip install 'dkvb-unlearning[tensorboard]'") from error
    tables = there({name: partial(make, experiment) for name, make in TABLES.items() if not name.endswith("_rows")})
    if not tables:
        raise BadRequest(f"{experiment.root}: {experiment.name}: no table is finished; `dkvb run` finishes them")
    figures = there({kind: partial(draw, experiment, kind, form="png") for kind in KINDS})
    points = [*model(experiment, tables), *(each for name, table in tables.items() for each in series(name, table))]
    with tempfile.TemporaryDirectory(prefix="dkvb-") as folder:
        # A TensorBoard that has read the file before drops what it knows from this step on.
        with SummaryWriter(folder, max_queue=1000, purge_step=0) as writer:
            for tag, step, number in points:
                writer.add_scalar(tag, number, step)
            add_spec(writer, as_table(experiment.spec), points)
            for name, table in tables.items():
                writer.add_text(f"tables/{name}", text(experiment, name, table), 0)
            for kind, figure in figures.items():
                writer.add_image(f"figures/{kind}", pixels(figure.data), 0, dataformats="HWC")
        (made,) = Path(folder).iterdir()
        file = replace(logdir / experiment.name, made.read_bytes())
    return Logged(file, len(tables), len(figures), len(points))


def there(makers: Mapping[str, Callable[[], Made]]) -> dict[str, Made]:
    """What can be made, by name."""
    made = {}
    for name, make in makers.items():
        with suppress(BadRequest):
            made[name] = make()
    return made


def model(experiment: Experiment, tables: Mapping[str, pl.DataFrame]) -> list[Point]:
    """What the model is before anything is forgotten: accuracies in per cent, and its membership AUC."""
    numbers = sweep_tables.model_before(experiment) if "summary" in tables else {}
    if numbers and done(experiment, "linear"):
        numbers["linear head test"] = sweep_tables.heads(experiment)["linear"]
    return [Point(f"model/{name}", 0, number) for name, number in numbers.items() if number is not None]


def add_spec(writer: Any, spec: dict[str, Any], points: list[Point]) -> None:
    """Write the spec as text and as hyperparameters, beside the headline; and the charts of the sweep."""
    from torch.utils.tensorboard.summary import hparams

    writer.add_text("spec", "".join(f"    {line}\n" for line in toml(spec).splitlines()), 0)
    headline = [point.tag for point in points if point.tag.startswith(("model/", "summary/"))]
    for summary in hparams(settings(spec), dict.fromkeys(headline)):
        writer.file_writer.add_summary(summary)
    methods = dict.fromkeys(point.tag.split("/")[2] for point in points if point.tag.startswith("sweep/"))
    charts = {
        f"{method}: {what}": ["Multiline", [f"^{re.escape(f'sweep/{column}/{method}/')}"]]
        for method in methods
        for column, what in CHARTS.items()
    }
    writer.add_custom_scalars({"Each class along N": charts})


def text(experiment: Experiment, name: str, table: pl.DataFrame) -> str:
    """A table in Markdown as `dkvb table` prints it; with the numbers of classes where these are steps."""
    few = parts.few(table, name)
    if name in SERIES and SERIES[name][1] == "class":
        few = few.insert_column(0, table["class"])
    rest = f"{ROWS} of {len(few)} rows: `dkvb table ROOT --table {name}` prints all." if len(few) > ROWS else ""
    return "\n".join([markdown(for_people(few.head(ROWS))), parts.legend(name, experiment, few.columns), "", rest])


def pixels(png: bytes) -> Any:
    """(height, width, 3) uint8 of a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def replace(folder: Place, data: bytes) -> Place:
    """Write an event file that comes after those of this module in a folder, then remove these.

    raises: BadRequest; PlaceUnreachable.
    """
    try:
        before = {name: int(found[1]) for name in names(folder) if (found := FILE.fullmatch(name))}
        file = folder / f"events.out.tfevents.{max(int(time.time()), *(1 + at for at in before.values()), 0):010d}.dkvb"
        write_atomic(file, data)
        for name in before:
            remove(folder / name)
    except PlaceUnreachable:
        raise
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be written: {error.strerror}") from error
    return file
