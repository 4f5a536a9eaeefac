"""Tables of the comparison, read with polars: what was forgotten, what was lost, what it cost, how far from never
having seen the class.

Means are over classes and seeds; their intervals are crossed bootstraps over both (`dkvb.statistics`), each of one
method's mean. Nothing is called best while the interval of another's difference from it, paired by class and seed,
reaches 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.statistics import interval, paired_bootstrap
from jobs.errors import BadRequest
from jobs.results.experiment import Experiment
from jobs.results.formats import note
from jobs.results.headline import before as of_model
from jobs.rows import read_rows
from jobs.step import SPLITS
from store.columns import ATTACKS, COMPARE_TABLES, COSTS, SCOPE

OTHER_KEYS = "compare[@other keys]"
"""Label of the comparison on keys that were fitted on another data set."""

NOT_RANKED = ("none", "retrain")
"""The model before, and the oracle that the others are measured by."""


def budget_indexes(experiment: Experiment, kind: str) -> list[str]:
    """Labels of a kind of step; raises: BadRequest where the spec asked for none."""
    labels = [label for label in experiment.steps if label.partition("[")[0] == kind and label != OTHER_KEYS]
    if not labels:
        raise BadRequest(f"{experiment.name}: nothing was compared: its spec has no [compare] (docs/format.md)")
    return labels


def rows_of(experiment: Experiment, table: str) -> pl.DataFrame:
    """All rows of one of the compare step's tables, of all seeds."""
    schema = COMPARE_TABLES[table]
    parts = [experiment.artefact(label).path / f"{table}.parquet" for label in budget_indexes(experiment, "compare")]
    return pl.concat([read_rows(part, schema) for part in parts])


def attack_rows(experiment: Experiment) -> pl.DataFrame:
    """All attacks, U-LiRA among them."""
    parts = [rows_of(experiment, "attacks")]
    if "lira" in experiment.steps:
        parts.append(read_rows(experiment.artefact("lira").path / "attacks.parquet", ATTACKS))
    return pl.concat(parts)


def compare_table(experiment: Experiment) -> pl.DataFrame:
    """One row per head and method; accuracies in percent, ToW with the 95 % interval of its mean."""
    rows, unknown = known_rows(rows_of(experiment, "compare"))
    before = rows.filter(pl.col("method") == "none").select(
        "class", "seed", "head", pl.col("test_retain").alias("retain_before")
    )
    rows = rows.join(before, on=["class", "seed", "head"])
    sizes = items_of(experiment)
    rows = rows.join(sizes, on="class", how="left", maintain_order="left")
    change = 100 * (pl.col("test_retain") - pl.col("retain_before"))
    table = rows.group_by("head", "method", maintain_order=True).agg(
        pl.len().alias("runs"),
        pl.lit(unknown, pl.Int64).alias("classes never known"),
        (100 * pl.col("train_forget").mean()).alias("train forget"),
        (100 * pl.col("train_forget").max()).alias("train forget worst"),
        right("train"),
        pl.col("train items").sum(),
        (100 * pl.col("test_forget").mean()).alias("forget"),
        (100 * pl.col("test_forget").max()).alias("forget worst"),
        right("test"),
        pl.col("test items").sum(),
        (100 * pl.col("test_retain").mean()).alias("retain"),
        change.mean().alias("retain change"),
        change.std().alias("retain change sd"),
        change.min().alias("retain change worst"),
        (100 * pl.col("test_retain_among_retain").mean()).alias("among retain"),
        (100 * pl.col("neighbour_damage").max()).alias("neighbour damage worst"),
        pl.col("aus").mean().alias("AUS"),
        pl.col("js_forget").mean().alias("JS"),
        pl.col("tow_kv").mean().alias("ToW to KV"),
        pl.col("tow").mean().alias("ToW"),
    )
    bounds = ranked(rows, "tow").rename({"low": "ToW low", "high": "ToW high"})
    return table.join(bounds, on=["head", "method"], maintain_order="left").sort("head", maintain_order=True)


def items_of(experiment: Experiment) -> pl.DataFrame:
    """Items of each class: class, train items, test items."""
    items = of_model(experiment).items
    table = {"class": range(len(items["test"])), **{f"{split} items": items[split] for split in SPLITS}}
    return pl.DataFrame(table, schema_overrides={"class": pl.Int32})


def right(split: str) -> pl.Expr:
    """How many items of the forgotten classes are right after, over all rows."""
    return (pl.col(f"{split}_forget") * pl.col(f"{split} items")).round().sum().cast(pl.Int64).alias(f"{split} right")


def known_rows(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The rows of classes that every model knew before (test accuracy above 0), and how many classes are left out.

    What was never known cannot be forgotten, and a class without test items tells nothing.
    """
    known = (pl.col("test_forget") > 0).fill_null(value=False)
    unknown = rows.filter(pl.col("method") == "none", ~known)["class"].unique()
    return rows.filter(~pl.col("class").is_in(unknown.implode())), len(unknown)


def ranked(rows: pl.DataFrame, score: str) -> pl.DataFrame:
    """For each head and method the interval of its mean score, and how far it lies behind the best of its head.

    rows: of the compare step; score: the column that counts.
    returns: head, method and the columns of RANKED; best: whether the paired interval of the difference reaches 0; null
    for the model before and the oracle.
    """
    places: list[dict[str, Any]] = []
    for (head,), of_head in rows.group_by("head", maintain_order=True):
        methods = of_head.group_by("method", maintain_order=True)
        scores = {method: crossed(part, score) for (method,), part in methods}
        contest = {method: values for method, values in scores.items() if method not in NOT_RANKED}
        best = max(contest.values(), key=lambda values: float(np.mean(values)))
        for method, values in scores.items():
            mean = interval(values, seed=0)
            row: dict[str, Any] = {"head": head, "method": method, "low": mean.low, "high": mean.high}
            if method in contest:
                gap = paired_bootstrap(best, values, seed=0)
                row |= {"behind": gap.mean, "at least": gap.low, "best": gap.low <= 0}
            places.append(row)
    return pl.DataFrame(places, schema={"head": pl.String, "method": pl.String, **RANKED}, strict=False)


RANKED = {"low": pl.Float64, "high": pl.Float64, "behind": pl.Float64, "at least": pl.Float64, "best": pl.Boolean}


def crossed(rows: pl.DataFrame, score: str) -> NDArray[np.float64]:
    """(classes, seeds) of one method's score."""
    wide = rows.pivot(on="seed", index="class", values=score, sort_columns=True).sort("class")
    return wide.drop("class").to_numpy().astype(np.float64)


def gap_table(experiment: Experiment) -> pl.DataFrame:
    """One row per class and seed for which there are both oracles, as stored."""
    return rows_of(experiment, "oracle_gap")


def attacks_table(experiment: Experiment) -> pl.DataFrame:
    """One row per head, method, attack and measure: its mean, the oracle's, and the interval of the difference."""
    differences = []
    keys = ["head", "method", "attack", "measure"]
    for key, part in attack_rows(experiment).group_by(keys, maintain_order=True):
        row = dict(zip(keys, key, strict=True)) | {"value": part["value"].mean(), "oracle": part["oracle"].mean()}
        values, beside = crossed(part, "value"), crossed(part, "oracle")
        known = np.isfinite(values).all() and np.isfinite(beside).all()
        gap = paired_bootstrap(values, beside, seed=0) if known else None
        mean, low, high = (None, None, None) if gap is None else (gap.mean, gap.low, gap.high)
        differences.append(row | {"difference": mean, "low": low, "high": high})
    table = pl.DataFrame(differences, infer_schema_length=None)
    return table.sort("attack", "measure", "head", maintain_order=True)


def selection_table(experiment: Experiment) -> pl.DataFrame:
    """One row per label-free rule: its regret against the best N by test labels, in ToW."""
    rows = rows_of(experiment, "selection")
    return (
        rows.group_by("weight", "tau")
        .agg(
            pl.len().alias("runs"),
            pl.col("regret").mean(),
            pl.col("regret").std().alias("regret sd"),
            pl.col("regret").max().alias("regret worst"),
            pl.col("tow").mean().alias("ToW"),
            pl.col("best_tow").mean().alias("best ToW"),
            (100 * pl.col("test_forget").mean()).alias("forget"),
            (100 * pl.col("test_forget").max()).alias("forget worst"),
            (100 * pl.col("test_retain").mean()).alias("retain"),
        )
        .sort("weight", "tau")
    )


def costs_table(experiment: Experiment) -> pl.DataFrame:
    """One row per head and method: what one request cost."""
    budget_indexes(experiment, "costs")
    return read_rows(experiment.artefact("costs").path / "costs.parquet", COSTS)


def scope_table(experiment: Experiment) -> pl.DataFrame:
    """One row per forget set, head and method; keys fitted on another data set are of kind "keys other"."""
    budget_indexes(experiment, "scope")
    rows = read_rows(experiment.artefact("scope").path / "scope.parquet", SCOPE)
    if OTHER_KEYS not in experiment.steps:
        return rows
    path = experiment.artefact(OTHER_KEYS).path / "compare.parquet"
    other = read_rows(path, COMPARE_TABLES["compare"]).filter(pl.col("head") == "values")
    other = other.with_columns(
        pl.lit("keys other").alias("kind"), pl.lit(1.0).alias("size"), pl.col("name").alias("names")
    )
    return pl.concat([rows, other.select([name for name in SCOPE if name in other.columns])], how="diagonal")


TABLES: dict[str, Callable[[Experiment], pl.DataFrame]] = {
    "compare": compare_table,
    "oracle_gap": gap_table,
    "attacks": attacks_table,
    "selection": selection_table,
    "costs": costs_table,
    "scope": scope_table,
    "compare_rows": lambda experiment: rows_of(experiment, "compare"),
    "attacks_rows": attack_rows,
    "selection_rows": lambda experiment: rows_of(experiment, "selection"),
}
"""The tables there are, by name; those in "rows" as they are stored, each row with the digest of its artefact."""

FEW_SEEDS = "95 % intervals resample classes and seeds, crossed; with three seeds such an interval covers 85 to 92 %."

WORDS = (
    "train, test: what is still right of the forgotten class, on its training and test items, in per cent. others: "
    "test accuracy on all other classes; among themselves: where the forgotten class is not a possible answer. Changes "
    "are in points."
)

NOTES = {
    "compare": note(
        WORDS,
        FEW_SEEDS,
        "ToW low, ToW high: of the mean. behind, at least: difference from the best mean of the head and its lower "
        "bound, paired by class and seed; best: that bound is not above 0. Masks have tried every N of their grid on "
        "the class's training items, but for uva by tau. runs: a class and a seed each. Classes that a model never "
        "knew (no test item right before) are left out. ToW, JS: nearness to the head that was trained without the "
        "class (docs/format.md); KV: whose keys never saw it either.",
    ),
    "oracle_gap": note(
        WORDS, "oracle V: trained without the class on the same keys; oracle KV: with keys that never saw it either."
    ),
    "attacks": note(
        "value: of the model that has forgotten; oracle: of the head that was trained without the class. What counts "
        "is the difference.",
        FEW_SEEDS,
        "low, high: of the difference, paired by class and seed.",
    ),
    "selection": note(
        WORDS,
        "weight, tau: the rule takes pairs by hits of the class less weight times hits of the others, up to the share "
        "tau of its activations. regret: the best ToW of any N, less that of the rule's N.",
    ),
    "scope": note(
        WORDS,
        "Instances are stopped where AUS is best, which drives the forgotten items towards 0, where the oracle still "
        "knows many of them: no claim on instances can be read off these rows.",
    ),
}
"""Printed below a table in Markdown."""
