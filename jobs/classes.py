"""The classes of an experiment: found by name, or the nearest is suggested; and what their training items hit.

No torch: a request waits for it.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dkvb.limits import nearest
from dkvb.orders import RemovalOrder, by_rank, votes
from jobs.errors import BadRequest
from jobs.printable import shown
from store.arrays import StoredArray
from store.names import alike, one_form, points


def class_indexes(classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indexes of class names, in order, each once, whatever Unicode form they are typed in.

    raises: BadRequest naming the nearest known name, and by code points what tells it apart where that is not plain.
    """
    index = {one_form(name): k for k, name in reversed([*enumerate(classes)])}
    for name in wanted:
        if one_form(name) not in index:
            names = ", ".join(map(shown, classes))
            known = f"there: {names}" if len(classes) <= 20 else f"{len(classes)} classes there"
            like = next((other for other in classes if alike(other, name)), None)
            apart = f" (that is {points(like)}, asked was {points(name)})" if like else ""
            raise BadRequest(f"no class {name!r}{nearest(name, classes)}{apart} ({known})")
    return sorted({index[one_form(name)] for name in wanted})


def class_hits(counts: StoredArray, k: int) -> NDArray[np.int64]:
    """(c, m) int64 hits of one class, from the open array of counts (v, c, m); reads that class alone."""
    return np.asarray(counts[k]).astype(np.int64)


def total_hits(counts: StoredArray) -> NDArray[np.int64]:
    """(c, m) int64: the hits of all classes, added class by class so that one class is in memory at a time."""
    total = np.zeros(counts.shape[1:], np.int64)
    for k in range(counts.shape[0]):
        total += class_hits(counts, k)
    return total


def votes_of(counts: StoredArray, classes: Iterable[int], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(c, m) the votes of all pairs for some classes (`dkvb.orders.votes`).

    values: (c, m, v), of which the rows are read that the classes hit.
    """
    given = np.zeros(counts.shape[1:])
    for k in classes:
        hits = class_hits(counts, k)
        places = np.nonzero(hits)
        given[places] += votes(hits[places], values[*places, k])
    return given


def ranked_order(
    rank: str,
    counts: StoredArray,
    hits: NDArray[np.int64],
    *,
    scope: str,
    votes: Callable[[], NDArray[np.float64]],
) -> RemovalOrder:
    """The order of Unlearning via Activations, by one of `dkvb.orders.RANKS`; of the counts it is read what that needs.

    hits: (c, m) of the forget classes together; scope: of `dkvb.orders.SCOPES`; votes: gives those of `votes_of`.
    raises: BadBudget.
    """
    return by_rank(rank, hits, scope=scope, votes=votes, others=lambda: total_hits(counts) - hits)
