"""Tables of sets of classes that are forgotten together: by size at the N of the rule, and all rows as stored."""

import json
from collections.abc import Callable

import polars as pl

from dkvb.orders import TAU
from jobs.errors import BadRequest
from jobs.results.experiment import Experiment
from jobs.results.headline import GONE, before
from jobs.rows import read_rows
from jobs.step import SPLITS
from store.columns import SETS
from store.layout import SETS_TABLE
from store.places import quoted

SET = ["method", "size", "named set"]
"""What a row of the table is of: all random sets of one size, without names of classes, or one set by name."""


def sets_rows(experiment: Experiment) -> pl.DataFrame:
    """All rows of the sets, with the items of each set: train_items, test_items, test_others.

    raises: BadRequest where the spec asks for no sets, or they are not finished.
    """
    if "sets" not in experiment.steps:
        raise BadRequest(
            f"{experiment.root}: {experiment.name}: no sets of classes were forgotten together: give its spec "
            f"sweep.sizes or sweep.sets (docs/format.md) and run it: `dkvb run SPEC --root {quoted(experiment.root)}`"
        )
    rows = read_rows(experiment.artefact("sets").path / SETS_TABLE, SETS)
    items = before(experiment).items
    sizes = [
        {"set": number, **{f"{split}_items": sum(items[split][k] for k in json.loads(members)) for split in SPLITS}}
        for number, members in rows.select("set", "members").unique().sort("set").iter_rows()
    ]
    schema = {"set": pl.Int32, "train_items": pl.Int64, "test_items": pl.Int64}
    table = rows.join(pl.DataFrame(sizes, schema=schema), on="set", how="left", maintain_order="left")
    return table.with_columns((sum(items["test"]) - pl.col("test_items")).alias("test_others"))


def at_rule(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per set, method and seed: before, and at the N of the rule; in percent, changes in points.

    rows: as of `sets_rows`.
    """
    keys = ["set", "method", "seed"]
    first = rows.filter(pl.col("budget") == 0)
    both = rows.filter("rule").join(
        first.select(*keys, *(f"{s}_{p}" for s in SPLITS for p in PARTS)), on=keys, suffix="_0"
    )
    named = pl.col("names").map_elements(lambda names: ", ".join(json.loads(names)), return_dtype=pl.String)
    change = {part: 100 * (pl.col(f"test_{part}") - pl.col(f"test_{part}_0")) for part in PARTS[1:]}
    return both.select(
        *keys,
        "size",
        pl.when(pl.col("draw").is_null()).then(named).alias("named set"),
        "draw",
        "members",
        "names",
        (pl.max_horizontal("train_forget", "test_forget") <= GONE).alias("forgotten"),
        (pl.col("test_forget_0") > 0).fill_null(value=False).alias("known"),
        *(part for split in SPLITS for part in forget_columns(split)),
        (100 * pl.col("test_retain_0")).alias("retain before"),
        (100 * pl.col("test_retain")).alias("retain after"),
        change["retain"].alias("retain change"),
        change["retain_among_retain"].alias("among retain change"),
        (100 * pl.col("neighbour_damage")).alias("neighbour damage"),
        (100 * pl.col("share")).alias("N share %"),
        (100 * pl.col("pairs_masked_share")).alias("masked %"),
        "digest",
    ).sort("set", "method", "seed")


PARTS = ("forget", "retain", "retain_among_retain")
"""Accuracies of a split."""


def forget_columns(split: str) -> list[pl.Expr]:
    """Of one split: accuracy on the set before and after, and the count behind it."""
    return [
        (100 * pl.col(f"{split}_forget_0")).alias(f"{split} before"),
        (100 * pl.col(f"{split}_forget")).alias(f"{split} after"),
        (pl.col(f"{split}_forget") * pl.col(f"{split}_items")).round().cast(pl.Int64).alias(f"{split} right"),
        pl.col(f"{split}_items").alias(f"{split} items"),
    ]


def by_size(sets: pl.DataFrame) -> pl.DataFrame:
    """One row per method and size of random sets, or set that the spec names: means, and spread over draws.

    sets: as of `at_rule`. Sets of which nothing was known before are counted, and left out of everything else.
    """
    counts = sets.group_by(SET, maintain_order=True).agg(
        pl.col("draw").drop_nulls().n_unique().alias("draws"),
        pl.col("members").n_unique().alias("different sets"),
        pl.len().alias("sweeps"),
        (pl.col("known") & pl.col("forgotten")).sum().alias("forgotten"),
        (~pl.col("known")).sum().alias("never known"),
    )
    known = sets.filter("known")
    told = ("train after", "test after", "retain change")
    spread = (
        known.group_by(*SET, "draw", maintain_order=True)
        .agg(pl.col(told).mean())
        .group_by(SET, maintain_order=True)
        .agg(pl.col(told).std().name.suffix(" sd"))
    )
    means = known.group_by(SET, maintain_order=True).agg(
        *(part for split in SPLITS for part in split_columns(split)),
        pl.col("retain before").mean(),
        pl.col("retain after").mean(),
        pl.col("retain change").mean(),
        pl.col("retain change").min().alias("retain change worst"),
        pl.col("among retain change").mean(),
        pl.col("neighbour damage").max().alias("neighbour damage worst"),
        pl.col("N share %").mean(),
        pl.col("masked %").mean(),
    )
    table = counts
    for more in (means, spread):
        table = table.join(more, on=SET, how="left", nulls_equal=True, maintain_order="left")
    return table.select(*SET, *ORDER).sort("method", pl.col("named set").is_not_null(), "size", maintain_order=True)


ORDER = (
    *("draws", "different sets", "sweeps", "forgotten", "never known"),
    *(
        f"{split} {what}"
        for split in SPLITS
        for what in ("before", "after", "after sd", "after worst", "right", "items")
    ),
    *("retain before", "retain after", "retain change", "retain change sd", "retain change worst"),
    *("among retain change", "neighbour damage worst", "N share %", "masked %"),
)
"""Columns of the table behind those of SET."""


def split_columns(split: str) -> list[pl.Expr]:
    """Means of one split, the worst set, and the counts behind them."""
    return [
        pl.col(f"{split} before").mean(),
        pl.col(f"{split} after").mean(),
        pl.col(f"{split} after").max().alias(f"{split} after worst"),
        pl.col(f"{split} right").sum(),
        pl.col(f"{split} items").sum(),
    ]


TABLES: dict[str, Callable[[Experiment], pl.DataFrame]] = {
    "sets": lambda experiment: by_size(at_rule(sets_rows(experiment))),
    "sets_rows": sets_rows,
}
"""The tables there are, by name; `sets_rows` as they are stored, each row with the members of its set."""

LONGEST = 20
"""Characters of the names of a set in the table for people."""


def set_text(draws: int, different: int, named: str | None) -> str:
    """Which sets a row is of, for people."""
    if named is None:
        return f"{draws} random" + again(draws, different)
    return named if len(named) <= LONGEST else f"{named[: LONGEST - 1]}…"


def again(draws: int, different: int) -> str:
    """How many of some draws are different, where some set came up again."""
    return f" ({different:,} sets)" if different < draws else ""


def for_readers(table: pl.DataFrame) -> pl.DataFrame:
    """What people read of the table `sets`, in the width of a page: what was forgotten, and what it cost.

    table: as of `by_size`.
    returns: method, size, set, forgotten (how many of those that were known), never known (where any were not), train
    after, test before, test after, retain change, change sd, change worst.
    """
    rows = table.select("draws", "different sets", "named set", "forgotten", "sweeps", "never known").iter_rows()
    cells = [(set_text(*which), f"{gone} of {runs - never}") for *which, gone, runs, never in rows]
    sets, forgotten = zip(*cells, strict=True) if cells else ((), ())
    return table.select(
        "method",
        "size",
        pl.Series("set", sets, pl.String),
        pl.Series("forgotten", forgotten, pl.String),
        *(["never known"] if table["never known"].sum() else []),
        *("train after", "test before", "test after", "retain change"),
        pl.col("retain change sd").alias("change sd"),
        pl.col("retain change worst").alias("change worst"),
    )


FOR_READERS = {"sets": for_readers}
"""Tables of which people are shown a part; programs get all of it."""

NOTES: dict[str, tuple[str, ...]] = {
    "sets": (
        "The classes of a set are forgotten together, at the smallest N whose masked pairs hold "
        f"{100 * TAU:g} % of its training activations (uve: N examples of each class): no test item and no prediction "
        "chooses it. Per cent; changes in points. A row of random sets has their means; sd: over draws, seeds of uve "
        "averaged; worst: of a set. In a draw larger sets hold the smaller. A set that is drawn again counts "
        "again: in brackets is how many are different, at most all there are. forgotten: at most 0.5 % left, of "
        "training and of test items. Sets of which nothing was known before are counted apart. --columns all "
        "shows more; --table sets_rows has every N, and the members of each set.",
    )
}
"""Below a table, for people."""
