"""Unlearning by gradients: what masks are compared with, on either head.

Both heads are linear in their weights, so every loss below is said by its derivative by the logits, and one piece of
code serves the linear head and the bottleneck's values. A baseline is one class, whose fields are its settings. It
yields the weights after each of its epochs: whoever calls it decides where to stop, by one rule for all.

n: items; v: classes; features: rows of the weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dkvb.descent import Descent, descent
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.flops import Flops
from dkvb.linear import EmbeddingFeatures
from dkvb.seeds import generator
from dkvb.training import Features, TrainSettings, epochs

DAMPENING_DECADES = (-2.0, 2.0)
"""Powers of ten by which the trials of dampening multiply its threshold, on either head."""


@dataclass(frozen=True, slots=True)
class ForgetTask:
    """A trained head that is to forget some of its training items."""

    features: Features
    """Of all n training items."""
    labels: Tensor
    """(n,) int64."""
    weights: Tensor
    """(features, v) float32, the head before; never changed."""
    forget: Tensor
    """(n_f,) int64, rows of the items to forget, each once."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.labels.shape != (n,):
            raise ShapeMismatch.between("labels (n,)", self.labels.shape, "features of n items", (n,))
        if self.forget.ndim != 1 or len(self.forget.unique()) != len(self.forget):
            raise ShapeMismatch(f"forget: found shape {tuple(self.forget.shape)}, expected rows (n_f,), each once")
        if not 0 < len(self.forget) < n:
            raise BadSetting(f"forget: found {len(self.forget)} of {n} items, expected some, and some to retain")
        first, last = int(self.forget.min()), int(self.forget.max())
        if first < 0 or last >= n:
            raise ShapeMismatch(f"forget: found rows from {first} to {last}, expected rows from 0 to below {n}")

    @property
    def retain(self) -> Tensor:
        """(n_r,) int64, all other rows, in order."""
        kept = torch.ones(len(self.labels), dtype=torch.bool)
        kept[self.forget] = False
        return kept.nonzero().flatten()


@dataclass(frozen=True, slots=True)
class Baseline(ABC):
    """A method that unlearns by gradients."""

    @abstractmethod
    def unlearn(self, task: ForgetTask, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
        """Unlearn, epoch by epoch; dampening takes one.

        important: (features, v) float32, the weights' `importance` for all training items, where it is known already;
        dampening alone reads it.
        returns: the weights (features, v) float32 after each epoch, each a tensor of its own.
        """

    @abstractmethod
    def trials(self, count: int, *, decades: tuple[float, float], codebooks: int) -> "Sequence[Baseline]":
        """Settings to try, from the smallest on: the one most telling is spread evenly over decades around its own.

        decades: powers of ten by which learning rates are multiplied.
        codebooks: c of the values, 1 on the linear head. A value moves by 1 / c of an error, so learning rates are
        multiplied by c besides, and weight decay is divided by it: an update then shrinks the weights as there.
        raises: BadSetting for a count below 1.
        """

    @abstractmethod
    def flops(self, item: Flops, *, retain: int, forget: int, epochs: int) -> Flops:
        """FLOPs of some epochs.

        item: of one item through the head, forward and back; retain, forget: how many items stay, and go.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub(Baseline):
    """SCRUB: away from the teacher on the forget items, then true to labels and teacher on the others.

    A student that equals its teacher has no gradient of their divergence: on a head without noise of its own the first
    pass over the forget items moves by weight decay alone, and the second does the work.

    defaults: its authors' for removing a class.
    source: Kurmanji et al., arXiv 2302.09880; the learning rate falls to a tenth after epochs 3, 5 and 9, as in its
    code.
    """

    lr: float = 5e-4
    epochs: int = 3
    max_epochs: int = 2
    """Epochs that begin with a pass over the forget items."""
    gamma: float = 0.99
    """Weight of the cross-entropy on the retain items."""
    alpha: float = 0.001
    """Weight of the divergence from the teacher on the retain items."""
    temperature: float = 4.0
    momentum: float = 0.9
    decay: float = 5e-4
    forget_batch: int = 512
    retain_batch: int = 256

    def __post_init__(self) -> None:
        _check_counts(self, "epochs", "forget_batch", "retain_batch")
        _check_numbers(self, "max_epochs", "gamma", "alpha")
        if not 0 < self.temperature < inf:
            raise BadSetting(f"temperature: found {self.temperature}, expected more than 0")

    def unlearn(self, task: ForgetTask, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the weights after each epoch."""
        descent = _descent(self, task)
        teacher = task.features.forward(task.weights)
        lr = self.lr
        for epoch in range(1, self.epochs + 1):
            if epoch <= self.max_epochs:
                for rows in _batches(task.forget, self.forget_batch, seed, "max", epoch):
                    error = distillation_error(descent.logits(rows), teacher[rows], self.temperature)
                    descent.step(rows, error / -len(rows))
            for rows in _batches(task.retain, self.retain_batch, seed, "min", epoch):
                logits = descent.logits(rows)
                error = self.gamma * cross_entropy_error(logits, task.labels[rows])
                error += self.alpha * distillation_error(logits, teacher[rows], self.temperature)
                descent.step(rows, error / len(rows))
            yield descent.weights()
            if epoch in (3, 5, 9):
                lr /= 10
                descent.set_lr(lr)

    def trials(self, count: int, *, decades: tuple[float, float], codebooks: int) -> "list[Scrub]":
        """Learning rates, from the smallest on."""
        return _learning_rates(self, _factors(count, decades), codebooks)

    def flops(self, item: Flops, *, retain: int, forget: int, epochs: int) -> Flops:
        """Passes over both, the forget items in their epochs alone, and the teacher once over all."""
        passes = item * (epochs * retain + min(epochs, self.max_epochs) * forget)
        return passes + Flops(item.forward * (retain + forget), 0)


def rewind(forget_errors: list[float], held_out_error: float) -> int:
    """SCRUB+R: the epoch to go back to, whose forget error is nearest to a reference; ties to the later epoch.

    forget_errors: error on the forget items after each epoch.
    held_out_error: after the last epoch, on items of the same distribution that training never saw.
    returns: a place in forget_errors.
    raises: BadSetting without any epoch.
    source: Kurmanji et al., arXiv 2302.09880, section on rewinding.
    """
    if not forget_errors:
        raise BadSetting("forget_errors: found no epoch, expected one or more to go back to")
    gaps = [abs(error - held_out_error) for error in forget_errors]
    return max(range(len(gaps)), key=lambda epoch: (-gaps[epoch], epoch))


@dataclass(frozen=True, slots=True, kw_only=True)
class NegGrad(Baseline):
    """NegGrad+: down the loss of the retain items and up that of the forget items at once; these cycle.

    defaults: ours, near those of SCRUB's authors, who descend without momentum, most of their notebooks with alpha
    0.9999.
    source: Kurmanji et al., arXiv 2302.09880, who compare SCRUB with it.
    """

    lr: float = 0.01
    epochs: int = 10
    """Passes over the retain items."""
    alpha: float = 0.95
    """Weight of the retain items' loss; that of the forget items is 1 - alpha."""
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 256

    def __post_init__(self) -> None:
        _check_counts(self, "epochs", "batch")
        if not 0 <= self.alpha <= 1:
            raise BadSetting(f"alpha: found {self.alpha}, expected a share in [0, 1]")

    def unlearn(self, task: ForgetTask, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the weights after each epoch."""
        descent = _descent(self, task)
        rounds = 0
        forgotten: Iterator[Tensor] = iter(())
        for epoch in range(1, self.epochs + 1):
            for rows in _batches(task.retain, self.batch, seed, "retain", epoch):
                out = next(forgotten, None)
                if out is None:
                    rounds += 1
                    forgotten = iter(_batches(task.forget, self.batch, seed, "forget", rounds))
                    out = next(forgotten)
                both = torch.cat([rows, out])
                error = cross_entropy_error(descent.logits(both), task.labels[both])
                error[: len(rows)] *= self.alpha / len(rows)
                error[len(rows) :] *= (self.alpha - 1) / len(out)
                descent.step(both, error)
            yield descent.weights()

    def trials(self, count: int, *, decades: tuple[float, float], codebooks: int) -> "list[NegGrad]":
        """Learning rates, from the smallest on."""
        return _learning_rates(self, _factors(count, decades), codebooks)

    def flops(self, item: Flops, *, retain: int, forget: int, epochs: int) -> Flops:
        """Passes over the items that stay, each batch beside one of those that go."""
        batches = -(-retain // self.batch)
        return item * (epochs * (retain + batches * min(self.batch, forget)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune(Baseline):
    """Fine-tuning on the retain items alone.

    defaults: ours, those usual where methods are compared.
    """

    lr: float = 0.01
    epochs: int = 10
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 256

    def __post_init__(self) -> None:
        _check_counts(self, "epochs", "batch")

    def unlearn(self, task: ForgetTask, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the weights after each epoch."""
        descent = _descent(self, task)
        for epoch in range(1, self.epochs + 1):
            for rows in _batches(task.retain, self.batch, seed, "retain", epoch):
                error = cross_entropy_error(descent.logits(rows), task.labels[rows])
                descent.step(rows, error / len(rows))
            yield descent.weights()

    def trials(self, count: int, *, decades: tuple[float, float], codebooks: int) -> "list[FineTune]":
        """Learning rates, from the smallest on."""
        return _learning_rates(self, _factors(count, decades), codebooks)

    def flops(self, item: Flops, *, retain: int, forget: int, epochs: int) -> Flops:
        """Passes over the items that stay."""
        return item * (epochs * retain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dampen(Baseline):
    """Selective synaptic dampening: weights that matter much more for the forget items than for all shrink.

    source: Foster et al., arXiv 2308.07707.
    """

    alpha: float = 10.0
    """How many times as important for the forget items as for all a weight must be."""
    lam: float = 1.0
    batch: int = 64

    def __post_init__(self) -> None:
        _check_counts(self, "batch")
        _check_numbers(self, "alpha", "lam")

    def unlearn(self, task: ForgetTask, *, seed: int, important: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the dampened weights, once; nothing is drawn."""
        features, labels, out = task.features, task.labels, task.forget
        if important is None:
            important = importance(features, labels, task.weights, batch=self.batch)
        forget_important = importance(features.take(out), labels[out], task.weights, batch=self.batch)
        yield self.dampened(task.weights, important, forget_important)

    def dampened(self, weights: Tensor, important: Tensor, forget_important: Tensor) -> Tensor:
        """Shrink weights.

        weights, important (for all training items), forget_important: (features, v) float32.
        returns: (features, v) float32.
        raises: ShapeMismatch.
        """
        for one in (important, forget_important):
            if one.shape != weights.shape:
                raise ShapeMismatch.between("importance", one.shape, "weights (features, v)", weights.shape)
        factor = (self.lam * important / forget_important.clamp(min=torch.finfo(torch.float32).tiny)).clamp(max=1)
        return torch.where(forget_important > self.alpha * important, weights * factor, weights)

    def trials(self, count: int, *, decades: tuple[float, float], codebooks: int) -> "list[Dampen]":
        """Thresholds, from the smallest on, over decades of their own: the head does not matter."""
        return [replace(self, alpha=self.alpha * factor) for factor in _factors(count, DAMPENING_DECADES)]

    def flops(self, item: Flops, *, retain: int, forget: int, epochs: int) -> Flops:
        """Gradients of all items, and of those that go."""
        return item * (retain + 2 * forget)


def retrain(task: ForgetTask, settings: TrainSettings, *, seed: int) -> Tensor:
    """From the initial values, on the retain items, as the head was trained: every epoch, none chosen anew.

    On the bottleneck's values this is Oracle-V. With full-batch descent nothing is drawn, so the seed decides nothing.

    returns: (features, v) float32.
    """
    retain = task.retain
    features, labels = task.features.take(retain), task.labels[retain]
    if isinstance(features, EmbeddingFeatures):
        features = EmbeddingFeatures.of(features.x[:, :-1])  # else the preconditioner would know the forget items
    *_, weights = epochs(features, labels, settings, v=task.weights.shape[1], seed=seed)
    return weights


def importance(features: Features, labels: Tensor, weights: Tensor, *, batch: int) -> Tensor:
    """The diagonal of the empirical Fisher information: the mean over batches of the squared mean gradient.

    features: of n items; labels: (n,) int64; weights: (features, v) float32.
    returns: (features, v) float32.
    raises: ShapeMismatch, also for no items; BadSetting.
    source: Foster et al., arXiv 2308.07707 (selective synaptic dampening), as in its code.
    """
    if batch < 1:
        raise BadSetting(f"batch: found {batch}, expected 1 or more")
    if not len(features) or labels.shape != (len(features),):
        raise ShapeMismatch(
            f"labels: found shape {tuple(labels.shape)}, expected one for each of {len(features)} items, and an item"
        )
    total = torch.zeros_like(weights)
    parts = torch.arange(len(features)).split(batch)
    for rows in parts:
        some = features.take(rows)
        error = cross_entropy_error(some.forward(weights), labels[rows])
        some.add_squared_gradient(total, error / len(rows))
    return total / len(parts)


def cross_entropy_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative by the logits (n, v) of the cross-entropy of each item: (n, v)."""
    error = logits.softmax(1)
    error[torch.arange(len(labels)), labels] -= 1
    return error


def distillation_error(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Derivative by the student's logits (n, v) of KL(teacher || student) T^2, both at temperature T, item by item."""
    return temperature * ((student / temperature).softmax(1) - (teacher / temperature).softmax(1))


Descending = TypeVar("Descending", Scrub, NegGrad, FineTune)


def _descent(settings: Scrub | NegGrad | FineTune, task: ForgetTask) -> Descent:
    return descent(task.features, task.weights, lr=settings.lr, momentum=settings.momentum, decay=settings.decay)


def _learning_rates(settings: Descending, factors: list[float], codebooks: int) -> list[Descending]:
    decay = settings.decay / codebooks
    return [replace(settings, lr=settings.lr * codebooks * factor, decay=decay) for factor in factors]


def _factors(count: int, decades: tuple[float, float]) -> list[float]:
    """Powers of ten, evenly spread; a single one is 1."""
    if count < 1:
        raise BadSetting(f"count: found {count}, expected 1 or more")
    powers = np.linspace(*decades, count) if count > 1 else [0.0]
    return [float(f"{10**power:.3g}") for power in powers]


def _batches(rows: Tensor, size: int, seed: int, *purpose: str | int) -> tuple[Tensor, ...]:
    """Rows in a random order, split."""
    order = torch.randperm(len(rows), generator=generator(seed, *purpose))
    batches: tuple[Tensor, ...] = rows[order].split(size)
    return batches


def _check_counts(settings: Baseline, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise BadSetting(f"{name}: found {getattr(settings, name)}, expected 1 or more")


def _check_numbers(settings: Baseline, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < inf:
            raise BadSetting(f"{name}: found {getattr(settings, name)}, expected a number, 0 or more")
