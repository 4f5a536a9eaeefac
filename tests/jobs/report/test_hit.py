"""Who is hit: the classes that lose most where one is forgotten, counted from stored codes as a mask is measured."""

import polars as pl

from jobs.query.measure import measure
from jobs.query.stored import Stored
from jobs.report import hit as module
from jobs.report.along import explored
from jobs.report.hit import hit, mask
from jobs.report.swept import first_seed, read_swept


def test_the_masks_are_those_of_the_sweep(finished):
    stored, swept = Stored(finished), read_swept(finished)
    for method in swept.methods:
        for row in first_seed(swept.of(method)):
            pairs = mask(stored, method, row["class"], n=row["budget"], seed=row["seed"])
            assert int(pairs.sum()) == row["pairs masked"]


def test_the_losers_are_those_that_measuring_the_same_mask_shows(finished, monkeypatch):
    stored, swept = Stored(finished), read_swept(finished)

    def harsh(stored, method, k, **_):
        return stored.activations.of_class((k + 1) % 3) > 0

    monkeypatch.setattr(module, "mask", harsh)
    found = hit(stored, swept)
    assert {method for method, _ in found} == {"uva", "uve"}
    for (method, k), losers in found.items():
        classes = measure(stored, harsh(stored, method, k), [k]).classes.filter(pl.col("class") != k)
        rows = classes.select("class", "test_before", "test_after").iter_rows()
        assert losers
        assert {c: (was, now) for c, was, now in losers} == {c: (was, now) for c, was, now in rows if now < was}
        parts = [(was - now) / swept.items["test"][c] for c, was, now in losers]
        assert parts == sorted(parts, reverse=True)


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
