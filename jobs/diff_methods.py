"""What two experiments compared, beside each other: each method's scores and attacks, paired by class and seed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from dkvb.statistics import paired_bootstrap
from jobs.results.compare_tables import attack_rows, crossed, known_rows, labels_of, rows_of
from jobs.results.experiment import Experiment
from jobs.results.formats import markdown, note
from store.artefacts import Artefact

SCORES = {
    "train after %": ("train_forget", 100),
    "test after %": ("test_forget", 100),
    "others after %": ("test_retain", 100),
    "most one other lost": ("neighbour_damage", 100),
    "ToW": ("tow", 1),
    "JS": ("js_forget", 1),
}
"""Measure -> column of the compare step's rows, and what makes it per cent or points."""

PAIRED: dict[str, Any] = {
    "classes": pl.Int64,
    "seeds": pl.Int64,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Means over what both have; difference: b - a, with its 95 % interval. seeds: 0 where they have none in common."""
METHODS: dict[str, Any] = {"head": pl.String, "method": pl.String, "measure": pl.String, **PAIRED}
ATTACKS: dict[str, Any] = {
    **dict.fromkeys(("head", "method", "attack", "measure"), pl.String),
    **PAIRED,
    "a oracle": pl.Float64,
    "b oracle": pl.Float64,
}


def have(experiments: Sequence[Experiment], kind: str) -> bool:
    """Whether each experiment has a kind of step, and all of it is done."""
    for one in experiments:
        labels = labels_of(one, kind)
        if not labels or not all(Artefact(one.root, kind, one.steps[label]).done for label in labels):
            return False
    return True


def have_compared(*experiments: Experiment) -> bool:
    """Whether each has compared heads of some kind, and all of it is done."""
    return all(
        kinds and all(have((one,), kind) for kind in kinds)
        for one in experiments
        for kinds in [[kind for kind in ("compare", "solved") if labels_of(one, kind)]]
    )


def compared_methods(a: Experiment, b: Experiment) -> pl.DataFrame | None:
    """One row for each head, method and measure (`METHODS`); None where not both compared.

    Classes that either never knew are left out.
    """
    if not have_compared(a, b):
        return None
    tables = [known_rows(rows_of(one, "compare"))[0] for one in (a, b)]
    rows = [
        {"head": head, "method": method, "measure": measure, **pair}
        for (head, method), both in groups(tables, ("head", "method"))
        for measure, (column, times) in SCORES.items()
        if (pair := paired(both, column, times)) is not None
    ]
    return pl.DataFrame(rows, schema=METHODS)


def compared_attacks(a: Experiment, b: Experiment) -> pl.DataFrame | None:
    """One row for each head, method, attack and measure (`ATTACKS`); None where not both were attacked."""
    if not have_compared(a, b) or not all(have((one,), "lira") for one in (a, b) if "lira" in one.steps):
        return None
    keys = ("head", "method", "attack", "measure")
    rows = []
    for key, both in groups([attack_rows(one) for one in (a, b)], keys):
        if (pair := paired(both, "value", 1)) is not None:
            oracles = {f"{side} oracle": part["oracle"].mean() for side, part in zip("ab", both, strict=True)}
            rows.append(dict(zip(keys, key, strict=True)) | pair | oracles)
    return pl.DataFrame(rows, schema=ATTACKS)


def groups(tables: Sequence[pl.DataFrame], keys: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], list[pl.DataFrame]]]:
    """The rows of two tables under each key that both have, in the order of the first."""
    one, other = (table.partition_by(keys, as_dict=True, maintain_order=True) for table in tables)
    yield from ((key, [part, other[key]]) for key, part in one.items() if key in other)


def paired(both: Sequence[pl.DataFrame], column: str, times: int) -> dict[str, Any] | None:
    """Means of a column in two tables over the classes and seeds that both have, and their difference.

    Without a seed in common each class is taken at its mean over seeds. What has no number in either is left out.
    returns: the columns of `PAIRED`, without bounds where classes and seeds do not cross; None where nothing is paired.
    """
    parts = [table.select("class", "seed", pl.col(column) * times) for table in both]
    seeds = {*parts[0]["seed"]} & {*parts[1]["seed"]}
    if not seeds:
        parts = [part.group_by("class").agg(pl.lit(0, pl.Int32).alias("seed"), pl.col(column).mean()) for part in parts]
    joined = parts[0].join(parts[1], on=["class", "seed"], suffix=" b").drop_nulls()
    if joined.is_empty():
        return None
    values = [crossed(joined.select("class", "seed", pl.col(name).alias("x")), "x") for name in (column, f"{column} b")]
    row: dict[str, Any] = {"classes": joined["class"].n_unique(), "seeds": len(seeds) and joined["seed"].n_unique()}
    row |= {"a": joined[column].mean(), "b": joined[f"{column} b"].mean()}
    row["difference"] = row["b"] - row["a"]
    if all(np.isfinite(each).all() for each in values) and len(values[0]) > 1:
        gap = paired_bootstrap(values[1], values[0], seed=0)
        row |= {"low": gap.low, "high": gap.high}
    return row


def told_apart(table: pl.DataFrame) -> pl.DataFrame:
    """The rows whose interval does not reach 0, the largest difference first."""
    apart = table.filter((pl.col("low") > 0) | (pl.col("high") < 0))
    return apart.sort(pl.col("difference").abs(), descending=True, maintain_order=True)


def texts(methods: pl.DataFrame | None, attacks: pl.DataFrame | None) -> list[str]:
    """Both tables for people, and what they say; of the attacks those that differ."""
    if methods is None or attacks is None:
        return ["Not both compared their masks with other methods ([compare] in the spec): there is no more to pair."]
    apart = told_apart(attacks)
    counted = f"Attacks: {len(apart)} of {len(attacks)} rows differ by more than their interval (--json has all)."
    return [
        f"Every method, mean over the classes and seeds that both have.\n\n{markdown(methods)}",
        f"{counted}\n\n{markdown(apart.select(pl.exclude('classes', 'seeds')))}" if len(apart) else counted,
        note(
            "low, high: 95 % of the difference B - A, paired by class and seed and resampled over both, crossed.",
            "seeds: 0 where the two have none in common; classes are then paired at their means.",
        ),
    ]
