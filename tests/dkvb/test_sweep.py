"""The sweep equals the plain masked forward pass, budget after budget."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.bottleneck import Bottleneck
from dkvb.counts import class_counts
from dkvb.masks import activation_positions, budgets, example_positions
from dkvb.masks import steps_of as numpy_steps_of
from dkvb.metrics import retain_predictions
from dkvb.sweep import BLOCK, changes, codes_by_step, sweep, watch
from tests.dkvb import naive


def steps_of(position: torch.Tensor, grid: list[int]) -> torch.Tensor:
    return torch.from_numpy(numpy_steps_of(position.numpy(), grid))


METHODS = ("global", "per-codebook", "examples")


def trained_on(model: Bottleneck, z: torch.Tensor) -> Bottleneck:
    """Only keys that these items use stay selectable."""
    used = class_counts(model.codes(z), torch.zeros(len(z), dtype=torch.int64), classes=1, m=model.keys.shape[1])
    return replace(model, selectable=used[0] > 0)


def order_of(
    model: Bottleneck, z: torch.Tensor, labels: torch.Tensor, *, method: str, forget: list[int]
) -> tuple[torch.Tensor, int]:
    """The positions of a request, and the budget that removes all it ever will."""
    codes, m, v = model.codes(z), model.keys.shape[1], model.values.shape[2]
    if method == "examples":
        classes = [codes[labels == k].numpy() for k in forget]
        position = torch.from_numpy(np.min([example_positions(own, m, seed=3) for own in classes], axis=0))
        return position, max(map(len, classes))
    counts = class_counts(codes, labels, classes=v, m=m)[forget].sum(0)
    activated = counts > 0
    available = activated.sum() if method == "global" else activated.sum(1).max()
    return torch.from_numpy(activation_positions(counts.numpy(), scope=method)), int(available)


def assert_sweep_is_plain(
    model: Bottleneck,
    z: torch.Tensor,
    position: torch.Tensor,
    grid: list[int],
    *,
    forget: list[int],
    exact: bool = False,
) -> None:
    """Codes and predictions of every item at every budget, against the naive loop and the plain forward pass.

    exact: distances are whole numbers, so no difference in codes is forgiven, ties included.
    """
    tolerance = 0 if exact else 1e-5
    items = watch(model, z, model.codes(z))
    step, steps = steps_of(position, grid), len(grid)
    found = changes(model, items, step, steps=steps)
    distance = naive.distances(z, model.projection, model.keys)
    everything = [*range(model.values.shape[2])]
    retain = [k for k in everything if k not in forget]
    codes, begin = items.codes.clone(), 0
    outputs = sweep(model, items, step, steps=steps, forget=forget)
    for budget, end, (predicted, among_retain) in zip(grid, found.ends, outputs, strict=True):
        now = (found.row[begin:end].long(), found.codebook[begin:end].long())
        assert torch.equal(codes[now], found.old[begin:end])
        codes[now] = found.new[begin:end]
        begin = end

        mask = position < budget
        plain = model.masked(mask)
        expected = naive.nearest(distance, model.selectable & ~mask)
        naive.assert_same_codes(codes, expected, distance, tolerance=tolerance)
        naive.assert_same_codes(plain.codes(z), expected, distance, tolerance=tolerance)

        logits = naive.decode(codes, model.values)
        naive.assert_argmax(predicted, logits, everything)
        naive.assert_argmax(among_retain, logits, retain)
        if torch.equal(codes, plain.codes(z)):
            assert_equal_but_for_ties(predicted, plain.logits(z), everything)
            assert_equal_but_for_ties(among_retain, plain.logits(z), retain)
        mute = (codes < 0).all(1)
        assert (predicted[mute] == 0).all()
        assert (among_retain[mute] == retain[0]).all()
    assert begin == len(found.row)


def assert_equal_but_for_ties(predicted: torch.Tensor, logits: torch.Tensor, allowed: list[int]) -> None:
    """The argmax over the allowed classes of the plain forward pass, unless the two largest nearly tie."""
    expected = torch.tensor(allowed)[logits[:, allowed].argmax(1)]
    best = logits[:, allowed].sort(dim=1, descending=True).values
    clear = best[:, 0] - best[:, min(1, len(allowed) - 1)] > 1e-5 * (1 + logits.abs().amax(1))
    assert torch.equal(predicted[clear], expected[clear])


def scene(
    seed: int, *, c: int, m: int, v: int, n: int, d_k: int = 5, integer: bool = False, all_keys: bool = False
) -> tuple[Bottleneck, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A model trained on 29 items, their embeddings and labels, and n other items to watch."""
    model = naive.random_bottleneck(seed, c=c, m=m, v=v, d_k=d_k, integer=integer)
    train = naive.random_items(seed + 7, 29, integer=integer)
    labels = torch.randint(v, (29,), generator=torch.Generator().manual_seed(seed))
    model = model if all_keys else trained_on(model, train)
    return model, train, labels, naive.random_items(seed, n, integer=integer)


# --- the law ---


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.permutations([2, 3, 5, 7]),
    n=st.sampled_from([1, 11, 17]),
    method=st.sampled_from(METHODS),
    shares=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0]), min_size=1, max_size=6),
    integer=st.booleans(),
    all_keys=st.booleans(),
    data=st.data(),
)
def test_a_sweep_equals_the_plain_masked_forward_pass(seed, sizes, n, method, shares, integer, all_keys, data):
    c, m, v, d_k = sizes
    model, train, labels, z = scene(seed, c=c, m=m, v=v, n=n, d_k=d_k, integer=integer, all_keys=all_keys)
    forget = data.draw(st.lists(st.integers(0, v - 1), min_size=1, max_size=v - 1, unique=True))
    position, available = order_of(model, train, labels, method=method, forget=forget)
    grid = budgets(sorted(shares), available, shares=True, what="pairs")
    assert_sweep_is_plain(model, z, position, grid, forget=forget, exact=integer)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans(), grid=st.lists(st.integers(0, 40), min_size=1, max_size=7))
def test_any_order_of_removal_and_any_grid_will_do(seed, integer, grid):
    model, _, _, z = scene(seed, c=3, m=11, v=5, n=13, integer=integer)
    position = torch.randperm(33, generator=torch.Generator().manual_seed(seed)).view(3, 11)
    assert_sweep_is_plain(model, z, position, sorted(grid), forget=[1, 4], exact=integer)


# --- named cases ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("forget", [[2], [4, 0]])
def test_every_single_budget_up_to_all_activated_pairs(method, integer, forget):
    model, train, labels, z = scene(11, c=3, m=7, v=5, n=37, integer=integer)
    position, available = order_of(model, train, labels, method=method, forget=forget)
    assert_sweep_is_plain(model, z, position, [*range(available + 1)], forget=forget, exact=integer)


@pytest.mark.parametrize("method", METHODS)
def test_budgets_may_repeat_and_begin_with_zero(method):
    model, train, labels, z = scene(12, c=3, m=7, v=5, n=37)
    position, available = order_of(model, train, labels, method=method, forget=[1])
    grid = [0, 0, 1, 1, available // 2, available // 2, available, available, available]
    assert_sweep_is_plain(model, z, position, grid, forget=[1])


@pytest.mark.parametrize("integer", [False, True])
def test_whole_codebooks_lose_all_their_keys_one_after_the_other_until_nobody_votes(integer):
    model, _, _, z = scene(13, c=5, m=3, v=7, n=17, integer=integer)
    position = torch.arange(15).view(5, 3)
    codes_left = [(model.masked(position < budget).codes(z) >= 0).any(0).sum().item() for budget in range(16)]
    assert codes_left[0] == 5
    assert codes_left[-1] == 0
    assert_sweep_is_plain(model, z, position, [*range(16)], forget=[0, 1], exact=integer)


def test_items_without_a_vote_are_predicted_as_uniform():
    model, _, _, z = scene(14, c=3, m=5, v=7, n=17)
    position = torch.zeros(3, 5, dtype=torch.int64)
    items = watch(model, z, model.codes(z))
    ((predicted, among_retain),) = sweep(model, items, steps_of(position, [1]), steps=1, forget=[0, 1, 3])
    assert (predicted == 0).all()
    assert (among_retain == 2).all()


def test_a_model_with_a_codebook_that_never_votes_is_swept_too():
    model, train, labels, z = scene(15, c=3, m=7, v=5, n=17)
    selectable = model.selectable.clone()
    selectable[1] = False
    model = replace(model, selectable=selectable)
    position, available = order_of(model, train, labels, method="global", forget=[2])
    assert_sweep_is_plain(model, z, position, [*range(available + 1)], forget=[2])


def test_a_model_without_any_selectable_key_is_uniform_throughout():
    model, _, _, z = scene(16, c=3, m=7, v=5, n=17)
    model = replace(model, selectable=torch.zeros(3, 7, dtype=torch.bool))
    assert_sweep_is_plain(model, z, torch.arange(21).view(3, 7), [0, 3, 21], forget=[0])


def test_a_sweep_that_removes_nothing_yields_the_original_predictions():
    model, _, _, z = scene(17, c=3, m=7, v=5, n=17)
    items = watch(model, z, model.codes(z))
    step = torch.full((3, 7), 4)
    outputs = [(one.clone(), other.clone()) for one, other in sweep(model, items, step, steps=4, forget=[2])]
    assert len(outputs) == 4
    for predicted, among_retain in outputs:
        assert torch.equal(predicted, model.logits(z).argmax(1))
        assert torch.equal(among_retain, retain_predictions(model.logits(z), [2]))


def test_a_sweep_of_no_items_yields_empty_predictions():
    model, train, labels, z = scene(18, c=3, m=7, v=5, n=0)
    position, available = order_of(model, train, labels, method="global", forget=[2])
    assert_sweep_is_plain(model, z, position, [0, available], forget=[2])


def test_removing_pairs_that_nobody_watched_selects_changes_nothing():
    model, _, _, z = scene(19, c=3, m=31, v=5, n=5, all_keys=True)
    own = class_counts(model.codes(z), torch.zeros(5, dtype=torch.int64), classes=1, m=31)[0] > 0
    position = torch.where(own, 99, 0)
    found = changes(model, watch(model, z, model.codes(z)), steps_of(position, [1]), steps=1)
    assert len(found.row) == 0
    assert_sweep_is_plain(model, z, position, [1], forget=[0])


def test_the_watched_items_can_be_swept_again_and_nothing_of_the_model_changes():
    model, train, labels, z = scene(20, c=3, m=7, v=5, n=37)
    before = {name: getattr(model, name).clone() for name in ("projection", "keys", "values", "selectable")}
    items = watch(model, z, model.codes(z))
    codes, logits = items.codes.clone(), items.logits.clone()
    position, available = order_of(model, train, labels, method="global", forget=[2])
    step = steps_of(position, [*range(available + 1)])
    kept = step.clone()

    def run() -> list[torch.Tensor]:
        return [torch.stack(output) for output in sweep(model, items, step, steps=available + 1, forget=[2])]

    first, second = run(), run()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert torch.equal(items.codes, codes)
    assert torch.equal(items.logits, logits)
    assert torch.equal(step, kept)
    for name, tensor in before.items():
        assert torch.equal(getattr(model, name), tensor)


def test_half_precision_embeddings_are_swept_like_the_forward_pass_reads_them():
    model, train, labels, z = scene(21, c=3, m=7, v=5, n=37)
    position, available = order_of(model, train, labels, method="global", forget=[2])
    assert_sweep_is_plain(model, z.half(), position, [0, available // 3, available], forget=[2])


def test_watched_items_stand_where_the_forward_pass_puts_them():
    model, _, _, z = scene(22, c=3, m=7, v=5, n=37)
    items = watch(model, z, model.codes(z))
    assert torch.equal(items.logits, model.logits(z))
    assert torch.equal(items.codes, model.codes(z))


def test_more_items_than_a_tile_holds_are_swept():
    # Every pair falls, so every item is looked at, over three tiles; the plain pass is the oracle here.
    model, _, _, z = scene(23, c=2, m=7, v=5, n=2 * BLOCK + 11, integer=True)
    position = torch.randperm(14, generator=torch.Generator().manual_seed(1)).view(2, 7)
    grid = [0, 3, 7, 11]
    items = watch(model, z, model.codes(z))
    outputs = sweep(model, items, steps_of(position, grid), steps=len(grid), forget=[2])
    for budget, (predicted, _) in zip(grid, outputs, strict=True):
        assert_equal_but_for_ties(predicted, model.masked(position < budget).logits(z), [*range(5)])


def test_thousands_of_changes_leave_the_running_logits_close_to_the_plain_ones():
    # One removal a step: the running sums take hundreds of updates an item.
    model, _, _, z = scene(24, c=31, m=37, v=5, n=101, all_keys=True)
    size = 31 * 37
    position = torch.randperm(size, generator=torch.Generator().manual_seed(1)).view(31, 37)
    grid = [*range(size)]
    items = watch(model, z, model.codes(z))
    outputs = sweep(model, items, steps_of(position, grid), steps=size, forget=[2])
    for budget, (predicted, _) in zip(grid, outputs, strict=True):
        if budget % 101 == 0 or budget > size - 5:
            assert_equal_but_for_ties(predicted, model.masked(position < budget).logits(z), [*range(5)])


# --- the path of one codebook ---


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans(), steps=st.integers(1, 5))
def test_codes_by_step_equal_the_naive_nearest_of_what_remains(seed, integer, steps):
    model = naive.random_bottleneck(seed, c=1, m=11, v=2, d_z=3, d_k=3, integer=integer)
    x, keys = naive.random_items(seed, 13, d_z=3, integer=integer), model.keys[0]
    step = torch.randint(-1, steps + 1, (11,), generator=torch.Generator().manual_seed(seed))
    found = codes_by_step(x, keys, step, steps=steps)
    assert found.shape == (13, steps)
    assert found.dtype == torch.int16
    distance = naive.distances(x, np.eye(3)[None], keys[None])
    for g in range(steps):
        expected = naive.nearest(distance, (step > g)[None])
        naive.assert_same_codes(found[:, g : g + 1], expected, distance, tolerance=0 if integer else 1e-5)


def test_ties_across_and_within_steps_go_to_the_lowest_index():
    x = torch.zeros(1, 2)
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    # Removed: key 1 at step 0, keys 0 and 2 at step 1, key 4 at step 2; key 3 stays.
    found = codes_by_step(x, keys, torch.tensor([1, 0, 1, 3, 2]), steps=3)
    assert found.tolist() == [[0, 3, 3]]
    found = codes_by_step(x, keys, torch.tensor([1, 0, 2, 2, 3]), steps=3)
    assert found.tolist() == [[0, 2, 4]]


def test_a_path_ends_without_a_vote_when_every_key_falls():
    keys = torch.tensor([[0.0], [1.0], [2.0]])
    found = codes_by_step(torch.tensor([[0.0]]), keys, torch.tensor([0, 2, 1]), steps=4)
    assert found.tolist() == [[1, 1, -1, -1]]
    assert codes_by_step(torch.tensor([[0.0]]), keys, torch.full((3,), -1), steps=2).tolist() == [[-1, -1]]
