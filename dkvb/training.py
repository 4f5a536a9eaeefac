"""Training a linear model, the same way for the bottleneck's values and for the linear head beside it.

Both are convex: fixed features, cross-entropy on top. "nesterov" runs full-batch accelerated descent with the features'
own preconditioner, under which a learning rate of 1 never overshoots; "sgd" is the DKVB authors' setting.

n: items; v: classes; features: those of a linear model, c * m pairs or d_z + 1 numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from dkvb.metrics import accuracy
from dkvb.seeds import generator
from dkvb.settings import TrainSettings as TrainSettings

BLOCK = 4096
"""Items whose errors are computed at a time."""


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

    def update(self, weights: Tensor, velocity: Tensor, labels: Tensor, settings: TrainSettings) -> None:
        """One epoch of Nesterov's descent, of the weights and of their velocity, in place (`update`)."""
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


@dataclass(slots=True)
class State:
    """A head while it is trained."""

    weights: Tensor
    """(features, v) float32."""
    velocity: Tensor | None
    """As the weights; None for sgd, which has none."""
    done: int = 0
    """Epochs behind it."""

    @classmethod
    def zero(cls, features: Features, settings: TrainSettings, v: int) -> Self:
        """Where every training begins."""
        return cls(features.weights(v), features.weights(v) if settings.optimizer == "nesterov" else None)


def epochs(
    features: Features, labels: Tensor, settings: TrainSettings, *, v: int, seed: int, state: State | None = None
) -> Iterator[Tensor]:
    """Train from zero, or from a state on; yields the weights after every epoch (one tensor, changed in place).

    state: is changed in place; what an epoch draws follows from the seed and its number.
    """
    state = State.zero(features, settings, v) if state is None else state
    while state.done < settings.epochs:
        if state.velocity is None:
            order = torch.randperm(len(features), generator=generator(seed, "item order", state.done))
            for rows in order.split(settings.batch):
                batch = features.take(rows)
                error = errors_(batch.forward(state.weights), labels[rows], settings.label_smoothing)
                batch.descend(state.weights, error, lr=settings.step, clip=settings.clip)
        else:
            features.update(state.weights, state.velocity, labels, settings)
        state.done += 1
        yield state.weights


def update(features: Features, weights: Tensor, velocity: Tensor, labels: Tensor, settings: TrainSettings) -> None:
    """One epoch of Nesterov's descent, in place: the gradient is that where momentum leads the weights."""
    weights.add_(velocity, alpha=settings.momentum)
    error = errors_(features.forward(weights), labels, settings.label_smoothing)
    features.accelerate(weights, velocity, error, lr=settings.step, momentum=settings.momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How far a training has come."""

    searching: bool
    """Whether it still looks for the number of epochs."""
    epochs: int
    """Epochs behind it, of the search or of the training after it."""
    validation: tuple[float, ...]
    """As in Trained."""


class Saves(Protocol):
    """Where a training is saved after its epochs, and goes on from when it was cut off."""

    def load(self, state: State) -> Reached | None:
        """Read the last save into the tensors of a state; None, and nothing is changed, where there is none."""
        ...

    def save(self, state: State, reached: Reached) -> None:
        """Save a state, if that is worth its time now."""
        ...


def train(
    features: Features,
    labels: Tensor,
    settings: TrainSettings,
    *,
    v: int,
    seed: int,
    held_out: Callable[[Tensor, Tensor], Features] | None = None,
    saves: Saves | None = None,
) -> Trained:
    """Train a head, the number of epochs chosen on held-out training items if the settings say so.

    labels: (n,) int64 in [0, v).
    held_out: (rows held out, all other rows) -> features of the held-out rows for a model that saw the others alone;
        unless given, those in features.
    saves: where it goes on from, to the same bits as if it had never been cut off, and is saved after its epochs.
    returns: the weights after the chosen number of epochs on all items.
    source: Nesterov's accelerated gradient in the form of Sutskever et al., ICML 2013; SGD settings of
        Träuble et al., arXiv 2207.11240.
    """
    state, held = State.zero(features, settings, v), int(settings.validation * len(features))
    reached = saves.load(state) if saves is not None else None
    if reached is None:
        reached = Reached(searching=held > 0, epochs=0, validation=())
    state.done, history = reached.epochs, reached.validation
    if reached.searching:
        order = torch.randperm(len(features), generator=generator(seed, "validation"))
        out, rest = order[:held].sort().values, order[held:].sort().values
        unseen = features.take(out) if held_out is None else held_out(out, rest)
        for weights in epochs(features.take(rest), labels[rest], settings, v=v, seed=seed, state=state):
            history = *history, accuracy(unseen.forward(weights).argmax(1), labels[out])
            if saves is not None:
                saves.save(state, Reached(searching=True, epochs=state.done, validation=history))
            del weights
        del state  # makes room first
        state = State.zero(features, settings, v)
    count = max(range(len(history)), key=history.__getitem__) + 1 if held else settings.epochs
    for _ in epochs(features, labels, replace(settings, epochs=count), v=v, seed=seed, state=state):
        if saves is not None:
            saves.save(state, Reached(searching=False, epochs=state.done, validation=history))
    return Trained(state.weights, count, list(history))
