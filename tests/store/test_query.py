"""Questions to counts, against counting by hand."""

import numpy as np
import polars as pl
import pytest

from store import arrays
from store.query import open_activations

NAMES = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture
def counts():
    """(v, c, m) hits; pair (0, 0) is shared by all, pair (1, 2) is hit by none."""
    gen = np.random.default_rng(0)
    made = gen.integers(0, 5, (5, 3, 8)) * (gen.random((5, 3, 8)) < 0.5)
    made[:, 0, 0] = [5, 4, 3, 2, 1]
    made[:, 1, 2] = 0
    return made.astype(np.uint16)


@pytest.fixture
def activations(counts, tmp_path):
    for name in ("counts", "counts_by_codebook"):
        arrays.create(tmp_path, name, counts.shape, dtype="uint16")
    arrays.write(tmp_path, "counts", counts)
    arrays.write(tmp_path, "counts_by_codebook", counts)
    return open_activations(tmp_path, NAMES)


def test_the_keys_of_a_class_are_its_hits(activations, counts):
    rows = activations.keys(2)
    assert len(rows) == np.count_nonzero(counts[2])
    assert rows["count"].is_sorted(descending=True)
    assert rows["share"].sum() == pytest.approx(1)
    for row in rows.iter_rows(named=True):
        column = counts[:, row["codebook"], row["key"]].astype(int)
        assert row["count"] == column[2]
        assert row["classes"] == np.count_nonzero(column)
        assert row["others"] == column.sum() - column[2]
    (shared,) = rows.filter(codebook=0, key=0)["shared_with"]
    assert shared == "ant 5, bee 4, dog 2"


def test_a_limit_is_the_head_of_all(activations):
    assert activations.keys(1, limit=3).equals(activations.keys(1).head(3))


def test_the_classes_of_a_pair_are_who_hits_it(activations):
    rows = activations.pair(0, 0)
    assert rows["name"].to_list() == NAMES
    assert rows["count"].to_list() == [5, 4, 3, 2, 1]
    assert rows["share"][0] == pytest.approx(5 / 15)
    assert activations.pair(1, 2).is_empty()


def test_codebook_load_is_told_by_hand(activations, counts):
    rows = activations.load()
    for j, row in enumerate(rows.iter_rows(named=True)):
        hits = counts[:, j].sum(0).astype(float)
        p = hits[hits > 0] / hits.sum()
        assert row["used"] == len(p)
        assert row["unused"] == 8 - len(p)
        assert row["largest_share"] == pytest.approx(p.max())
        assert row["effective"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
        alone = (counts[:, j] > 0).sum(0) == 1
        assert row["exclusive_share"] == pytest.approx(hits[alone].sum() / hits.sum())


def test_keys_that_are_hit_alike_are_all_effective(tmp_path):
    counts = np.ones((2, 1, 4), np.uint16)
    for name in ("counts", "counts_by_codebook"):
        arrays.create(tmp_path, name, counts.shape, dtype="uint16")
        arrays.write(tmp_path, name, counts)
    row = open_activations(tmp_path, NAMES[:2]).load()
    assert row.equals(
        pl.DataFrame(
            {
                "codebook": [0],
                "used": [4],
                "unused": [0],
                "effective": [4.0],
                "largest_share": [0.25],
                "exclusive_share": [0.0],
            }
        )
    )
