"""What a mask did, against the sweep that saw the same mask."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from dkvb.bottleneck import Bottleneck
from jobs.errors import BadRequest
from jobs.query.measure import measure
from jobs.query.outcome import Outcome, log_probability
from jobs.query.stored import Stored
from jobs.results.headline import sweep_table
from jobs.step import SPLITS
from store import arrays
from store.layout import CHECKPOINT


@pytest.fixture
def stored(finished):
    return Stored(finished)


def test_it_measures_what_the_sweep_saw(stored, finished):
    mask = stored.rule_mask([2])
    swept = sweep_table(finished).filter(method="uva", **{"class": 2})
    then = swept.filter(budget=0).row(0, named=True)
    now = swept.filter(pl.col("pairs_masked") == int(mask.sum())).row(0, named=True)
    done = measure(stored, mask, [2])
    for split in SPLITS:
        assert done.forget[split].before.accuracy == pytest.approx(then[f"{split}_forget"])
        assert done.forget[split].after.accuracy == pytest.approx(now[f"{split}_forget"])
        assert done.retain[split].after.accuracy == pytest.approx(now[f"{split}_retain"])
        among = done.among_retain[split].after.accuracy
        assert among == pytest.approx(now[f"{split}_retain_among_retain"])
    if done.worst is None:
        assert not now["neighbour_damage"] > 0
    else:
        assert done.worst["class"] == now["worst_neighbour"]
    assert json.loads(json.dumps(done.to_json()))["forgotten"] == [stored.classes[2]]
    assert any(line.startswith("  still known") for line in done.lines())


def test_everything_masked_is_gone_and_told_from_nothing(stored):
    done = measure(stored, np.ones(stored.size, bool), [1, 2])
    # Without any vote all logits are zero: the first class is said of every item.
    assert done.gone
    assert done.membership["after"] == 0.5
    assert done.forget["train"].after.right == 0
    nothing = measure(stored, np.zeros(stored.size, bool), [1, 2])
    assert nothing.forget["test"].before == nothing.forget["test"].after
    assert nothing.worst is None
    assert not nothing.gone


def test_a_class_must_be_named(stored):
    with pytest.raises(BadRequest, match="does not say which class it forgets; give --class NAME"):
        measure(stored, np.zeros(stored.size, bool), [])


def test_scores_are_log_probabilities_of_the_model(stored, finished):
    z = torch.from_numpy(arrays.read_shards(finished.artefact("embeddings[test]").data, "embeddings"))
    outcome = Outcome.of(stored, "test")
    logits = Bottleneck.load(finished.artefact("values").path / CHECKPOINT).logits(z[outcome.rows])
    expected = logits.double().log_softmax(1)[torch.arange(len(logits)), torch.from_numpy(outcome.labels)]
    assert outcome.score == pytest.approx(expected.numpy(), abs=1e-12)
    assert np.array_equal(outcome.predicted, logits.argmax(1).numpy())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_what_is_said_under_a_mask_is_what_the_masked_model_says_to_the_last_bit(split, share, stored, finished):
    mask = np.random.default_rng(0).random(stored.size) < share
    z = torch.from_numpy(arrays.read_shards(finished.artefact(f"embeddings[{split}]").data, "embeddings"))
    before, after = Outcome.both(stored, split, mask, forget=[1])
    model = Bottleneck.load(finished.artefact("values").path / CHECKPOINT)
    for outcome, says in ((before, model), (after, model.masked(torch.from_numpy(mask)))):
        logits = says.logits(z[outcome.rows]).numpy()
        assert np.array_equal(outcome.predicted, logits.argmax(1))
        assert np.array_equal(outcome.score, log_probability(logits, outcome.labels))
        logits[:, 1] = -np.inf
        assert np.array_equal(outcome.among, logits.argmax(1))
    moved = (model.codes(z) != model.masked(torch.from_numpy(mask)).codes(z))[before.rows].numpy()
    assert np.array_equal(after.redirected, moved.mean(1))
    assert not before.redirected.any()


def test_a_logit_beyond_all_others_is_certain():
    assert log_probability(np.array([[1e4, 0, -1e4]], np.float32), np.array([0])) == pytest.approx([0.0])
