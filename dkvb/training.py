"""Training a linear model, the same way for the bottleneck's values and for the linear head beside it.

Both are convex: fixed features, cross-entropy on top. "nesterov" runs full-batch accelerated descent with the features'
own preconditioner, under which a learning rate of 1 never overshoots; "sgd" is the DKVB authors' setting.

n: items; v: classes; features: those of a linear model, c * m pairs or d_z + 1 numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self

import torch
from torch import Tensor

from dkvb.errors import BadSetting
from dkvb.metrics import accuracy
from dkvb.seeds import generator

OPTIMIZERS = ("nesterov", "sgd")

BLOCK = 4096
"""Items whose errors are computed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a head is trained."""

    optimizer: str = "nesterov"
    """ "nesterov" (full batch, preconditioned) or "sgd" (the DKVB authors', who take up to 2000 epochs)."""
    epochs: int = 60
    """Passes over the training items; with a validation split, the most that are tried."""
    lr: float | None = None
    """Learning rate; unless given 1.0 for nesterov, 0.3 for sgd."""
    momentum: float = 0.9
    """Momentum of nesterov."""
    batch: int = 256
    """Items of a batch of sgd."""
    clip: float = 1.0
    """Largest norm of a gradient of sgd."""
    label_smoothing: float = 0.1
    """Share of the target spread evenly over the classes."""
    validation: float = 0.1
    """Share of the training items held out to choose the number of epochs; 0 trains all epochs."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise BadSetting(f"optimizer: found {self.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
        if self.epochs < 1 or self.batch < 1:
            raise BadSetting(f"epochs and batch: found {self.epochs} and {self.batch}, expected 1 or more")
        if (self.lr is not None and self.lr <= 0) or self.clip <= 0:
            raise BadSetting(f"lr and clip: found {self.lr} and {self.clip}, expected more than 0")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise BadSetting(f"{name}: found {getattr(self, name)}, expected a number in [0, 1)")
        if not 0 <= self.validation < 1:
            raise BadSetting(f"validation: found {self.validation}, expected a share in [0, 1)")

    @property
    def step(self) -> float:
        """The learning rate, given or by default."""
        return self.lr if self.lr is not None else 1.0 if self.optimizer == "nesterov" else 0.3


class Features(Protocol):
    """The fixed part of a linear model of n items: logits = forward(weights)."""

    def __len__(self) -> int:
        """Number of items n."""
        ...

    def take(self, rows: Tensor) -> Self:
        """The same features of some items."""
        ...

    def weights(self, v: int) -> Tensor:
        """Weights to begin with: (features, v) float32 zeros, one row per feature."""
        ...

    def forward(self, weights: Tensor) -> Tensor:
        """Logits: weights (features, v) -> (n, v)."""
        ...

    def direction(self, error: Tensor) -> Tensor:
        """The preconditioned gradient of the summed loss, for an error d loss / d logits of (n, v)."""
        ...

    def accelerate(self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float) -> None:
        """Update the weights and their velocity once, against the direction, in place (`accelerate`)."""
        ...

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        """Update the weights once by the gradient of the mean loss, its norm clipped, in place."""
        ...

    def add_squared_gradient(self, total: Tensor, error: Tensor) -> None:
        """Add the square of the gradient that an error (n, v), d loss / d logits, gives; total: as weights."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained head and how it was trained."""

    weights: Tensor
    """(features, v) float32."""
    epochs: int
    """Passes over the items."""
    validation: list[float]
    """Accuracy on the held-out items after each epoch of the search; empty without a search."""


def errors(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Derivative of the loss by the logits of label-smoothed cross-entropy, item by item: (n, v) float32.

    logits: (n, v) float32; labels: (n,) int64.
    """
    return errors_(logits.clone(), labels, label_smoothing)


def errors_(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """`errors`, written over the logits: at ImageNet size a second copy of them is 5 GB."""
    v = logits.shape[1]
    for rows, of_rows in zip(logits.split(BLOCK), labels.split(BLOCK), strict=True):
        rows.copy_(rows.softmax(1)).sub_(label_smoothing / v)
        rows[torch.arange(len(of_rows), device=of_rows.device), of_rows] -= 1 - label_smoothing
    return logits


def accelerate(weights: Tensor, velocity: Tensor, direction: Tensor, *, lr: float, momentum: float) -> None:
    """Update by Nesterov's descent once, in place; the direction is that where momentum had led the weights."""
    weights.sub_(direction, alpha=lr)
    velocity.mul_(momentum).sub_(direction, alpha=lr)


def epochs(features: Features, labels: Tensor, settings: TrainSettings, *, v: int, seed: int) -> Iterator[Tensor]:
    """Train from zero; yields the weights after every epoch (one tensor, changed in place)."""
    weights = features.weights(v)
    if settings.optimizer == "sgd":
        for epoch in range(settings.epochs):
            order = torch.randperm(len(features), generator=generator(seed, "item order", epoch))
            for rows in order.split(settings.batch):
                batch = features.take(rows)
                error = errors_(batch.forward(weights), labels[rows], settings.label_smoothing)
                batch.descend(weights, error, lr=settings.step, clip=settings.clip)
            yield weights
        return
    velocity = torch.zeros_like(weights)
    for _ in range(settings.epochs):
        weights.add_(velocity, alpha=settings.momentum)  # Nesterov: look at the gradient where momentum leads.
        error = errors_(features.forward(weights), labels, settings.label_smoothing)
        features.accelerate(weights, velocity, error, lr=settings.step, momentum=settings.momentum)
        yield weights


def train(
    features: Features,
    labels: Tensor,
    settings: TrainSettings,
    *,
    v: int,
    seed: int,
    held_out: Callable[[Tensor, Tensor], Features] | None = None,
) -> Trained:
    """Train a head, the number of epochs chosen on held-out training items if the settings say so.

    labels: (n,) int64 in [0, v).
    held_out: (rows held out, all other rows) -> features of the held-out rows for a model that saw the others alone;
        unless given, those in features.
    returns: the weights after the chosen number of epochs on all items.
    source: Nesterov's accelerated gradient in the form of Sutskever et al., ICML 2013; SGD settings of
        Träuble et al., arXiv 2207.11240.
    """
    history: list[float] = []
    count = settings.epochs
    held = int(settings.validation * len(features))
    if held:
        order = torch.randperm(len(features), generator=generator(seed, "validation"))
        out, rest = order[:held].sort().values, order[held:].sort().values
        unseen = features.take(out) if held_out is None else held_out(out, rest)
        search = epochs(features.take(rest), labels[rest], settings, v=v, seed=seed)
        history += [accuracy(unseen.forward(weights).argmax(1), labels[out]) for weights in search]
        count = max(range(len(history)), key=history.__getitem__) + 1
    passes = epochs(features, labels, settings, v=v, seed=seed)
    weights = next(islice(passes, count - 1, None))
    return Trained(weights, count, history)
