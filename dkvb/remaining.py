"""The keys that a mask leaves, searched for the codes that lie past an item's list (`dkvb.redirection`).

Only entries whose whole list is masked are searched, and only among the keys that are selectable and not masked, 16
items at a time. A score depends on its item and key alone (`dkvb.tiles`), so codes are those of the masked model to the
last bit. No torch.

n: items; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key. An axis of 16 is of
items or keys that are computed side by side.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dkvb.decoding import NO_VOTE
from dkvb.nearest import key_bias, nearest_of_tile
from dkvb.redirection import BEYOND
from dkvb.tiles import LANES, Floats, each, fill_tiles, kernel, pack, scores_of_rows

BLOCK = 1024
"""Items that pass through the codebooks together: their embeddings stay in the cache."""


@dataclass(frozen=True, slots=True)
class RemainingKeys:
    """Projections, and the keys that a mask leaves, as the inner loop reads them; an entry for each codebook."""

    directions: list[Floats]
    """(groups, d_z, 16)."""
    keys: list[Floats]
    """(groups, d_k, 16)."""
    bias: list[Floats]
    """(groups, 16); minus infinity where a group is not full."""
    names: list[NDArray[np.int16]]
    """(remaining,) which keys these are, in order."""

    @classmethod
    def of(cls, projection: Floats, keys: Floats, free: NDArray[np.bool_]) -> Self:
        """Pack a model's parts.

        projection: (c, d_z, d_k) float32; keys: (c, m, d_k) float32; free: (c, m) bool, selectable and not masked.
        """
        names = [np.flatnonzero(some).astype(np.int16) for some in free]
        directions: list[Floats] = [np.empty(0, np.float32)] * len(names)
        packed, bias = directions.copy(), directions.copy()

        def fill(j: int) -> None:
            directions[j] = pack(np.ascontiguousarray(projection[j].T))
            packed[j] = pack(keys[j, names[j]])
            bias[j] = np.empty((len(packed[j]), LANES), np.float32)
            key_bias(packed[j], len(names[j]), bias[j])

        each(fill, range(len(names)))
        return cls(directions, packed, bias, names)

    def search(self, z: NDArray[Any], codes: NDArray[np.int16]) -> None:
        """Replace each BEYOND among codes by the nearest key that is left, NO_VOTE where none is.

        z: (n, d_z) float, embeddings; codes: (n, c) int16, changed in place.
        """

        def search_block(begin: int) -> None:
            rows = codes[begin : begin + BLOCK]
            books = np.flatnonzero((rows == BEYOND).any(0)).tolist()
            wide = np.ascontiguousarray(z[begin : begin + BLOCK], np.float32) if books else None
            for j in books:
                if len(self.names[j]):
                    _search(wide, self.directions[j], self.keys[j], self.bias[j], self.names[j], rows[:, j])
                else:
                    rows[rows[:, j] == BEYOND, j] = NO_VOTE

        each(search_block, range(0, len(codes), BLOCK))


def redirected(codes: NDArray[np.int16], lists: NDArray[np.int16], mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Codes under a mask, as far as lists tell them: as `dkvb.redirection.redirected`, compiled."""
    after = codes.copy()
    _redirect(lists, mask, after)
    return after


@kernel
def _redirect(lists: Any, mask: Any, codes: Any) -> None:
    """Replace the masked among codes (n, c) by the first key of lists (n, c, r) that is not masked."""
    n, c, r = lists.shape
    for i in range(n):
        for j in range(c):
            if codes[i, j] >= 0 and mask[j, codes[i, j]]:
                place = 0
                while place < r and lists[i, j, place] >= 0 and mask[j, lists[i, j, place]]:
                    place += 1
                codes[i, j] = lists[i, j, place] if place < r else BEYOND


@kernel
def _search(z: Any, directions: Any, keys: Any, bias: Any, names: Any, codes: Any) -> None:
    """Search one codebook for the BEYOND among the codes (n,) of items z (n, d_z); the rest: see `RemainingKeys`."""
    d_k, used = keys.shape[1], 0
    chosen, rows = np.zeros(LANES, np.int64), np.empty((LANES, len(directions) * LANES), np.float32)
    tile, maxima = np.empty((1, d_k, LANES), np.float32), np.empty(bias.shape, np.float32)
    scores, out = np.empty(LANES, np.float32), np.empty(LANES, np.int64)
    for i in range(len(codes) + 1):
        if i < len(codes) and codes[i] == BEYOND:
            chosen[used] = i
            used += 1
        if used == LANES or (i == len(codes) and used):
            scores_of_rows(z, chosen, directions, rows)
            fill_tiles(rows[:, :d_k], tile)
            nearest_of_tile(tile[0], keys, bias, maxima, scores, out)
            for lane in range(used):
                codes[chosen[lane]] = names[out[lane]] if out[lane] >= 0 else NO_VOTE
            used = 0
