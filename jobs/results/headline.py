"""The headline: each class at the N of the rule, before and after; from a sweep of this version or an earlier one.

N is the smallest whose masked pairs hold `dkvb.orders.TAU` of the class's training activations: it reads no test item
and no prediction, so the items it is reported on had no part in choosing it. No torch: a request reads this too.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from dkvb.orders import TAU
from dkvb.statistics import change_width, clopper_pearson
from jobs.results.experiment import Experiment
from jobs.rows import read_rows
from jobs.step import SPLITS
from store import arrays
from store.artefacts import PROVENANCE, SPEC, Artefact, as_written
from store.columns import SWEEP, SWEEP_3, SWEEP_ITEMS
from store.layout import SWEEP_ITEMS_TABLE, SWEEP_TABLE

GONE = 0.005
"""Accuracy of a class, on its training and on its test items, at which it counts as forgotten."""

KEYS = ["method", "class", "name", "seed"]

FORGOTTEN, KNOWN, NEVER_KNOWN, NO_ITEMS, NOT_REACHED = (
    "forgotten",
    "not forgotten",
    "never known",
    "no test items",
    "rule not reached",
)
"""What can become of a class. Only of the first two can anything be learned about forgetting: means are over them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The model before anything is forgotten."""

    accuracy: dict[str, float | None]
    """Split -> accuracy over all classes, in [0, 1]; None over no items."""
    membership_auc: float | None
    """Of the loss of all training items against all test items; None where an earlier version did not measure it."""
    items: dict[str, list[int]]
    """Split -> items of each class."""


def before(experiment: Experiment) -> Before:
    """What the sweep says of the model before; items that an earlier version did not count are counted now."""
    artefact = experiment.artefact("sweep")
    facts = artefact.facts()
    items = facts.get("items") or {split: counted(experiment, split) for split in SPLITS}
    with as_written(artefact.path / PROVENANCE):
        return Before(
            accuracy={split: number(facts["accuracy"][split]) for split in SPLITS},
            membership_auc=number(facts.get("membership_auc")),
            items={split: [int(n) for n in items[split]] for split in SPLITS},
        )


def number(value: Any) -> float | None:
    """A number out of a file, or None."""
    return None if value is None else float(value)


def counted(experiment: Experiment, split: str) -> list[int]:
    """Items of each class, by the labels; skipped ones left out."""
    labels = arrays.read_shards(experiment.artefact(f"embeddings[{split}]").data, "labels")
    return [int(n) for n in np.bincount(labels[labels >= 0], minlength=len(experiment.classes))]


def is_old(sweep: Artefact) -> bool:
    """Whether a version wrote it whose tables had fewer columns."""
    with as_written(sweep.path / SPEC):
        return int(sweep.spec()["version"]) < 4


def swept_rows(artefact: Artefact) -> pl.DataFrame:
    """All rows of a sweep, in the columns of this version; null in those that an earlier one did not write."""
    rows = read_rows(artefact.path / SWEEP_TABLE, SWEEP_3 if is_old(artefact) else SWEEP)
    worst = pl.when(pl.col("neighbour_damage").is_not_null()).then(pl.col("worst_neighbour"))
    missing = [pl.lit(None, kind).alias(name) for name, kind in SWEEP.items() if name not in rows.columns]
    return rows.with_columns(worst, *missing).select(list(SWEEP))


def sweep_table(experiment: Experiment) -> pl.DataFrame:
    """All rows of the sweep, with the items of each class, its worst neighbour by name, and seconds.

    Seconds are of each class, method and seed: a unit's, shared out; since version 4 of the step without compilation.
    """
    artefact = experiment.artefact("sweep")
    schema = {"class": pl.Int32, "method": pl.String, "seed": pl.Int32, "seconds": pl.Float64}
    with as_written(artefact.path / "units"):
        seconds = [
            {
                "class": k,
                "method": run.partition("/")[0],
                "seed": int(run.partition("/")[2]),
                "seconds": taken / len(mark["classes"]),
            }
            for mark in artefact.marks().values()
            for run, taken in mark.get("seconds", {}).items()
            for k in mark["classes"]
        ]
        times = pl.DataFrame(seconds, schema=schema)
    items = before(experiment).items
    classes = experiment.classes
    names = ("class", "train_items", "test_items", "test_others")
    schema = {name: pl.Int32 if name == "class" else pl.Int64 for name in names}
    with as_written(artefact.path / PROVENANCE):
        pairs, total = zip(items["train"], items["test"], strict=True), sum(items["test"])
        sizes = [(k, train, test, total - test) for k, (train, test) in enumerate(pairs)]
    rows = swept_rows(artefact).join(
        pl.DataFrame(sizes, schema, orient="row"), on="class", how="left", maintain_order="left"
    )
    beside = pl.DataFrame(
        {
            "worst_neighbour": range(len(classes)),
            "worst_neighbour_name": classes,
            "worst_neighbour_items": items["test"],
        },
        {"worst_neighbour": pl.Int32, "worst_neighbour_name": pl.String, "worst_neighbour_items": pl.Int64},
    )
    for table, key in ((beside, ["worst_neighbour"]), (times, ["class", "method", "seed"])):
        rows = rows.join(table, on=key, how="left", maintain_order="left")
    return rows


def item_changes(experiment: Experiment) -> pl.DataFrame | None:
    """What each test item adds to the retain changes (`store.columns.SWEEP_ITEMS`); None of an earlier version."""
    artefact = experiment.artefact("sweep")
    return None if is_old(artefact) else read_rows(artefact.path / SWEEP_ITEMS_TABLE, SWEEP_ITEMS)


def at_rule(rows: pl.DataFrame) -> pl.DataFrame:
    """The row of each class, method and seed at the rule's N, the first of its grid that holds TAU of its hits."""
    holding = rows.filter(pl.col("budget") > 0, pl.col("forget_hit_share") >= TAU - 1e-9)
    return holding.sort(*KEYS, "budget").group_by(KEYS, maintain_order=True).first()


def by_class(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per class, method and seed: before, and at the N of the rule.

    rows: as in `sweep_table`. Accuracies in percent, changes in points; "95 %" bounds are over items like the class's
    own (Clopper-Pearson), that of the retain change over test items like those of the other classes (paired).
    """
    first = rows.filter(pl.col("budget") == 0)
    both = first.join(at_rule(rows), on=KEYS, how="left", suffix="_n")
    gone = pl.max_horizontal("train_forget_n", "test_forget_n") <= GONE
    outcome = (
        pl.when(pl.col("test_items") == 0)
        .then(pl.lit(NO_ITEMS))
        .when(pl.col("test_forget") == 0)
        .then(pl.lit(NEVER_KNOWN))
        .when(pl.col("budget_n").is_null())
        .then(pl.lit(NOT_REACHED))
        .when(gone)
        .then(pl.lit(FORGOTTEN))
        .otherwise(pl.lit(KNOWN))
    )
    table = both.select(
        *KEYS,
        outcome.alias("outcome"),
        pl.col("budget_n").alias("budget"),
        (100 * pl.col("share_n")).alias("N as %"),
        pl.col("pairs_masked_n").alias("pairs masked"),
        (100 * pl.col("pairs_masked_share_n")).alias("pairs masked %"),
        (100 * pl.col("forget_hit_share_n")).alias("activations held %"),
        *(part for split in SPLITS for part in accuracy_columns(split)),
        (100 * pl.col("test_retain")).alias("retain before"),
        (100 * pl.col("test_retain_n")).alias("retain after"),
        (100 * (pl.col("test_retain_n") - pl.col("test_retain"))).alias("retain change"),
        pl.struct("test_retain_lost_n", "test_retain_gained_n", "test_others")
        .map_batches(change_widths, return_dtype=pl.Float64)
        .alias("retain change ± 95 % over items"),
        (100 * (pl.col("test_retain_among_retain_n") - pl.col("test_retain_among_retain"))).alias(
            "among retain change"
        ),
        pl.col("worst_neighbour_name_n").alias("worst other"),
        (100 * pl.col("neighbour_damage_n")).alias("neighbour damage"),
        (pl.col("neighbour_damage_n") * pl.col("worst_neighbour_items_n"))
        .round()
        .cast(pl.Int64)
        .alias("its lost items"),
        pl.col("worst_neighbour_items_n").alias("its test items"),
        pl.col("seconds"),
    )
    return table.sort(KEYS)


def accuracy_columns(split: str) -> list[pl.Expr]:
    """Of one split: accuracy before and after, the counts behind them, and the bounds of the latter."""
    right_before, right = (
        (pl.col(name) * pl.col(f"{split}_items")).round().cast(pl.Int64)
        for name in (f"{split}_forget", f"{split}_forget_n")
    )
    counts = pl.struct(right.alias("right"), pl.col(f"{split}_items").alias("items"))
    return [
        (100 * pl.col(f"{split}_forget")).alias(f"{split} before"),
        right_before.alias(f"{split} right before"),
        (100 * pl.col(f"{split}_forget_n")).alias(f"{split} after"),
        right.alias(f"{split} right"),
        pl.col(f"{split}_items").alias(f"{split} items"),
        *(
            counts.map_batches(partial(bound, place), return_dtype=pl.Float64).alias(f"{split} 95 % {name}")
            for place, name in enumerate(("low", "high"))
        ),
    ]


def bound(place: int, counts: pl.Series) -> pl.Series:
    """The lower (0) or upper (1) bounds in percent of counts (right, items); null over no items."""
    table = counts.struct.unnest()
    known = table["right"].is_not_null() & (table["items"] > 0)
    filled = table.fill_null(0)
    bounds = clopper_pearson(filled["right"].to_numpy(), filled["items"].to_numpy())[place]
    return pl.Series(100 * bounds).set(~known, None)


def change_widths(counts: pl.Series) -> pl.Series:
    """Half the widths in points of changes (lost, gained, items); null where a number is missing."""
    table = counts.struct.unnest()
    known = table.select(pl.all_horizontal(pl.all().is_not_null()))[:, 0] & (table["test_others"].fill_null(0) > 0)
    filled = table.fill_null(0)
    return pl.Series(100 * change_width(*(filled[name].to_numpy() for name in table.columns))).set(~known, None)


def left_out(classes: pl.DataFrame) -> dict[str, list[str]]:
    """Outcome -> names of the classes that it befell under some method or seed, of all outcomes but the first."""
    outcomes: dict[str, list[str]] = {}
    for outcome in (KNOWN, NEVER_KNOWN, NO_ITEMS, NOT_REACHED):
        names = classes.filter(pl.col("outcome") == outcome).select("class", "name").unique().sort("class")["name"]
        if len(names):
            outcomes[outcome] = names.to_list()
    return outcomes
