"""The linear head on the same embeddings, with which every accuracy is compared.

n: items; d_z: width of an embedding; v: classes.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.training import Saves, Trained, TrainSettings, accelerate, train, update


@dataclass(frozen=True)
class EmbeddingFeatures:
    """Embeddings, with a constant one for the bias."""

    x: Tensor
    """(n, d_z + 1) float32."""
    factor: Tensor
    """(d_z + 1, d_z + 1) float32, Cholesky factor of the damped second-moment matrix of all items."""

    @classmethod
    def of(cls, z: Tensor) -> Self:
        """Features of embeddings (n, d_z) of any float dtype."""
        x = torch.cat([z.float(), z.new_ones(len(z), 1).float()], dim=1)
        moment = x.T @ x / len(x)
        damping = 0.1 * moment.diagonal().mean()
        return cls(x, torch.linalg.cholesky(moment + damping * torch.eye(len(moment), device=x.device)))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> Self:
        """The same features of some items."""
        return type(self)(self.x[rows], self.factor)

    def weights(self, v: int) -> Tensor:
        """Weights to begin with: (d_z + 1, v) float32 zeros."""
        return self.x.new_zeros(self.x.shape[1], v)

    def forward(self, weights: Tensor) -> Tensor:
        """Logits: weights (d_z + 1, v) -> (n, v)."""
        return self.x @ weights

    def direction(self, error: Tensor) -> Tensor:
        """The gradient of the mean loss in the metric of the features' second moments: a learning rate of 1 is safe."""
        return torch.cholesky_solve(self.x.T @ (error / len(self)), self.factor)

    def update(self, weights: Tensor, velocity: Tensor, labels: Tensor, settings: TrainSettings) -> None:
        """One epoch of Nesterov's descent, in place."""
        update(self, weights, velocity, labels, settings)

    def accelerate(self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float) -> None:
        """Update the weights and their velocity once, against the direction, in place."""
        accelerate(weights, velocity, self.direction(error), lr=lr, momentum=momentum)

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        """Update the weights once by the gradient of the mean loss, its norm clipped, in place."""
        gradient = self.x.T @ (error / len(self))
        weights.sub_(gradient * (lr * (clip / (gradient.norm() + 1e-6)).clamp(max=1)))

    def add_squared_gradient(self, total: Tensor, error: Tensor) -> None:
        """Add the square of the gradient that an error (n, v), d loss / d logits, gives; total: as weights."""
        total.add_((self.x.T @ error).square_())


def fit_linear(
    z: Tensor, labels: Tensor, settings: TrainSettings, *, v: int, seed: int, saves: Saves | None = None
) -> Trained:
    """Train the linear head.

    z: (n, d_z) float, embeddings; labels: (n,) int64 in [0, v).
    saves: where the training goes on from, and is saved.
    returns: weights (d_z + 1, v) float32, the last row the bias, and how they were trained.
    raises: ShapeMismatch; BadSetting for a decay, which is one of values.
    """
    if settings.decay:
        raise BadSetting(f"decay: found {settings.decay}, expected none: the linear head has no rows that items fetch")
    if labels.shape != z.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "z (n, d_z)", z.shape)
    return train(EmbeddingFeatures.of(z), labels, settings, v=v, seed=seed, saves=saves)


def linear_logits(z: Tensor, weights: Tensor) -> Tensor:
    """Logits: z (n, d_z) float, weights (d_z + 1, v) float32 -> (n, v) float32 logits."""
    return z.float() @ weights[:-1] + weights[-1]
