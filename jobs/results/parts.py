"""Parts of a table: the columns and rows that are asked for, and the few columns that people get unless they ask."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from dkvb.limits import nearest
from jobs.errors import BadRequest
from jobs.results import compare_notes, compare_tables, sets_tables, sweep_tables
from jobs.results.experiment import Experiment
from jobs.results.formats import note
from jobs.results.heads import column_named, for_people

ALL = "all"
"""In place of columns: all there are."""

FEW: Mapping[str, tuple[str, ...]] = {
    "summary": (
        *("method", "runs", "forgotten", "not forgotten", "never known", "no test items", "rule not reached"),
        *("train after", "train after worst", "test before", "test after", "test 95 % high worst", "pairs masked %"),
        *("retain before", "retain change", "retain change ± 95 % over classes"),
        *("retain change ± 95 % over test items", "among retain change", "neighbour damage worst"),
    ),
    "classes": (
        *("method", "name", "seed", "outcome", "pairs masked %", "train after", "test before", "test after"),
        *("retain change", "retain change ± 95 % over items", "worst other", "neighbour damage"),
    ),
    "sweep": (
        *("method", "name", "seed", "budget", "share", "pairs_masked_share", "train_forget", "test_forget"),
        *("test_retain", "test_retain_among_retain"),
    ),
    "sets_rows": (
        *("method", "names", "seed", "budget", "pairs_masked_share", "train_forget", "test_forget", "test_retain"),
    ),
    "compare": (
        *("head", "method", "runs", "classes never known", "train forget", "forget", "retain", "retain change"),
        *("retain change ± 95 % over classes", "retain change worst", "membership AUC", "ToW", "ToW low", "ToW high"),
        "best",
    ),
    "oracle_gap": (
        *("name", "seed", "train_forget_v", "train_forget_kv", "test_forget_v", "test_forget_kv"),
        *("test_retain_v", "test_retain_kv", "tow"),
    ),
    "costs": (
        *("head", "method", "flops_forward", "flops_backward", "seconds", "retrain_seconds", "retrain_ratio"),
        "peak_bytes",
    ),
    "scope": (
        *("kind", "size", "names", "seed", "head", "method", "train_forget", "test_forget", "test_retain", "tow"),
    ),
    "compare_rows": (
        *("name", "seed", "head", "method", "setting", "train_forget", "test_forget", "test_retain"),
        *("neighbour_damage", "tow"),
    ),
    "selection_rows": (*("name", "seed", "weight", "tau", "budget", "regret", "test_forget", "test_retain"),),
}
"""Table -> the columns that people get unless they ask; of a table that is not here, all."""

COUNTS = ("not forgotten", "never known", "no test items", "rule not reached", "classes never known")
"""Columns among the few that are shown where there is anything to count."""


def few(table: pl.DataFrame, name: str) -> pl.DataFrame:
    """The few columns of a table that people get; without those that are empty, count nothing, or have one seed."""
    if name in sets_tables.FOR_READERS:
        return sets_tables.FOR_READERS[name](table)
    return table.select(_few(table, FEW.get(name, tuple(table.columns))))


def _few(table: pl.DataFrame, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        column = table[name]
        none = column.null_count() == len(column) or (name in COUNTS and not column.sum())
        if not (len(column) and none) and not (name == "seed" and column.n_unique() < 2):
            yield name


def columns(table: pl.DataFrame, texts: Sequence[str]) -> list[str]:
    """Names of the columns that are asked for, in their order.

    texts: names, or what people read above them; several in one text with commas between, which some heads hold too.
    raises: BadRequest naming the nearest.
    """
    found: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        while parts:
            joined = (", ".join(parts[:n]) for n in range(len(parts), 0, -1))
            named = [(n, name) for n, each in enumerate(joined) if (name := column_named(table, each))]
            if not named:
                shown = [*table.columns, *for_people(table).columns]
                raise BadRequest(
                    f"--columns: no column {parts[0]!r}{nearest(parts[0], shown)} (there: {', '.join(table.columns)})"
                )
            shorter, name = named[0]
            found.append(name)
            parts = parts[len(parts) - shorter :]
    return list(dict.fromkeys(found))


def rows(table: pl.DataFrame, name: str, *, classes: Sequence[int] = (), methods: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of some classes, by their indexes, and methods; name: of the table.

    raises: BadRequest for a method that is not there, and for a table that has none, or none of single classes.
    """
    if classes:
        if "class" not in table.columns:
            raise BadRequest(f"--class: the table {name!r} has no rows of single classes; {ELSEWHERE}")
        table = table.filter(pl.col("class").is_in(list(classes)))
    if methods:
        if "method" not in table.columns:
            raise BadRequest(f"--method: the table {name!r} has no rows of single methods; leave it out")
        there = table["method"].unique(maintain_order=True).to_list()
        for method in methods:
            if method not in there:
                raise BadRequest(f"--method: no rows of {method!r}{nearest(method, there)} (there: {', '.join(there)})")
        table = table.filter(pl.col("method").is_in(list(methods)))
    return table


SOLVED = (
    "values are solved for: masks are measured for comparison and do not forget; `dkvb unlearn --method exact` does"
)
ELSEWHERE = "`classes`, `sweep` and the comparison's tables in _rows have; or leave it out"


def legend(name: str, experiment: Experiment, shown: Sequence[str]) -> str:
    """What the columns of a table mean, for people, in lines; shown: their names. Empty for tables that say it all."""
    notes = {**sweep_tables.NOTES, **sets_tables.NOTES, **compare_notes.notes(experiment)}
    if name not in notes:
        return ""
    lines = [note(*notes[name], columns=shown)]
    if name in ("summary", "classes"):
        solved = "sums" in experiment.steps
        lines = [*([SOLVED] if solved else sweep_tables.single_items_text(experiment)), *lines]
    if name == "compare":
        lines += map(note, compare_tables.edges_text(experiment))
    return "\n".join(lines)
