"""The linear head on cases with a closed form."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from dkvb.errors import ShapeMismatch
from dkvb.linear import EmbeddingFeatures, fit_linear, linear_logits
from dkvb.training import TrainSettings, errors
from tests.dkvb import naive

D_Z, V, N = 7, 5, 53


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_logits_are_weights_times_embeddings_plus_the_last_row():
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    assert linear_logits(torch.tensor([[1.0, 1.0], [0.0, -1.0]]), weights).tolist() == [[14, 26], [7, 16]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_training_and_serving_compute_the_same_logits(dtype):
    z, weights = naive.random_items(1, N).to(dtype), torch.randn(D_Z + 1, V, generator=gen(2))
    found = linear_logits(z, weights)
    assert found.dtype == torch.float32
    assert torch.allclose(EmbeddingFeatures.of(z).forward(weights), found, atol=1e-5)


def case() -> tuple[EmbeddingFeatures, torch.Tensor, torch.Tensor, np.ndarray]:
    """Features, weights, d loss / d logits, and the gradient of the mean loss by autograd."""
    z, labels = naive.random_items(1, N), torch.randint(V, (N,), generator=gen(3))
    weights = torch.randn(D_Z + 1, V, generator=gen(2))
    free = weights.double().requires_grad_()
    cross_entropy(z.double() @ free[:-1] + free[-1], labels, label_smoothing=0.1).backward()
    features = EmbeddingFeatures.of(z)
    assert free.grad is not None
    return features, weights, errors(features.forward(weights), labels, 0.1), free.grad.numpy()


@pytest.mark.parametrize("clip", [1e9, 0.01])
def test_a_plain_step_goes_down_the_clipped_gradient_of_autograd(clip):
    features, weights, error, gradient = case()
    after = weights.clone()
    features.descend(after, error, lr=0.3, clip=clip)
    scale = min(1.0, clip / (np.linalg.norm(gradient) + 1e-6))
    np.testing.assert_allclose(after - weights, -0.3 * scale * gradient, atol=1e-5)


def test_the_direction_solves_the_damped_second_moments():
    features, _, error, gradient = case()
    x = np.concatenate([naive.f64(naive.random_items(1, N)), np.ones((N, 1))], axis=1)
    moment = sum(np.outer(row, row) for row in x) / N
    damped = moment + 0.1 * np.trace(moment) / (D_Z + 1) * np.eye(D_Z + 1)
    np.testing.assert_allclose(features.direction(error), np.linalg.solve(damped, gradient), atol=1e-5)


def test_the_optimum_of_two_mirrored_points_is_the_smoothed_target():
    z = torch.tensor([[1.0], [-1.0]])
    settings = TrainSettings(epochs=300, validation=0)
    trained = fit_linear(z, torch.tensor([0, 1]), settings, v=2, seed=1)
    slope, bias = trained.weights
    assert (slope[0] - slope[1]).item() == pytest.approx(math.log(0.95 / 0.05), abs=1e-3)
    assert bias.abs().max().item() == pytest.approx(0, abs=1e-4)


def test_the_bias_alone_learns_the_frequency_of_the_classes():
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    settings = TrainSettings(epochs=300, label_smoothing=0.0, validation=0)
    trained = fit_linear(torch.zeros(10, D_Z), labels, settings, v=3, seed=1)
    assert torch.equal(trained.weights[:-1], torch.zeros(D_Z, 3))
    assert torch.allclose(trained.weights[-1].softmax(0), torch.tensor([0.5, 0.3, 0.2]), atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(),
        TrainSettings(optimizer="sgd", epochs=60, lr=0.3, batch=17),
    ],
)
def test_linearly_separable_embeddings_are_learned(settings):
    labels = torch.randint(V, (211,), generator=gen(1))
    z = 3 * torch.eye(V, D_Z)[labels] + 0.3 * torch.randn(211, D_Z, generator=gen(2)) + 1
    trained = fit_linear(z, labels, settings, v=V, seed=1)
    assert trained.weights.shape == (D_Z + 1, V)
    assert (linear_logits(z, trained.weights).argmax(1) == labels).all()
    assert len(trained.validation) == settings.epochs


def test_half_precision_embeddings_are_widened_before_training():
    z, labels = naive.random_items(1, N).half(), torch.arange(N) % V
    one, other = (fit_linear(x, labels, TrainSettings(epochs=3), v=V, seed=1) for x in (z, z.float()))
    assert torch.equal(one.weights, other.weights)


def test_labels_of_another_number_of_items_are_refused():
    with pytest.raises(ShapeMismatch, match="labels"):
        fit_linear(torch.zeros(N, D_Z), torch.zeros(N - 1, dtype=torch.int64), TrainSettings(), v=V, seed=1)
