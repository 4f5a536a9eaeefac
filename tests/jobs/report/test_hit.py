"""Who is hit: the classes that lose most where one is forgotten, counted at every N as a mask is measured."""

import numpy as np
import polars as pl

from jobs.query.measure import measure
from jobs.query.stored import Stored
from jobs.report import hit as module
from jobs.report.along import explored
from jobs.report.hit import hit, losers, order, right_along
from jobs.report.swept import first_seed, read_swept


def test_the_masks_are_those_of_the_sweep(finished):
    stored, swept = Stored(finished), read_swept(finished)
    for method in swept.methods:
        for row in first_seed(swept.of(method)):
            pairs = order(stored, method, row["class"], seed=row["seed"]).mask(row["budget"])
            assert int(pairs.sum()) == row["pairs masked"]


def test_what_is_right_at_each_n_is_what_the_sweep_counted(finished):
    stored, swept = Stored(finished), read_swept(finished)
    for method in swept.methods:
        removal = [order(stored, method, k, seed=0) for k in range(3)]
        grids = [swept.grid(method, k) for k in range(3)]
        right = right_along(stored, removal, grids, range(3))
        for k, grid in enumerate(grids):
            rows = swept.rows.filter(pl.col("method") == method, pl.col("class") == k, pl.col("seed") == 0)
            rows = rows.sort("budget")
            others = np.delete(right[k, : len(grid)], k, axis=1).sum(1)
            assert np.allclose(others, rows["test_retain"] * rows["test_others"])
            assert np.allclose(right[k, : len(grid), k], rows["test_forget"] * rows["test_items"])


def test_before_anything_is_masked_it_is_what_measuring_shows(finished):
    stored = Stored(finished)
    (right,) = right_along(stored, [order(stored, "uva", 0, seed=0)], [[0]], [0])
    classes = measure(stored, np.zeros(stored.size, bool), [0]).classes.sort("class")
    assert right[0].tolist() == classes["test_before"].to_list()


def test_the_losers_are_those_that_lose_the_largest_part_the_class_itself_left_out():
    was, now = np.array([10, 20, 30, 40, 50, 60, 70, 5]), np.array([0, 10, 30, 41, 49, 50, 60, 1])
    items = np.array([10, 20, 40, 50, 50, 100, 100, 5])
    assert losers(was, now, items, forget=0) == [(7, 5, 1), (1, 20, 10), (5, 60, 50), (6, 70, 60), (4, 50, 49)]


def test_the_worst_at_each_n_is_the_worst_neighbour_of_the_sweep(finished):
    stored, swept = Stored(finished), read_swept(finished)
    found = hit(stored, swept)
    assert {method for method, _ in found} == {"uva", "uve"}
    for (method, k), along in found.items():
        rows = swept.rows.filter(pl.col("method") == method, pl.col("class") == k)
        rows = rows.filter(pl.col("seed") == rows["seed"].min()).sort("budget")
        assert len(along) == len(rows)
        for lost, damage in zip(along, rows["neighbour_damage"], strict=True):
            worst = max(((was - now) / swept.items["test"][c] for c, was, now in lost), default=0.0)
            assert np.isclose(worst, max(damage, 0.0))


def test_where_counting_takes_too_long_the_classes_that_cost_most_come_first(finished, monkeypatch):
    stored, swept = Stored(finished), read_swept(finished)
    items = sum(swept.items["test"])
    monkeypatch.setattr(module, "WORK", 2 * items * stored.size[0])
    (one, other) = hit(stored, swept)
    assert one[0] == other[0] == swept.methods[0]
    change = {row["class"]: row["retain change"] for row in first_seed(swept.of(one[0]))}
    assert change[one[1]] == min(change.values())
    rows = explored(swept, {}, hit(stored, swept))["methods"][0]["rows"]
    assert [row["k"] for row in rows if "hit" in row] == sorted((one[1], other[1]))
    assert all(len(row["hit"]) == len(row["n"]) for row in rows if "hit" in row)
