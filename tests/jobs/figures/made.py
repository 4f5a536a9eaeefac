"""Tables of the shape that a root has, of any number of classes, drawn by a seed."""

import numpy as np
import polars as pl

from store.columns import COMPARE_TABLES, COSTS, SWEEP

ODD = ["cat", "猫", "кошка", "קוף", "कुत्ता", "$x_1$ & <b>", "_hidden", "two\nlines", "‮evil", "a" * 300, "😀 face"]
"""Names of many scripts, and such as a program would obey."""


def names(v):
    return [ODD[k] if k < len(ODD) else f"n{k:05d} class" for k in range(v)]


def swept(v, *, grid=11, seed=0, items=25, methods=("uva", "uve")):
    """A sweep in which every class goes on its way down, each at a pace of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for method in methods:
        for k, name in enumerate(names(v)):
            before, pace, cost = rng.uniform(0.4, 1), rng.uniform(2, 9), rng.normal(0.002, 0.006)
            stuck = 0.04 if rng.random() < 0.05 else 0.0
            for budget, share in enumerate(np.linspace(0, 1, grid)):
                left = round(max(stuck, before * (1 - pace * share / 2)) * items) / items
                lost, gained = rng.integers(0, 20, 2) if budget else (0, 0)
                plain = dict.fromkeys(SWEEP, 0.0)
                about = {"class": k, "name": name, "method": method, "seed": 0, "budget": budget, "digest": "d"}
                kept = 0.7 + cost * share + 0.0002 * rng.normal() * budget
                rows.append(
                    plain
                    | about
                    | {"worst_neighbour_name": names(1)[0], "worst_neighbour_items": items}
                    | {"share": share, "forget_hit_share": min(1.0, share * 1.15), "worst_neighbour": 0}
                    | {"test_forget": left, "train_forget": max(stuck, 1 - pace * share / 2), "test_retain": kept}
                    | {"train_retain": 1 - 0.01 * share, "test_retain_lost": lost, "test_retain_gained": gained}
                    | {"train_items": 4 * items, "test_items": items, "test_others": items * (v - 1), "seconds": 0.1}
                )
    counts = ("train_items", "test_items", "test_others", "worst_neighbour_items")
    more = dict.fromkeys(counts, pl.Int64) | {"worst_neighbour_name": pl.String, "seconds": pl.Float64}
    return pl.DataFrame(rows, schema={**SWEEP, **more}, strict=False)


def confused(v, *, seed=0, items=25, gone=1):
    """What is taken for what: before, and with the class `gone` no longer recognised."""
    rng = np.random.default_rng(seed)
    near = np.abs(np.subtract.outer(np.arange(v), np.arange(v)))
    chances = np.exp(-near * 2.0) + 0.1 / v
    before = np.array([rng.multinomial(items, row / row.sum()) for row in chances])
    after = before.copy()
    after[gone] = rng.multinomial(items, redirected(chances[gone], gone))
    k, predicted = np.nonzero(before + after)
    return pl.DataFrame(
        {"class": k, "predicted": predicted, "before": before[k, predicted], "after": after[k, predicted]}
    )


def redirected(chances, gone):
    """The same chances without the class itself."""
    left = chances.copy()
    left[gone] = 0
    return left / left.sum()


def overlapping(v, *, seed=0):
    """Overlap of classes that lie in groups."""
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(v)
    groups = rng.integers(0, max(2, v // 8), v)
    weighted = np.where(groups[a] == groups[b], 0.2, 0.02) + 0.05 * rng.random(len(a))
    weighted[a == b] = 1
    named = np.array(names(v), object)
    return pl.DataFrame(
        {
            "class": a,
            "other": b,
            "name": pl.Series(named[a], dtype=pl.String),
            "other_name": pl.Series(named[b], dtype=pl.String),
            "weighted": weighted,
            "exclusive": np.where(a == b, rng.random(len(a)), np.nan),
        }
    ).with_columns(pl.col("exclusive").fill_nan(None))


def taken(v, *, seed=0, items=25, gone=1):
    """What a mask takes from each class."""
    rng = np.random.default_rng(seed)
    share = rng.beta(1, 12, v)
    share[gone] = 0.99
    before = rng.integers(items // 2, items + 1, v)
    lost = np.minimum(rng.poisson(6 * share), before)
    gained = np.minimum(rng.poisson(3 * share), items - before)
    lost[gone], gained[gone] = before[gone], 0
    return pl.DataFrame(
        {
            "class": np.arange(v),
            "name": names(v),
            "hit_share": share,
            "test_items": np.full(v, items),
            "right_before": before,
            "right_after": before - lost + gained,
            "lost": lost,
            "gained": gained,
        }
    )


def loaded(c=256, m=4096, *, seed=0):
    """How codebooks are used."""
    rng = np.random.default_rng(seed)
    used = rng.integers(m // 2, m, c)
    shares = {"largest_share": rng.beta(1, 40, c), "exclusive_share": rng.beta(4, 6, c)}
    return pl.DataFrame(
        {
            "codebook": np.arange(c),
            "used": used,
            "unused": m - used,
            "effective": used * rng.uniform(0.3, 0.9, c),
            **shares,
        }
    )


LINEAR = ["none", "scrub", "scrub+r", "neggrad+", "finetune", "ssd", "column", "logit", "retrain"]
MASKS = ["uva", "uva per codebook", "uve", "uva by tau", "random", "uva zero", "uva drop"]


def compared(v=10, seeds=3, *, seed=0):
    """Rows of the compare step."""
    rng = np.random.default_rng(seed)
    rows = [
        dict.fromkeys(COMPARE_TABLES["compare"], None)
        | {"class": k, "name": names(v)[k], "seed": s, "head": head, "method": method}
        | {"test_forget": 0.7 if method == "none" else rng.beta(1, 30), "test_retain": 0.7 + rng.normal(0, 0.01)}
        | {"tow": 1.0 if method == "retrain" else rng.uniform(0.5, 1)}
        for head, methods in (("linear", LINEAR), ("values", LINEAR + MASKS))
        for method in methods
        for k in range(v)
        for s in range(seeds)
    ]
    return pl.DataFrame(rows, schema=COMPARE_TABLES["compare"], strict=False)


def attacked(*, seed=0):
    """A table of attacks, each beside the oracle."""
    rng = np.random.default_rng(seed)
    kinds = {"population loss": "auc", "probe logits": "balanced accuracy", "recovery 10 shots": "steps"}
    rows = []
    for head, methods in (("linear", LINEAR), ("values", LINEAR + MASKS)):
        for method in methods:
            for attack, measure in kinds.items():
                oracle = 12.0 if measure == "steps" else 0.5
                gap = 0.0 if method == "retrain" else rng.normal(0, 0.2) * oracle
                width = abs(rng.normal(0, 0.05)) * oracle
                row = {"head": head, "method": method, "attack": attack, "measure": measure, "value": oracle + gap}
                rows.append(row | {"oracle": oracle, "difference": gap, "low": gap - width, "high": gap + width})
    for method in ("none", "uva by tau", "scrub", "retrain"):
        for measure, oracle in (("auc", 0.5), ("tpr at 0.1 % fpr", 0.001), ("klom", 0.2)):
            row = {"head": "values", "method": method, "attack": "u-lira", "measure": measure, "oracle": oracle}
            rows.append(row | {"value": oracle + 0.1 * rng.random(), "difference": 0.0, "low": None, "high": None})
    return pl.DataFrame(rows, infer_schema_length=None)


def paid(*, seed=0):
    """What requests cost."""
    rng = np.random.default_rng(seed)
    rows = []
    for head, methods in (("linear", LINEAR[1:]), ("values", [*LINEAR[1:], "uva", "uve"])):
        for method in methods:
            mask = method.startswith("uv")
            seconds = rng.uniform(0.001, 0.01) if mask else rng.uniform(1, 400)
            flops = 0 if mask else int(10 ** rng.uniform(9, 13))
            about = {"class": 0, "name": "cat", "seed": 0, "head": head, "method": method, "digest": "d"}
            rows.append(
                dict.fromkeys(COSTS, None)
                | about
                | {"flops_forward": flops, "flops_backward": 2 * flops, "flops_uncached": 3 * flops + 10**13}
                | {"seconds": seconds, "seconds_least": 0.8 * seconds, "seconds_most": 1.3 * seconds}
                | {"peak_bytes": None if method == "ssd" else 0 if mask else int(10 ** rng.uniform(6, 9))}
            )
    return pl.DataFrame(rows, schema=COSTS, strict=False)
