"""Overlap: every share against a loop over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.overlap import collateral, exclusivity, jaccard, spearman, weighted_overlap
from tests.dkvb import naive

SEEDS = st.integers(0, 10**6)


def random_counts(seed: int, classes: int, c: int, m: int) -> np.ndarray:
    """Many zeros; no class is without hits."""
    counts = np.random.default_rng(seed).integers(-4, 5, (classes, c, m)).clip(0)
    counts[:, 0, 0] += 1
    return counts


def pairs_of(counts: np.ndarray) -> set[tuple[int, int]]:
    return {(j, k) for j, row in enumerate(counts.tolist()) for k, hits in enumerate(row) if hits > 0}


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5]))
def test_jaccard_is_the_ratio_of_the_sets_of_pairs_for_counts_and_masks_alike(seed, sizes):
    a, b = random_counts(seed, 2, *sizes[:2])
    one, other = pairs_of(a), pairs_of(b)
    assert jaccard(a, b) == pytest.approx(len(one & other) / len(one | other))
    assert jaccard(a, b) == jaccard(b, a) == jaccard(a > 0, b > 0)
    assert jaccard(a, a) == 1
    assert jaccard(a, np.where(a > 0, 0, 1)) == 0


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5]))
def test_weighted_overlap_is_the_mean_over_codebooks_of_the_shared_probability(seed, sizes):
    c, m = sizes[:2]
    a, b = random_counts(seed, 2, c, m)
    expected = 0.0
    for j in range(c):
        for k in range(m):
            if a[j].sum() and b[j].sum():
                expected += min(a[j, k] / a[j].sum(), b[j, k] / b[j].sum()) / c
    assert weighted_overlap(a, b) == pytest.approx(expected)
    assert weighted_overlap(a, b) == weighted_overlap(b, a)
    assert weighted_overlap(a, b) <= 1


def test_weighted_overlap_does_not_ask_how_many_items_a_class_has():
    a = random_counts(1, 1, 3, 5)[0] + 1
    assert weighted_overlap(a, 7 * a) == pytest.approx(1)
    apart = np.array([[3, 1, 0], [2, 2, 0]]), np.array([[0, 0, 5], [0, 0, 1]])
    assert weighted_overlap(*apart) == 0
    assert weighted_overlap(np.array([[1, 1], [4, 0]]), np.array([[1, 0], [0, 3]])) == pytest.approx(0.25)


def test_a_codebook_without_hits_shares_nothing():
    a, b = np.array([[2, 2, 0], [0, 0, 0]]), np.array([[1, 1, 0], [3, 0, 0]])
    assert weighted_overlap(a, b) == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5]))
def test_exclusivity_is_the_share_of_hits_where_no_other_class_hits(seed, sizes):
    classes, c, m = sizes
    counts = random_counts(seed, classes, c, m)
    for f in range(classes):
        alone = 0
        for j in range(c):
            for k in range(m):
                if all(counts[other, j, k] == 0 for other in range(classes) if other != f):
                    alone += int(counts[f, j, k])
        found = exclusivity(counts[f], counts.sum(0))
        assert found == pytest.approx(alone / counts[f].sum())
    assert exclusivity(counts[0], counts[0]) == 1


def test_exclusivity_takes_the_hits_of_all_classes_not_of_the_others():
    own, others = np.array([[3, 1, 0]]), np.array([[1, 1, 2]])
    with pytest.raises(BadSetting, match="with its own"):
        exclusivity(own, others)
    assert exclusivity(own, own + others) == 0


def test_the_collateral_of_each_class_is_its_mean_share_of_first_choices_in_the_mask():
    gen = np.random.default_rng(5)
    codes, labels = gen.integers(7, size=(23, 3)), np.arange(23) % 5
    mask = gen.random((3, 7)) < 0.4
    found = collateral(naive.class_counts(codes, labels, 5, 7), mask)
    for k in range(5):
        rows = codes[labels == k].tolist()
        shares = [sum(bool(mask[j, code]) for j, code in enumerate(row)) / 3 for row in rows]
        assert found[k] == pytest.approx(sum(shares) / len(shares))
    assert found.dtype == np.float64


def test_the_collateral_of_a_mask_and_of_what_it_leaves_is_the_whole():
    counts = random_counts(2, 5, 3, 7)
    mask = np.random.default_rng(2).random((3, 7)) < 0.4
    np.testing.assert_allclose(collateral(counts, mask) + collateral(counts, ~mask), 1)
    assert (collateral(counts, np.zeros((3, 7), bool)) == 0).all()
    assert (collateral(counts, np.ones((3, 7), bool)) == 1).all()


def test_a_class_without_hits_has_no_shares():
    counts = random_counts(3, 3, 5, 7)
    counts[1] = 0
    assert np.isnan(collateral(counts, counts[0] > 0)).tolist() == [False, True, False]
    assert math.isnan(exclusivity(counts[1], counts.sum(0)))
    assert math.isnan(weighted_overlap(counts[1], counts[0]))
    assert math.isnan(weighted_overlap(counts[0], counts[1]))
    assert math.isnan(jaccard(counts[1], counts[1]))
    assert jaccard(counts[0], counts[1]) == 0


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([2, 3, 11, 101]))
def test_spearman_without_ties_is_one_less_the_squared_rank_differences(seed, n):
    gen = np.random.default_rng(seed)
    x, y = gen.permutation(n), gen.permutation(n)
    expected = 1 - 6 * int(((x - y) ** 2).sum()) / (n * (n**2 - 1))
    assert spearman(x, y) == pytest.approx(expected)
    assert spearman(np.exp(x / n), y**3) == pytest.approx(expected)
    assert spearman(x, -x) == pytest.approx(-1)


def test_ties_stand_at_their_mean_rank():
    # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3.5, 3.5.
    a, b = np.array([-1, -1, 0.5, 1.5]), np.array([-1.5, -0.5, 1, 1])
    expected = (a @ b) / math.sqrt((a @ a) * (b @ b))
    assert spearman(np.array([2, 2, 3, 7]), np.array([0.1, 0.2, 0.9, 0.9])) == pytest.approx(expected)


def test_spearman_leaves_out_what_is_not_a_number_and_says_so_of_what_does_not_vary():
    x = np.array([1, math.nan, 2, 3, 4, 9])
    y = np.array([2, 5, 3, math.nan, 7, 1])
    assert spearman(x, y) == pytest.approx(spearman(x[[0, 2, 4, 5]], y[[0, 2, 4, 5]]))
    assert math.isnan(spearman(np.ones(5), np.arange(5)))
    assert math.isnan(spearman(np.arange(5), np.ones(5)))
    assert math.isnan(spearman(np.array([1.0, math.nan]), np.array([1.0, 2.0])))
    assert math.isnan(spearman(np.empty(0), np.empty(0)))


@pytest.mark.parametrize("function", [jaccard, weighted_overlap, exclusivity, spearman])
def test_arrays_of_two_shapes_are_refused(function):
    with pytest.raises(ShapeMismatch, match=r"\(3, 2\).*\(2, 3\)"):
        function(np.ones((2, 3)), np.ones((3, 2)))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ShapeMismatch, match=r"\(7, 3\).*\(5, 3, 7\)"):
        collateral(np.ones((5, 3, 7), np.int64), np.ones((7, 3), bool))
