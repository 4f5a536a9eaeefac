"""Counts drawn at random, for the laws of removal orders."""

import numpy as np
from hypothesis import strategies as st

SEEDS = st.integers(0, 10**6)
SHARES = st.fractions(0, 1, max_denominator=100)


def two_counts(seed: int, c: int, m: int, *, most: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Hits of the class and of all others, drawn alike: two of (c, m), int64, below `most`."""
    own, others = np.random.default_rng(seed).integers(0, most, (2, c, m))
    return own, others
