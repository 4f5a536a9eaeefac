"""Tables of the comparison, read with polars: what was forgotten, what was lost, what it cost, how far from never
having seen the class.

Means are over classes and seeds; their intervals are crossed bootstraps over both (`dkvb.statistics`), each of one
method's mean. Nothing is called best while the interval of another's difference from it, paired by class and seed,
reaches 0. One class on one seed has no interval.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.statistics import interval, paired_bootstrap
from jobs.errors import BadRequest
from jobs.results.experiment import Experiment
from jobs.results.headline import before as of_model
from jobs.results.sweep_tables import half_interval
from jobs.rows import read_rows
from jobs.step import SPLITS
from store.artefacts import as_written
from store.columns import ATTACKS, COMPARE_TABLES, COSTS, SCOPE
from store.columns import TABLES as WRITTEN

OTHER_KEYS = "[@other keys]"
"""End of the labels of comparisons on keys that were fitted on another data set."""

NOT_RANKED = ("none", "retrain")
"""The model before, and the oracle that the others are measured by."""

KINDS = dict.fromkeys(("compare", "attacks", "beside", "metrics"), ("compare", "solved"))
"""Steps that write a table; the others are of the compare step alone."""

ITS_OWN, OTHERS, RULE = "the class's training items", "other classes", "a rule without labels"

CHOSEN_BY: dict[str, str] = {
    **dict.fromkeys(("scrub", "neggrad+", "finetune", "ssd"), f"{OTHERS}, epoch by {ITS_OWN}"),
    "scrub+r": f"{OTHERS}, epoch by its test items",
    **dict.fromkeys(("uva", "uva per codebook", "uve", "uva zero", "uva drop", "random"), ITS_OWN),
    "uva by tau": RULE,
}
"""What chose N or settings; of our methods that are not named there is nothing to choose."""


def labels_of(experiment: Experiment, kind: str) -> list[str]:
    """Labels of a kind of step, those on keys of another data set left out; none where the spec asked for none."""
    return [label for label in experiment.steps if label.partition("[")[0] == kind and not label.endswith(OTHER_KEYS)]


def asked_labels(experiment: Experiment, *kinds: str) -> list[str]:
    """Labels of some kinds of step; raises: BadRequest where the spec asked for none."""
    if labels := [label for kind in kinds for label in labels_of(experiment, kind)]:
        return labels
    if labels_of(experiment, "solved"):
        raise BadRequest(
            f"{experiment.name}: [compare] names no trained heads, and only these have this table; "
            'add "linear" and "values" to compare.heads, and run it again'
        )
    raise BadRequest(f"{experiment.name}: nothing was compared: its spec has no [compare] (docs/format.md)")


def rows_of(experiment: Experiment, table: str) -> pl.DataFrame:
    """All rows of one of the tables of comparisons (`store.columns`), of all seeds and heads."""
    schema = WRITTEN[table].schema
    labels = asked_labels(experiment, *KINDS.get(table, ("compare",)))
    paths = [experiment.artefact(label).path / f"{table}.parquet" for label in labels]
    if table == "beside" and not says_heads(experiment):
        return pl.DataFrame(schema=schema)
    return pl.concat([read_rows(path, schema) for path in paths])


def says_heads(experiment: Experiment) -> bool:
    """Whether the spec names the heads that are compared, so that more is measured of them (docs/comparison.md)."""
    with as_written(experiment.path):
        compared = experiment.spec.get("compare")
        return compared is not None and compared.get("heads") is not None


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
    keys = ["class", "seed", "head", "method"]
    more = rows_of(experiment, "beside").select(*keys, "tow_test", "ece", "member_auc")
    rows = rows.join(more, on=keys, how="left", maintain_order="left")
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
        pl.col("tow_test").mean().alias("ToW on test"),
        pl.col("ece").mean().alias("ECE"),
        pl.col("member_auc").mean().alias("membership AUC"),
        pl.col("tow").mean().alias("ToW"),
    )
    place = table.columns.index("retain change sd") + 1
    widths = table.select("head", "method").join(
        class_widths(rows.with_columns(change.alias("change"))),
        on=["head", "method"],
        how="left",
        maintain_order="left",
    )
    table = table.insert_column(place, widths["retain change ± 95 % over classes"])
    table = table.insert_column(2, chosen_by(rows, table).alias("chosen by"))
    bounds = ranked(rows, "tow").rename({"low": "ToW low", "high": "ToW high"})
    return table.join(bounds, on=["head", "method"], maintain_order="left").sort("head", maintain_order=True)


def class_widths(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per head and method: half the 95 % interval of its mean change over classes, each at its mean over seeds.

    Runs of one class are no independent draws of classes, nor are those of one seed: to count all runs would be too
    sure. rows: head, method, class and change. None for a single class.
    """
    keys = ["head", "method"]
    means = rows.group_by(*keys, "class", maintain_order=True).agg(pl.col("change").mean())
    width = pl.col("change").map_batches(half_interval, return_dtype=pl.Float64, returns_scalar=True)
    return means.group_by(keys, maintain_order=True).agg(width.alias("retain change ± 95 % over classes"))


def chosen_by(rows: pl.DataFrame, table: pl.DataFrame) -> pl.Series:
    """What chose N or settings of each row of a table; methods of extensions are told by what was chosen for them."""
    kinds = {'"epoch"': CHOSEN_BY["scrub"], '"budget"': ITS_OWN}
    settings = dict(rows.select("method", "setting").iter_rows())
    chosen = [next((by for key, by in kinds.items() if key in settings[name]), "") for name in table["method"]]
    own = table["method"].to_list()
    return pl.Series([CHOSEN_BY.get(name, by) for name, by in zip(own, chosen, strict=True)], dtype=pl.String)


def edges_text(experiment: Experiment) -> list[str]:
    """For people: which baselines may do better than they are shown to, as too little was tried; a line, or none."""
    if not labels_of(experiment, "compare"):
        return []
    with as_written(experiment.path):
        return edges(rows_of(experiment, "compare"), int(experiment.spec["compare"]["trials"]))


def edges(rows: pl.DataFrame, trials: int) -> list[str]:
    """As `edges_text`; rows: of the compare step's table; trials: settings that each baseline tried."""
    if trials == 1:
        return ["Baselines were tried with one setting each, none of them is tuned: give more compare.trials."]
    at = rows.filter(pl.col("setting").str.json_path_match("$.edge") == "true")
    if at.is_empty():
        return []
    heads = at.select("head", "method").unique(maintain_order=True).group_by("head", maintain_order=True)
    which = "; ".join(f"{', '.join(part['method'])} on {head}" for (head,), part in heads)
    return [
        f"Chosen at an end of the {trials} settings that were tried, in one run or more: {which}. A better one may lie "
        "between or beyond them, so a low place of these says little: give more compare.trials, which lie closer."
    ]


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
        for the model before and the oracle. One class on one seed has no interval, and tells nothing from the best.
    """
    places: list[dict[str, Any]] = []
    for (head,), of_head in rows.group_by("head", maintain_order=True):
        methods = of_head.group_by("method", maintain_order=True)
        scores = {method: crossed(part, score) for (method,), part in methods}
        contest = {method: values for method, values in scores.items() if method not in NOT_RANKED}
        best = max(contest.values(), key=lambda values: float(np.mean(values)))
        for method, values in scores.items():
            mean, gap = interval(values, seed=0), paired_bootstrap(best, values, seed=0)
            row: dict[str, Any] = {"head": head, "method": method}
            row |= {"behind": gap.mean} if method in contest else {}
            if values.size > 1:
                row |= {"low": mean.low, "high": mean.high}
                row |= {"at least": gap.low, "best": gap.low <= 0} if method in contest else {}
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
    table = from_oracle(attack_rows(experiment), ["head", "method", "attack", "measure"])
    return table.sort("attack", "measure", "head", maintain_order=True)


def metrics_table(experiment: Experiment) -> pl.DataFrame:
    """One row per head, method and metric of an extension, as of `attacks_table`; raises: BadRequest without any."""
    return from_oracle(metric_rows(experiment), ["head", "method", "metric"]).sort(
        "metric", "head", maintain_order=True
    )


def metric_rows(experiment: Experiment) -> pl.DataFrame:
    """All values of metrics of extensions; raises: BadRequest where the spec asked for none."""
    asked_labels(experiment, *KINDS["metrics"])
    with as_written(experiment.path):
        named = experiment.spec["compare"].get("metrics")
    if named is None:
        raise BadRequest(f"{experiment.name}: its spec names no compare.metrics (docs/extend.md)")
    return rows_of(experiment, "metrics")


def from_oracle(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """One row per key: runs, means of value and oracle, and the paired interval of their difference, if of several."""
    differences = []
    for key, part in rows.group_by(keys, maintain_order=True):
        row = dict(zip(keys, key, strict=True)) | {"runs": len(part)}
        row |= {name: part[name].mean() for name in ("value", "oracle")}
        values, beside = crossed(part, "value"), crossed(part, "oracle")
        known = np.isfinite(values).all() and np.isfinite(beside).all()
        gap = paired_bootstrap(values, beside, seed=0) if known else None
        low, high = (gap.low, gap.high) if gap is not None and values.size > 1 else (None, None)
        differences.append(row | {"difference": gap and gap.mean, "low": low, "high": high})
    numbers = dict.fromkeys(("value", "oracle", "difference", "low", "high"), pl.Float64)
    return pl.DataFrame(differences, schema_overrides=numbers, infer_schema_length=None)


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
    """One row per head and method: what one request cost, and beside it what retraining the same head costs."""
    asked_labels(experiment, "costs")
    rows = read_rows(experiment.artefact("costs").path / "costs.parquet", COSTS)
    place = rows.columns.index("retrain_ratio")
    return rows.insert_column(place, (rows["seconds"] * rows["retrain_ratio"]).alias("retrain_seconds"))


def scope_table(experiment: Experiment) -> pl.DataFrame:
    """One row per forget set, head and method; keys fitted on another data set are of kind "keys other"."""
    asked_labels(experiment, "scope")
    rows = read_rows(experiment.artefact("scope").path / "scope.parquet", SCOPE)
    others = [f"{kind}{OTHER_KEYS}" for kind in ("compare", "solved")]
    parts = [
        read_rows(experiment.artefact(label).path / "compare.parquet", COMPARE_TABLES["compare"])
        for label in others
        if label in experiment.steps
    ]
    if not parts:
        return rows
    other = pl.concat(parts).filter(pl.col("head").str.starts_with("values"))
    other = other.with_columns(
        pl.lit("keys other").alias("kind"), pl.lit(1.0).alias("size"), pl.col("name").alias("names")
    )
    return pl.concat([rows, other.select([name for name in SCOPE if name in other.columns])], how="diagonal")


TABLES: dict[str, Callable[[Experiment], pl.DataFrame]] = {
    "compare": compare_table,
    "oracle_gap": gap_table,
    "attacks": attacks_table,
    "metrics": metrics_table,
    "selection": selection_table,
    "costs": costs_table,
    "scope": scope_table,
    "compare_rows": lambda experiment: rows_of(experiment, "compare"),
    "beside_rows": lambda experiment: rows_of(experiment, "beside"),
    "attacks_rows": attack_rows,
    "metrics_rows": metric_rows,
    "selection_rows": lambda experiment: rows_of(experiment, "selection"),
}
"""The tables there are, by name; those in "rows" as they are stored, each row with the digest of its artefact."""
