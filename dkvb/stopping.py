"""Where a method stops that unlearns by gradients, and at which N a mask: one rule, which reads training items alone.

How good a model is for the rule is the adaptive unlearning score on the training items (`dkvb.metrics.aus`); a method
is stopped once two epochs in a row brought nothing better, and its best epoch counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from dkvb.baselines import ForgetTask
from dkvb.errors import BadSetting
from dkvb.metrics import accuracy, aus

PATIENCE = 2
"""Epochs without a better score after which a method is stopped."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The best epoch of a run."""

    weights: Tensor
    """(features, v) float32."""
    epoch: int
    """From 1 on."""
    score: float
    history: tuple[float, ...]
    """The score after each epoch that was run."""


def training_accuracies(task: ForgetTask, weights: Tensor) -> tuple[float, float]:
    """Accuracy in [0, 1] on the training items to forget, and on the others; weights: (features, v) float32."""
    predicted = task.features.forward(weights).argmax(1)
    forget, retain = (accuracy(predicted[rows], task.labels[rows]) for rows in (task.forget, task.retain))
    return forget, retain


def best_epoch(task: ForgetTask, passes: Iterable[Tensor]) -> Kept:
    """Run a method until it gets no better, by the training items alone; ties go to the earlier epoch.

    passes: the weights (features, v) float32 after each epoch, one or more.
    raises: BadSetting without any epoch.
    """
    _, before = training_accuracies(task, task.weights)
    history: list[float] = []
    best: Tensor | None = None
    for weights in passes:
        forget, retain = training_accuracies(task, weights)
        score = aus(retain_before=before, retain_after=retain, forget_after=forget)
        if not history or score > max(history):
            best = weights
        history.append(score)
        if len(history) - 1 - _first_best(history) >= PATIENCE:
            break
    if best is None:
        raise BadSetting("passes: found none, expected one epoch or more")
    index = _first_best(history)
    return Kept(best, index + 1, history[index], tuple(history))


def best_model(forget: Sequence[float], retain: Sequence[float]) -> int:
    """Index of the best of several models, by the same score; ties go to the earlier one.

    forget, retain: accuracy in [0, 1] of each on the training items to forget, and on the others; the first is the
        model before.
    """
    scores = [
        aus(retain_before=retain[0], retain_after=after, forget_after=left)
        for left, after in zip(forget, retain, strict=True)
    ]
    return _first_best(scores)


def _first_best(scores: Sequence[float]) -> int:
    return scores.index(max(scores))
