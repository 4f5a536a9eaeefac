"""Descent with momentum and weight decay: its oracle is torch.optim.SGD on a dense copy of the head, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from dkvb.baselines import cross_entropy_error
from dkvb.descent import STEPS, CodeDescent, Descent, LinearDescent, descent
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features
from dkvb.values import CodeFeatures
from tests.dkvb import naive
from tests.dkvb.threads import threads

C, M, V, N, D_Z = 3, 7, 5, 53, 11

heads = pytest.mark.parametrize("head", ["linear", "values"])
ways = pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.03)])


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_codes(seed: int, n: int = N, m: int = M) -> torch.Tensor:
    """About one code in m + 1 is no vote; item 0 has no vote at all, item 1 has one."""
    codes = torch.randint(-1, m, (n, C), generator=gen(seed)).to(torch.int16)
    codes[0], codes[1] = -1, torch.tensor([2, -1, -1])
    return codes


def random_features(head: str, seed: int) -> Features:
    if head == "linear":
        return EmbeddingFeatures.of(naive.random_items(seed, N, d_z=D_Z))
    return CodeFeatures(random_codes(seed), M)


def dense(features: Features) -> torch.Tensor:
    """Whatever the head, logits = dense @ weights: (n, features) float64."""
    if isinstance(features, EmbeddingFeatures):
        return features.x.double()
    assert isinstance(features, CodeFeatures)
    rows = torch.zeros(len(features), features.size, dtype=torch.float64)
    for i, codes in enumerate(features.codes.tolist()):
        for j, code in enumerate(codes):
            if code >= 0:
                rows[i, j * features.m + code] = 1 / sum(other >= 0 for other in codes)
    return rows


class Torch:
    """The same descent by autograd and torch.optim.SGD."""

    def __init__(self, features: Features, weights: torch.Tensor, lr: float, momentum: float, decay: float) -> None:
        self.x, self.weights = dense(features), weights.double().requires_grad_()
        self.optimizer = torch.optim.SGD([self.weights], lr=lr, momentum=momentum, weight_decay=decay)

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x[rows] @ self.weights

    def step(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        (cross_entropy(self.logits(rows), labels, reduction="sum") / max(1, len(rows))).backward()
        self.optimizer.step()

    def set_lr(self, lr: float) -> None:
        self.optimizer.param_groups[0]["lr"] = lr


def pair(features: Features, *, lr: float, momentum: float, decay: float, seed: int = 3) -> tuple[Descent, Torch]:
    weights = torch.randn(dense(features).shape[1], V, generator=gen(seed))
    return (
        descent(features, weights, lr=lr, momentum=momentum, decay=decay),
        Torch(features, weights, lr, momentum, decay),
    )


def step_both(going: Descent, other: Torch, rows: torch.Tensor, labels: torch.Tensor) -> None:
    logits = going.logits(rows)
    assert_close(logits, other.logits(rows))
    going.step(rows, cross_entropy_error(logits, labels[rows]) / max(1, len(rows)))
    other.step(rows, labels[rows])


def assert_same(going: Descent, other: Torch) -> None:
    assert_close(going.weights(), other.weights)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """As close as float32 is to float64 after some steps, on the scale of what is compared."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-5 * (1 + scale))


# --- against torch ---


@heads
@ways
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_steps_on_any_batches_equal_those_of_torch(head, momentum, decay, seed):
    labels = torch.randint(V, (N,), generator=gen(seed + 1))
    going, other = pair(random_features(head, seed), lr=0.5, momentum=momentum, decay=decay)
    draw = gen(seed + 2)
    for size in (1, 17, 2, 1, 53, 0, 3, 1, 2, 5):  # drawn with repeats: an item may occur twice
        step_both(going, other, torch.randint(N, (size,), generator=draw), labels)
    assert_same(going, other)


@ways
@pytest.mark.parametrize("steps", [13, STEPS])
def test_rows_that_are_rarely_visited_catch_up(monkeypatch, momentum, decay, steps):
    # Item 1 alone for most of the time; the others' rows wait for up to 41 steps, or are never asked for.
    monkeypatch.setattr("dkvb.descent.STEPS", steps)
    labels = torch.randint(V, (N,), generator=gen(1))
    going, other = pair(CodeFeatures(random_codes(2), M), lr=0.5, momentum=momentum, decay=decay)
    for count, rare in ((1, 2), (41, 3), (12, 2), (13, 3), (14, 5), (26, 2), (7, 5)):
        step_both(going, other, torch.tensor([rare, 1, rare + 7]), labels)
        for _ in range(count):
            step_both(going, other, torch.tensor([1]), labels)
    assert_same(going, other)


def test_a_row_can_miss_more_steps_than_are_kept():
    labels = torch.arange(N) % V
    going, other = pair(CodeFeatures(random_codes(2), M), lr=0.05, momentum=0.9, decay=0.01)
    step_both(going, other, torch.arange(N), labels)
    for _ in range(STEPS + 3):
        step_both(going, other, torch.tensor([1]), labels)
    step_both(going, other, torch.arange(N), labels)
    assert_same(going, other)


@heads
@ways
@pytest.mark.parametrize("order", [(1.0, 0.1, 0.01), (0.01, 0.5, 0.5)])
def test_another_step_size_holds_from_where_it_is_set(head, momentum, decay, order):
    labels = torch.arange(N) % V
    features = random_features(head, 1)
    going, other = pair(features, lr=0.3, momentum=momentum, decay=decay)
    step_both(going, other, torch.arange(N), labels)
    for lr in order:
        for each in (going, other):
            each.set_lr(lr)
        for _ in range(5):  # most rows wait, and owe steps of more than one size
            step_both(going, other, torch.tensor([1, 2]), labels)
    step_both(going, other, torch.arange(N), labels)
    assert_same(going, other)


@heads
def test_any_error_is_taken_as_the_derivative_it_is(head):
    # Loss = sum(logits * error): its gradient is the error, whatever the logits.
    features, rows = random_features(head, 1), torch.tensor([4, 9, 4, 1, 0])
    error = torch.randn(5, V, generator=gen(2))
    weights = torch.randn(dense(features).shape[1], V, generator=gen(3))
    going = descent(features, weights, lr=0.25)
    going.step(rows, error)
    expected = weights.double() - 0.25 * dense(features)[rows].T @ error.double()
    np.testing.assert_allclose(going.weights(), expected, atol=1e-6)


# --- by hand ---


def test_a_row_that_no_item_selects_moves_by_momentum_and_decay_alone():
    # w = 1, lr = 1/2, momentum 1/2, decay 1/10:
    #   step 1: u = 0 / 2 + 0.1 * 1 = 0.1,           w = 1 - 0.1 / 2 = 0.95
    #   step 2: u = 0.1 / 2 + 0.1 * 0.95 = 0.145,    w = 0.95 - 0.145 / 2 = 0.8775
    #   step 3: u = 0.0725 + 0.08775 = 0.16025,      w = 0.8775 - 0.080125 = 0.797375
    features = CodeFeatures(torch.tensor([[0], [1]], dtype=torch.int16), 2)
    going = descent(features, torch.ones(2, 1), lr=0.5, momentum=0.5, decay=0.1)
    for expected in (0.95, 0.8775, 0.797375):
        going.step(torch.tensor([0]), torch.zeros(1, 1))
        assert going.logits(torch.tensor([1])).item() == pytest.approx(expected, abs=1e-6)


def test_a_negative_code_is_no_vote_and_takes_no_step():
    # One codebook votes for item 0, both for item 1, none for item 2.
    features = CodeFeatures(torch.tensor([[0, -1], [1, 1], [-1, -1]], dtype=torch.int16), 2)
    weights = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    going = descent(features, weights, lr=1.0)
    rows = torch.arange(3)
    assert going.logits(rows).flatten().tolist() == [1, (2 + 8) / 2, 0]
    going.step(rows, torch.tensor([[0.25], [0.5], [100.0]]))
    assert going.weights().flatten().tolist() == [1 - 0.25, 2 - 0.5 / 2, 4, 8 - 0.5 / 2]


# --- what is left alone, and what nothing depends on ---


@heads
def test_the_weights_it_began_with_are_never_touched_and_what_it_gives_is_a_copy(head):
    features = random_features(head, 1)
    weights = torch.randn(dense(features).shape[1], V, generator=gen(2))
    before = weights.clone()
    going = descent(features, weights, lr=0.5, momentum=0.9, decay=0.1)
    assert torch.equal(going.weights(), before)
    going.weights().zero_()
    going.step(torch.arange(N), torch.ones(N, V))
    after = going.weights()
    kept = after.clone()
    going.step(torch.arange(N), torch.ones(N, V))
    assert torch.equal(weights, before)
    assert torch.equal(after, kept)
    assert not torch.equal(after, before)
    assert not torch.equal(going.weights(), after)
    assert after.shape == weights.shape
    assert after.dtype == torch.float32


@heads
def test_looking_at_weights_and_logits_does_not_change_the_way(head):
    features, finals = random_features(head, 1), []
    for looks in (False, True):
        going, _ = pair(features, lr=0.5, momentum=0.9, decay=0.03)
        for i in range(2, 31):
            if looks:
                going.weights()
                going.logits(torch.arange(N))
            going.step(torch.tensor([i % 5]), torch.ones(1, V))
        finals.append(going.weights())
    assert torch.allclose(finals[0], finals[1], atol=1e-5)


@heads
def test_the_same_steps_end_at_the_same_bits_on_any_number_of_threads(head):
    features, finals = random_features(head, 1), []
    for count in (1, 1, 2):
        with threads(count):
            going, _ = pair(features, lr=0.5, momentum=0.9, decay=0.03)
            for i in range(29):
                rows = torch.tensor([i, i + 7, i])
                going.step(rows, going.logits(rows).softmax(1))
            finals.append(going.weights())
    assert torch.equal(finals[0], finals[1])
    assert torch.equal(finals[0], finals[2])


@heads
def test_no_item_has_no_logits_and_a_step_for_none_is_decay_alone(head):
    features, none = random_features(head, 1), torch.empty(0, dtype=torch.int64)
    weights = torch.randn(dense(features).shape[1], V, generator=gen(2))
    going = descent(features, weights, lr=0.5, decay=0.1)
    assert going.logits(none).shape == (0, V)
    going.step(none, torch.empty(0, V))
    assert torch.allclose(going.weights(), 0.95 * weights, atol=1e-6)


# --- what is refused ---


@heads
@pytest.mark.parametrize(
    ("lr", "momentum", "decay"),
    [
        (0.0, 0.9, 0.0),
        (-1.0, 0.9, 0.0),
        (float("nan"), 0.9, 0.0),
        (float("inf"), 0.9, 0.0),
        (0.1, 1.0, 0.0),
        (0.1, -0.1, 0.0),
        (0.1, float("nan"), 0.0),
        (0.1, 0.9, -1e-9),
        (0.1, 0.9, float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(head, lr, momentum, decay):
    features = random_features(head, 1)
    with pytest.raises(BadSetting, match="lr, momentum, decay: found"):
        descent(features, torch.zeros(dense(features).shape[1], V), lr=lr, momentum=momentum, decay=decay)


@heads
@pytest.mark.parametrize("rows", [lambda size: size - 1, lambda size: size + 1, lambda size: 2 * size, lambda _: 0])
def test_weights_of_other_features_are_refused(head, rows):
    features = random_features(head, 1)
    with pytest.raises(ShapeMismatch, match="weights"):
        descent(features, torch.zeros(rows(dense(features).shape[1]), V), lr=0.1)


@heads
@pytest.mark.parametrize("shape", [(2, V), (1, V), (3, V - 1), (3, V + 1), (3,)])
def test_errors_of_other_items_or_classes_are_refused_before_compiled_code_reads_them(head, shape):
    features = random_features(head, 1)
    going = descent(features, torch.zeros(dense(features).shape[1], V), lr=0.1)
    with pytest.raises(ShapeMismatch, match="error"):
        going.step(torch.tensor([1, 2, 3]), torch.zeros(shape))


def test_codes_beyond_the_values_are_refused():
    codes = random_codes(1)
    codes[4, 2] = M
    with pytest.raises(ShapeMismatch, match="below m"):
        CodeDescent(codes, torch.zeros(C, M, V), 0.1, 0.0, 0.0)
    with pytest.raises(ShapeMismatch, match="codes"):
        CodeDescent(random_codes(1)[:, :-1], torch.zeros(C, M, V), 0.1, 0.0, 0.0)


def test_features_that_are_neither_codes_nor_embeddings_are_refused():
    with pytest.raises(BadSetting, match="found Tensor, expected codes or embeddings"):
        descent(torch.zeros(N, D_Z), torch.zeros(D_Z, V), lr=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("head", "kind"), [("linear", LinearDescent), ("values", CodeDescent)])
def test_each_head_gets_its_own_descent(head, kind):
    going, _ = pair(random_features(head, 1), lr=0.1, momentum=0.0, decay=0.0)
    assert type(going) is kind
