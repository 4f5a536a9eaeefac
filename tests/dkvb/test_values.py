"""Values: a sparse linear model on codes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from dkvb.bottleneck import decode
from dkvb.errors import ShapeMismatch
from dkvb.training import TrainSettings, errors
from dkvb.values import CodeFeatures, fit_values
from tests.dkvb import naive

C, M, V, N = 3, 7, 5, 53
AUTHORS = TrainSettings(optimizer="sgd", epochs=60, lr=0.3, batch=17, validation=0)


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_codes(seed: int, n: int = N) -> torch.Tensor:
    return torch.randint(M, (n, C), generator=gen(seed)).to(torch.int16)


def random_values(seed: int) -> torch.Tensor:
    return torch.randn(C, M, V, generator=gen(seed))


def autograd(values: torch.Tensor, codes: torch.Tensor, labels: torch.Tensor, *, reduction: str) -> torch.Tensor:
    """The gradient of label-smoothed cross-entropy on the mean of the fetched values: (c, m, v)."""
    values = values.double().requires_grad_()
    logits = values[torch.arange(C), codes.long()].mean(1)
    cross_entropy(logits, labels, label_smoothing=0.1, reduction=reduction).backward()
    return values.grad


def test_logits_are_the_mean_of_the_fetched_values_as_the_decoder_takes_it():
    codes, values = random_codes(1), random_values(2)
    found = CodeFeatures.of(codes, M).forward(values.view(C * M, V))
    np.testing.assert_allclose(found, naive.decode(codes, values), atol=1e-6)
    assert torch.allclose(found, decode(codes, values), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([1, 2, 53]), clip=st.sampled_from([1e9, 1e-3]))
def test_a_plain_step_goes_down_the_clipped_gradient_of_autograd(seed, n, clip):
    codes, values = random_codes(seed, n), random_values(seed + 1)
    labels = torch.randint(V, (n,), generator=gen(seed + 2))
    features, weights = CodeFeatures.of(codes, M), values.view(C * M, V).clone()
    features.descend(weights, errors(features.forward(weights), labels, 0.1), lr=0.3, clip=clip)
    gradient = autograd(values, codes, labels, reduction="mean")
    scale = min(1.0, clip / (gradient.norm().item() + 1e-6))
    step = (weights.view(C, M, V) - values).double()
    assert torch.allclose(step, -0.3 * scale * gradient, atol=1e-6)
    assert (step[gradient == 0] == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([1, 2, 53]))
def test_the_direction_is_the_gradient_of_autograd_over_the_share_of_each_pair(seed, n):
    codes, values = random_codes(seed, n), random_values(seed + 1)
    labels = torch.randint(V, (n,), generator=gen(seed + 2))
    features = CodeFeatures.of(codes, M)
    found = features.direction(errors(features.forward(values.view(C * M, V)), labels, 0.1))
    gradient = autograd(values, codes, labels, reduction="sum")
    items = torch.zeros(C, M)
    for row in codes.tolist():
        for j, code in enumerate(row):
            items[j, code] += 1
    expected = gradient * (C / items.clamp(min=1))[:, :, None]
    assert torch.allclose(found.view(C, M, V).double(), expected, atol=1e-5)
    assert (found.view(C, M, V)[items == 0] == 0).all()


@pytest.mark.parametrize("settings", [AUTHORS, TrainSettings(validation=0)])
def test_pairs_that_no_training_item_selects_stay_at_zero(settings):
    codes = random_codes(1) % 5
    values, _ = fit_values(codes, torch.arange(N) % V, settings, m=M, v=V, seed=1)
    assert values.shape == (C, M, V)
    assert values.dtype == torch.float32
    assert (values[:, 5:] == 0).all()
    assert (values[:, :5] != 0).any()


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(),
        TrainSettings(optimizer="sgd", epochs=30, lr=0.3, batch=17),
    ],
)
def test_linearly_separable_codes_are_learned(settings):
    # The class is told by one codebook; the others are noise.
    labels = torch.randint(V, (211,), generator=gen(1))
    codes = torch.randint(M, (211, C), generator=gen(2))
    codes[:, 1] = labels
    values, _ = fit_values(codes, labels, settings, m=M, v=V, seed=1)
    fresh = torch.randint(M, (211, C), generator=gen(3))
    fresh[:, 1] = labels
    assert (decode(codes, values).argmax(1) == labels).all()
    assert (decode(fresh, values).argmax(1) == labels).double().mean() > 0.95


def test_the_optimum_of_separated_pairs_is_the_smoothed_target():
    # Class k selects pair k everywhere, so the loss bottoms out where softmax(logits) is the smoothed target.
    labels = torch.arange(2 * V) % V
    codes = labels[:, None].expand(-1, C)
    values, _ = fit_values(codes, labels, TrainSettings(epochs=300, validation=0), m=M, v=V, seed=1)
    logits = decode(codes, values)
    own = logits[torch.arange(2 * V), labels]
    others = (logits.sum(1) - own) / (V - 1)
    gap = math.log((1 - 0.1 + 0.1 / V) / (0.1 / V))
    assert torch.allclose(own - others, torch.full((2 * V,), gap), atol=1e-3)


def test_the_optimum_of_one_shared_pair_is_the_frequency_of_the_classes():
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    settings = TrainSettings(epochs=300, label_smoothing=0.0, validation=0)
    values, _ = fit_values(torch.zeros(10, C, dtype=torch.int16), labels, settings, m=M, v=3, seed=1)
    shares = decode(torch.zeros(1, C, dtype=torch.int16), values).softmax(1)
    assert torch.allclose(shares, torch.tensor([[0.5, 0.3, 0.2]]), atol=1e-4)


def test_codes_and_labels_are_left_alone():
    codes, labels = random_codes(1), torch.arange(N) % V
    kept = codes.clone(), labels.clone()
    fit_values(codes, labels, TrainSettings(epochs=2), m=M, v=V, seed=1)
    assert torch.equal(codes, kept[0])
    assert torch.equal(labels, kept[1])


def test_a_training_item_without_a_vote_is_refused():
    codes = random_codes(1)
    codes[4, 2] = -1
    with pytest.raises(ShapeMismatch, match="without a vote"):
        fit_values(codes, torch.arange(N) % V, AUTHORS, m=M, v=V, seed=1)


def test_labels_of_another_number_of_items_are_refused():
    with pytest.raises(ShapeMismatch, match="labels"):
        fit_values(random_codes(1), torch.zeros(N - 1, dtype=torch.int64), AUTHORS, m=M, v=V, seed=1)
