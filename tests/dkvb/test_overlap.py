"""Overlap: every share against a loop over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.overlap import exclusivity, jaccard, weighted_overlap

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


def test_a_class_without_hits_has_no_shares():
    counts = random_counts(3, 3, 5, 7)
    counts[1] = 0
    assert math.isnan(exclusivity(counts[1], counts.sum(0)))
    assert math.isnan(weighted_overlap(counts[1], counts[0]))
    assert math.isnan(weighted_overlap(counts[0], counts[1]))
    assert math.isnan(jaccard(counts[1], counts[1]))
    assert jaccard(counts[0], counts[1]) == 0


@pytest.mark.parametrize("function", [jaccard, weighted_overlap, exclusivity])
def test_arrays_of_two_shapes_are_refused(function):
    with pytest.raises(ShapeMismatch, match=r"\(3, 2\).*\(2, 3\)"):
        function(np.ones((2, 3)), np.ones((3, 2)))
