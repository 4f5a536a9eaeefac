"""Decoding: the votes of an item's codes, added up to logits. Arrays and tensors alike, so that nobody needs both.

n: items; c: codebooks; m: keys of a codebook; v: classes.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

NO_VOTE = -1
"""The code of an item in a codebook that has no selectable key."""

Array = TypeVar("Array", NDArray[Any], "Tensor")


def _rows(table: Array, at: Array) -> Array:
    return table[at]  # type: ignore[no-any-return]


def add_votes(
    total: Array,
    columns: Iterable[Array],
    values: Array,
    *,
    fetch: Callable[[Array, Array], Array] = _rows,
) -> None:
    """Fill total with logits: the mean of the fetched values over the codebooks that vote, added in their order.

    total: (n, v) float32, zeros; they stay zeros for an item without any vote.
    columns: c times (n,), the codes of a codebook, of an integer type that indexes arrays of this kind; a negative code
        is no vote.
    values: (c, m, v) float32.
    fetch: takes rows of a table by their numbers.
    source: Träuble et al., arXiv 2207.11240, the parameter-free decoder.
    """
    count: Any = 0
    for column, table in zip(columns, values, strict=True):
        votes = column >= 0
        count = count + votes
        if votes.all():
            total += fetch(table, column)
        else:
            total[votes] += fetch(table, column[votes])
    total /= count.clip(1)[:, None]
