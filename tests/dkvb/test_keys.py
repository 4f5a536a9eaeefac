"""Keys fitted by EMA vector quantisation."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dkvb.errors import BadSetting
from dkvb.keys import KeySettings, KeyState, average, average_plain, ema_step, fit_keys, item_codebooks, start
from dkvb.projection import project, random_projection
from tests.dkvb import naive
from tests.dkvb.threads import threads

M, D_K, D_Z = 11, 3, 7


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_state(seed: int, *, least: float) -> KeyState:
    """Keys with counts between `least` and `least + 2`."""
    keys = torch.randn(M, D_K, generator=gen(seed))
    count = torch.rand(M, generator=gen(seed + 1)) * 2 + least
    return KeyState(keys, count, keys * count[:, None])


def arrays(state: KeyState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return naive.f64(state.keys), naive.f64(state.count), naive.f64(state.total)


def fitted(seed: int, codebook: int, z: torch.Tensor, settings: KeySettings) -> torch.Tensor:
    directions = random_projection([codebook], D_Z, D_K, seed=seed)[0]
    return fit_keys(project(z, directions), M, codebook=codebook, seed=seed, settings=settings)


def test_the_defaults_are_the_authors():
    settings = KeySettings()
    found = (settings.decay, settings.smoothing, settings.epochs, settings.batch, settings.dead)
    assert found == (0.95, 1e-5, 10, 256, 0.1)
    with pytest.raises(FrozenInstanceError):
        settings.decay = 0.5  # type: ignore[misc]


@pytest.mark.parametrize("smoothing", [1e-5, 0.3])
def test_one_step_equals_the_naive_loop_with_laplace_smoothing(smoothing):
    settings = KeySettings(batch=29, dead=0.0, smoothing=smoothing, decay=0.8)
    state, x = random_state(1, least=0.5), torch.randn(29, D_K, generator=gen(2))
    expected = naive.ema_step(*arrays(state), naive.f64(x), decay=0.8, smoothing=smoothing)
    ema_step(state, x, settings, gen=gen(3))
    for found, wanted in zip((state.keys, state.count, state.total), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_several_steps_with_replacement_equal_the_naive_loop():
    settings = KeySettings(batch=29, dead=0.4, smoothing=1e-2, decay=0.7)
    threshold = 0.4 * 29 / M
    state, source = random_state(4, least=0.0), gen(5)
    keys, count, total = arrays(state)
    replaced = 0
    for size in (29, 29, 29, 29, 13):
        x = torch.randn(size, D_K, generator=source) * 3
        keys, count, total = naive.ema_step(keys, count, total, naive.f64(x), decay=0.7, smoothing=1e-2)
        ema_step(state, x, settings, gen=source)
        for k in range(M):
            if count[k] < threshold:
                # Which item replaces a dead key is drawn: any item of the batch will do.
                assert any(torch.equal(state.keys[k], item) for item in x)
                keys[k], count[k] = naive.f64(state.keys[k]), threshold
                total[k] = keys[k] * threshold
                replaced += 1
        for found, wanted in zip((state.keys, state.count, state.total), (keys, count, total), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert 0 < replaced < 5 * M


def test_a_key_that_wins_enough_is_kept_and_one_that_wins_too_little_is_replaced():
    # decay 0.5: counts become (4 + 3) / 2 = 3.5, (1 + 0) / 2 = 0.5, (0 + 1) / 2 = 0.5; threshold 0.2 * 9 / 3 = 0.6.
    settings = KeySettings(batch=9, dead=0.2, decay=0.5, smoothing=0.0)
    keys = torch.tensor([[0.0], [10.0], [20.0]])
    count = torch.tensor([4.0, 1.0, 0.0])
    state = KeyState(keys, count, keys * count[:, None])
    x = torch.tensor([[1.0], [2.0], [3.0], [21.0]])
    ema_step(state, x, settings, gen=gen(1))
    assert state.count.tolist() == pytest.approx([3.5, 0.6, 0.6])
    assert state.keys[0].item() == pytest.approx(3 / 3.5)
    assert {state.keys[1].item(), state.keys[2].item()} <= {1.0, 2.0, 3.0, 21.0}
    assert torch.allclose(state.total[1:], state.keys[1:] * 0.6)


def test_a_replaced_key_stays_where_it_was_put_when_its_count_is_just_at_the_threshold():
    settings = KeySettings(batch=9, dead=0.2, decay=1.0, smoothing=0.0)
    keys, threshold = torch.tensor([[0.0], [10.0], [20.0]]), 0.2 * 9 / 3
    count = torch.full((3,), threshold)
    state = KeyState(keys.clone(), count, keys * count[:, None])
    ema_step(state, torch.tensor([[5.0]]), settings, gen=gen(1))
    assert torch.allclose(state.keys, keys)


def test_replacements_are_drawn_from_the_whole_batch():
    settings = KeySettings(batch=997, dead=0.9, decay=0.5)
    state, x = start(499, 1, settings, gen=gen(1)), 1000 + torch.arange(997.0)[:, None]
    ema_step(state, x, settings, gen=gen(2))
    rows = (state.keys[:, 0] - 1000).sort().values
    assert len(rows.unique()) > 250
    assert rows[20] < 150
    assert rows[-20] > 850


def test_keys_start_standard_normal():
    keys = start(4099, 5, KeySettings(), gen=gen(1)).keys
    assert keys.shape == (4099, 5)
    assert abs(keys.mean().item()) < 0.02
    assert abs(keys.std().item() - 1) < 0.02


def test_no_epoch_leaves_the_keys_at_their_random_start():
    none = KeySettings(epochs=0)
    found = fitted(3, 2, naive.random_items(1, 37), none)
    assert torch.equal(found, fitted(3, 2, naive.random_items(2, 41), none))
    assert not torch.equal(found, fitted(3, 1, naive.random_items(1, 37), none))
    assert found.shape == (M, D_K)
    assert found.dtype == torch.float32


def test_an_epoch_of_one_batch_is_one_naive_step_from_the_random_start():
    z, settings = naive.random_items(3, 31), KeySettings(epochs=1, batch=31, dead=0.0)
    first = naive.f64(fitted(3, 2, z, KeySettings(epochs=0)))
    x = project(z, random_projection([2], D_Z, D_K, seed=3)[0])
    count = np.full(M, 0.1 * 31 / M)  # dead = 0 replaces none, but a fresh key weighs what it does by default
    start = count, first * count[:, None]
    expected, *_ = naive.ema_step(first, *start, naive.f64(x), decay=0.95, smoothing=1e-5)
    np.testing.assert_allclose(fitted(3, 2, z, settings), expected, rtol=1e-3, atol=1e-4)


def test_every_item_is_used_once_an_epoch():
    # One key: its count and sum take every item whatever the order, and decay ~ 1 weighs all batches alike.
    z = naive.random_items(5, 53)
    settings = KeySettings(epochs=1, batch=7, dead=1e-9, smoothing=0.0, decay=0.9999)
    directions = random_projection([0], D_Z, D_K, seed=1)[0]
    found = fit_keys(project(z, directions), 1, codebook=0, seed=1, settings=settings)
    expected = project(z, directions).mean(0)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)


def test_fitting_is_deterministic_and_codebooks_can_be_fitted_in_any_order():
    z, settings = naive.random_items(6, 211), KeySettings(epochs=2, batch=23)
    torch.manual_seed(1)
    forwards = [fitted(5, j, z, settings) for j in range(3)]
    torch.manual_seed(2)
    backwards = [fitted(5, j, z, settings) for j in reversed(range(3))]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(forwards[0], forwards[1])


def test_seed_and_codebook_change_the_draws_even_for_the_same_directions():
    z, settings = naive.random_items(6, 211), KeySettings(epochs=1, batch=23)
    directions = random_projection([0], D_Z, D_K, seed=1)[0]
    fits = [
        fit_keys(project(z, directions), M, codebook=codebook, seed=seed, settings=settings)
        for codebook, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert not torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_fitting_leaves_the_embeddings_alone_and_takes_half_precision():
    z, settings = naive.random_items(7, 101).half(), KeySettings(epochs=1, batch=23)
    before = z.clone()
    found = fitted(5, 0, z, settings)
    assert torch.equal(z, before)
    assert torch.equal(found, fitted(5, 0, z.float(), settings))


def test_planted_clusters_are_found():
    centres = 4.0 * torch.tensor([[0, 0, 1], [1, 0, 0], [0, -1, 0], [-1, 0, 1], [1, 1, -1]])
    labels = torch.arange(307) % 5
    z = centres[labels] + 0.02 * torch.randn(307, 3, generator=gen(8))
    settings = KeySettings(batch=31)
    found = fit_keys(z, M, codebook=0, seed=3, settings=settings)
    distance = naive.distances(z, torch.eye(3)[None], found[None])
    code = naive.nearest(distance)[:, 0]
    assert distance.min(2).max() < 0.1**2
    for key in set(code):
        assert len(set(labels[code == key].tolist())) == 1


def test_every_key_lies_among_the_items_once_fitted():
    # Keys far from all items are dead and are replaced, and averages forget where they began.
    z = 50 + naive.random_items(9, 211, d_z=D_K)
    settings = KeySettings(batch=23)
    found = fit_keys(z, M, codebook=0, seed=3, settings=settings)
    assert (found > z.min() - 0.1).all()
    assert (found < z.max() + 0.1).all()


# --- the compiled path and the plain one ---


@examples(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    b=st.sampled_from([0, 1, 29, 257]),
    decay=st.sampled_from([0.0, 0.8, 0.95, 1.0]),
    smoothing=st.sampled_from([1e-5, 0.3]),
)
def test_averages_equal_those_of_plain_torch(seed, b, decay, smoothing):
    settings = KeySettings(decay=decay, smoothing=smoothing)
    x, code = torch.randn(b, D_K, generator=gen(seed)), torch.randint(M, (b,), generator=gen(seed + 1))
    if b == 0 and decay == 0:
        return  # nothing old is kept and nothing new has come: no average
    found, plain = (random_state(seed, least=0.5) for _ in range(2))
    average(found, x, code, settings)
    average_plain(plain, x, code, settings)
    np.testing.assert_allclose(found.count, plain.count, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.total, plain.total, rtol=1e-4, atol=1e-5)
    # A key is its total over its smoothed count, however small that is.
    smoothed = plain.count + smoothing
    np.testing.assert_allclose(found.keys * smoothed[:, None], plain.keys * smoothed[:, None], rtol=1e-4, atol=1e-5)


def test_keys_that_win_nothing_decay_as_in_plain_torch():
    settings, x, code = KeySettings(decay=0.5), torch.ones(3, D_K), torch.tensor([4, 4, 9])
    state = random_state(3, least=0.5)
    before = state.count.clone(), state.total.clone()
    average(state, x, code, settings)
    idle = [k for k in range(M) if k not in (4, 9)]
    assert torch.equal(state.count[idle], before[0][idle] / 2)
    assert torch.equal(state.total[idle], before[1][idle] / 2)


@pytest.mark.parametrize("d_k", [3, 19])
def test_fitted_keys_do_not_depend_on_the_number_of_threads(d_k):
    z, directions = naive.random_items(10, 499, d_z=23), random_projection([0], 23, d_k, seed=1)[0]
    fits = []
    for count in (1, 2):
        with threads(count):
            fits.append(
                fit_keys(
                    project(z, directions), 61, codebook=0, seed=1, settings=KeySettings(epochs=3, batch=47, dead=0.3)
                )
            )
    assert torch.equal(*fits)


def test_keys_of_random_items_are_items_as_their_codebook_sees_them_each_once():
    z = torch.randn(20, 6, generator=gen(1)).half()
    projection, keys = item_codebooks(z, [2, 0], (7, 3), seed=5)
    assert torch.equal(projection, random_projection([2, 0], 6, 3, seed=5))
    for own, directions in zip(keys, projection, strict=True):
        seen = {tuple(row) for row in project(z, directions).tolist()}
        assert len({tuple(row) for row in own.tolist()}) == 7
        assert {tuple(row) for row in own.tolist()} <= seen
    alone = item_codebooks(z, [0], (7, 3), seed=5)[1][0]
    assert torch.equal(alone, keys[1]), "a codebook's keys depend on those beside it"
    rows = [
        [project(z, one).tolist().index(row) for row in own.tolist()] for own, one in zip(keys, projection, strict=True)
    ]
    assert rows[0] != rows[1], "all codebooks drew the same items"


def test_fewer_items_than_keys_are_refused():
    with pytest.raises(BadSetting, match="found 3 items, expected 4 or more"):
        item_codebooks(torch.ones(3, 6), [0], (4, 2), seed=0)
