"""Decay of values: the step is that of plain loops, the same bits on scratch, and the minimum is approached."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dkvb import large_values, sizes
from dkvb.errors import BadSetting
from dkvb.linear import fit_linear
from dkvb.spilled import is_spilled
from dkvb.training import TrainSettings, errors
from dkvb.values import CodeFeatures, fit_many_values, fit_values
from tests.dkvb.threads import threads

N, C, M, V = 211, 5, 7, 4
FULL = TrainSettings(validation=0.0)
"""All epochs, however well random labels are learned."""


def drawn(seed):
    gen = torch.Generator().manual_seed(seed)
    codes = torch.randint(M - 1, (N, C), generator=gen).short()  # the last key of each codebook is selected by none
    return codes, torch.randint(V, (N,), generator=gen)


def fitted(settings, seed=1):
    codes, labels = drawn(seed)
    return fit_values(codes, labels, settings, m=M, v=V, seed=3)[0]


@pytest.mark.parametrize("heads", [None, 3])
def test_a_step_adds_decay_times_the_row_to_the_mean_error(heads):
    codes, _ = drawn(1)
    gen = torch.Generator().manual_seed(2)
    members = None if heads is None else torch.rand(N, heads, generator=gen) < 0.5
    weights, velocity = torch.randn(2, C * M, V * (heads or 1), generator=gen)
    error = torch.randn(N, V * (heads or 1), generator=gen)
    for table in (weights, velocity):
        table.view(C, M, -1)[:, -1] = 0
    features = CodeFeatures(codes, M, members)
    plain, moved = weights.clone(), velocity.clone()
    features.accelerate(plain, moved, error, lr=1.0, momentum=0.0)
    direction = weights - plain
    before = weights.clone()
    features.accelerate(weights, velocity, error, lr=0.7, momentum=0.9, decay=0.3)
    expected = 0.7 * (direction + 0.3 * before)
    np.testing.assert_allclose(before - weights, expected, atol=1e-5)
    assert (weights.view(C, M, -1)[:, -1] == 0).all()


def test_no_decay_gives_the_bits_of_no_such_setting():
    plain = fitted(replace(FULL, epochs=9))
    assert torch.equal(fitted(replace(FULL, epochs=9, decay=0.0)), plain)
    assert not torch.equal(fitted(replace(FULL, epochs=9, decay=0.1)), plain)


@pytest.mark.parametrize("group", [1, 2 * 4 * M * V])
def test_values_on_scratch_have_the_bits_of_those_in_memory(group, monkeypatch):
    settings = replace(FULL, epochs=7, decay=0.2)
    expected = fitted(settings)
    monkeypatch.setattr(sizes, "LARGE", 0)
    monkeypatch.setattr(large_values, "GROUP", group)
    monkeypatch.setattr(large_values, "MOVED", group)
    found = fitted(settings)
    assert is_spilled(found)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("decay", [0.01, 0.1, 0.5])
def test_the_minimum_is_approached_and_does_not_depend_on_the_way(decay):
    codes, labels = drawn(1)
    ways = [replace(FULL, epochs=800, momentum=momentum, decay=decay) for momentum in (0.9, 0.5)]
    with threads(1):  # epochs of so little work wait mostly for each other's threads
        found, other = (fitted(settings).view(-1, V) for settings in ways)
    features = CodeFeatures.of(codes, M)
    error = errors(features.forward(found), labels, ways[0].label_smoothing)
    assert (features.direction(error) + decay * found).abs().max() < 1e-4
    torch.testing.assert_close(found, other, atol=1e-3, rtol=0)


def test_more_decay_means_shorter_rows_and_less_certainty_about_training_items():
    (codes, labels), lengths, right = drawn(1), [], []
    for decay in (0.0, 0.01, 0.1, 0.5):
        with threads(1):
            values = fitted(replace(FULL, epochs=200, decay=decay))
        lengths.append(float(values.square().sum()))
        chances = CodeFeatures.of(codes, M).forward(values.view(-1, V)).softmax(1)
        right.append(float(chances[torch.arange(N), labels].mean()))
    assert lengths == sorted(lengths, reverse=True)
    assert right == sorted(right, reverse=True)
    assert lengths[-1] < lengths[0] / 4


def test_many_heads_decay_as_one_does():
    codes, labels = drawn(1)
    members = torch.rand(N, 3, generator=torch.Generator().manual_seed(5)) < 0.6
    settings = replace(FULL, epochs=20, decay=0.1)
    many = fit_many_values(codes, labels, members, settings, m=M, v=V)
    for head, own in zip(many, members.T, strict=True):
        alone, _ = fit_values(codes[own], labels[own], settings, m=M, v=V, seed=3)
        torch.testing.assert_close(head, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"decay": -0.1}, r"decay: found -0.1, expected a number in \[0, 0.5\]"),
        ({"decay": 0.6}, r"decay: found 0.6, expected a number in \[0, 0.5\]"),
        ({"decay": 0.1, "optimizer": "sgd"}, "decay: found 0.1, expected none with sgd"),
    ],
)
def test_a_decay_that_cannot_be_is_refused(settings, text):
    with pytest.raises(BadSetting, match=text):
        TrainSettings(**settings)


def test_the_linear_head_has_none():
    with pytest.raises(BadSetting, match=r"decay: found 0\.1, expected none: the linear head"):
        fit_linear(torch.zeros(3, 2), torch.zeros(3).long(), TrainSettings(decay=0.1), v=2, seed=1)
