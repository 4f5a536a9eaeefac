"""Methods and attacks of two experiments, paired by class and seed."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dkvb.statistics import paired_bootstrap
from jobs.diff import diff
from jobs.diff_methods import compared_attacks, compared_methods, groups, paired, texts, told_apart


def rows(values, *, method="uva", first_seed=0):
    """values: (classes, seeds)."""
    table = np.asarray(values, float)
    cells = [
        {"class": k, "seed": first_seed + seed, "head": "values", "method": method, "x": table[k, seed]}
        for k in range(table.shape[0])
        for seed in range(table.shape[1])
    ]
    return pl.DataFrame(cells)


A = [[0.5, 0.25], [0.75, 1.0], [0.25, 0.5]]
B = [[0.25, 0.25], [0.5, 0.75], [0.5, 0.0]]


def test_the_difference_is_b_less_a_with_the_interval_of_the_pairs():
    found = paired([rows(A), rows(B)], "x", 100)
    expected = paired_bootstrap(100 * np.array(B), 100 * np.array(A), seed=0)
    assert found == {
        "classes": 3,
        "seeds": 2,
        "a": pytest.approx(100 * np.mean(A)),
        "b": pytest.approx(100 * np.mean(B)),
        "difference": pytest.approx(expected.mean),
        "low": expected.low,
        "high": expected.high,
    }


def test_only_what_both_have_is_paired():
    found = paired([rows(A).filter(pl.col("class") != 0), rows(B)], "x", 1)
    assert found is not None
    assert (found["classes"], found["a"]) == (2, pytest.approx(np.mean(A[1:])))
    hole = rows(A).with_columns(pl.when(pl.col("class") == 1, pl.col("seed") == 0).then(None).otherwise("x").alias("x"))
    holed = paired([hole, rows(B)], "x", 1)
    assert holed is not None
    assert "low" not in holed, "classes and seeds do not cross"
    assert holed["difference"] == pytest.approx(np.mean([b - a for a, b in zip(flat(A), flat(B), strict=True)]))
    assert paired([rows(A), rows(B).with_columns(pl.lit(None, pl.Float64).alias("x"))], "x", 1) is None


def flat(values):
    return [v for i, v in enumerate(np.ravel(values).tolist()) if i != 2]  # class 1, seed 0


def test_without_a_seed_in_common_classes_are_paired_at_their_means():
    found = paired([rows(A), rows(B, first_seed=7)], "x", 1)
    expected = paired_bootstrap(np.mean(B, 1)[:, None], np.mean(A, 1)[:, None], seed=0)
    assert found is not None
    assert (found["seeds"], found["low"], found["high"]) == (0, expected.low, expected.high)


def test_groups_are_those_that_both_have():
    one = pl.concat([rows(A), rows(A, method="scrub")])
    assert [key for key, _ in groups([one, rows(B)], ("head", "method"))] == [("values", "uva")]


def test_what_differs_comes_largest_first():
    table = pl.DataFrame({"difference": [0.1, -0.5, 0.2], "low": [-0.1, -0.9, 0.1], "high": [0.3, -0.2, 0.3]})
    assert told_apart(table)["difference"].to_list() == [-0.5, 0.2]


def test_experiments_that_compared_nothing_say_so(finished):
    assert compared_methods(finished, finished) is None
    assert compared_attacks(finished, finished) is None
    assert "there is no more to pair" in texts(None, None)[0]
    made = diff(finished, finished)
    assert made.to_json()["methods"] is None
    assert "[compare]" in replace(made, changed=["values"]).text()
