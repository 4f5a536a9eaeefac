"""Unlearning by gradients: its oracle is each recipe in plain torch, by autograd, in float64, on a dense head."""

from math import log

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from dkvb import baselines
from dkvb.baselines import Dampen, FineTune, ForgetTask, NegGrad, Scrub
from dkvb.descent import descent
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.flops import Flops
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features, TrainSettings, train
from dkvb.values import CodeFeatures
from tests.dkvb import naive

C, M, V, N, D_Z = 3, 7, 5, 149, 11
FORGET, BATCH = 2, 13

heads = pytest.mark.parametrize("head", ["linear", "values"])
Steps = list[tuple[torch.Tensor, torch.Tensor]]


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw_items(head: str) -> torch.Tensor:
    """Embeddings, or codes."""
    if head == "linear":
        return naive.random_items(1, N, d_z=D_Z)
    return torch.randint(M, (N, C), generator=gen(1))


def features_of(head: str, items: torch.Tensor) -> Features:
    return EmbeddingFeatures.of(items) if head == "linear" else CodeFeatures.of(items, M)


def task_of(head: str, items: torch.Tensor | None = None, labels: torch.Tensor | None = None) -> ForgetTask:
    features = features_of(head, raw_items(head) if items is None else items)
    known = torch.randint(V, (N,), generator=gen(2))
    weights = 0.5 * torch.randn(features.weights(V).shape, generator=gen(3))
    return ForgetTask(features, known if labels is None else labels, weights, (known == FORGET).nonzero().flatten())


def dense(features: Features) -> torch.Tensor:
    """Whatever the head, logits = dense @ weights: (n, features) float64."""
    if isinstance(features, EmbeddingFeatures):
        return features.x.double()
    assert isinstance(features, CodeFeatures)
    return one_hot(features.codes.long(), M).double().flatten(1) / C


def divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher || student) T^2, summed over items."""
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    return (p * (p.log() - q.log())).sum() * temperature**2


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.detach().abs().max().item()
    np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-5 * (1 + scale))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The rows and the errors of every step that a method takes."""
    taken: Steps = []

    def watched(*args, **kwargs):
        begun = descent(*args, **kwargs)
        step = begun.step

        def look(rows: torch.Tensor, error: torch.Tensor) -> None:
            taken.append((rows.clone(), error.clone()))
            step(rows, error)

        monkeypatch.setattr(begun, "step", look)
        return begun

    monkeypatch.setattr("dkvb.baselines.descent", watched)
    return taken


class Torch:
    """A head that goes down any loss by torch.optim.SGD."""

    def __init__(self, task: ForgetTask, lr: float, momentum: float, decay: float) -> None:
        self.x, self.labels = dense(task.features), task.labels
        self.weights = task.weights.double().requires_grad_()
        self.optimizer = torch.optim.SGD([self.weights], lr=lr, momentum=momentum, weight_decay=decay)

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x[rows] @ self.weights

    def ce(self, rows: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.logits(rows), self.labels[rows])

    def descend(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def assert_passes(batches: list[torch.Tensor], rows: torch.Tensor, size: int) -> None:
    """Every pass takes every row once, in batches of one size but for the last, in an order of its own."""
    parts = [len(part) for part in rows.split(size)]
    for begin in range(0, len(batches) - len(parts) + 1, len(parts)):
        own = batches[begin : begin + len(parts)]
        assert [len(batch) for batch in own] == parts
        assert torch.equal(torch.cat(own).sort().values, rows)
        assert not torch.equal(torch.cat(own), rows)


# --- SCRUB ---


def test_the_derivative_of_the_divergence_by_hand():
    # T = 2; teacher logits (2 ln 3, 0): at T its probabilities are (3/4, 1/4); the student's are (1/2, 1/2).
    # d/ds KL(t || s) T^2 = T (s - t) = 2 (-1/4, 1/4). KL(s || t) T^2 would have (ln(2/3) - ln(4/3) / 2, ...) = -0.549.
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * log(3), 0.0]])
    found = baselines.distillation_error(student, teacher, 2.0)
    np.testing.assert_allclose(found, [[-0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_derivatives_by_the_logits_equal_those_of_autograd(temperature):
    student, teacher = (torch.randn(17, V, generator=gen(seed), dtype=torch.float64) for seed in (1, 2))
    labels, kept = torch.arange(17) % V, student.clone()
    free = student.clone().requires_grad_()
    (by_divergence,) = torch.autograd.grad(divergence(free, teacher, temperature), free)
    (by_ce,) = torch.autograd.grad(cross_entropy(free, labels, reduction="sum"), free)
    assert torch.allclose(baselines.distillation_error(student, teacher, temperature), by_divergence)
    assert torch.allclose(baselines.cross_entropy_error(student, labels), by_ce)
    assert torch.equal(student, kept)


@heads
@pytest.mark.parametrize("max_epochs", [0, 2])
def test_two_epochs_of_scrub_by_hand(steps, head, max_epochs):
    # All items have the same logits w, first (2 ln 3, 0): a teacher of (3/4, 1/4) at T = 2, (9/10, 1/10) at T = 1.
    # Epoch 1, forget: student = teacher, so the error is 0. Retain, label 1: CE alone, 1/2 * (9/10, -9/10); with
    #   lr = ln 3 / 0.45 it leads to w = (2 ln 3 - ln 3, 0 + ln 3), where the student says (1/2, 1/2) at any T.
    # Epoch 2, forget: away from the teacher, -T (s - t) = -2 (1/2 - 3/4, 1/2 - 1/4) = (1/2, -1/2).
    #   Without that pass, retain: gamma (1/2, -1/2) + alpha T (s - t) = (1/4, -1/4) + 1/4 (-1/2, 1/2) = (1/8, -1/8).
    linear = head == "linear"
    items = torch.zeros(3, 1, dtype=torch.float32 if linear else torch.int64)
    features = EmbeddingFeatures.of(items) if linear else CodeFeatures.of(items, 1)
    weights = torch.tensor([[0.0, 0.0], [2 * log(3), 0.0]])[-len(features.weights(2)) :]
    task = ForgetTask(features, torch.tensor([0, 1, 0]), weights, torch.tensor([0, 2]))
    lr = log(3) / 0.45
    sizes = {"epochs": 2, "max_epochs": max_epochs}
    settings = Scrub(lr=lr, momentum=0.0, decay=0.0, gamma=0.5, alpha=0.25, temperature=2.0, **sizes)
    first, second = settings.unlearn(task, seed=1)
    np.testing.assert_allclose(first[-1], [log(3), log(3)], atol=1e-6)
    if max_epochs:
        # Of two forget items, each with half the error: B = 2.
        expected: list[list[list[float]]] = [[[0, 0]] * 2, [[0.45, -0.45]], [[0.25, -0.25]] * 2]
        found = [error for _, error in steps[:3]]
    else:
        expected = [[[0.45, -0.45]], [[0.125, -0.125]]]
        found = [error for _, error in steps]
        np.testing.assert_allclose(second[-1], [log(3) - lr / 8, log(3) + lr / 8], atol=1e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@heads
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.01)])
def test_scrub_equals_its_recipe_by_autograd(steps, head, momentum, decay):
    # Eleven epochs see all three falls of the step size; batches divide neither set.
    task = task_of(head)
    sizes = {"epochs": 11, "max_epochs": 6, "forget_batch": 11, "retain_batch": 23}
    settings = Scrub(lr=1.0, gamma=0.7, alpha=0.3, temperature=2.0, momentum=momentum, decay=decay, **sizes)
    found = list(settings.unlearn(task, seed=1))
    taken = iter([rows for rows, _ in steps])
    student = Torch(task, settings.lr, momentum, decay)
    teacher = student.logits(torch.arange(N)).detach().clone()
    for epoch, weights in enumerate(found, 1):
        student.optimizer.param_groups[0]["lr"] = 0.1 ** sum(epoch > fall for fall in (3, 5, 9))
        if epoch <= 6:
            batches = [next(taken) for _ in task.forget.split(11)]
            assert_passes(batches, task.forget, 11)
            for rows in batches:
                student.descend(-divergence(student.logits(rows), teacher[rows], 2.0) / len(rows))
        batches = [next(taken) for _ in task.retain.split(23)]
        assert_passes(batches, task.retain, 23)
        for rows in batches:
            apart = divergence(student.logits(rows), teacher[rows], 2.0) / len(rows)
            student.descend(0.7 * student.ce(rows) + 0.3 * apart)
        assert_close(weights, student.weights)
    assert next(taken, None) is None
    assert len(found) == 11


def test_rewinding_goes_back_to_the_epoch_nearest_to_the_held_out_error():
    assert baselines.rewind([0.1, 0.5, 0.75], 0.5) == 1
    assert baselines.rewind([0.1, 0.5, 0.75], 0.7) == 2
    assert baselines.rewind([0.1, 0.5, 0.75], 0.0) == 0
    assert baselines.rewind([0.25, 0.75, 0.25, 0.75, 1.0], 0.5) == 3  # four as near: the latest
    with pytest.raises(BadSetting, match="found no epoch"):
        baselines.rewind([], 0.5)


# --- NegGrad+, fine-tuning, retraining ---


@heads
def test_neggrad_equals_its_recipe_by_autograd_and_forget_batches_cycle(steps, head):
    task = task_of(head)
    settings = NegGrad(lr=0.5, epochs=5, alpha=0.8, momentum=0.9, decay=0.01, batch=BATCH)
    found = list(settings.unlearn(task, seed=1))
    kept = [rows[~torch.isin(rows, task.forget)] for rows, _ in steps]
    gone = [rows[torch.isin(rows, task.forget)] for rows, _ in steps]
    a_pass = len(task.retain.split(BATCH))
    assert len(steps) == 5 * a_pass
    assert a_pass % len(task.forget.split(BATCH))  # so a round goes on into the next epoch
    assert_passes(kept, task.retain, BATCH)
    assert_passes(gone, task.forget, BATCH)
    other = Torch(task, 0.5, 0.9, 0.01)
    for step, (r, f) in enumerate(zip(kept, gone, strict=True), 1):
        other.descend(0.8 * other.ce(r) - (1 - 0.8) * other.ce(f))
        if step % a_pass == 0:
            assert_close(found[step // a_pass - 1], other.weights)


@heads
def test_fine_tuning_equals_its_recipe_by_autograd(steps, head):
    task = task_of(head)
    settings = FineTune(lr=0.5, epochs=3, momentum=0.9, decay=0.01, batch=BATCH)
    found = list(settings.unlearn(task, seed=1))
    other, a_pass = Torch(task, 0.5, 0.9, 0.01), len(task.retain.split(BATCH))
    assert len(steps) == 3 * a_pass
    assert_passes([rows for rows, _ in steps], task.retain, BATCH)
    for step, (rows, _) in enumerate(steps, 1):
        other.descend(other.ce(rows))
        if step % a_pass == 0:
            assert_close(found[step // a_pass - 1], other.weights)


@heads
@pytest.mark.parametrize(
    "settings",
    [TrainSettings(epochs=7, validation=0), TrainSettings(optimizer="sgd", epochs=3, batch=17, validation=0)],
)
def test_retraining_is_a_fresh_training_that_never_saw_the_forget_items(head, settings):
    task = task_of(head)
    found = baselines.retrain(task, settings, seed=1)
    fresh = features_of(head, raw_items(head)[task.retain])
    expected = train(fresh, task.labels[task.retain], settings, v=V, seed=1).weights
    assert torch.allclose(found, expected, atol=1e-6)
    others = raw_items(head).flip(1)
    others[task.retain] = raw_items(head)[task.retain]
    assert torch.equal(baselines.retrain(task_of(head, others), settings, seed=1), found)


# --- selective synaptic dampening ---


@heads
def test_importance_is_the_mean_over_batches_of_the_squared_gradient_of_autograd(head):
    task = task_of(head)
    found = baselines.importance(task.features, task.labels, task.weights, batch=Dampen().batch)
    other, total = Torch(task, 1.0, 0.0, 0.0), torch.zeros(task.weights.shape, dtype=torch.float64)
    for rows in (range(64), range(64, 128), range(128, N)):  # the last batch, of 21, counts as much
        (gradient,) = torch.autograd.grad(other.ce(torch.tensor(rows)), other.weights)
        total += gradient**2 / 3
    np.testing.assert_allclose(found, total, rtol=1e-4, atol=1e-9)
    assert found.max() > 1e-4


def test_dampening_by_hand():
    #                              20 > 10 * 1   10 = 10 * 1   I_D = 0   I_f = 0   both 0   25 > 10 * 2
    important = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0, 2.0]])
    of_forget = torch.tensor([[20.0, 10.0, 3.0, 0.0, 0.0, 25.0]])
    weights = torch.tensor([[8.0, 8.0, 8.0, 8.0, 8.0, -8.0]])
    kept = weights.clone()
    found = Dampen().dampened(weights, important, of_forget)
    np.testing.assert_allclose(found, [[8 / 20, 8, 0, 8, 8, -8 * 2 / 25]], rtol=1e-6)
    # lambda 15: 15 * 1 / 20 = 3/4; 15 * 2 / 25 > 1 leaves a weight alone.
    found = Dampen(lam=15.0).dampened(weights, important, of_forget)
    np.testing.assert_allclose(found, [[6, 8, 0, 8, 8, -8]], rtol=1e-6)
    # alpha 5: 10 > 5 * 1 as well.
    found = Dampen(alpha=5.0).dampened(weights, important, of_forget)
    np.testing.assert_allclose(found, [[8 / 20, 8 / 10, 0, 8, 8, -8 * 2 / 25]], rtol=1e-6)
    assert torch.equal(weights, kept)
    with pytest.raises(ShapeMismatch, match="importance"):
        Dampen().dampened(weights, important, of_forget[:, :1])


# --- laws of all methods ---


@heads
@pytest.mark.parametrize(
    "settings",
    [
        Scrub(lr=0.5, forget_batch=BATCH, retain_batch=23),
        NegGrad(lr=0.5, epochs=3, batch=BATCH),
        FineTune(lr=0.5, epochs=3, batch=BATCH),
    ],
)
def test_a_seed_decides_everything_and_the_head_before_stays_as_it_was(head, settings):
    task = task_of(head)
    kept = [tensor.clone() for tensor in (task.weights, task.labels, task.forget, dense(task.features))]
    one, again, other = (list(settings.unlearn(task, seed=seed)) for seed in (1, 1, 2))
    assert len(one) == 3
    assert all(map(torch.equal, one, again))
    assert not any(map(torch.equal, one, other))
    assert not any(map(torch.equal, one, one[1:]))  # each epoch's weights are a tensor of their own
    assert all(w.isfinite().all() and w.shape == task.weights.shape and w.dtype == torch.float32 for w in one)
    now = task.weights, task.labels, task.forget, dense(task.features)
    assert all(map(torch.equal, kept, now))


@heads
def test_dampening_takes_one_epoch_and_draws_nothing(head):
    task = task_of(head)
    kept = task.weights.clone()
    (one,), (other,) = (Dampen(alpha=0.5).unlearn(task, seed=seed) for seed in (1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, task.weights)
    assert torch.equal(task.weights, kept)


@heads
def test_importance_that_is_known_is_not_computed_anew(head, monkeypatch):
    task, settings = task_of(head), Dampen(alpha=0.5)
    (plain,) = settings.unlearn(task, seed=0)
    known = baselines.importance(task.features, task.labels, task.weights, batch=settings.batch)
    read, importance = [], baselines.importance

    def look(features, *more, batch):
        read.append(len(features))
        return importance(features, *more, batch=batch)

    monkeypatch.setattr(baselines, "importance", look)
    (told,) = settings.unlearn(task, seed=0, important=known)
    assert read == [len(task.forget)]
    assert torch.equal(told, plain)


# --- FLOPs ---


@heads
@pytest.mark.parametrize(
    "settings", [Scrub(forget_batch=11, retain_batch=23), NegGrad(batch=BATCH), FineTune(batch=BATCH)]
)
def test_flops_are_of_the_items_that_the_updates_see(steps, head, settings):
    task = task_of(head)
    count = len(list(settings.unlearn(task, seed=1)))
    seen = sum(len(rows) for rows, _ in steps)
    found = settings.flops(Flops(0, 1), retain=len(task.retain), forget=len(task.forget), epochs=count)
    if isinstance(settings, NegGrad):  # the last batch of a round is smaller, and counted as whole
        assert seen <= found.backward < 1.2 * seen
    else:
        assert found.backward == seen


# --- what is refused ---


@heads
@pytest.mark.parametrize(
    ("rows", "error", "found"),
    [
        ([], BadSetting, f"0 of {N} items"),
        (list(range(N)), BadSetting, f"{N} of {N} items"),
        ([3, N], ShapeMismatch, f"rows from 3 to {N}"),
        ([-1, 3], ShapeMismatch, "rows from -1 to 3"),
        ([3, 5, 3], ShapeMismatch, "shape"),
        ([[3, 5]], ShapeMismatch, "shape"),
    ],
)
def test_forgetting_nothing_or_all_or_what_no_item_is_is_refused(head, rows, error, found):
    task = task_of(head)
    with pytest.raises(error, match=f"forget: found {found}"):
        ForgetTask(task.features, task.labels, task.weights, torch.tensor(rows, dtype=torch.int64))


@heads
def test_labels_of_other_items_and_importance_of_no_items_are_refused(head):
    task = task_of(head)
    with pytest.raises(ShapeMismatch, match="labels"):
        ForgetTask(task.features, task.labels[1:], task.weights, task.forget)
    none = torch.arange(0)
    for labels, features in ((task.labels[1:], task.features), (none, task.features.take(none))):
        with pytest.raises(ShapeMismatch, match="labels"):
            baselines.importance(features, labels, task.weights, batch=64)
    with pytest.raises(BadSetting, match="batch"):
        baselines.importance(task.features, task.labels, task.weights, batch=0)
