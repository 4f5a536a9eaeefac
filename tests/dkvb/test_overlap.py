"""Overlap: against sets of pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import ShapeMismatch
from dkvb.overlap import jaccard

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


def test_what_selects_no_pair_shares_none():
    counts = random_counts(3, 2, 5, 7)
    assert math.isnan(jaccard(0 * counts[0], 0 * counts[1]))
    assert jaccard(counts[0], 0 * counts[1]) == 0


def test_arrays_of_two_shapes_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\(3, 2\).*\(2, 3\)"):
        jaccard(np.ones((2, 3)), np.ones((3, 2)))
