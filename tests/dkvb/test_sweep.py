"""The sweep equals the plain masked forward pass, budget after budget."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.bottleneck import Bottleneck
from dkvb.counts import class_counts
from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.metrics import retain_predictions
from dkvb.neighbours import neighbours
from dkvb.orders import budgets, by_activation, by_example
from dkvb.searches import NEVER_INDEX
from dkvb.sweep import Items, budget_table, codes_by_budget, sweep
from tests.dkvb import naive

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
    counts = class_counts(codes, labels, classes=v, m=m)
    if method == "examples":
        orders = [by_example(codes[labels == k].numpy(), counts[k].numpy(), seed=3) for k in forget]
        position = torch.from_numpy(np.min([order.position for order in orders], axis=0))
        return position, max(order.available for order in orders)
    order = by_activation(counts[forget].sum(0).numpy(), scope=method)
    return torch.from_numpy(order.position), order.available


def watch(model: Bottleneck, z: torch.Tensor, *, r: int = 3) -> Items:
    """Items with lists so short that many are masked whole."""
    lists = neighbours(z, model.projection, model.keys, selectable=model.selectable, r=r)
    return Items(z, model.codes(z), lists)


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
    assert_sweeps_are_plain(model, z, [(position, grid, forget)], exact=exact)


def assert_sweeps_are_plain(
    model: Bottleneck,
    z: torch.Tensor,
    sets: list[tuple[torch.Tensor, list[int], list[int]]],
    *,
    exact: bool = False,
    r: int = 3,
) -> None:
    """The same for several forget sets at once: positions, grid, classes."""
    tolerance = 0 if exact else 1e-5
    steps = max(len(grid) for _, grid, _ in sets)
    items = watch(model, z, r=r)
    table = budget_table([position.numpy() for position, _, _ in sets], [grid for _, grid, _ in sets])
    found = codes_by_budget(model, items, table, budgets=steps)
    distance = naive.distances(z, model.projection, model.keys)
    everything = [*range(model.values.shape[2])]
    outputs = sweep(model, items, table, budgets=steps, forget=[forget for _, _, forget in sets])
    for f, (position, grid, forget) in enumerate(sets):
        retain = [k for k in everything if k not in forget]
        for g in range(steps):
            codes = found[f, g]
            predicted, among_retain = (output[f, g].long() for output in outputs)
            mask = position < grid[min(g, len(grid) - 1)]
            plain = model.masked(mask)
            expected = naive.nearest(distance, model.selectable & ~mask)
            naive.assert_same_codes(codes, expected, distance, tolerance=tolerance)
            assert torch.equal(codes, plain.codes(z))

            logits = naive.decode(codes, model.values)
            naive.assert_argmax(predicted, logits, everything)
            naive.assert_argmax(among_retain, logits, retain)
            assert_equal_but_for_ties(predicted, plain.logits(z), everything)
            assert_equal_but_for_ties(among_retain, plain.logits(z), retain)
            mute = (codes < 0).all(1)
            assert (predicted[mute] == 0).all()
            assert (among_retain[mute] == retain[0]).all()


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
    table = budget_table([np.zeros((3, 5), np.int64)], [[1]])
    predicted, among_retain = sweep(model, watch(model, z), table, budgets=1, forget=[[0, 1, 3]])
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
    table = np.full((3, 7, 1), NEVER_INDEX, np.uint8)
    predicted, among_retain = sweep(model, watch(model, z), table, budgets=4, forget=[[2]])
    assert predicted.shape == among_retain.shape == (1, 4, 17)
    for g in range(4):
        assert torch.equal(predicted[0, g].long(), model.logits(z).argmax(1))
        assert torch.equal(among_retain[0, g].long(), retain_predictions(model.logits(z), [2]))


def test_a_sweep_of_no_items_yields_empty_predictions():
    model, train, labels, z = scene(18, c=3, m=7, v=5, n=0)
    position, available = order_of(model, train, labels, method="global", forget=[2])
    assert_sweep_is_plain(model, z, position, [0, available], forget=[2])


def test_removing_pairs_that_nobody_watched_selects_changes_nothing():
    model, _, _, z = scene(19, c=3, m=31, v=5, n=5, all_keys=True)
    own = class_counts(model.codes(z), torch.zeros(5, dtype=torch.int64), classes=1, m=31)[0] > 0
    position = torch.where(own, 99, 0)
    found = codes_by_budget(model, watch(model, z), budget_table([position.numpy()], [[1]]), budgets=1)
    assert torch.equal(found[0, 0], model.codes(z))
    assert_sweep_is_plain(model, z, position, [1], forget=[0])


def test_the_watched_items_can_be_swept_again_and_nothing_of_the_model_changes():
    model, train, labels, z = scene(20, c=3, m=7, v=5, n=37)
    before = {name: getattr(model, name).clone() for name in ("projection", "keys", "values", "selectable")}
    items = watch(model, z)
    kept_items = items.z.clone(), items.codes.clone(), items.neighbours.clone()
    position, available = order_of(model, train, labels, method="global", forget=[2])
    table = budget_table([position.numpy()], [[*range(available + 1)]])
    kept = table.copy()
    first, second = (sweep(model, items, table, budgets=available + 1, forget=[[2]]) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(map(torch.equal, kept_items, (items.z, items.codes, items.neighbours)))
    assert (table == kept).all()
    for name, tensor in before.items():
        assert torch.equal(getattr(model, name), tensor)


def test_half_precision_embeddings_are_swept_like_the_forward_pass_reads_them():
    model, train, labels, z = scene(21, c=3, m=7, v=5, n=37)
    position, available = order_of(model, train, labels, method="global", forget=[2])
    assert_sweep_is_plain(model, z.half(), position, [0, available // 3, available], forget=[2])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sets", [1, 3])
def test_more_items_than_a_block_holds_are_swept(monkeypatch, threads, sets):
    # Blocks of 16 items and the last of fewer; the plain pass is the oracle here.
    monkeypatch.setattr("dkvb.sweep.ENTRIES", 16)
    model, _, _, z = scene(23, c=2, m=7, v=5, n=61, integer=True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gen = torch.Generator().manual_seed(1)
        assert_sweeps_are_plain(
            model, z, [(torch.randperm(14, generator=gen).view(2, 7), [0, 3, 7, 11], [2])] * sets, exact=True
        )
    finally:
        torch.set_num_threads(before)


def test_hundreds_of_changes_leave_the_running_logits_close_to_the_plain_ones():
    # An item's running sums take some two hundred updates.
    model, _, _, z = scene(24, c=31, m=37, v=5, n=101, all_keys=True)
    position = torch.randperm(31 * 37, generator=torch.Generator().manual_seed(1)).view(31, 37)
    grid = [*range(3, 31 * 37, 5)]
    table = budget_table([position.numpy()], [grid])
    predicted, _ = sweep(model, watch(model, z), table, budgets=len(grid), forget=[[2]])
    for g in [*range(0, len(grid), 23), *range(len(grid) - 5, len(grid))]:
        assert_equal_but_for_ties(predicted[0, g].long(), model.masked(position < grid[g]).logits(z), [*range(5)])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    integer=st.booleans(),
    r=st.sampled_from([1, 2, 5, 19]),
    grids=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=5),
)
def test_many_forget_sets_of_any_size_are_swept_together_with_lists_of_any_length(seed, integer, r, grids):
    model, _, _, z = scene(seed, c=3, m=17, v=7, n=41, integer=integer, all_keys=True)
    gen = torch.Generator().manual_seed(seed)
    sets = []
    for grid in grids:
        forget = torch.randperm(7, generator=gen)[: 1 + int(torch.randint(6, (), generator=gen))].tolist()
        sets.append((torch.randperm(51, generator=gen).view(3, 17), sorted(grid), forget))
    assert_sweeps_are_plain(model, z, sets, exact=integer, r=r)


def test_embeddings_that_lie_column_after_column_are_searched_all_the_same():
    model, _, _, z = scene(26, c=2, m=7, v=5, n=37, all_keys=True)
    items = watch(model, z, r=1)
    table = budget_table([np.arange(14).reshape(2, 7)], [[3, 7, 11]])
    expected = codes_by_budget(model, items, table, budgets=3)
    other = Items(z.T.contiguous().T, items.codes, items.neighbours)
    assert torch.equal(codes_by_budget(model, other, table, budgets=3), expected)


# --- what is refused ---


def test_a_grid_with_more_steps_than_a_byte_tells_apart_is_refused():
    with pytest.raises(BadBudget, match="256 budgets"):
        budget_table([np.zeros((2, 3), np.int64)], [range(256)])


def test_a_table_of_another_model_and_lists_of_other_items_are_refused():
    model, _, _, z = scene(25, c=3, m=7, v=5, n=17)
    items = watch(model, z)
    with pytest.raises(ShapeMismatch, match="table"):
        sweep(model, items, np.zeros((3, 5, 1), np.uint8), budgets=1, forget=[[0]])
    with pytest.raises(ShapeMismatch, match="table"):
        sweep(model, items, np.zeros((3, 7, 2), np.uint8), budgets=1, forget=[[0]])
    other = Items(z, items.codes, items.neighbours[:5])
    with pytest.raises(ShapeMismatch, match="neighbours"):
        sweep(model, other, np.zeros((3, 7, 1), np.uint8), budgets=1, forget=[[0]])


def test_codes_beyond_the_keys_are_refused_before_compiled_code_follows_them():
    c, m, d_z, d_k, v, n = 3, 5, 7, 2, 4, 6
    model = Bottleneck(
        torch.zeros(c, d_z, d_k), torch.zeros(c, m, d_k), torch.zeros(c, m, v), torch.ones(c, m, dtype=torch.bool), {}
    )
    good = Items(torch.zeros(n, d_z).half(), torch.zeros(n, c).short(), torch.zeros(n, c, 2).short())
    table = np.zeros((c, m, 1), np.uint8)
    sweep(model, good, table, budgets=1, forget=[[3]])
    hostile = [
        Items(good.z, torch.full((n, c), 32767).short(), good.neighbours),
        Items(good.z, good.codes, torch.full((n, c, 2), m).short()),
        Items(good.z[:2], good.codes, good.neighbours),
        Items(good.z[:, :3], good.codes, good.neighbours),
    ]
    for items in hostile:
        with pytest.raises(ShapeMismatch):
            sweep(model, items, table, budgets=1, forget=[[3]])
    with pytest.raises(ShapeMismatch):
        sweep(model, good, table, budgets=1, forget=[[v]])
