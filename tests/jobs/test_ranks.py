"""Other ranks of Unlearning via Activations: sweep, request and what they say are those of one order."""

import json

import numpy as np
import pytest
import torch

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import read_mask_header
from dkvb.errors import BadBudget
from jobs.errors import BadRequest, BadSpec
from jobs.plan.plan import make_plan
from jobs.query.stored import Stored
from jobs.report.hit import order as report_order
from jobs.results.headline import at_rule
from jobs.results.sweep_tables import TABLES
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from store import arrays
from store.checksums import checked_on_disk
from store.tables import read_table
from tests.jobs.requested import M, counts_of, forget, items_of, mask_of

RANKED = {"sweep.uve": None, "sweep.sets": [["ant", "cat"]]}


@pytest.fixture(scope="module", params=["values", "contrast"])
def ranked(request, run_tiny, images, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param) / "root"
    return run_tiny(root, images, {**RANKED, "sweep.uva.rank": request.param})


def model_of(experiment):
    return Bottleneck.load(experiment.artefact("values").path / "bottleneck.safetensors")


def naive(experiment, rank, *classes, scope="global"):
    """The order, from whole arrays."""
    counts, values = counts_of(experiment), model_of(experiment).values.numpy().astype(np.float64)
    hits = counts[list(classes)].sum(0)
    if rank == "values":
        return orders.by_vote(hits, sum(counts[k] * np.maximum(values[:, :, k], 0) for k in classes), scope=scope)
    return orders.by_contrast(hits, counts.sum(0) - hits, weight=orders.CONTRAST, scope=scope)


def rank_of(experiment):
    return experiment.spec["sweep"]["uva"]["rank"]


def test_a_row_of_the_sweep_is_what_the_model_scores_under_the_mask_of_that_rank(ranked):
    model, rank = model_of(ranked), rank_of(ranked)
    rows = read_table(ranked.artefact("sweep").path / "sweep.parquet")
    assert rows["method"].unique().to_list() == [f"uva-{rank}"]
    moved = 0
    for row in rows.iter_rows(named=True):
        order, k = naive(ranked, rank, row["class"]), row["class"]
        mask = order.mask(row["budget"])
        assert row["pairs_masked"] == int(mask.sum())
        assert row["forget_hit_share"] == pytest.approx(order.ranked[mask].sum() / order.ranked.sum())
        masked = model.masked(torch.from_numpy(mask))
        for split in ("train", "test"):
            z, labels = items_of(ranked, split)
            scores = masked.logits(z)
            best = scores.sort(dim=1).values
            ties = int(((best[:, -1] - best[:, -2]) < 1e-6).sum())
            right = scores.argmax(1) == labels
            for name, items in (("forget", labels == k), ("retain", labels != k)):
                assert abs(row[f"{split}_{name}"] - float(right[items].double().mean())) <= ties + 1e-9
                moved += not ties
    assert moved > 20


def test_the_rule_holds_its_share_of_what_is_ranked_in_sweep_sets_and_requests(ranked):
    rank = rank_of(ranked)
    rows = at_rule(read_table(ranked.artefact("sweep").path / "sweep.parquet"))
    for row in rows.iter_rows(named=True):
        assert row["budget"] == naive(ranked, rank, row["class"]).smallest(orders.TAU)
    assert len(rows) == 3
    sets = read_table(ranked.artefact("sets").path / "sets.parquet")
    (budget,) = sets.filter("rule")["budget"]
    assert budget == naive(ranked, rank, 0, 2).smallest(orders.TAU)
    assert sets["method"].unique().to_list() == [f"uva-{rank}"]


def test_tables_name_the_rank(ranked):
    for name in ("summary", "classes", "sweep"):
        assert TABLES[name](ranked)["method"].unique().to_list() == [f"uva-{rank_of(ranked)}"]


def test_questions_and_reports_take_the_order_of_the_sweep(ranked):
    stored, expected = Stored(ranked), naive(ranked, rank_of(ranked), 1)
    np.testing.assert_array_equal(stored.rule_mask([1]), expected.mask(expected.smallest(orders.TAU)))
    found = report_order(stored, f"uva-{rank_of(ranked)}", 1, seed=0)
    np.testing.assert_array_equal(found.position, expected.position)


@pytest.mark.parametrize("scope", orders.SCOPES)
@pytest.mark.parametrize("rank", ["values", "contrast"])
def test_the_mask_of_a_request_is_that_of_the_rank_and_says_so(rank, scope, own):
    for classes in (["bee"], ["ant", "cat"]):
        done = forget(own, *classes, rank=rank, scope=scope, share=0.7)
        order = naive(own, rank, *(own.classes.index(name) for name in classes), scope=scope)
        mask = mask_of(done).numpy()
        np.testing.assert_array_equal(mask, order.mask(done.spec.budget))
        if scope == "global":
            assert done.spec.budget == order.smallest(0.7)
        else:
            held = np.where(mask, order.ranked, 0).sum(1)
            assert (held >= 0.7 * order.ranked.sum(1) - 1e-6).all()
        hits = counts_of(own)[[own.classes.index(name) for name in classes]].sum(0)
        assert done.effect.forget_hit_share == pytest.approx(hits[mask].sum() / hits.sum())
        with checked_on_disk(done_path(own, done, "mask.safetensors")) as file:
            assert read_mask_header(file)["method"] == f"uva-{rank}"
        assert model_header(done)["unlearned"]["method"] == f"uva-{rank}"
        assert f"(uva-{rank}, N = {done.spec.budget}" in as_text(done)


def done_path(experiment, done, name):
    return experiment.root / "unlearned" / done.mask.split("/")[-2] / name


def model_header(done):
    return Bottleneck.load(done.checkpoint).header


def test_without_a_rank_a_request_takes_that_of_the_sweep_and_activations_stay_what_they_were(ranked, own, finished):
    plain, named = forget(own, "bee"), forget(own, "bee", rank="activations")
    assert plain.spec == named.spec
    assert plain.spec.method == "uva"
    done = unlearn(ranked, Request(classes=["bee"]), measured=False)
    assert done.spec.method == f"uva-{rank_of(ranked)}"
    assert done.spec.budget == naive(ranked, rank_of(ranked), 1).smallest(orders.TAU)
    assert "of what is ranked" in as_text(done)
    assert finished.rank == "activations"


def test_log_and_certificate_name_the_rank(own, dkvb):
    ended = dkvb("unlearn", own.root, "--class", "bee", "--rank", "values", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["method"] == "uva-values"
    assert "uva-values N = " in dkvb("log", own.root).out
    (path,) = own.root.glob("unlearned/*/certificate.json")
    assert json.loads(path.read_text())["certificate"]["request"]["method"] == "uva-values"
    assert dkvb("status", own.root, "--verify").code == 0


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"rank": "value"}, "rank: found 'value', expected one of activations, values, contrast"),
        ({"rank": "values", "method": "uve"}, "uve ranks examples, not pairs"),
    ],
)
def test_a_rank_that_cannot_be_is_refused(asked, text, own):
    with pytest.raises(BadRequest, match=text):
        forget(own, "bee", **asked)


def test_more_than_a_rank_can_take_and_a_rank_by_which_nothing_goes_are_refused(own, monkeypatch):
    available = naive(own, "values", 1).available
    with pytest.raises(BadBudget, match=f"larger than the {available} pairs"):
        forget(own, "bee", rank="values", budget=available + 1)
    monkeypatch.setattr("jobs.classes.total_hits", lambda counts: np.full(counts.shape[1:], 10**6))
    with pytest.raises(BadRequest, match="rank: found 'contrast', by which no pair"):
        forget(own, "bee", rank="contrast", share=0.5)
    assert not (own.root / "unlearned").exists()


def test_a_rank_enters_digests_only_where_the_spec_sets_one(make_spec, images):
    plan = {
        rank: make_plan(make_spec({"sweep.uva.rank": rank} if rank else {}), str(images)).digests()
        for rank in (None, *orders.RANKS)
    }
    assert plan[None] == plan["activations"]
    for rank in ("values", "contrast"):
        assert {label for label in plan[None] if plan[None][label] != plan[rank][label]} == {"sweep"}
    assert plan["values"]["sweep"] != plan["contrast"]["sweep"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sweep.uva.rank": "value"}, "sweep.uva.rank: found 'value', expected \"activations\""),
        (
            {"sweep.uva": {"pairs": [3], "rank": "values"}},
            "sweep.uva.pairs: found numbers of pairs and rank = 'values'",
        ),
        ({"sweep.uva.rank": "values", "compare": {}}, "sweep.uva.rank: \\[compare\\] ranks pairs in ways of its own"),
    ],
)
def test_a_mistake_of_the_spec_is_told(changes, text, make_spec):
    with pytest.raises(BadSpec, match=text):
        make_spec(changes)


def test_the_rows_that_values_are_read_of_are_those_that_the_class_hits(own):
    with Stored(own).values() as values:
        assert values.shape == (11, M, 3)
    assert (arrays.read(own.artefact("counts").data, "counts")[1] == 0).any()
