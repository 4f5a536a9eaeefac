"""Questions to the counts of a store: what a class hits, who hits a pair, how evenly codebooks are used.

Answers are polars frames. A class is read from `counts`, a codebook from `counts_by_codebook`: each chunk that a
question needs is read once.

k: index of a class; j: of a codebook; i: of a key in it; pair (j, i) is key i of codebook j.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from store.arrays import StoredArray, open_array
from store.places import Place

SHARERS = 3
"""Other classes that are named beside a pair."""


@dataclass(frozen=True, slots=True)
class Activations:
    """The counts of one experiment."""

    counts: StoredArray
    """(v, c, m), a chunk for each class."""
    by_codebook: StoredArray
    """The same, a chunk for each codebook."""
    classes: Sequence[str]
    """(v,) names."""

    def of_class(self, k: int) -> NDArray[np.int64]:
        """(c, m) hits of one class."""
        return self.counts[k].astype(np.int64)

    def of_codebook(self, j: int) -> NDArray[np.integer]:
        """(v, m) hits of every class in one codebook."""
        return self.by_codebook[:, j]

    def codebooks(self) -> Iterator[tuple[int, NDArray[np.integer]]]:
        """All codebooks with their hits (v, m)."""
        return read_ahead(self.of_codebook, range(self.counts.shape[1]))

    def keys(self, k: int, *, limit: int | None = None) -> pl.DataFrame:
        """The pairs that a class hits, the most activated first, and which other classes hit them.

        limit: of the rows; with none, the whole store is read to name the other classes.
        returns: codebook, key, count (training items of the class), share (of its activations), classes (that hit the
        pair, this one among them), others (hits of all other classes), shared_with (those with most, and their hits).
        """
        hits = self.counts[k]  # as narrow as they are stored: NumPy sorts 16 bits by radix
        pairs = np.flatnonzero(hits != 0)
        found = hits.ravel()[pairs]
        pairs = pairs[np.argsort(found.max(initial=0) - found, kind="stable")][:limit]
        book, key = np.divmod(pairs, hits.shape[1])
        classes, others = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
        shared_with = [""] * len(pairs)
        least = {j: int(key[book == j].min()) for j in np.unique(book).tolist()}

        def columns(j: int) -> NDArray[np.integer]:
            return self.by_codebook[:, j, least[j] : int(key[book == j].max()) + 1]

        for j, counts in read_ahead(columns, [*least]):
            for row in np.flatnonzero(book == j):
                column = counts[:, key[row] - least[j]].astype(np.int64)
                classes[row] = np.count_nonzero(column)
                column[k] = 0
                others[row] = column.sum()
                shared_with[row] = self._named(column)
        count = hits.ravel()[pairs].astype(np.int64)
        return pl.DataFrame(
            {
                "codebook": book,
                "key": key,
                "count": count,
                "share": count / max(1, int(hits.sum(dtype=np.int64))),
                "classes": classes,
                "others": others,
                "shared_with": shared_with,
            }
        )

    def _named(self, column: NDArray[np.int64]) -> str:
        """The classes with most hits of a pair."""
        most = [int(k) for k in np.argsort(-column, kind="stable")[:SHARERS] if column[k]]
        return ", ".join(f"{self.classes[k]} {column[k]}" for k in most)

    def pair(self, j: int, i: int) -> pl.DataFrame:
        """The classes that hit a pair, those with most hits first.

        returns: class, name, count, share (of the pair's hits).
        """
        column = self.by_codebook[:, j, i].astype(np.int64)
        hit = np.flatnonzero(column)
        hit = hit[np.argsort(-column[hit], kind="stable")]
        return pl.DataFrame(
            {
                "class": hit,
                "name": [self.classes[k] for k in hit.tolist()],
                "count": column[hit],
                "share": column[hit] / max(1, int(column.sum())),
            },
            schema={"class": pl.Int64, "name": pl.String, "count": pl.Int64, "share": pl.Float64},
        )

    def load(self) -> pl.DataFrame:
        """How evenly each codebook is used by training.

        returns: codebook, used and unused (keys with hits and without), effective (the number of keys that, hit alike,
        would spread hits as these do: 2 to the power of their entropy in bits), largest_share (of the codebook's hits
        on its busiest key), exclusive_share (of its hits on keys that one class alone hits).
        """
        rows = []
        for j, counts in self.codebooks():
            hits, classes = counts.sum(0, dtype=np.int64), (counts > 0).sum(0)
            total = max(1, int(hits.sum()))
            p = hits[hits > 0] / total
            rows.append(
                {
                    "codebook": j,
                    "used": len(p),
                    "unused": len(hits) - len(p),
                    "effective": float(2 ** -(p * np.log2(p)).sum()),
                    "largest_share": float(p.max(initial=0)),
                    "exclusive_share": int(hits[classes == 1].sum()) / total,
                }
            )
        return pl.DataFrame(rows)


def read_ahead(
    read: Callable[[int], NDArray[np.integer]], wanted: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """What is read of some codebooks, each with its number, ahead by as many threads as there are cores."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(wanted), threads):  # so many codebooks are in memory at a time
            some = wanted[start : start + threads]
            yield from zip(some, pool.map(read, some), strict=True)


def open_activations(data: Place, classes: Sequence[str]) -> Activations:
    """The counts of an experiment.

    data: Zarr group of the counts; classes: names, in the order of their indexes.
    raises: ArtefactMissing, ArtefactDamaged, NotARoot.
    """
    return Activations(open_array(data, "counts"), open_array(data, "counts_by_codebook"), classes)
