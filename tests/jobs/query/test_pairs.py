"""Questions about pairs, against the sweep and against counting by hand."""

import numpy as np
import polars as pl
import pytest

from dkvb.overlap import exclusivity, jaccard
from jobs.errors import BadRequest
from jobs.query import pairs
from jobs.query.stored import Stored
from jobs.results.headline import sweep_table


@pytest.fixture
def stored(finished):
    return Stored(finished)


def test_what_a_mask_costs_is_what_the_sweep_saw(stored, finished):
    swept = sweep_table(finished).filter(method="uva", **{"class": 0})
    mask = stored.rule_mask([0])
    row = swept.filter(pl.col("pairs_masked") == int(mask.sum())).row(0, named=True)
    others = pairs.collateral(stored, mask).filter(pl.col("class") != 0)
    assert others["lost"].sum() == row["test_retain_lost"]
    assert others["gained"].sum() == row["test_retain_gained"]
    own = pairs.collateral(stored, mask).filter(pl.col("class") == 0).row(0, named=True)
    assert own["hit_share"] == pytest.approx(row["forget_hit_share"])
    assert own["right_after"] / own["test_items"] == pytest.approx(row["test_forget"])


def test_without_a_mask_nothing_is_lost(stored):
    table = pairs.collateral(stored, np.zeros(stored.size, bool))
    assert table.select("hit_share", "redirected", "lost", "gained").sum().row(0) == (0, 0, 0, 0)
    assert table["right_before"].equals(table["right_after"], check_names=False)


def test_confusion_adds_up(stored):
    table = pairs.confusion(stored, stored.rule_mask([1]))
    labels = stored.labels("test")
    for column in ("before", "after"):
        per_class = table.group_by("class").agg(pl.col(column).sum()).sort("class")[column].to_list()
        assert per_class == np.bincount(labels[labels >= 0], minlength=len(stored.classes)).tolist()
    assert table["change"].sum() == 0
    right = table.filter(pl.col("class") == pl.col("predicted"))
    by_class = pairs.collateral(stored, stored.rule_mask([1]))
    assert right["after"].sum() == by_class["right_after"].sum()
    assert pairs.confusion(stored)["before"].sum() == (labels >= 0).sum()


def test_keys_say_what_their_values_say(stored):
    rows = pairs.keys(stored, 0, limit=5)
    with stored.values() as values:
        for row in rows.iter_rows(named=True):
            fetched = values[row["codebook"], row["key"]]
            assert row["value"] == fetched[0]
            assert row["favours"] == stored.classes[fetched.argmax()]


def test_a_pair_that_is_none_is_refused(stored):
    c, m = stored.size
    for j, i in ((c, 0), (0, m), (-1, 0)):
        with pytest.raises(BadRequest, match="no pair"):
            pairs.pair_classes(stored, j, i)
    assert pairs.pair_classes(stored, 0, 0)["count"].sum() == stored.activations.of_codebook(0)[:, 0].sum()


def test_two_classes_and_all_of_them_agree(stored):
    two = pairs.overlap(stored, 0, 2).row(0, named=True)
    table = pairs.overlaps(stored)
    row = table.filter(pl.col("class") == 0, pl.col("other") == 2).row(0, named=True)
    assert row["shared"] == two["shared"]
    assert row["jaccard"] == pytest.approx(two["jaccard"])
    assert row["weighted"] == pytest.approx(two["weighted"])
    hits = [stored.activations.of_class(k) for k in range(len(stored.classes))]
    assert two["jaccard"] == jaccard(hits[0], hits[2])
    alone = table.filter(pl.col("class") == pl.col("other"))["exclusive"].to_list()
    assert alone == pytest.approx([exclusivity(own, sum(hits)) for own in hits])
