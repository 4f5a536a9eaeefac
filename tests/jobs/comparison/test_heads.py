"""Laws of the heads that methods are tried on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dkvb import trials
from jobs import inputs
from jobs.comparison import heads
from jobs.comparison.heads import chosen, importance_of, logits_of, read_head, tuned, watched
from tests.jobs.comparison import small
from tests.jobs.comparison.small import by_split, linear_head, values_head


@pytest.fixture
def skipping(monkeypatch):
    """Labels of which one item of each split is skipped."""
    labels = by_split([-1, 0, 1], [1, -1])
    monkeypatch.setattr(inputs, "labels", lambda task, split: labels[split])
    monkeypatch.setattr(inputs, "settings_of", lambda task, name: small.SETTINGS)


def test_an_item_of_the_first_class_is_watched_and_a_skipped_one_is_not(skipping):
    assert {split: kept.tolist() for split, kept in watched(None).items()} == {
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
    head = read_head(SimpleNamespace(inputs={"linear": SimpleNamespace(path=Path("linear"))}), "linear")
    assert logits_of(head.features["train"], head.weights).tolist() == [[11, 22], [16, 28]]
    assert logits_of(head.features["test"], head.weights).tolist() == [[16, 30]]
    assert {split: own.tolist() for split, own in head.labels.items()} == {"train": [0, 1], "test": [1]}
    assert head.codebooks == 1


def test_the_values_are_read_codebook_by_codebook_for_the_items_kept(skipping, monkeypatch):
    values = torch.arange(12.0).view(2, 3, 2)
    codes = {"codes_train": [[2, 2], [0, 1], [1, 2]], "codes_test": [[2, 0], [1, 1]]}
    monkeypatch.setattr(heads, "read_bottleneck", lambda task: SimpleNamespace(values=values))
    monkeypatch.setattr(inputs, "tensor", lambda task, name, array: torch.tensor(codes[name]))
    head = read_head(None, "values")
    assert head.codebooks == 2
    assert head.features["train"].codes.tolist() == [[0, 1], [1, 2]]
    # Pair (0, 0) holds 0 and 1, pair (1, 1) 8 and 9: their mean is 4 and 5.
    assert logits_of(head.features["train"], head.weights).tolist() == [[4, 5], [6, 7]]
    assert logits_of(head.features["test"], head.weights).tolist() == [[5, 6]]


def test_a_codebook_that_does_not_vote_is_left_out_of_the_mean():
    features = small.CodeFeatures(torch.tensor([[0, -1], [-1, -1], [1, 1]], dtype=torch.int16), 2)
    weights = torch.tensor([[2.0, 0.0], [0.0, 4.0], [6.0, 6.0], [0.0, 8.0]])
    assert logits_of(features, weights).tolist() == [[2, 0], [0, 0], [0, 6]]


def marks(head, method, *by_class):
    units = {k: [{"score": score} for score in row] for k, row in by_class}
    return {f"{k}-{head}-{method}": {"class": k, "head": head, "method": method, "trials": t} for k, t in units.items()}


def test_trials_of_another_head_or_method_do_not_count():
    both = marks("values", "scrub", (1, [0.1, 0.9, 0.2]))
    both |= marks("linear", "scrub", (1, [9.0, 0.0, 0.0])) | marks("values", "ssd", (1, [9.0, 0.0, 0.0]))
    assert chosen(both, "values", "scrub", forget=0) == (1, False)


def test_the_mean_over_classes_chooses_not_the_best_of_one():
    own = marks("values", "scrub", (1, [0.9, 0.6, 0.0]), (2, [0.0, 0.6, 0.7]))
    assert chosen(own, "values", "scrub", forget=0) == (1, False)


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.2, 0.1, 0.1], (0, True)), ([0.1, 0.1, 0.2], (2, True)), ([0.5], (0, False))]
)
def test_the_first_and_the_last_trial_are_edges_and_an_only_one_is_none(scores, expected):
    assert chosen(marks("linear", "ssd", (1, scores)), "linear", "ssd", forget=0) == expected


def test_the_settings_are_those_of_the_place_on_a_head_of_so_many_codebooks():
    head = values_head({"train": [[0, 0]], "test": [[0, 0]]}, by_split([0], [0]), torch.zeros(2, 3, 2).tolist())
    own = marks("values", "scrub", (1, [0.1, 0.2, 0.3]), (2, [0.9, 0.0, 0.0]))
    settings, edge = tuned(own, head, "scrub", forget=2)
    assert settings == trials.trials("scrub", "values", count=3, codebooks=2)[2]
    assert edge


def test_a_problem_is_of_the_training_items():
    head = linear_head({"train": [[1.0, 0.0], [0.0, 1.0]], "test": [[5.0, 5.0]]}, by_split([0, 1], [1]))
    problem = head.problem(torch.tensor([1]))
    assert problem.features.x.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert problem.labels.tolist() == [0, 1]
    assert problem.retain.tolist() == [0]


def test_importance_is_of_the_training_items():
    # One item of even odds: its error is (-1/2, 1/2), so every weight that it reads has 1/4.
    codes = {"train": [[0]], "test": [[1]]}
    head = values_head(codes, by_split([0], [1]), [[[0.0, 0.0], [3.0, 0.0]]])
    assert importance_of(head).tolist() == [[0.25, 0.25], [0, 0]]
