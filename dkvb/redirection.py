"""Redirection: the key that an item takes in a codebook whose nearest key is masked, read off its list of neighbours.

NumPy alone: a question waits for no compiled kernel unless a list ends (`dkvb.remaining`).

n: items; c: codebooks; m: keys of a codebook; r: keys of a list.
"""

import numpy as np
from numpy.typing import NDArray

from dkvb.decoding import NO_VOTE

BEYOND = -2
"""Stands for a code that lies past the item's list: all keys of the list are masked, and there are others."""


def redirected(codes: NDArray[np.int16], lists: NDArray[np.int16], mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Codes under a mask, as far as lists tell them.

    codes: (n, c) int16 before anything is masked.
    lists: (n, c, r) int16, nearest selectable keys in order, NO_VOTE past the last; all below m.
    mask: (c, m) bool.
    returns: (n, c) int16: the first key of the list that is not masked; NO_VOTE where the list holds all selectable
        keys and all are masked; BEYOND where the list ends before.
    """
    m, r = mask.shape[1], lists.shape[2]
    masked, walks = mask.ravel(), lists.reshape(-1, r)
    first = m * np.arange(len(mask), dtype=np.int32)  # place in `masked` of each codebook's first key
    after = codes.copy()
    flat = after.ravel()
    entry = np.flatnonzero(masked[np.maximum(codes, 0) + first] & (codes >= 0))
    start = first[entry % len(mask)]
    flat[entry] = BEYOND
    for place in range(r):
        key = walks[entry, place]
        ended = key < 0
        found = ended | ~masked[start + np.maximum(key, 0)]
        flat[entry[found]] = np.where(ended, NO_VOTE, key)[found]
        entry, start = entry[~found], start[~found]
        if not len(entry):
            break
    return after
