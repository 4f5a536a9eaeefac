"""The removal order by contrast, against plain loops in exact fractions."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadBudget, DkvbError, ShapeMismatch
from dkvb.orders import (
    NEVER,
    RemovalOrder,
    by_activation,
    by_contrast,
)
from tests.dkvb.drawn import SEEDS, SHARES, two_counts

WEIGHTS = st.fractions(0, 3, max_denominator=20)


def naive_order(own: np.ndarray, others: np.ndarray, weight: Fraction) -> list[tuple[int, int]]:
    contrast = {
        (j, k): int(own[j, k]) - weight * int(others[j, k])
        for j in range(own.shape[0])
        for k in range(own.shape[1])
        if own[j, k] > 0
    }
    return sorted((pair for pair in contrast if contrast[pair] > 0), key=lambda pair: (-contrast[pair], *pair))


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5, 7]), weight=WEIGHTS, most=st.sampled_from([3, 5, 31]))
def test_contrast_positions_are_the_naive_order_in_exact_fractions(seed, sizes, weight, most):
    own, others = two_counts(seed, *sizes[:2], most=most)
    position = by_contrast(own, others, weight=float(weight)).position
    expected = np.full(own.shape, NEVER)
    for place, pair in enumerate(naive_order(own, others, weight)):
        expected[pair] = place
    assert position.dtype == np.int64
    np.testing.assert_array_equal(position, expected)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5, 7]), share=SHARES)
def test_without_weight_the_order_by_contrast_is_that_by_activation(seed, sizes, share):
    own, others = two_counts(seed, *sizes[:2])
    order, first = by_contrast(own, others, weight=0), by_activation(own)
    np.testing.assert_array_equal(order.position, first.position)
    assert order.available == first.available
    assert order.smallest(float(share)) == first.smallest(float(share))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, weights=st.tuples(WEIGHTS, WEIGHTS))
def test_what_a_heavier_weight_removes_a_lighter_one_removes_too(seed, weights):
    light, heavy = sorted(weights)
    own, others = two_counts(seed, 3, 7)
    removed = [by_contrast(own, others, weight=float(weight)).position < NEVER for weight in (heavy, light)]
    assert (~removed[0] | removed[1]).all()


def test_contrasts_that_tie_go_to_the_lower_codebook_then_to_the_lower_key_and_others_hits_push_a_pair_back():
    own, others = np.array([[2, 7, 2], [7, 0, 2]]), np.array([[0, 4, 0], [0, 0, 2]])
    assert by_contrast(own, others, weight=1).position.tolist() == [[2, 1, 3], [0, NEVER, NEVER]]
    assert by_contrast(own, others, weight=2).position.tolist() == [[1, NEVER, 2], [0, NEVER, NEVER]]


def test_a_contrast_of_zero_is_zero_and_ties_tie_whatever_binary_fractions_do():
    own, others = np.array([[3, 1, 6, 2]]), np.array([[30, 3, 53, 13]])
    assert 3 * 0.1 != 0.3
    assert by_contrast(own, others, weight=0.1).position.tolist() == [[NEVER, 0, 1, 2]]
    own, others = np.array([[3, 9]]), np.array([[10, 30]])
    assert (by_contrast(own, others, weight=0.3).position == NEVER).all()


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64"])
def test_the_type_of_the_counts_does_not_matter_to_contrast(dtype):
    own, others = two_counts(6, 11, 13, most=7)
    order, expected = by_contrast(own.astype(dtype), others.astype(dtype), weight=2), by_contrast(own, others, weight=2)
    np.testing.assert_array_equal(order.position, expected.position)
    assert (order.position == NEVER).any()
    assert order.smallest(0.5) == expected.smallest(0.5)


def test_ranking_by_contrast_leaves_the_counts_alone():
    own, others = two_counts(5, 3, 5)
    before = own.copy(), others.copy()
    by_contrast(own, others, weight=1).smallest(0.5)
    np.testing.assert_array_equal(own, before[0])
    np.testing.assert_array_equal(others, before[1])


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, weight=WEIGHTS, share=SHARES, most=st.sampled_from([3, 5, 31]))
def test_the_contrast_budget_is_the_first_to_hold_its_share_of_what_can_be_removed(seed, weight, share, most):
    own, others = two_counts(seed, 3, 7, most=most)
    order = naive_order(own, others, weight)
    wanted, held, expected = share * sum(int(own[pair]) for pair in order), 0, 0
    while held < wanted:
        held += int(own[order[expected]])
        expected += 1
    assert by_contrast(own, others, weight=float(weight)).smallest(float(share)) == expected


def test_the_whole_share_is_every_pair_of_positive_contrast():
    own, others = two_counts(3, 5, 7)
    assert by_contrast(own, others, weight=1).smallest(1) == ((own > 0) & (own > others)).sum()
    assert by_contrast(own, others, weight=1).smallest(0) == 0


def test_a_class_that_stands_out_nowhere_has_nothing_to_remove():
    own, others = two_counts(4, 3, 5)
    assert by_contrast(own, own + others, weight=1).smallest(1) == 0
    assert by_contrast(np.zeros((3, 5), np.int64), others, weight=1).smallest(0.9) == 0
    assert (by_contrast(own, own + others, weight=1).position == NEVER).all()


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_a_weight_that_cannot_be_is_refused(weight):
    with pytest.raises(BadBudget, match=f"weight: found {weight}") as caught:
        by_contrast(*two_counts(1, 2, 3), weight=weight)
    assert isinstance(caught.value, DkvbError)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(BadBudget, match=f"share: found {share}"):
        by_contrast(*two_counts(1, 2, 3), weight=1).smallest(share)


def test_counts_of_two_shapes_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\(3, 2\).*\(2, 3\)"):
        by_contrast(np.ones((2, 3), np.int64), np.ones((3, 2), np.int64), weight=1)


def test_the_rules_are_functions_of_training_counts_and_of_their_own_settings_alone():
    read = {"self", "hits", "scope", "own", "others", "weight", "share"}
    for rule in (by_activation, by_contrast, RemovalOrder.smallest):
        assert set(inspect.signature(rule).parameters) <= read
