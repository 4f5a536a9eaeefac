"""Trials: as many for each method, around its authors' setting, and stopped where training items say."""

from itertools import count, pairwise

import pytest
import torch

from dkvb import trials
from dkvb.baselines import Dampen, FineTune, Problem, Scrub, fine_tune, importance
from dkvb.errors import BadSetting
from dkvb.linear import EmbeddingFeatures

TUNED = [(method, head) for method in trials.METHODS for head in ("linear", "values")]


@pytest.fixture
def problem():
    """Two classes on one axis; the head gets both right."""
    z = torch.tensor([[2.0], [1.5], [-1.0], [-2.0], [-1.5]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    return Problem(EmbeddingFeatures.of(z), labels, torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([0, 1]))


def weights(bias):
    """A head that leans to class 1 by so much: from 4 on nothing is class 0 any more."""
    return torch.tensor([[1.0, -1.0], [0.0, float(bias)]])


@pytest.mark.parametrize(("method", "head"), TUNED)
def test_every_method_has_as_many_trials(method, head):
    for number in (1, 2, 5, 8):
        made = trials.trials(method, head, count=number, codebooks=64)
        assert len(made) == len(set(made)) == number
        assert {type(one) for one in made} == {type(trials.METHODS[method])}


@pytest.mark.parametrize(("method", "head"), TUNED)
def test_trials_are_spread_evenly_over_decades(method, head):
    made = trials.trials(method, head, count=5, codebooks=64)
    tuned = [one.alpha if isinstance(one, Dampen) else one.lr for one in made]
    ratios = [later / earlier for earlier, later in pairwise(tuned)]
    assert ratios == pytest.approx([ratios[0]] * 4, rel=0.02)
    assert ratios[0] > 1


def test_a_single_trial_is_the_authors_setting_and_on_values_c_times_its_step():
    assert trials.trials("scrub", "linear", count=1) == [Scrub()]
    assert trials.trials("ssd", "values", count=1, codebooks=64) == [Dampen()]
    (made,) = trials.trials("finetune", "values", count=1, codebooks=64)
    assert made.lr == 64 * FineTune().lr
    assert made.lr * made.decay == pytest.approx(FineTune().lr * FineTune().decay)


@pytest.mark.parametrize(
    ("method", "head", "number"), [("scrap", "linear", 3), ("scrub", "value", 3), ("ssd", "linear", 0)]
)
def test_a_trial_that_is_none_is_refused(method, head, number):
    with pytest.raises(BadSetting, match="method, head and count"):
        trials.trials(method, head, count=number)


def test_the_best_epoch_is_the_first_of_the_best_score(problem):
    kept = trials.best_epoch(problem, iter([weights(0), weights(5), weights(4.5), weights(0), weights(9)]))
    assert kept.epoch == 2
    assert kept.score == 1.0
    assert torch.equal(kept.weights, weights(5))


def test_a_method_is_stopped_after_two_epochs_without_a_better_score(problem):
    asked = count()
    kept = trials.best_epoch(problem, (weights(5 if next(asked) == 1 else 0) for _ in range(50)))
    assert kept.history == (0.5, 1.0, 0.5, 0.5)
    assert next(asked) == 4, "an epoch was run that nobody looks at"


def test_scores_are_those_of_the_training_items(problem):
    assert trials.training_accuracies(problem, problem.weights) == (1.0, 1.0)
    assert trials.training_accuracies(problem, weights(5)) == (0.0, 1.0)
    # Everything is class 0: the other class is lost, and nothing forgotten.
    assert trials.training_accuracies(problem, weights(-5)) == (1.0, 0.0)
    assert trials.best_epoch(problem, iter([weights(-5)])).score == 0.0


def test_no_epoch_is_refused(problem):
    with pytest.raises(BadSetting, match="found none"):
        trials.best_epoch(problem, iter([]))


@pytest.mark.parametrize("method", trials.METHODS)
def test_a_run_is_that_of_the_method_and_leaves_the_problem_as_it_was(method, problem):
    before = problem.weights.clone()
    settings = trials.METHODS[method]
    made = list(trials.run(problem, settings, seed=0))
    again = list(trials.run(problem, settings, seed=0))
    assert len(made) == (1 if method == "ssd" else settings.epochs)
    assert all(torch.equal(one, other) for one, other in zip(made, again, strict=True))
    assert torch.equal(problem.weights, before)
    if method == "finetune":
        assert all(torch.equal(one, own) for one, own in zip(made, fine_tune(problem, settings, seed=0), strict=True))


def test_importance_that_is_known_is_not_computed_anew(problem):
    settings = Dampen(alpha=0.5)
    known = importance(problem.features, problem.labels, problem.weights, batch=settings.batch)
    (made,) = trials.run(problem, settings, seed=0, important=known)
    (plain,) = trials.run(problem, settings, seed=0)
    assert torch.equal(made, plain)
