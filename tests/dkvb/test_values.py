"""Values: a sparse linear model on codes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from dkvb.bottleneck import decode
from dkvb.codes import encode
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.seeds import generator
from dkvb.training import TrainSettings, errors
from dkvb.values import CodeFeatures, fit_many_values, fit_values
from tests.dkvb import naive
from tests.dkvb.threads import threads

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
    assert values.grad is not None
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


@pytest.mark.parametrize("key", [M, M + 2])
def test_a_key_that_no_codebook_has_is_refused(key):
    codes = random_codes(1)
    codes[4, 2] = key
    with pytest.raises(ShapeMismatch, match=rf"{key}.*{M}"):
        fit_values(codes, torch.arange(N) % V, AUTHORS, m=M, v=V, seed=1)
    with pytest.raises(ShapeMismatch, match=rf"{key}.*{M}"):
        fit_many_values(codes, torch.arange(N) % V, random_members(1), MANY, m=M, v=V)


# --- against naive loops ---


def naive_direction(codes: torch.Tensor, error: torch.Tensor, members: torch.Tensor | None = None) -> np.ndarray:
    """The mean error of the items of each pair, for each head of those that are its own: (c * m, heads * v)."""
    heads = 1 if members is None else members.shape[1]
    found, v = np.zeros((C, M, error.shape[1])), error.shape[1] // heads
    for j in range(C):
        for k in range(M):
            for h in range(heads):
                own = [i for i in range(len(codes)) if codes[i, j] == k and (members is None or members[i, h])]
                for i in own:
                    found[j, k, h * v : (h + 1) * v] += error[i, h * v : (h + 1) * v].double().numpy() / len(own)
    return found.reshape(C * M, -1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([1, 2, 53]),
    v=st.sampled_from([1, 5, 17]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_an_accelerated_step_equals_the_naive_loop(seed, n, v, momentum):
    codes, error = random_codes(seed, n), torch.randn(n, v, generator=gen(seed + 1))
    features = CodeFeatures.of(codes, M)
    direction = naive_direction(codes, error)
    assert np.allclose(features.direction(error), direction, atol=1e-6)
    weights, velocity = torch.randn(2, C * M, v, generator=gen(seed + 2)).unbind()
    velocity[(direction == 0).all(1)] = 0  # what no item selects has never moved
    before = weights.clone().double().numpy(), velocity.clone().double().numpy()
    features.accelerate(weights, velocity, error, lr=0.7, momentum=momentum)
    assert np.allclose(weights, before[0] - 0.7 * direction, atol=1e-5)
    assert np.allclose(velocity, momentum * before[1] - 0.7 * direction, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([1, 2, 53]), heads=st.sampled_from([1, 2, 11]))
def test_the_direction_of_a_head_is_the_mean_error_of_its_own_items(seed, n, heads):
    codes, members = random_codes(seed, n), random_members(seed, n, heads)
    error = torch.randn(n, heads, V, generator=gen(seed + 1)) * members[:, :, None]
    found = CodeFeatures.of(codes, M, members).direction(error.view(n, -1))
    assert np.allclose(found, naive_direction(codes, error.view(n, -1), members), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([1, 2, 53]), clip=st.sampled_from([1e9, 1e-3]))
def test_a_plain_step_equals_the_naive_loop(seed, n, clip):
    codes, error = random_codes(seed, n), torch.randn(n, V, generator=gen(seed + 1))
    weights = torch.randn(C * M, V, generator=gen(seed + 2))
    gradient = np.zeros((C * M, V))
    for i in range(n):
        for j in range(C):
            gradient[j * M + int(codes[i, j])] += error[i].double().numpy() / (C * n)
    norm = math.sqrt((gradient**2).sum())
    expected = weights.double().numpy() - 0.3 * min(1, clip / (norm + 1e-6)) * gradient
    CodeFeatures.of(codes, M).descend(weights, error, lr=0.3, clip=clip)
    assert np.allclose(weights, expected, atol=1e-6)


def test_features_of_no_items_yield_no_logits_and_move_nothing():
    features = CodeFeatures.of(torch.empty(0, C, dtype=torch.int16), M)
    weights, error = torch.randn(C * M, V, generator=gen(1)), torch.empty(0, V)
    kept, velocity = weights.clone(), torch.zeros(C * M, V)
    assert features.forward(weights).shape == (0, V)
    features.accelerate(weights, velocity, error, lr=1.0, momentum=0.9)
    assert torch.equal(weights, kept)
    assert (features.direction(error) == 0).all()


def test_taken_features_are_those_of_the_rows_and_their_members():
    codes, members, rows = random_codes(1), random_members(1), torch.tensor([5, 2, 43])
    some = CodeFeatures.of(codes, M, members).take(rows)
    assert torch.equal(some.codes, codes[rows])
    assert some.members is not None
    assert torch.equal(some.members, members[rows])
    assert len(some) == 3
    assert CodeFeatures.of(codes, M).take(rows).members is None


# --- blocks and threads ---


@pytest.mark.parametrize("cache", [1, 3000, 1 << 18])
def test_nothing_depends_on_the_number_of_threads_or_the_blocks(monkeypatch, cache):
    n = 499
    codes, members = random_codes(1, n), random_members(2, n, 3)
    error = torch.randn(n, 3 * V, generator=gen(3))
    outcomes = []
    for count, size in ((1, 1 << 18), (1, cache), (2, cache)):
        monkeypatch.setattr("dkvb.values.CACHE", size)
        with threads(count):
            for own in (None, members):
                features = CodeFeatures.of(codes, M, own)
                weights, velocity = (torch.randn(C * M, 3 * V, generator=gen(seed)) for seed in (4, 5))
                logits, direction = features.forward(weights), features.direction(error)
                features.accelerate(weights, velocity, error, lr=0.7, momentum=0.9)
                features.descend(weights, error, lr=0.3, clip=0.1)
                outcomes.append((logits, direction, weights, velocity))
    for other in (outcomes[2:4], outcomes[4:6]):
        for mine, first in zip(other, outcomes[:2], strict=True):
            assert all(map(torch.equal, mine, first))


def test_the_logits_of_an_item_do_not_depend_on_the_items_beside_it():
    codes, weights = random_codes(1, 211), torch.randn(C * M, V, generator=gen(2))
    whole = CodeFeatures.of(codes, M).forward(weights)
    for rows in (torch.tensor([17]), torch.arange(210, -1, -1), torch.tensor([3, 3, 90])):
        assert torch.equal(CodeFeatures.of(codes[rows], M).forward(weights), whole[rows])


# --- many heads ---


MANY = TrainSettings(epochs=23, validation=0)


def random_members(seed: int, n: int = N, heads: int = 11) -> torch.Tensor:
    return torch.rand(n, heads, generator=gen(seed)) < 0.5


def many(members: torch.Tensor, settings: TrainSettings = MANY) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    codes, labels = random_codes(1, len(members)), torch.randint(V, (len(members),), generator=gen(2))
    return codes, labels, fit_many_values(codes, labels, members, settings, m=M, v=V)


@pytest.mark.parametrize("heads", [1, 2, 11])
@pytest.mark.parametrize(
    "settings",
    [MANY, TrainSettings(epochs=7, validation=0, lr=0.5, momentum=0.0, label_smoothing=0.0)],
)
def test_each_head_equals_the_values_fitted_on_its_share_alone(heads, settings):
    members = random_members(3, heads=heads)
    codes, labels, found = many(members, settings)
    assert found.shape == (heads, C, M, V)
    assert found.dtype == torch.float32
    for h in range(heads):
        own = members[:, h]
        alone, _ = fit_values(codes[own], labels[own], settings, m=M, v=V, seed=1)
        assert torch.allclose(found[h], alone, atol=1e-4)


def test_a_head_of_all_items_equals_the_values_fitted_on_them():
    members = random_members(4)
    members[:, [0, 7]] = True
    codes, labels, found = many(members)
    whole, _ = fit_values(codes, labels, MANY, m=M, v=V, seed=1)
    assert torch.allclose(found[0], whole, atol=1e-4)
    assert torch.equal(found[0], found[7])


def test_a_head_without_any_item_stays_at_zero_and_leaves_the_others_alone():
    members = random_members(5)
    *_, before = many(members)
    others = [h for h in range(11) if h != 4]
    members[:, 4] = False
    *_, found = many(members)
    assert (found[4] == 0).all()
    assert torch.equal(found[others], before[others])


def test_pairs_that_none_of_a_heads_items_selects_stay_at_zero():
    members = random_members(6, heads=3)
    members[:, 1] = torch.arange(N) == 17
    codes, _, found = many(members)
    for j in range(C):
        for k in range(M):
            assert (found[1, j, k] != 0).any() == (codes[17, j] == k)


def test_many_heads_do_not_depend_on_the_number_of_threads():
    fits = []
    for count in (1, 2):
        with threads(count):
            fits.append(many(random_members(7, 211))[2])
    assert torch.equal(*fits)


def test_what_many_heads_are_fitted_on_is_left_alone():
    members, codes, labels = random_members(8), random_codes(1), torch.arange(N) % V
    kept = [tensor.clone() for tensor in (members, codes, labels)]
    fit_many_values(codes, labels, members, MANY, m=M, v=V)
    assert all(map(torch.equal, kept, (members, codes, labels)))


@pytest.mark.parametrize("settings", [AUTHORS, TrainSettings(), TrainSettings(validation=0.3)])
def test_settings_that_many_heads_cannot_have_are_refused(settings):
    with pytest.raises(BadSetting, match=rf"{settings.optimizer} and {settings.validation}"):
        many(random_members(9), settings)


@pytest.mark.parametrize(
    ("labels", "members"),
    [((N - 1,), (N, 11)), ((N, 1), (N, 11)), ((N,), (N - 1, 11)), ((N,), (11, N)), ((N,), (N,)), ((N,), (N, 11, 1))],
)
def test_members_and_labels_of_other_items_are_refused(labels, members):
    tensors = torch.zeros(labels, dtype=torch.int64), torch.ones(members, dtype=torch.bool)
    with pytest.raises(ShapeMismatch, match=r"\("):
        fit_many_values(random_codes(1), *tensors, MANY, m=M, v=V)


def test_an_item_without_a_vote_is_refused_for_many_heads():
    codes = random_codes(1)
    codes[4, 2] = -1
    with pytest.raises(ShapeMismatch, match="without a vote"):
        fit_many_values(codes, torch.arange(N) % V, random_members(1), MANY, m=M, v=V)


def test_the_epoch_search_judges_held_out_items_by_the_next_key_that_the_others_use():
    n, d_z, d_k, v, seed = 61, 5, 2, 3, 4
    projection, keys = torch.randn(C, d_z, d_k, generator=gen(1)), torch.randn(C, 31, d_k, generator=gen(2))
    labels = torch.arange(n) % v
    z = torch.randn(n, d_z, generator=gen(3)) + torch.eye(v, d_z)[labels]
    codes = encode(z, projection, keys)
    asked = TrainSettings(epochs=7, validation=0.3)
    recode = lambda rows, used: encode(z[rows], projection, keys, selectable=used)  # noqa: E731
    _, trained = fit_values(codes, labels, asked, m=31, v=v, seed=seed, recode=recode)
    order = torch.randperm(n, generator=generator(seed, "validation"))
    out, rest = order[: int(0.3 * n)].sort().values, order[int(0.3 * n) :].sort().values
    judged = torch.empty(len(out), C, dtype=torch.int16)
    for j in range(C):
        used = sorted(set(codes[rest, j].tolist()))
        for place, i in enumerate(out.tolist()):
            gaps = [float((z[i] @ projection[j] - keys[j, key]).square().sum()) for key in used]
            judged[place, j] = used[int(np.argmin(gaps))]
    assert (judged != codes[out]).any(), "some item's pair is used by no other"
    for epoch, found in enumerate(trained.validation, start=1):
        alone = TrainSettings(epochs=epoch, validation=0)
        values, _ = fit_values(codes[rest], labels[rest], alone, m=31, v=v, seed=seed)
        right = decode(judged, values).argmax(1) == labels[out]
        assert found == pytest.approx(right.double().mean().item())
