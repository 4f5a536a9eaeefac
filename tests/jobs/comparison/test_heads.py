"""Laws of the heads that methods are tried on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dkvb import flops
from dkvb.baselines import FineTune
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.comparison import heads
from jobs.comparison.heads import LinearHead, ValuesHead, kept_items, logits_of
from tests.jobs.comparison import small
from tests.jobs.comparison.small import by_split, linear_head, values_head


@pytest.fixture
def skipping(monkeypatch):
    """Labels of which one item of each split is skipped."""
    labels = by_split([-1, 0, 1], [1, -1])
    monkeypatch.setattr(inputs, "labels", lambda task, split: labels[split])
    monkeypatch.setattr(inputs, "settings_of", lambda task, name: small.SETTINGS)


def test_an_item_of_the_first_class_is_kept_and_a_skipped_one_is_not(skipping):
    assert {split: kept.tolist() for split, kept in kept_items(small.task()).items()} == {
        "train": [False, True, True],
        "test": [True, False],
    }


def test_the_bias_of_the_linear_head_is_the_row_of_the_constant_one(skipping, monkeypatch):
    z = by_split([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]], [[3.0, 1.0], [9.0, 9.0]])
    monkeypatch.setattr(inputs, "embeddings", lambda task, split: z[split])
    monkeypatch.setattr(heads, "checked", lambda path: path)
    monkeypatch.setattr(
        heads, "load", lambda _: {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.tensor([10.0, 20.0])}
    )
    head = LinearHead.read(small.task(inputs={"linear": SimpleNamespace(path=Path("linear"))}))
    assert head.logits(head.features["train"], head.weights).tolist() == [[11, 22], [16, 28]]
    assert head.logits(head.features["test"], head.weights).tolist() == [[16, 30]]
    assert {split: own.tolist() for split, own in head.labels.items()} == {"train": [0, 1], "test": [1]}
    assert head.codebooks == 1


def test_the_values_are_read_codebook_by_codebook_for_the_items_kept(skipping, monkeypatch):
    values = torch.arange(12.0).view(2, 3, 2)
    codes = {"codes_train": [[2, 2], [0, 1], [1, 2]], "codes_test": [[2, 0], [1, 1]]}
    monkeypatch.setattr(heads, "read_bottleneck", lambda task: SimpleNamespace(values=values))
    monkeypatch.setattr(inputs, "tensor", lambda task, name, array: torch.tensor(codes[name]))
    head = ValuesHead.read(small.task())
    assert head.codebooks == 2
    assert head.features["train"].codes.tolist() == [[0, 1], [1, 2]]
    # Pair (0, 0) holds 0 and 1, pair (1, 1) 8 and 9: their mean is 4 and 5.
    assert head.logits(head.features["train"], head.weights).tolist() == [[4, 5], [6, 7]]
    assert head.logits(head.features["test"], head.weights).tolist() == [[5, 6]]


def test_a_codebook_that_does_not_vote_is_left_out_of_the_mean():
    features = CodeFeatures(torch.tensor([[0, -1], [-1, -1], [1, 1]], dtype=torch.int16), 2)
    weights = torch.tensor([[2.0, 0.0], [0.0, 4.0], [6.0, 6.0], [0.0, 8.0]])
    assert logits_of(features, weights).tolist() == [[2, 0], [0, 0], [0, 6]]
    assert small.head().logits(features, weights).tolist() == [[2, 0], [0, 0], [0, 6]]


def test_a_task_is_of_the_training_items():
    head = linear_head({"train": [[1.0, 0.0], [0.0, 1.0]], "test": [[5.0, 5.0]]}, by_split([0, 1], [1]))
    task = head.forget_task(torch.tensor([1]))
    assert task.features.x.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert task.labels.tolist() == [0, 1]
    assert task.retain.tolist() == [0]


def test_importance_is_of_the_training_items():
    # One item of even odds: its error is (-1/2, 1/2), so every weight that it reads has 1/4.
    codes = {"train": [[0]], "test": [[1]]}
    head = values_head(codes, by_split([0], [1]), [[[0.0, 0.0], [3.0, 0.0]]])
    assert head.importance().tolist() == [[0.25, 0.25], [0, 0]]


def test_learning_rates_are_tried_higher_on_values_by_their_codebooks_and_decades():
    small_rates, large_rates = ([one.lr for one in head.trials(FineTune(), 3)] for head in (LINEAR, small.head()))
    assert small_rates == pytest.approx([0.01 * 10**power for power in (-2, 0, 2)])
    assert large_rates == pytest.approx([0.01 * 2 * 10**power for power in (0.5, 2.5, 4.5)], rel=0.01)


# What is particular to a head.

LINEAR = linear_head({"train": [[1.0, 0.0]], "test": [[0.0, 2.0]]}, by_split([0], [0]))


def test_a_head_says_how_large_it_is():
    assert (small.head().c, small.head().m, small.head().v, small.head().codebooks) == (2, 3, 3, 2)
    assert (LINEAR.v, LINEAR.codebooks) == (2, 1)
    assert small.head().train_bytes == 4 * 2 * 2  # 4 items of 2 codes of 16 bits
    assert LINEAR.train_bytes == 3 * 4
    assert small.head().codes["test"].tolist() == [[0, 1], [1, 2]]
    assert LINEAR.x["test"].tolist() == [[0, 2, 1]]
    assert small.head().item_flops == flops.value_head(2, 3)
    assert LINEAR.item_flops == flops.linear_head(2, 2)


def test_the_features_of_both_come_one_after_the_other():
    one, other = (CodeFeatures(torch.tensor([[k]], dtype=torch.int16), 3) for k in (1, 2))
    both = small.head().joined(one, other)
    assert (both.codes.tolist(), both.m) == ([[1], [2]], 3)
    assert LINEAR.joined(LINEAR.features["train"], LINEAR.features["test"]).x.tolist() == [[1, 0, 1], [0, 2, 1]]
    assert LINEAR.squared_norm(LINEAR.features["test"]) == 5
    assert small.head().squared_norm(CodeFeatures(torch.zeros(3, 4, dtype=torch.int16), 2)) == 1 / 4


def test_a_vote_fetches_its_own_codebook_s_value_and_no_vote_fetches_zeros():
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])  # two codebooks of two keys
    held = small.head().held(CodeFeatures(torch.tensor([[1, 0], [-1, 1]], dtype=torch.int16), 2), table)
    assert held["values"].tolist() == [[3, 4, 5, 6], [0, 0, 7, 8]]
    assert held["codes"].toarray().tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


def test_the_linear_head_holds_embeddings_without_the_constant():
    assert LINEAR.held(LINEAR.features["test"], LINEAR.weights)["z"].tolist() == [[0, 2]]
