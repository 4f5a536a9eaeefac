"""The headline against small frames worked out by hand, and a real sweep against a plain masked forward pass."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import binomtest

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.membership import membership_scores
from dkvb.orders import TAU
from dkvb.roc import auc
from jobs.results.headline import (
    FORGOTTEN,
    KNOWN,
    NEVER_KNOWN,
    NO_ITEMS,
    NOT_REACHED,
    at_rule,
    before,
    by_class,
    item_changes,
    sweep_table,
)
from jobs.results.sweep_tables import TABLES, headline
from store import arrays
from store.columns import SWEEP_3, SWEEP_ITEMS
from store.layout import SWEEP_ITEMS_TABLE
from store.tables import read_table, write_table
from tests.jobs.results.sweeps import class_rows, frame, row


def test_a_class_is_shown_at_the_first_budget_that_holds_the_share_of_the_rule():
    rows = [
        row("a", 0, 0.8, 0.7),
        row("a", 2, 0.0, 0.72),  # gone from the test items, and not where the rule looks
        row(
            "a", 5, 0.004, 0.65, train_forget=0.003, test_retain_lost=150, test_retain_gained=50, neighbour_damage=0.125
        ),
        row("a", 7, 0.0, 0.6),
    ]
    (found,) = by_class(frame(rows)).to_dicts()
    assert found["budget"] == 5
    assert (found["train right"], found["train items"]) == (3, 1000)
    assert (found["test right"], found["test items"]) == (2, 500)
    assert found["outcome"] == FORGOTTEN
    assert found["test before"] == pytest.approx(80.0)
    assert found["retain change"] == pytest.approx(-5.0)
    assert found["among retain change"] == pytest.approx(-5.0)
    assert found["neighbour damage"] == pytest.approx(12.5)
    assert (found["its lost items"], found["its test items"], found["worst other"]) == (5, 40, "a")
    assert (found["train right before"], found["test right before"]) == (800, 400)
    # 150 lost, 50 gained of 2000: variance (200 - 100^2 / 2000) / 2000^2.
    assert found["retain change ± 95 % over items"] == pytest.approx(100 * 1.959963984540054 * 195**0.5 / 2000)
    for split, right, items in (("train", 3, 1000), ("test", 2, 500)):
        exact = binomtest(right, items).proportion_ci(0.95, method="exact")
        assert found[f"{split} 95 % low"] == pytest.approx(100 * exact.low)
        assert found[f"{split} 95 % high"] == pytest.approx(100 * exact.high)


@pytest.mark.parametrize(
    ("test", "train", "outcome"),
    [
        ((0.8, 0.005), (1.0, 0.005), FORGOTTEN),
        ((0.8, 0.0), (1.0, 0.006), KNOWN),
        ((0.8, 0.006), (1.0, 0.0), KNOWN),
        ((0.0, 0.0), (1.0, 0.0), NEVER_KNOWN),
    ],
)
def test_forgotten_means_gone_from_training_and_from_test_items(test, train, outcome):
    assert by_class(frame(class_rows("a", test=test, train=train)))["outcome"].to_list() == [outcome]


def test_a_class_without_test_items_is_said_to_have_none():
    (found,) = by_class(frame(class_rows("a", test=(None, None), test_items=0))).to_dicts()
    assert found["outcome"] == NO_ITEMS
    assert (found["test after"], found["test 95 % high"]) == (None, None)


def test_a_grid_that_stops_short_of_the_rule_is_said_to():
    rows = [row("a", 0, 0.8, 0.7), row("a", 9, 0.0, 0.7, forget_hit_share=0.9499)]
    (found,) = by_class(frame(rows)).to_dicts()
    assert found["outcome"] == NOT_REACHED
    assert {found[name] for name in ("budget", "test after", "train right", "retain change")} == {None}


def test_the_order_of_the_rows_does_not_matter():
    rows = frame(class_rows("a") + class_rows("b", test=(0.7, 0.2)))
    assert by_class(rows).equals(by_class(rows.reverse()))


def test_methods_and_seeds_are_kept_apart():
    uve = [{**one, "method": "uve", "seed": seed} for one in class_rows("a") for seed in (0, 3)]
    found = by_class(frame(class_rows("a") + uve))
    assert found.select("method", "seed").rows() == [("uva", 0), ("uve", 0), ("uve", 3)]


# A real sweep.


def model_and_items(experiment, split):
    path = experiment.artefact(f"embeddings[{split}]").data
    z, labels = (torch.from_numpy(arrays.read_shards(path, name)) for name in ("embeddings", "labels"))
    return Bottleneck.load(experiment.artefact("values").path / "bottleneck.safetensors"), z, labels.long()


def test_the_grid_holds_the_rule_s_n_of_every_class_and_seed(finished):
    rows = sweep_table(finished)
    counts = arrays.read(finished.artefact("counts").data, "counts").astype("int64")
    codes = arrays.read(finished.artefact("codes[train]").data, "codes")
    labels = arrays.read_shards(finished.artefact("embeddings[train]").data, "labels")
    for one in at_rule(rows).to_dicts():
        k = one["class"]
        if one["method"] == "uva":
            order = orders.by_activation(counts[k])
        else:
            order = orders.by_example(codes[labels == k], counts[k], seed=one["seed"])
        shares = [orders.hit_share(counts[k], order.mask(n)) for n in range(one["budget"] + 1)]
        assert shares[-1] >= TAU - 1e-9 > shares[-2]
        assert one["forget_hit_share"] == pytest.approx(shares[-1])
    assert at_rule(rows).height == 3 + 3 * 2


def test_items_lost_and_gained_are_those_of_the_masked_model(finished):
    model, z, labels = model_and_items(finished, "test")
    counts = arrays.read(finished.artefact("counts").data, "counts").astype("int64")
    right = model.logits(z).argmax(1) == labels
    added = np.zeros(len(labels))
    for one in at_rule(sweep_table(finished)).filter(pl.col("method") == "uva").to_dicts():
        mask = orders.by_activation(counts[one["class"]]).mask(one["budget"])
        now, others = model.masked(torch.from_numpy(mask)).logits(z).argmax(1) == labels, labels != one["class"]
        assert one["test_retain_lost"] == int((right & ~now & others).sum())
        assert one["test_retain_gained"] == int((now & ~right & others).sum())
        assert one["test_others"] == int(others.sum())
        added += ((now.double() - right.double()) * others / others.sum()).numpy()
    changes = changes_of(finished).filter(pl.col("method") == "uva")
    np.testing.assert_allclose(np.bincount(changes["item"], changes["change"], len(labels)), added, atol=1e-12)


def changes_of(experiment):
    """What masks change of each item, where the sweep has written it."""
    changes = item_changes(experiment)
    assert changes is not None
    return changes


def test_what_the_items_add_is_the_sum_of_the_retain_changes(finished):
    changes = changes_of(finished).group_by("method", "seed").agg(pl.col("change").sum())
    classes = by_class(sweep_table(finished)).filter(pl.col("test before") > 0)
    for method, seed, added in changes.rows():
        own = classes.filter(pl.col("method") == method, pl.col("seed") == seed)
        assert 100 * added == pytest.approx(own["retain change"].sum())


def test_the_model_before_is_measured_once_and_kept(finished):
    found, scores = before(finished), {}
    for split, items in (("train", [11, 13, 17]), ("test", [7, 3, 5])):
        model, z, labels = model_and_items(finished, split)
        logits = model.logits(z)
        assert found.items[split] == items
        assert found.accuracy[split] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
        scores[split] = membership_scores(logits, labels)["loss"]
    assert found.membership_auc == pytest.approx(auc(scores["train"], scores["test"]), abs=1e-9)
    assert finished.artefact("sweep").marks()["before"]["items"] == found.items


def test_seconds_are_of_the_sweep_alone_however_cold_the_process(finished):
    rows = sweep_table(finished)
    assert (rows["seconds"] < 1).all()  # compilation takes more than 5


@pytest.fixture
def old(own, unsealed):
    """The same root as version 3 of the sweep left it, with what it wrote where there was nothing to measure."""
    unsealed(own.root)
    artefact = own.artefact("sweep")
    rows = read_table(artefact.path / "sweep.parquet").select(list(SWEEP_3))
    rows = rows.with_columns(
        pl.when(pl.col("class") == 0)
        .then(float("nan"))
        .otherwise("test_forget_relative")
        .alias("test_forget_relative"),
        pl.when(pl.col("class") == 0).then(float("-inf")).otherwise("neighbour_damage").alias("neighbour_damage"),
    )
    write_table(artefact.path / "sweep.parquet", rows.filter(pl.col("class") + pl.col("budget") != 5))
    (artefact.path / SWEEP_ITEMS_TABLE).unlink()
    (artefact.path / "units" / "before.json").unlink()
    for name, change in (
        ("spec.json", lambda said: said | {"version": 3}),
        ("provenance.json", lambda said: said | {"facts": {k: said["facts"][k] for k in ("rows", "accuracy")}}),
    ):
        path = artefact.path / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return own


def test_a_sweep_of_an_earlier_version_is_still_read(old, finished):
    found, now = before(old), before(finished)
    assert found.items == now.items
    assert found.accuracy == now.accuracy
    assert found.membership_auc is None
    assert "unknown" in headline(old)
    rows = sweep_table(old)
    ants = rows.filter(pl.col("class") == 0)
    assert ants["neighbour_damage"].null_count() == ants["worst_neighbour"].null_count() == ants.height
    assert ants["test_forget_relative"].null_count() == ants.height
    assert rows["test_retain_lost"].null_count() == rows.height
    assert item_changes(old) is None
    for table in TABLES.values():
        for column in table(old).select(pl.selectors.float()):
            assert column.drop_nulls().is_finite().all()
    assert TABLES["summary"](old)["retain change ± 95 % over test items"].to_list() == [None, None]


def test_the_table_of_item_changes_has_its_columns(finished):
    table = read_table(finished.artefact("sweep").path / SWEEP_ITEMS_TABLE, SWEEP_ITEMS)
    assert table["change"].is_finite().all()
    assert (table["change"] != 0).all()
