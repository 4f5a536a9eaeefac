"""Result tables of the sweep: one line per class or per method, in the format asked for."""

from collections.abc import Callable
from math import isnan

import polars as pl

from dkvb.orders import TAU
from jobs.printable import shown
from jobs.results.experiment import Experiment
from jobs.results.formats import Sentence, cell
from jobs.results.headline import (
    FORGOTTEN,
    GONE,
    KNOWN,
    NEVER_KNOWN,
    NO_ITEMS,
    NOT_REACHED,
    before,
    by_class,
    item_changes,
    left_out,
    sweep_table,
)
from jobs.step import SPLITS
from store.artefacts import as_written


def by_method(classes: pl.DataFrame, items: pl.DataFrame | None = None, *, test_items: int = 0) -> pl.DataFrame:
    """One row per method: mean, spread and worst over its classes and seeds at the N of the rule.

    classes: as in `by_class`. Classes that were never known, have no test items, or whose grid does not reach the rule
    are counted, and left out of everything else.
    items: as in `jobs.results.headline.item_changes`, where there is one; test_items: how many there are.
    """
    counts = [
        (pl.col("outcome") == outcome).sum().alias(outcome)
        for outcome in (FORGOTTEN, KNOWN, NEVER_KNOWN, NO_ITEMS, NOT_REACHED)
    ]
    change = pl.col("retain change")
    judged = classes.filter(pl.col("outcome").is_in([FORGOTTEN, KNOWN]))
    per_class = judged.group_by("method", "class", maintain_order=True).agg(change.mean()).group_by("method")
    spread = per_class.agg(
        change.std().alias("retain change sd"),
        change.drop_nulls()
        .map_batches(half_interval, return_dtype=pl.Float64, returns_scalar=True)
        .alias("retain change ± 95 % over classes"),
    )
    after = [
        part
        for split in SPLITS
        for part in (
            pl.col(f"{split} before").mean(),
            pl.col(f"{split} after").mean(),
            pl.col(f"{split} after").max().alias(f"{split} after worst"),
            pl.col(f"{split} right").sum(),
            pl.col(f"{split} items").sum(),
            pl.col(f"{split} 95 % high").max().alias(f"{split} 95 % high worst"),
        )
    ]
    means = judged.group_by("method").agg(
        *after,
        pl.col("N as %").mean(),
        pl.col("pairs masked %").mean(),
        pl.col("retain before").mean(),
        change.mean(),
        change.min().alias("retain change worst"),
        pl.col("among retain change").mean(),
        pl.col("neighbour damage").max().alias("neighbour damage worst"),
    )
    table = classes.group_by("method").agg(pl.len().alias("runs"), *counts)
    for more in (means, spread, over_items(judged, items, test_items)):
        table = table.join(more, on="method", how="left")
    last = ("among retain change", "neighbour damage worst")
    return table.select(pl.exclude(last), *last).sort("method")


def over_items(judged: pl.DataFrame, items: pl.DataFrame | None, test_items: int) -> pl.DataFrame:
    """One row per method: half the 95 % interval of its mean retain change over test items like these.

    It is for these classes. A test item that one class's mask loses is often lost by another's: items are added up over
    classes first.
    """
    name = "retain change ± 95 % over test items"
    widths = []
    changed = judged.filter(pl.col("retain change").is_not_null())
    for (method,), of_method in changed.group_by("method", maintain_order=True):
        width = None
        if items is not None and test_items > 1:
            each = (
                items.filter(pl.col("method") == method)
                .group_by("item", maintain_order=True)
                .agg(pl.col("change").sum())["change"]
            )
            each = each * (100 * test_items / len(of_method))  # summed over its classes and seeds, a row each
            width = half_interval(each.extend_constant(0.0, test_items - len(each)))
        widths.append({"method": method, name: width})
    return pl.DataFrame(widths, schema={"method": pl.String, name: pl.Float64})


def half_interval(values: pl.Series) -> float | None:
    """Half the width of the 95 % interval of a mean, by Student's t; None for fewer than two values."""
    from scipy.special import stdtrit  # what scipy.stats takes for it, and that takes long to import

    spread = values.std()
    if len(values) < 2 or not isinstance(spread, float):
        return None
    return float(stdtrit(len(values) - 1, 0.975) * spread / len(values) ** 0.5)


def summary_table(experiment: Experiment) -> pl.DataFrame:
    """One row per method: the model before, and every class forgotten by itself."""
    test_items = sum(before(experiment).items["test"])
    table = by_method(by_class(sweep_table(experiment)), item_changes(experiment), test_items=test_items)
    of_model = [pl.lit(value, pl.Float64).alias(f"model {name}") for name, value in model_before(experiment).items()]
    return table.select("method", *of_model, pl.exclude("method"))


def model_before(experiment: Experiment) -> dict[str, float | None]:
    """The model before anything is forgotten: accuracies in percent, and the AUC of the membership attack by loss."""
    model = before(experiment)
    accuracy = {split: percent(model.accuracy[split]) for split in SPLITS}
    return {**accuracy, "membership AUC": model.membership_auc}


def headline(experiment: Experiment) -> str:
    """The model before anything is forgotten, for people: what it leaks comes first."""
    model, auc = model_before(experiment), before(experiment).membership_auc
    leak = "unknown (the sweep is of an earlier version)" if auc is None else f"{auc:.3f} (0.5 leaks nothing)"
    return (
        f"{experiment.name}: train accuracy {cell(model['train'])} %, test accuracy {cell(model['test'])} % "
        f"(linear head {cell(heads(experiment)['linear'])} %), membership AUC by loss {leak}"
    )


def left_out_text(classes: pl.DataFrame, most: int = 10) -> list[str]:
    """Which classes were not forgotten, or tell nothing, for people: one line per outcome."""
    lines = []
    for outcome, names in left_out(classes).items():
        rest = f" and {len(names) - most} more" if len(names) > most else ""
        lines.append(f"{outcome}: {', '.join(map(shown, names[:most]))}{rest}")
    return lines


def percent(share: float | None) -> float | None:
    """A share in percent; None where there is none, or one over no items."""
    return None if share is None or isnan(share) else 100 * share


def heads(experiment: Experiment) -> dict[str, float | None]:
    """Test accuracy in percent of the linear head and of the bottleneck before anything is forgotten."""
    with as_written(experiment.root):
        linear = percent(experiment.facts("linear")["accuracy"]["test"])
    return {"linear": linear, "dkvb": percent(before(experiment).accuracy["test"])}


def single_items_text(experiment: Experiment) -> list[str]:
    """For people: why a class counts as not forgotten of which a single item is still recognised; a line, or none."""
    return single_items(by_class(sweep_table(experiment)))


def single_items(classes: pl.DataFrame) -> list[str]:
    """As `single_items_text`; classes: as in `jobs.results.headline.by_class`."""
    known = classes.filter(pl.col("outcome") == KNOWN)
    lines = []
    for split, word in (("train", "training"), ("test", "test")):
        right, items = pl.col(f"{split} right"), pl.col(f"{split} items")
        single = known.filter(right == 1, items * GONE < 1)[f"{split} items"].unique().sort().to_list()
        if single:
            sizes = f"{single[0]}" if len(single) == 1 else f"{single[0]} to {single[-1]}"
            lines.append(
                f"of {sizes} {word} items {100 * GONE:g} % is none: one image counts as not forgotten "
                "(`dkvb unlearn --share 1` masks every pair of a class)"
            )
    return lines


RULE = (
    f"Each class is forgotten by itself, at the smallest N whose masked pairs hold {100 * TAU:g} % of its training "
    "activations."
)
UNREAD = "No test item and no prediction chooses N."
WHO = "train, test: the forgotten class; others: test accuracy on all other classes. Changes are in points."
N: Sentence = (
    "N: pairs (uva) or examples (uve); N as %: of the class's activated pairs, or training items; of uva-values and "
    "uva-contrast, 99 % are of what they rank (docs/method.md).",
    ("N as %", "budget", "share"),
)
AMONG: Sentence = (
    "among themselves: where the forgotten class is not a possible answer.",
    ("among retain change", "test_retain_among_retain", "train_retain_among_retain"),
)
WORST: Sentence = (
    "worst other: the class that lost most test accuracy.",
    ("worst other", "worst_neighbour", "worst_neighbour_name"),
)

NOTES: dict[str, tuple[Sentence, ...]] = {
    "summary": (
        RULE,
        UNREAD,
        WHO,
        ("runs: a class and a seed each.", ("runs",)),
        f"forgotten: at most {100 * GONE:g} % still recognised, of training and of test items; classes that tell "
        "nothing (no test item right before, or none there) are in no mean.",
        ("highest 95 % bound: Clopper-Pearson's, of any class.", ("train 95 % high worst", "test 95 % high worst")),
        (
            "± 95 %: of the mean, over classes like these or over test items like these (Student's t), of one model.",
            ("retain change ± 95 % over classes", "retain change ± 95 % over test items"),
        ),
        N,
        AMONG,
        (
            "membership AUC: losses of all training items against all test items; 0.5: they cannot be told apart.",
            ("model membership AUC",),
        ),
    ),
    "classes": (
        RULE,
        WHO,
        N,
        AMONG,
        WORST,
        (
            "95 % bounds of a class are Clopper-Pearson's, over items like these.",
            tuple(f"{split} 95 % {end}" for split in SPLITS for end in ("low", "high")),
        ),
        ("± 95 %: over test items, paired.", ("retain change ± 95 % over items",)),
    ),
    "sweep": (
        WHO,
        N,
        ("activations held: training activations on masked pairs.", ("forget_hit_share", "retain_hit_share")),
        (
            "of before: of the accuracy at N = 0.",
            tuple(f"{split}_{part}_relative" for split in SPLITS for part in ("forget", "retain")),
        ),
        AMONG,
        WORST,
    ),
}
"""Below a table, for people."""


TABLES: dict[str, Callable[[Experiment], pl.DataFrame]] = {
    "summary": summary_table,
    "classes": lambda experiment: by_class(sweep_table(experiment)),
    "sweep": sweep_table,
}
"""The tables there are, by name."""
