"""Tuning what unlearns by gradients: as many trials for each such method, and one rule for where each of them stops.

Both read training items alone. How good a model is for the rule is the adaptive unlearning score on the training
items (`dkvb.metrics.aus`); a method is stopped once two epochs in a row brought nothing better, and its best epoch
counts. A method's trials spread its one most telling setting evenly over decades around its default: the step
size, or for selective synaptic dampening the threshold alpha.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from dkvb.baselines import (
    Dampen,
    FineTune,
    NegGrad,
    Problem,
    Scrub,
    dampen,
    fine_tune,
    importance,
    neggrad,
    scrub,
)
from dkvb.errors import BadSetting
from dkvb.metrics import accuracy, aus

Settings = Scrub | NegGrad | FineTune | Dampen

METHODS: dict[str, Settings] = {"scrub": Scrub(), "neggrad+": NegGrad(), "finetune": FineTune(), "ssd": Dampen()}
"""What is tuned, with its defaults: SCRUB's and dampening's are their authors', the others ours (`dkvb.baselines`)."""

PATIENCE = 2
"""Epochs without a better score after which a method is stopped."""

DECADES = {"linear": (-2.0, 2.0), "values": (0.5, 4.5), "ssd": (-2.0, 2.0)}
"""Powers of ten by which trials multiply a step size on a head, or dampening's alpha. A value moves by 1/c of an
error, so its step sizes are multiplied by c besides, and its weight decay divided by it."""


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


def trials(method: str, head: str, *, count: int, codebooks: int = 1) -> list[Settings]:
    """The settings that a method may try on a head ("linear" or "values"), from the smallest on.

    codebooks: c of the values; 1 on the linear head.
    raises: BadSetting for a method, head or count that is none.
    """
    if method not in METHODS or head not in ("linear", "values") or count < 1:
        known = f"one of {', '.join(METHODS)}; linear or values; 1 or more"
        raise BadSetting(f"method, head and count: found {method}, {head} and {count}, expected {known}")
    settings = METHODS[method]
    low, high = DECADES["ssd" if method == "ssd" else head]
    powers = np.linspace(low, high, count) if count > 1 else [0.0]
    factors = [float(f"{10**power:.3g}") for power in powers]
    if isinstance(settings, Dampen):
        return [replace(settings, alpha=settings.alpha * factor) for factor in factors]
    scale = codebooks if head == "values" else 1
    decay = settings.decay / scale  # so that a step shrinks the weights as it does on the linear head
    return [replace(settings, lr=settings.lr * scale * factor, decay=decay) for factor in factors]


def run(problem: Problem, settings: Settings, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
    """Unlearn; yields the weights (features, v) after each epoch, for dampening once.

    important: the weights' importance for all training items, if known; dampening alone asks for it.
    """
    match settings:
        case Scrub():
            yield from scrub(problem, settings, seed=seed)
        case NegGrad():
            yield from neggrad(problem, settings, seed=seed)
        case FineTune():
            yield from fine_tune(problem, settings, seed=seed)
        case Dampen():
            features, labels, weights, out = problem.features, problem.labels, problem.weights, problem.forget
            if important is None:
                important = importance(features, labels, weights, batch=settings.batch)
            own = importance(features.take(out), labels[out], weights, batch=settings.batch)
            yield dampen(weights, important, own, settings)


def training_accuracies(problem: Problem, weights: Tensor) -> tuple[float, float]:
    """Accuracy in [0, 1] on the training items to forget, and on the others."""
    predicted, retain = problem.features.forward(weights).argmax(1), problem.retain
    return tuple(accuracy(predicted[rows], problem.labels[rows]) for rows in (problem.forget, retain))  # type: ignore[return-value]


def best_epoch(problem: Problem, passes: Iterator[Tensor]) -> Kept:
    """Run a method until it gets no better, by the training items alone; ties go to the earlier epoch.

    passes: the weights after each epoch, one or more.
    """
    _, before = training_accuracies(problem, problem.weights)
    history: list[float] = []
    best: Tensor | None = None
    for weights in passes:
        forget, retain = training_accuracies(problem, weights)
        score = aus(retain_before=before, retain_after=retain, forget_after=forget)
        if not history or score > max(history):
            best = weights
        history.append(score)
        if len(history) - 1 - _first_best(history) >= PATIENCE:
            break
    if best is None:
        raise BadSetting("passes: found none, expected one epoch or more")
    place = _first_best(history)
    return Kept(best, place + 1, history[place], tuple(history))


def _first_best(history: list[float]) -> int:
    return history.index(max(history))
