"""How far each two of many classes share pairs: all pairs of classes at once, codebook by codebook.

Few classes hit a key, so the work is the sum over keys of the square of the classes that hit it, not v^2 c m.

v: classes; c: codebooks; m: keys of a codebook.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dkvb.tiles import each, kernel


@dataclass(frozen=True, slots=True)
class OverlapMatrix:
    """What classes share, in counts of pairs and in activations."""

    shared: NDArray[np.int64]
    """(v, v) pairs that both classes hit; on the diagonal those that the class hits."""
    weighted: NDArray[np.float64]
    """(v, v) in [0, 1], as `dkvb.overlap.weighted_overlap`; NaN for a class without hits."""
    exclusive: NDArray[np.float64]
    """(v,) share of a class's hits on pairs that no other class hits; NaN without hits."""

    @property
    def jaccard(self) -> NDArray[np.float64]:
        """(v, v) shared pairs over pairs that either class hits, as `dkvb.overlap.jaccard`."""
        pairs = self.shared.diagonal()
        either = pairs[:, None] + pairs - self.shared
        return np.where(either > 0, self.shared / np.maximum(either, 1), np.nan)


def overlap_matrix(codebooks: Iterable[NDArray[Any]], classes: int) -> OverlapMatrix:
    """Overlap of each two classes.

    codebooks: for each codebook (v, m) integer, the hits of every class; read one at a time.
    classes: v.
    memory: three (v, v) matrices beside one codebook.
    """
    shared, weighted = np.zeros((classes, classes), np.int64), np.zeros((classes, classes))
    exclusive, hits = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    c, threads = 0, torch.get_num_threads()
    for counts in codebooks:
        key, k = np.nonzero(counts.T)  # by key, the classes of a key in order
        own = counts[k, key].astype(np.int64)
        first = np.searchsorted(key, np.arange(counts.shape[1] + 1))
        total = counts.sum(1, dtype=np.int64)
        spread = own / total[k]
        each(lambda part: _add(first, k, spread, shared, weighted, part, threads), range(threads))  # noqa: B023
        alone = np.diff(first)[key] == 1
        exclusive += np.bincount(k[alone], weights=own[alone], minlength=classes).astype(np.int64)
        hits, c = hits + total, c + 1
    shared, weighted = shared + np.triu(shared, 1).T, weighted + np.triu(weighted, 1).T
    empty = hits == 0
    weighted /= max(c, 1)
    weighted[empty], weighted[:, empty] = np.nan, np.nan
    return OverlapMatrix(shared, weighted, np.where(empty, np.nan, exclusive / np.maximum(hits, 1)))


@kernel
def _add(first: Any, k: Any, spread: Any, shared: Any, weighted: Any, part: int, parts: int) -> None:
    """Add one codebook to the upper halves: of every parts-th row, so that threads write apart.

    first: (m + 1,) where each key's classes begin; k: (hits,) classes; spread: (hits,) share of the class's hits here.
    """
    for key in range(len(first) - 1):
        for a in range(first[key], first[key + 1]):
            if k[a] % parts != part:
                continue
            for b in range(a, first[key + 1]):
                shared[k[a], k[b]] += 1
                weighted[k[a], k[b]] += min(spread[a], spread[b])
