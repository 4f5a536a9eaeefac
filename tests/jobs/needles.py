"""Many pieces of bytes looked for in a file at once: `in` reads the file anew for each of them."""

from collections import defaultdict
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

WINDOW = 4
"""Bytes of a piece that are looked up at every place of a file."""

CHOSEN_FROM = 256
"""First bytes of a piece among which its window lies."""

TABLE_BITS, FACTOR = 20, np.uint32(2654435761)
"""Of a table that most windows of a file are not in: multiples of an odd number, by their first bits."""

COMMON = 10_000
"""Places that are looked at one by one; pieces whose window is found more often are looked for by `in`."""


class Needles:
    """Pieces to look for; each must be at least `WINDOW` bytes long."""

    def __init__(self, pieces: Collection[bytes]) -> None:
        self._pieces: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for piece in {*pieces}:
            assert len(piece) >= WINDOW, "too short to tell anything"
            at = least_common(piece[:CHOSEN_FROM])
            self._pieces[int.from_bytes(piece[at : at + WINDOW], "little")].append((at, piece))
        self._table = np.zeros(1 << TABLE_BITS, np.bool_)
        self._table[hashed(np.array([*self._pieces], np.uint32))] = True

    def any_in(self, data: bytes) -> bool:
        """Whether any piece is part of some bytes."""
        for shift in range(WINDOW):
            size = max(0, len(data) - shift) // WINDOW
            windows = np.frombuffer(data, "<u4", size, shift if size else 0)
            places = np.flatnonzero(self._table[hashed(windows)])
            if self._any_at(data, windows[places], WINDOW * places + shift):
                return True
        return False

    def _any_at(self, data: bytes, windows: NDArray[np.uint32], places: NDArray[np.int64]) -> bool:
        """Whether a piece is there whose window was found at one of some places."""
        for window in np.unique(windows).tolist():
            pieces, where = self._pieces.get(window, []), places[windows == window]
            if pieces and len(where) > COMMON:
                if any(piece in data for _, piece in pieces):
                    return True
                continue
            starts = ((place - at, piece) for at, piece in pieces for place in where.tolist())
            if any(start >= 0 and data.startswith(piece, start) for start, piece in starts):
                return True
        return False


def hashed(windows: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The places of windows in the table."""
    return (windows * FACTOR) >> np.uint32(32 - TABLE_BITS)


def least_common(piece: bytes) -> int:
    """Where the window of a piece begins: zeros and repeated bytes are everywhere."""
    return max(range(len(piece) - WINDOW + 1), key=lambda at: len({*piece[at : at + WINDOW]} - {0, 255}))
