"""The nearest key of 16 items at a time: what codes and the searches past a list are made of. Kernels, without torch.

An axis of 16 is of items or keys that are computed side by side (`dkvb.tiles`); groups: ceil(m / 16).
"""

from typing import Any

import numpy as np

from dkvb.decoding import NO_VOTE
from dkvb.tiles import LANES, kernel, maxima_of_tile, scores_of_item


@kernel
def key_bias(table: Any, m: int, bias: Any) -> None:
    """Fill bias (groups, 16) with -|k|^2 / 2 of the m keys in table (groups, d_k, 16), -inf past the last."""
    for g in range(table.shape[0]):
        for u in range(LANES):
            square = np.float32(0)
            for d in range(table.shape[1]):
                square += table[g, d, u] * table[g, d, u]
            bias[g, u] = np.float32(-0.5) * square if g * LANES + u < m else -np.inf


@kernel
def nearest_of_tile(x: Any, table: Any, bias: Any, maxima: Any, scores: Any, out: Any) -> None:
    """Find the nearest key of the 16 items of a tile: the best group, then the first key in it with its maximum.

    x: (d_k, 16); table: (groups, d_k, 16); bias: (groups, 16); maxima (groups, 16) and scores (16,) are scratch.
    out: (16,) integer, NO_VOTE where no key is selectable.
    """
    maxima_of_tile(x, table, bias, maxima)
    best = maxima[0].copy()
    group = np.zeros(LANES, np.int32)
    for g in range(1, maxima.shape[0]):
        for lane in range(LANES):
            if maxima[g, lane] > best[lane]:
                best[lane] = maxima[g, lane]
                group[lane] = g
    for lane in range(LANES):
        out[lane] = NO_VOTE
        if best[lane] > -np.inf:
            scores_of_item(x, lane, table, bias, group[lane], scores)
            for u in range(LANES):
                if scores[u] == best[lane]:
                    out[lane] = group[lane] * LANES + u
                    break
