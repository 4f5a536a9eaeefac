"""Small sweep tables, for tests that work their results out by hand."""

from typing import Any

import polars as pl

from dkvb.orders import TAU
from store.columns import SWEEP

SCHEMA: dict[str, Any] = {
    **SWEEP,
    **dict.fromkeys(("train_items", "test_items", "test_others", "worst_neighbour_items"), pl.Int64),
    "worst_neighbour_name": pl.String,
    "seconds": pl.Float64,
}


def row(name, budget, forget, retain, *, method="uva", **more):
    """A row of the sweep with accuracies on the test split, the rest filled in: N = 5 holds the share of the rule."""
    plain: dict[str, object] = dict.fromkeys(SCHEMA, 0.0)
    plain |= {"class": "abcd".index(name), "name": name, "method": method, "seed": 0, "budget": budget}
    plain |= {"share": budget / 10, "pairs_masked": 2 * budget, "pairs_masked_share": budget / 200}
    plain |= {"worst_neighbour": 0, "worst_neighbour_name": "a", "worst_neighbour_items": 40}
    plain |= {"digest": "d", "forget_hit_share": min(1.0, budget / 5 * TAU)}
    plain |= {"test_forget": forget, "test_retain": retain, "test_retain_among_retain": retain + 0.01}
    plain |= {"train_forget": forget, "train_items": 1000, "test_items": 500, "test_others": 2000, "seconds": 0.25}
    plain |= {"test_retain_lost": 0, "test_retain_gained": 0}
    return plain | more


def class_rows(name, *, test=(0.8, 0.0), train=(1.0, 0.0), retain=(0.7, 0.7), **more):
    """A class before, and at the rule's N."""
    return [
        row(name, budget, forget, kept, **(more | {"train_forget": trained}))
        for budget, forget, trained, kept in zip((0, 5), test, train, retain, strict=True)
    ]


def frame(rows):
    return pl.DataFrame(rows, schema=SCHEMA, strict=False)
