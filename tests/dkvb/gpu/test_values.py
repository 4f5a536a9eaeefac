"""Forward pass and step of training on a GPU have the bits of the CPU; trained values agree within rounding."""

import pytest
import torch

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.gpu.values import WIDEST, ItemsByPair, PairFeatures, fit_values, forward
from dkvb.training import TrainSettings
from dkvb.values import CodeFeatures
from dkvb.values import fit_values as fit_on_the_cpu

pytestmark = pytest.mark.gpu


def case(seed, *, n=40, c=3, m=6, v=5, heads=None):
    gen = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, m - 1, (n, c), generator=gen).short()  # the last key of each codebook is selected by none
    members = None if heads is None else torch.rand(n, heads, generator=gen) < 0.5
    columns = v * (heads or 1)
    weights, velocity = torch.randn(2, c * m, columns, generator=gen)
    velocity.view(c, m, -1)[:, -1] = 0
    return CodeFeatures.of(codes, m, members), weights, velocity, torch.randn(n, columns, generator=gen)


@pytest.mark.parametrize(("n", "v"), [(1, 1), (40, 10), (3, WIDEST + 1)])
def test_logits_of_equal_values_are_those_of_the_cpu(device, n, v):
    features, weights, _, _ = case(1, n=n, v=v)
    assert torch.equal(forward(features.codes.to(device), weights.to(device)).cpu(), features.forward(weights))


@pytest.mark.parametrize(("v", "heads"), [(1, None), (5, None), (5, 3), (WIDEST + 1, None)])
def test_a_step_by_equal_errors_is_that_of_the_cpu(device, v, heads):
    features, weights, velocity, error = case(2, v=v, heads=heads)
    there = [tensor.to(device, copy=True) for tensor in (weights, velocity, error)]
    features.accelerate(weights, velocity, error, lr=0.3, momentum=0.9)
    members = None if features.members is None else features.members.to(device)
    ItemsByPair.of(features.codes.to(device), features.m, members).accelerate(*there, lr=0.3, momentum=0.9)
    assert torch.equal(there[0].cpu(), weights)
    assert torch.equal(there[1].cpu(), velocity)


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_trained_values_are_those_of_the_cpu_within_rounding(device, validation):
    gen = torch.Generator().manual_seed(3)
    codes, labels = torch.randint(0, 6, (60, 3), generator=gen).short(), torch.randint(0, 4, (60,), generator=gen)
    settings = TrainSettings(epochs=4, validation=validation)
    expected, trained = fit_on_the_cpu(codes, labels, settings, m=6, v=4, seed=1)
    found, there = fit_values(codes.to(device), labels.to(device), settings, m=6, v=4, seed=1)
    assert (there.epochs, there.validation) == (trained.epochs, trained.validation)
    torch.testing.assert_close(found.cpu(), expected)
    assert expected.abs().max() > 0.01


def test_misfits_and_other_optimizers_are_refused(device):
    features, weights, velocity, error = case(4)
    there = PairFeatures(features.codes.to(device), features.m)
    with pytest.raises(ShapeMismatch, match="weights"):
        there.forward(weights[1:].to(device))
    with pytest.raises(ShapeMismatch, match="error"):
        there.accelerate(weights, velocity, error[1:], lr=1.0, momentum=0.9)
    with pytest.raises(BadSetting, match="found sgd, expected nesterov on a GPU"):
        fit_values(features.codes, torch.zeros(40).long(), TrainSettings(optimizer="sgd"), m=6, v=5, seed=1)
    with pytest.raises(BadSetting, match=r"decay: found 0\.1, expected none on a GPU"):
        fit_values(features.codes, torch.zeros(40).long(), TrainSettings(decay=0.1), m=6, v=5, seed=1)
    with pytest.raises(BadSetting, match=r"decay: found 0\.1, expected none on a GPU"):
        there.accelerate(weights, velocity, error, lr=1.0, momentum=0.9, decay=0.1)
