"""Laws of sets of classes that are forgotten together, on the tiny experiment."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadBudget
from dkvb.orders import TAU, by_example
from jobs import forget_sets
from jobs.results.headline import at_rule, sweep_table
from jobs.results.sets_tables import sets_rows
from jobs.unlearn import Request, make_mask
from store import arrays
from store.columns import SETS, SWEEP
from store.layout import CHECKPOINT
from tests.dkvb import naive

ASKED = {
    "sweep.sets": [["ant", "bee"], ["cat"]],
    "sweep.sizes": [1, 2],
    "sweep.draws": 5,
    "sweep.uva.scope": "per-codebook",
}
MEASURED = [name for name in SETS if name in SWEEP and name != "digest"]


@pytest.fixture(scope="module")
def done(run_tiny, images, tmp_path_factory):
    """The tiny experiment with sets, run once in this process."""
    return run_tiny(tmp_path_factory.mktemp("sets") / "root", images, ASKED)


@pytest.fixture(scope="module")
def rows(done):
    return sets_rows(done)


def labels_of(done, split):
    return arrays.read_shards(done.artefact(f"embeddings[{split}]").data, "labels")


def embeddings_of(done, split):
    return arrays.read_shards(done.artefact(f"embeddings[{split}]").data, "embeddings")


def test_every_row_leads_to_its_members(rows, done):
    for row in rows.iter_rows(named=True):
        members = json.loads(row["members"])
        assert len(members) == row["size"]
        assert json.loads(row["names"]) == [done.classes[k] for k in members]
        for split in ("train", "test"):
            assert row[f"{split}_items"] == np.isin(labels_of(done, split), members).sum()
    assert rows["digest"].unique().to_list() == [done.steps["sets"]]
    named = rows.filter(pl.col("draw").is_null())
    assert named.select("set", "members").unique().sort("set").rows() == [(0, "[0, 1]"), (1, "[2]")]
    assert rows.filter(pl.col("draw").is_not_null())["set"].n_unique() == 10


def test_a_set_of_one_class_is_that_class_s_row_of_the_sweep(rows, done):
    swept = sweep_table(done)
    single = rows.filter(pl.col("size") == 1)
    assert single["members"].n_unique() == 3
    keys = ["method", "seed", "budget"]
    for (number,), own in single.group_by("set"):
        (k,) = json.loads(own["members"][0])
        of_class = swept.filter(pl.col("class") == k).select(MEASURED).sort(keys)
        assert_frame_equal(own.select(MEASURED).sort(keys), of_class, check_exact=True), number
        ruled = at_rule(swept).filter(pl.col("class") == k).sort("method", "seed")["budget"].to_list()
        assert own.filter("rule").sort("method", "seed")["budget"].to_list() == ruled


def masked_by(done, row):
    """The pairs of a row: the most activated by the whole set, or those of the first N examples of each class."""
    counts = arrays.read(done.artefact("counts").data, "counts")
    members = json.loads(row["members"])
    if row["method"] == "uva":
        hits = counts[members].sum(0, dtype=np.int64)
        return naive.activation_mask(hits, row["budget"], "per-codebook")
    codes, labels = arrays.read(done.artefact("codes[train]").data, "codes"), labels_of(done, "train")
    mask = np.zeros(counts.shape[1:], bool)
    for k in members:
        own = codes[labels == k]
        mask |= by_example(own, counts[k].astype(np.int64), seed=row["seed"]).mask(row["budget"])
    return mask


def test_rows_are_what_masking_the_pairs_gives_the_plain_model(rows, done):
    model = Bottleneck.load(done.artefact("values").path / CHECKPOINT)
    chosen = rows.filter(pl.col("size") == 2, pl.col("set") < 6)
    assert {*chosen["method"]} == {"uva", "uve"}
    before: dict[tuple[int, str, int], np.ndarray] = {}
    compared = 0
    for row in chosen.iter_rows(named=True):
        mask, members = masked_by(done, row), json.loads(row["members"])
        assert mask.sum() == row["pairs_masked"]
        masked = model.masked(torch.from_numpy(mask))
        for split in ("test", "train"):
            z, labels = embeddings_of(done, split), labels_of(done, split)
            logits = masked.logits(torch.from_numpy(z)).numpy()
            two = np.sort(logits, axis=1)[:, -2:]
            if (two[:, 1] - two[:, 0] < 1e-6).any():  # these may fall either way by the order of summation
                continue
            among = logits.copy()
            among[:, members] = -np.inf
            gone, right = np.isin(labels, members), logits.argmax(1) == labels
            assert row[f"{split}_forget"] == right[gone].mean()
            assert row[f"{split}_retain"] == right[~gone].mean()
            assert row[f"{split}_retain_among_retain"] == (among.argmax(1) == labels)[~gone].mean()
            compared += 1
            if split == "test":
                was = before.setdefault((row["set"], row["method"], row["seed"]), right)
                assert row["test_retain_lost"] == (was & ~right)[~gone].sum()
                assert row["test_retain_gained"] == (~was & right)[~gone].sum()
    assert compared > len(chosen)
    assert chosen.filter(pl.col("budget") > 0)["test_forget"].n_unique() > 2


def test_the_grid_of_a_set_holds_the_n_of_the_rule(rows, done):
    ruled = rows.filter("rule")
    assert len(ruled) == 12 * 3  # uva, and uve with two seeds
    assert (ruled["forget_hit_share"] >= TAU - 1e-9).all()
    below = rows.join(ruled.select("set", "method", "seed", at="budget"), on=["set", "method", "seed"])
    below = below.filter(pl.col("budget") < pl.col("at"))
    assert (below["forget_hit_share"] < TAU).all()
    row = ruled.filter(pl.col("set") == 0, pl.col("method") == "uva").row(0, named=True)
    request = Request(classes=["ant", "bee"], scope="per-codebook", budget=row["budget"])
    mask, effect = make_mask(done, request, {0: "ant", 1: "bee"})
    assert (effect.pairs_masked, effect.forget_hit_share) == (row["pairs_masked"], row["forget_hit_share"])
    assert mask.sum() == row["pairs_masked"]


def test_blocks_of_any_size_give_the_same_table(rows, own, run_tiny, images, tmp_path, monkeypatch):
    monkeypatch.setattr(forget_sets, "UNITS", 3)
    other = run_tiny(own.root, images, ASKED)
    assert other.artefact("sets").units() == [f"{i:05d}" for i in range(3)]
    keys = ["set", "method", "seed", "budget"]
    assert_frame_equal(sets_rows(other).sort(keys), rows.sort(keys), check_exact=True)


def test_each_false_leaves_only_the_sets(own, run_tiny, images, dkvb):
    only = run_tiny(own.root, images, ASKED | {"sweep.each": False, "name": "only"})
    assert only.artefact("sweep").units() == ["before"]
    assert sweep_table(only).is_empty()
    assert not sets_rows(only).is_empty()
    for name in ("summary", "classes", "sweep", "sets", "sets_rows"):
        ended = dkvb("table", own.root, "--experiment", "only", "--table", name, "--format", "json")
        assert ended.code == 0, ended.err
        assert (ended.out == "[]\n") == (name not in ("sets", "sets_rows"))
    assert dkvb("report", own.root, "--experiment", "only", "-o", own.root.parent / "report.html").code == 0


def test_a_run_of_sets_alone_ends_with_their_table(dkvb, run_words, own, images):
    ended = dkvb(*run_words(ASKED | {"sweep.each": False, "name": "only"}, root=own.root, images=images))
    assert ended.code == 0, ended.err
    assert "Each class is forgotten by itself" not in ended.out
    assert f"dkvb table {own.root} --table sets --experiment only" in ended.out


def test_more_pairs_than_a_set_activates_are_refused(own, run_tiny, images):
    changes = {"sweep.uva": {"pairs": [1, 143]}, "sweep.sets": [["ant", "bee"]], "sweep.each": False}
    with pytest.raises(BadBudget, match="pairs that classes 'ant', 'bee' activate: give at most"):
        run_tiny(own.root, images, changes)
