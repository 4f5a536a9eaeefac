"""Removal orders, their masks and budgets: the laws they obey, and plain loops in whole numbers and fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dkvb.errors import BadBudget, DkvbError, ShapeMismatch
from dkvb.orders import (
    NEVER,
    SCOPES,
    RemovalOrder,
    activated_pairs,
    budget_indexes,
    budgets,
    by_activation,
    by_contrast,
    by_example,
    hit_share,
)
from tests.dkvb import naive
from tests.dkvb.drawn import SEEDS, two_counts


def random_counts(seed: int, c: int, m: int, *, most: int = 4) -> np.ndarray:
    """Few different numbers, so that many tie and many are zero."""
    return np.random.default_rng(seed).integers(0, most, (c, m))


def random_codes(seed: int, n: int, c: int, m: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, m, (n, c), dtype=np.int16)


def hits_of(codes: np.ndarray, m: int) -> np.ndarray:
    return naive.class_counts(codes, np.zeros(len(codes), np.int64), 1, m)[0]


def example_order(codes: np.ndarray, m: int, *, seed: int) -> RemovalOrder:
    return by_example(codes, hits_of(codes, m), seed=seed)


# --- Unlearning via Activations ---


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5, 7]), scope=st.sampled_from(SCOPES))
def test_activation_masks_equal_the_naive_order_at_every_budget(seed, sizes, scope):
    counts = random_counts(seed, *sizes[:2])
    order = by_activation(counts, scope=scope)
    assert order.position.dtype == np.int64
    for budget in range(counts.size + 2):
        np.testing.assert_array_equal(order.mask(budget), naive.activation_mask(counts, budget, scope))


def test_ties_go_to_the_lower_codebook_then_to_the_lower_key():
    counts = np.array([[2, 7, 2], [7, 0, 2]])
    assert by_activation(counts).position.tolist() == [[2, 0, 3], [1, NEVER, 4]]
    assert by_activation(counts, scope="per-codebook").position.tolist() == [[1, 0, 2], [0, NEVER, 1]]


def test_ties_are_kept_in_order_among_very_many_pairs():
    counts = random_counts(3, 257, 1021, most=3)
    flat = by_activation(counts).position.flatten()
    for hits in (1, 2):
        tied = flat[counts.flatten() == hits]
        assert (np.diff(tied) == 1).all()
    assert flat[counts.flatten() == 2].max() + 1 == flat[counts.flatten() == 1].min()


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64"])
def test_the_type_of_the_counts_does_not_matter(dtype, scope):
    narrow = random_counts(6, 31, 37, most=7)
    for largest in (6, 2**16 - 1, 2**16 if dtype != "uint16" else 7):
        counts = np.where(narrow == 6, largest, narrow).astype(dtype)
        for budget in (1, 13, 101, 1000):
            mask = by_activation(counts, scope=scope).mask(budget)
            np.testing.assert_array_equal(mask, naive.activation_mask(counts.astype(np.int64), budget, scope))
        held = int(counts.sum(dtype=np.int64))
        assert by_activation(counts).smallest(1.0) == activated_pairs(counts) == (counts > 0).sum()
        assert hit_share(counts, counts == largest) == pytest.approx((counts == largest).sum() * largest / held)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_pair_that_the_class_never_activates_is_never_masked(scope):
    counts = random_counts(4, 5, 7)
    position = by_activation(counts, scope=scope).position
    np.testing.assert_array_equal(position == NEVER, counts == 0)
    assert not (position < counts.size * 1000)[counts == 0].any()
    assert (by_activation(np.zeros((3, 5), np.int64), scope=scope).position == NEVER).all()


def test_the_scopes_spread_a_budget_differently():
    counts = np.array([[9, 8, 7], [1, 2, 3]])
    assert by_activation(counts).mask(2).tolist() == [[True, True, False], [False, False, False]]
    per_codebook = by_activation(counts, scope="per-codebook").mask(1)
    assert per_codebook.tolist() == [[True, False, False], [False, False, True]]


def test_an_unknown_scope_is_refused_with_what_there_is():
    with pytest.raises(BadBudget, match=r"'local'.*global, per-codebook"):
        by_activation(np.ones((2, 3), np.int64), scope="local")


def test_ranking_leaves_the_counts_alone():
    counts = random_counts(5, 3, 5)
    before = counts.copy()
    by_activation(counts)
    by_activation(counts, scope="per-codebook")
    np.testing.assert_array_equal(counts, before)


# --- Unlearning via Examples ---


def permutation_of(codes: np.ndarray, m: int, seed: int) -> list[int]:
    """Read the order of the examples off a codebook in which every item has a pair of its own."""
    n = len(codes)
    tagged = np.concatenate([codes, np.arange(n)[:, None]], axis=1)
    position = example_order(tagged, max(m, n), seed=seed).position[-1][:n]
    assert sorted(position.tolist()) == list(range(n))
    return position.argsort().tolist()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([1, 11, 13]), sizes=st.permutations([2, 3, 5]))
def test_example_masks_are_the_pairs_of_the_first_items_of_one_permutation(seed, n, sizes):
    c, m = sizes[:2]
    codes = random_codes(seed, n, c, m)
    drawn = permutation_of(codes, m, seed)
    order = example_order(codes, m, seed=seed)
    assert order.position.dtype == np.int64
    assert order.available == n
    masks = [order.mask(budget) for budget in range(n + 1)]
    for budget, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, naive.example_mask(codes[drawn[:budget]], m))
    assert naive.is_nested(masks)


def test_the_seed_alone_draws_the_order_of_the_examples():
    codes = random_codes(1, 101, 3, 7)
    np.random.seed(1)
    one = permutation_of(codes, 7, 5)
    np.random.seed(2)
    assert permutation_of(codes, 7, 5) == one
    assert permutation_of(codes, 7, 6) != one
    assert one != list(range(101))


def test_the_order_of_the_examples_is_the_same_in_every_release():
    # Changing it silently redraws every example mask of existing experiments.
    assert permutation_of(random_codes(1, 11, 3, 7), 7, 5) == [3, 0, 1, 7, 4, 8, 6, 10, 2, 9, 5]


def test_a_code_that_is_no_key_is_refused():
    with pytest.raises(ValueError, match="invalid entry"):
        by_example(np.array([[0, 7], [3, 2]]), np.zeros((2, 7), np.int64), seed=0)


def test_hits_of_another_number_of_codebooks_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\(3, 5\).*\(7, 2\)"):
        by_example(np.zeros((7, 2), np.int16), np.zeros((3, 5), np.int64), seed=0)


def test_all_examples_mask_exactly_what_the_class_activates():
    codes = random_codes(2, 37, 3, 23)
    order = example_order(codes, 23, seed=3)
    position = order.position
    np.testing.assert_array_equal(order.mask(37), naive.example_mask(codes, 23))
    np.testing.assert_array_equal(position == NEVER, position >= 37)


def test_no_examples_mask_nothing():
    assert (example_order(np.empty((0, 3), np.int16), 5, seed=1).position == NEVER).all()


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_least_position_over_classes_is_the_union_of_their_masks(seed):
    classes = [random_codes(seed + k, n, 3, 7) for k, n in enumerate((5, 11, 13))]
    positions = [example_order(codes, 7, seed=seed).position for codes in classes]
    union = np.min(positions, axis=0)
    for budget in range(14):
        expected = np.zeros((3, 7), bool)
        for codes in classes:
            order = permutation_of(codes, 7, seed)
            expected |= naive.example_mask(codes[order[:budget]], 7)
        np.testing.assert_array_equal(union < budget, expected)


# --- positions, grids and steps ---


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, scope=st.sampled_from([*SCOPES, "examples"]), grid=st.lists(st.integers(0, 40), min_size=1))
def test_masks_are_nested_monotone_and_idempotent(seed, scope, grid):
    if scope == "examples":
        order = example_order(random_codes(seed, 11, 3, 7), 7, seed=seed)
    else:
        order = by_activation(random_counts(seed, 3, 7), scope=scope)
    grid = sorted(grid)
    masks = [order.mask(budget) for budget in grid]
    assert naive.is_nested(masks)
    assert all(np.array_equal(mask, mask | mask) for mask in masks)
    sizes = [int(mask.sum()) for mask in masks]
    assert sizes == sorted(sizes)
    if scope == "global":
        activated = int((order.position < NEVER).sum())
        assert sizes == [min(budget, activated) for budget in grid]
    assert not order.mask(0).any()


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, grid=st.lists(st.integers(0, 23), min_size=1))
def test_the_step_of_a_pair_is_the_first_budget_that_masks_it(seed, grid):
    grid = sorted(grid)
    position = by_activation(random_counts(seed, 3, 7)).position
    step = budget_indexes(position, grid)
    assert step.shape == position.shape
    for j in range(3):
        for k in range(7):
            masking = [g for g, budget in enumerate(grid) if position[j, k] < budget]
            assert step[j, k] == (masking[0] if masking else len(grid))
    for g, budget in enumerate(grid):
        np.testing.assert_array_equal(step <= g, position < budget)


def test_absolute_budgets_are_taken_as_they_are():
    assert budgets([0, 3, 11], 11, shares=False, what="pairs") == [0, 3, 11]
    assert budgets([3.0], 11, shares=False, what="pairs") == [3]


@settings(max_examples=100, deadline=None)
@given(
    available=st.integers(0, 10**6),
    share=st.fractions(0, 1, max_denominator=1000),
)
def test_shares_are_rounded_up(available, share):
    (found,) = budgets([float(share)], available, shares=True, what="pairs")
    exact = share * available
    assert found == -(-exact.numerator // exact.denominator)


def test_a_share_that_is_a_whole_number_is_not_pushed_up_by_float_noise():
    assert budgets([0.07, 0.29, 0.57, 1.0], 100, shares=True, what="pairs") == [7, 29, 57, 100]


@pytest.mark.parametrize(("grid", "shares"), [([3, 12], False), ([0.5, 1.5], True)])
def test_more_than_there_is_is_refused_and_says_how_much_there_is(grid, shares):
    with pytest.raises(BadBudget, match=r"11 pairs of class 'tench'") as caught:
        budgets(grid, 11, shares=shares, what="pairs of class 'tench'")
    assert isinstance(caught.value, DkvbError)
    assert isinstance(caught.value, ValueError)


# --- the stopping rule ---


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, scope=st.sampled_from([*SCOPES, "examples", "contrast"]))
def test_what_is_available_is_the_smallest_n_that_removes_all_there_is_to_remove(seed, scope):
    if scope == "examples":
        codes = np.concatenate([random_codes(seed, 11, 3, 11), np.arange(11)[:, None]], axis=1)  # each has its own pair
        order = example_order(codes, 11, seed=seed)
    elif scope == "contrast":
        order = by_contrast(*two_counts(seed, 3, 7), weight=1)
    else:
        order = by_activation(counts := random_counts(seed, 3, 7), scope=scope)
        assert order.available == activated_pairs(counts, scope=scope)
    np.testing.assert_array_equal(order.mask(order.available), order.position != NEVER)
    assert order.available == 0 or (order.mask(order.available - 1) != order.mask(order.available)).any()


def test_the_budgets_of_an_order_are_those_of_what_is_available():
    order = by_activation(random_counts(1, 3, 7))
    grid = [0.0, 0.3, 1.0]
    assert order.budgets(grid, shares=True, what="pairs") == budgets(grid, order.available, shares=True, what="pairs")
    with pytest.raises(BadBudget, match=f"the {order.available} pairs of class"):
        order.budgets([order.available + 1], shares=False, what="pairs of class 'tench'")


def naive_smallest(counts: np.ndarray, share: Fraction) -> int:
    order, total, held = naive.removal_order(counts), int(counts.sum()), 0
    for budget in range(len(order) + 1):
        if held >= share * total:
            return budget
        held += int(counts[order[budget]])
    raise AssertionError("the whole is always enough")


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, share=st.fractions(0, 1, max_denominator=100), most=st.sampled_from([2, 5, 101]))
def test_the_smallest_budget_equals_the_naive_loop(seed, share, most):
    counts = random_counts(seed, 3, 7, most=most)
    assert by_activation(counts).smallest(float(share)) == naive_smallest(counts, share)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, share=st.floats(0.01, 1))
def test_the_mask_at_the_smallest_budget_holds_the_share_and_one_pair_less_does_not(seed, share):
    counts = random_counts(seed, 3, 7, most=31)
    counts[0, 0] += 1
    order, total = by_activation(counts), int(counts.sum())
    budget = order.smallest(share)
    assert counts[order.mask(budget)].sum() >= share * total - 1e-6
    assert counts[order.mask(budget - 1)].sum() < share * total


def test_the_smallest_budget_of_a_class_without_activations_is_zero():
    assert by_activation(np.zeros((3, 5), np.int64)).smallest(0.9) == 0
    assert by_activation(np.zeros((0, 5), np.int64)).smallest(0.9) == 0


def test_the_smallest_budget_counts_exactly_beyond_single_precision():
    # A hundred ImageNet classes hit pairs 100 x 1300 x 256 = 33 million times; float32 counts to 16.7 million.
    counts = np.array([[2**25, 1, 1]])
    assert by_activation(counts).smallest(1.0) == 3
    assert by_activation(np.full((256, 4096), 37)).smallest(1.0) == 256 * 4096


# --- the share of the hits ---


def test_hit_share_is_the_masked_part_of_the_hits():
    counts = np.array([[1, 2, 0], [4, 0, 3]])
    mask = np.array([[True, False, True], [False, False, True]])
    assert hit_share(counts, mask) == pytest.approx(0.4)
    assert hit_share(counts, ~mask) == pytest.approx(0.6)
    assert math.isnan(hit_share(np.zeros((2, 3), np.int64), mask))


def test_the_collateral_of_a_class_is_its_mean_share_of_first_choices_in_the_mask():
    gen = np.random.default_rng(2)
    codes = gen.integers(7, size=(11, 3))
    mask = gen.random((3, 7)) < 0.4
    shares = [sum(bool(mask[j, code]) for j, code in enumerate(row)) / 3 for row in codes.tolist()]
    counts = naive.class_counts(codes, np.zeros(11, np.int64), 1, 7)[0]
    assert hit_share(counts, mask) == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95, 1.0])
def test_the_mask_that_holds_a_share_is_that_of_the_smallest_budget(share):
    counts = np.random.default_rng(3).integers(0, 9, (11, 13))
    order = by_activation(counts)
    mask = order.mask(order.smallest(share))
    assert mask.sum() == order.smallest(share)
    assert counts[mask].sum() >= share * counts.sum()
    assert counts[mask].min(initial=9) >= counts[~mask].max(initial=0)


@given(
    arrays(np.int64, (3, 5), elements=st.integers(0, 9)),
    st.sampled_from([0.0, 1e-12, 0.3, 0.5, 0.95, 1.0]),
    st.sampled_from([*SCOPES, "examples"]),
)
def test_the_smallest_budget_that_holds_a_share_is_found_for_any_order(counts, share, scope):
    if scope == "examples":
        codes = np.argsort(counts, axis=1).astype(np.int16).T  # five items of three codebooks
        counts = hits_of(codes, 5)
        order = by_example(codes, counts, seed=3)
    else:
        order = by_activation(counts, scope=scope)
    wanted = next(n for n in range(16) if counts[order.mask(n)].sum() >= share * counts.sum() - 1e-6)
    assert order.smallest(share) == wanted


def test_an_order_that_never_holds_the_share_is_refused():
    with pytest.raises(BadBudget, match=r"share: found 0\.5"):
        RemovalOrder(np.array([[0, NEVER]]), np.array([[1, 3]]), 1).smallest(0.5)
