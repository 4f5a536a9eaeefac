"""Training a linear model: the loss, the two optimisers, the choice of the number of epochs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dkvb.errors import BadSetting
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features, TrainSettings, accelerate, errors, errors_, train
from dkvb.values import CodeFeatures
from tests.dkvb import naive

C, M, V, N = 3, 7, 5, 53


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_labels(seed: int, n: int = N) -> Tensor:
    return torch.randint(V, (n,), generator=gen(seed))


def code_features(seed: int) -> CodeFeatures:
    return CodeFeatures.of(torch.randint(M, (N, C), generator=gen(seed)), M)


def embedding_features(seed: int) -> EmbeddingFeatures:
    return EmbeddingFeatures.of(naive.random_items(seed, N))


BOTH = pytest.mark.parametrize("features_of", [code_features, embedding_features])


@dataclass
class Recording:
    """Features that remember which rows were taken of them."""

    features: Features
    taken: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Tensor) -> "Recording":
        self.taken.append(rows.clone())
        return Recording(self.features.take(rows))

    def weights(self, v: int) -> Tensor:
        return self.features.weights(v)

    def forward(self, weights: Tensor) -> Tensor:
        return self.features.forward(weights)

    def direction(self, error: Tensor) -> Tensor:
        return self.features.direction(error)

    def update(self, weights: Tensor, velocity: Tensor, labels: Tensor, settings: TrainSettings) -> None:
        self.features.update(weights, velocity, labels, settings)

    def accelerate(self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float) -> None:
        self.features.accelerate(weights, velocity, error, lr=lr, momentum=momentum)

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        self.features.descend(weights, error, lr=lr, clip=clip)

    def add_squared_gradient(self, total: Tensor, error: Tensor) -> None:
        self.features.add_squared_gradient(total, error)


def dense(features: Features) -> Tensor:
    """The features as a matrix (n, features), read off one unit vector at a time."""
    rows = len(features.weights(1))
    columns = [features.forward(torch.eye(rows)[:, [k]]) for k in range(rows)]
    return torch.cat(columns, dim=1).double()


def loss(features: Features, weights: Tensor, labels: Tensor, label_smoothing: float) -> float:
    return cross_entropy(features.forward(weights), labels, label_smoothing=label_smoothing).item()


# --- settings ---


def test_settings_out_of_range_are_refused():
    for wrong in (
        {"optimizer": "adam"},
        {"epochs": 0},
        {"batch": 0},
        {"validation": 1.0},
        {"validation": -0.1},
    ):
        with pytest.raises(BadSetting, match=str(next(iter(wrong.values())))):
            TrainSettings(**wrong)


# --- the loss ---


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
def test_the_error_is_the_gradient_of_label_smoothed_cross_entropy(label_smoothing):
    logits = (3 * torch.randn(N, V, generator=gen(1))).requires_grad_()
    labels = random_labels(2)
    cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="sum").backward()
    before = logits.detach().clone()
    found = errors(before, labels, label_smoothing)
    assert logits.grad is not None
    assert torch.allclose(found, logits.grad, atol=1e-6)
    assert torch.equal(before, logits.detach())


# --- sgd: the DKVB authors' setting ---


@BOTH
@pytest.mark.parametrize("clip", [1e9, 0.05])
def test_sgd_equals_a_dense_torch_loop_with_norm_clipping(features_of, clip):
    features, labels = Recording(features_of(1)), random_labels(2)
    settings = TrainSettings(optimizer="sgd", epochs=3, lr=0.3, batch=17, clip=clip, label_smoothing=0.1, validation=0)
    found = train(features, labels, settings, v=V, seed=5).weights

    x, clipped = dense(features), 0
    weights = torch.zeros(x.shape[1], V, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.3)
    for rows in features.taken:
        optimizer.zero_grad()
        cross_entropy(x[rows] @ weights, labels[rows], label_smoothing=0.1).backward()
        clipped += torch.nn.utils.clip_grad_norm_([weights], clip).item() > clip
        optimizer.step()
    assert clipped == (len(features.taken) if clip < 1 else 0)
    assert torch.allclose(found.double(), weights.detach(), atol=1e-5)


def test_every_epoch_of_sgd_visits_every_item_once_in_an_order_of_its_own():
    features = Recording(code_features(1))
    settings = TrainSettings(optimizer="sgd", epochs=3, batch=17, validation=0)
    train(features, random_labels(2), settings, v=V, seed=5)
    assert [len(rows) for rows in features.taken] == [17, 17, 17, 2] * 3
    orders = torch.cat(features.taken).view(3, N)
    assert (orders.sort(dim=1).values == torch.arange(N)).all()
    assert not torch.equal(orders[0], orders[1])


def test_the_seed_draws_the_batches_of_sgd():
    labels, settings = random_labels(2), TrainSettings(optimizer="sgd", epochs=2, batch=17, validation=0)
    one, other = (train(code_features(1), labels, settings, v=V, seed=seed).weights for seed in (5, 6))
    assert not torch.equal(one, other)


# --- nesterov ---


@BOTH
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_nesterov_equals_torch_nesterov_on_the_preconditioned_gradient(features_of, momentum):
    features, labels = features_of(1), random_labels(2)
    settings = TrainSettings(epochs=7, lr=0.7, momentum=momentum, validation=0)
    found = train(features, labels, settings, v=V, seed=5).weights

    # torch keeps the point where momentum leads; the weights lie one momentum step behind it.
    ahead = features.weights(V).requires_grad_()
    optimizer = torch.optim.SGD([ahead], lr=0.7, momentum=momentum, nesterov=momentum > 0)
    for _ in range(7):
        logits = features.forward(ahead.detach()).requires_grad_()
        cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum").backward()
        ahead.grad = features.direction(logits.grad)
        optimizer.step()
    velocity = -0.7 * optimizer.state[ahead]["momentum_buffer"] if momentum else 0
    assert torch.allclose(found, ahead.detach() - momentum * velocity, atol=1e-5)


@BOTH
def test_a_full_preconditioned_step_never_overshoots(features_of):
    features, labels = features_of(3), random_labels(4)
    settings = TrainSettings(lr=1.0, momentum=0.0, validation=0)
    losses = [loss(features, features.weights(V), labels, 0.1)]
    for epochs in range(1, 12):
        weights = train(features, labels, replace(settings, epochs=epochs), v=V, seed=1).weights
        losses.append(loss(features, weights, labels, 0.1))
    assert all(after < before for before, after in pairwise(losses))


@BOTH
@pytest.mark.parametrize(
    "settings",
    [TrainSettings(validation=0), TrainSettings(optimizer="sgd", lr=0.3, batch=17, validation=0)],
)
def test_training_lowers_the_loss(features_of, settings):
    features, labels = features_of(3), random_labels(4)
    weights = train(features, labels, settings, v=V, seed=1).weights
    start = loss(features, features.weights(V), labels, 0.1)
    assert start == pytest.approx(torch.tensor(V).log().item(), rel=1e-5)
    assert loss(features, weights, labels, 0.1) < start - 0.02


@BOTH
def test_nesterov_reaches_the_optimum_of_the_convex_loss(features_of):
    features, labels = features_of(3), random_labels(4)
    trained = train(features, labels, TrainSettings(epochs=400, validation=0), v=V, seed=1)
    x, weights = dense(features), trained.weights.double().requires_grad_()
    cross_entropy(x @ weights, labels, label_smoothing=0.1).backward()
    assert weights.grad is not None
    assert weights.grad.norm() < 1e-5


# --- the number of epochs ---


def planted() -> tuple[Recording, Tensor]:
    """Noisy labels: more epochs overfit, so the best number of them is not the last."""
    features = code_features(1)
    labels = (features.pairs[:, 0] + (random_labels(3) == 0)) % V
    return Recording(features), labels


CHOOSING = pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(epochs=23, validation=0.3),
        TrainSettings(optimizer="sgd", epochs=5, lr=3.0, batch=13, validation=0.3),
    ],
)


@CHOOSING
def test_the_number_of_epochs_is_the_best_on_items_held_out_of_the_training_items(settings):
    features, labels = planted()
    trained = train(features, labels, settings, v=V, seed=7)
    out, rest = features.taken[:2]
    assert len(out) == int(0.3 * N)
    assert torch.cat([out, rest]).sort().values.tolist() == [*range(N)]

    history = []
    for epochs in range(1, settings.epochs + 1):
        search = replace(settings, epochs=epochs, validation=0)
        weights = train(features.features.take(rest), labels[rest], search, v=V, seed=7).weights
        predictions = features.features.take(out).forward(weights).argmax(1)
        history.append((predictions == labels[out]).double().mean().item())
    assert trained.validation == history
    assert trained.epochs == history.index(max(history)) + 1


@CHOOSING
def test_the_final_weights_are_those_of_all_items_after_the_chosen_number_of_epochs(settings):
    features, labels = planted()
    trained = train(features, labels, settings, v=V, seed=7)
    plain = replace(settings, epochs=trained.epochs, validation=0)
    assert torch.equal(trained.weights, train(features.features, labels, plain, v=V, seed=7).weights)


def test_the_held_out_items_do_not_steer_the_search():
    features, labels = planted()
    settings = TrainSettings(epochs=5, validation=0.3)
    first = train(features, labels, settings, v=V, seed=7)
    out = features.taken[0]
    wrong = labels.clone()
    wrong[out] = (labels[out] + 1) % V
    second = train(features, wrong, settings, v=V, seed=7)
    # The same predictions cannot be right about both sets of labels.
    assert all(one + other <= 1 for one, other in zip(first.validation, second.validation, strict=True))
    assert second.validation != first.validation


def test_the_seed_draws_the_held_out_items():
    held = []
    for seed in (1, 1, 2):
        features, labels = planted()
        train(features, labels, TrainSettings(epochs=1, validation=0.3), v=V, seed=seed)
        held.append(features.taken[0].tolist())
    assert held[0] == held[1]
    assert held[0] != held[2]


def test_without_validation_all_epochs_are_taken_and_nothing_is_held_out():
    features, labels = planted()
    trained = train(features, labels, TrainSettings(epochs=3, validation=0), v=V, seed=7)
    assert (trained.epochs, trained.validation, features.taken) == (3, [], [])


def test_too_few_items_to_hold_one_out_take_all_epochs():
    features = code_features(1).take(torch.arange(2))
    trained = train(features, torch.tensor([0, 1]), TrainSettings(epochs=3, validation=0.1), v=V, seed=7)
    assert (trained.epochs, trained.validation) == (3, [])


# --- determinism ---


@BOTH
@CHOOSING
def test_training_is_deterministic_and_deaf_to_the_global_generator(
    features_of: Callable[[int], Features], settings: TrainSettings
):
    labels, results = random_labels(2), []
    for noise in (1, 2):
        torch.manual_seed(noise)
        results.append(train(features_of(1), labels, settings, v=V, seed=5))
    one, other = results
    assert torch.equal(one.weights, other.weights)
    assert (one.epochs, one.validation) == (other.epochs, other.validation)


# --- in place ---


@pytest.mark.parametrize("block", [1, 7, 53, 4096])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_errors_in_place_equal_autograd_whatever_the_blocks(monkeypatch, block, label_smoothing):
    logits = (3 * torch.randn(N, V, generator=gen(1))).requires_grad_()
    labels = random_labels(2)
    cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="sum").backward()
    whole = errors(logits.detach(), labels, label_smoothing)
    monkeypatch.setattr("dkvb.training.BLOCK", block)
    own = logits.detach().clone()
    found = errors_(own, labels, label_smoothing)
    assert found is own
    assert logits.grad is not None
    assert torch.allclose(found, logits.grad, atol=1e-6)
    assert torch.equal(found, whole)
    assert torch.equal(errors(logits.detach(), labels, label_smoothing), whole)


def test_errors_in_place_of_a_part_leave_the_rest_of_the_logits_alone():
    logits, labels = torch.randn(N, V, generator=gen(1)), random_labels(2)
    own = logits.clone()
    errors_(own[7:20], labels[7:20], 0.1)
    assert torch.equal(own[7:20], errors(logits[7:20], labels[7:20], 0.1))
    assert torch.equal(own[:7], logits[:7])
    assert torch.equal(own[20:], logits[20:])


def test_errors_of_no_items_are_none():
    assert errors_(torch.empty(0, V), torch.empty(0, dtype=torch.int64), 0.1).shape == (0, V)


def test_an_accelerated_step_moves_weights_and_velocity_by_the_direction():
    weights, velocity, direction = torch.randn(3, M, V, generator=gen(1)).unbind()
    expected_weights, expected_velocity = weights.clone(), velocity.clone()
    for row in range(M):
        for k in range(V):
            expected_weights[row, k] -= 0.7 * direction[row, k]
            expected_velocity[row, k] = 0.9 * velocity[row, k] - 0.7 * direction[row, k]
    kept = direction.clone()
    accelerate(weights, velocity, direction, lr=0.7, momentum=0.9)
    assert torch.allclose(weights, expected_weights, atol=1e-6)
    assert torch.allclose(velocity, expected_velocity, atol=1e-6)
    assert torch.equal(direction, kept)


@BOTH
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_features_accelerate_by_their_own_direction(features_of, momentum):
    features, labels = features_of(1), random_labels(2)
    weights, velocity = features.weights(V), features.weights(V)
    plain_weights, plain_velocity = features.weights(V), features.weights(V)
    for _ in range(3):
        error = errors(features.forward(weights), labels, 0.1)
        features.accelerate(weights, velocity, error, lr=0.7, momentum=momentum)
        accelerate(plain_weights, plain_velocity, features.direction(error), lr=0.7, momentum=momentum)
        assert torch.allclose(weights, plain_weights, atol=1e-6)
        assert torch.allclose(velocity, plain_velocity, atol=1e-6)
