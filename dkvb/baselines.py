"""Unlearning by gradients, and the trivial controls: what masks are compared with, on either head.

Both heads are linear in their weights, so every loss below is said by its derivative by the logits, and one piece of
code serves the linear head and the bottleneck's values. A method yields the weights after each of its epochs: whoever
calls it decides where to stop, by one rule for all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from dkvb.descent import descent
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.linear import EmbeddingFeatures
from dkvb.seeds import generator
from dkvb.training import Features, TrainSettings, epochs


@dataclass(frozen=True, slots=True)
class Problem:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """Settings of SCRUB (defaults: its authors' for removing a class)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NegGrad:
    """Settings of NegGrad+ (defaults: ours, near those of SCRUB's authors, who compare with it).

    They descend without momentum, and most of their notebooks have alpha 0.9999.
    """

    lr: float = 0.01
    epochs: int = 10
    alpha: float = 0.95
    """Weight of the retain items' loss; that of the forget items is 1 - alpha."""
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 256

    def __post_init__(self) -> None:
        _check_counts(self, "epochs", "batch")
        if not 0 <= self.alpha <= 1:
            raise BadSetting(f"alpha: found {self.alpha}, expected a share in [0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """Settings of fine-tuning on the retain items (defaults: ours, those usual where methods are compared)."""

    lr: float = 0.01
    epochs: int = 10
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 256

    def __post_init__(self) -> None:
        _check_counts(self, "epochs", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dampen:
    """Settings of selective synaptic dampening."""

    alpha: float = 10.0
    """How many times as important for the forget items as for all a weight must be."""
    lam: float = 1.0
    batch: int = 64

    def __post_init__(self) -> None:
        _check_counts(self, "batch")
        _check_numbers(self, "alpha", "lam")


def _check_counts(settings: object, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise BadSetting(f"{name}: found {getattr(settings, name)}, expected 1 or more")


def _check_numbers(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < inf:
            raise BadSetting(f"{name}: found {getattr(settings, name)}, expected a number, 0 or more")


def cross_entropy_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative by the logits (n, v) of the cross-entropy of each item: (n, v)."""
    error = logits.softmax(1)
    error[torch.arange(len(labels)), labels] -= 1
    return error


def distillation_error(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Derivative by the student's logits (n, v) of KL(teacher || student) T^2, both at temperature T, item by item."""
    return temperature * ((student / temperature).softmax(1) - (teacher / temperature).softmax(1))


def scrub(problem: Problem, settings: Scrub, *, seed: int) -> Iterator[Tensor]:
    """SCRUB: away from the teacher on the forget items, then true to labels and teacher on the others.

    A student that equals its teacher has no gradient of their divergence: on a head without noise of its own the first
    pass over the forget items moves by weight decay alone, and the second does the work.

    returns: the weights after each epoch.
    source: Kurmanji et al., arXiv 2302.09880; the step size falls to a tenth after epochs 3, 5 and 9, as in its code.
    """
    going = descent(problem.features, problem.weights, lr=settings.lr, momentum=settings.momentum, decay=settings.decay)
    teacher = problem.features.forward(problem.weights)
    lr = settings.lr
    for epoch in range(1, settings.epochs + 1):
        if epoch <= settings.max_epochs:
            for rows in _batches(problem.forget, settings.forget_batch, seed, "max", epoch):
                error = distillation_error(going.logits(rows), teacher[rows], settings.temperature)
                going.step(rows, error / -len(rows))
        for rows in _batches(problem.retain, settings.retain_batch, seed, "min", epoch):
            logits = going.logits(rows)
            error = settings.gamma * cross_entropy_error(logits, problem.labels[rows])
            error += settings.alpha * distillation_error(logits, teacher[rows], settings.temperature)
            going.step(rows, error / len(rows))
        yield going.weights()
        if epoch in (3, 5, 9):
            lr /= 10
            going.set_lr(lr)


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


def neggrad(problem: Problem, settings: NegGrad, *, seed: int) -> Iterator[Tensor]:
    """NegGrad+: down the loss of the retain items and up that of the forget items at once; these cycle.

    returns: the weights after each epoch (a pass over the retain items).
    source: Kurmanji et al., arXiv 2302.09880, who compare SCRUB with it.
    """
    going = descent(problem.features, problem.weights, lr=settings.lr, momentum=settings.momentum, decay=settings.decay)
    rounds = 0
    forgotten: Iterator[Tensor] = iter(())
    for epoch in range(1, settings.epochs + 1):
        for rows in _batches(problem.retain, settings.batch, seed, "retain", epoch):
            out = next(forgotten, None)
            if out is None:
                rounds += 1
                forgotten = iter(_batches(problem.forget, settings.batch, seed, "forget", rounds))
                out = next(forgotten)
            both = torch.cat([rows, out])
            error = cross_entropy_error(going.logits(both), problem.labels[both])
            error[: len(rows)] *= settings.alpha / len(rows)
            error[len(rows) :] *= (settings.alpha - 1) / len(out)
            going.step(both, error)
        yield going.weights()


def fine_tune(problem: Problem, settings: FineTune, *, seed: int) -> Iterator[Tensor]:
    """Fine-tuning on the retain items alone.

    returns: the weights after each epoch.
    """
    going = descent(problem.features, problem.weights, lr=settings.lr, momentum=settings.momentum, decay=settings.decay)
    for epoch in range(1, settings.epochs + 1):
        for rows in _batches(problem.retain, settings.batch, seed, "retain", epoch):
            error = cross_entropy_error(going.logits(rows), problem.labels[rows])
            going.step(rows, error / len(rows))
        yield going.weights()


def retrain(problem: Problem, settings: TrainSettings, *, seed: int) -> Tensor:
    """From the initial values, on the retain items, as the head was trained: every epoch, none chosen anew.

    On the bottleneck's values this is Oracle-V. With full-batch descent nothing is drawn, so the seed decides nothing.

    returns: (features, v) float32.
    """
    retain = problem.retain
    features, labels = problem.features.take(retain), problem.labels[retain]
    if isinstance(features, EmbeddingFeatures):
        features = EmbeddingFeatures.of(features.x[:, :-1])  # else the preconditioner would know the forget items
    *_, weights = epochs(features, labels, settings, v=problem.weights.shape[1], seed=seed)
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


def dampen(weights: Tensor, important: Tensor, forget_important: Tensor, settings: Dampen) -> Tensor:
    """Selective synaptic dampening: weights that matter much more for the forget items than for all shrink.

    weights, important (for all training items), forget_important: (features, v) float32.
    returns: (features, v) float32.
    raises: ShapeMismatch.
    source: Foster et al., arXiv 2308.07707.
    """
    for found in (important, forget_important):
        if found.shape != weights.shape:
            raise ShapeMismatch.between("importance", found.shape, "weights (features, v)", weights.shape)
    factor = (settings.lam * important / forget_important.clamp(min=torch.finfo(torch.float32).tiny)).clamp(max=1)
    return torch.where(forget_important > settings.alpha * important, weights * factor, weights)


def without_column(weights: Tensor, forget: list[int]) -> Tensor:
    """Control: the forget classes' columns of the weights (features, v) become zero, and so do their logits."""
    kept = weights.clone()
    kept[:, forget] = 0
    return kept


def without_logit(logits: Tensor, forget: list[int]) -> Tensor:
    """Control: the forget classes' logits (n, v) become minus infinity."""
    kept = logits.clone()
    kept[:, forget] = -torch.inf
    return kept


def random_mask(like: Tensor, among: Tensor, *, seed: int) -> Tensor:
    """Control: a random mask with as many pairs in each codebook as another.

    like: (c, m) bool, the mask to match; among: (c, m) bool, pairs that may be drawn.
    returns: (c, m) bool.
    raises: BadSetting when a codebook has too few pairs; ShapeMismatch.
    """
    if like.shape != among.shape:
        raise ShapeMismatch.between("among (c, m)", among.shape, "like (c, m)", like.shape)
    if (short := like.sum(1) > among.sum(1)).any():
        raise BadSetting(f"among: found too few pairs in {int(short.sum())} codebooks, expected what the mask has")
    order = torch.rand(like.shape, generator=generator(seed, "random mask")).masked_fill(~among, 2).argsort(1)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(like.shape[1]).expand_as(order))
    return place < like.sum(1, keepdim=True)


def _batches(rows: Tensor, size: int, seed: int, *purpose: str | int) -> tuple[Tensor, ...]:
    """Rows in a random order, split."""
    order = torch.randperm(len(rows), generator=generator(seed, *purpose))
    batches: tuple[Tensor, ...] = rows[order].split(size)
    return batches
