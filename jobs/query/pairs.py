"""Questions about pairs: what a class hits, how classes overlap, what a mask takes from the others."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.orders import hit_share
from dkvb.overlap import jaccard, weighted_overlap
from jobs.errors import BadRequest
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored


def keys(stored: Stored, k: int, *, limit: int | None = None) -> pl.DataFrame:
    """The pairs that a class hits (`store.query.Activations.keys`), and what their values say.

    returns: these columns and value (what the pair adds to the class's logit, times c), favours (the class whose logit
    it raises most).
    """
    stored.check_filled([k])
    rows = stored.activations.keys(k, limit=limit)
    with stored.values() as values:
        fetched = np.array([values[j, i] for j, i in rows.select("codebook", "key").iter_rows()])
    fetched = fetched.reshape(len(rows), len(stored.classes))
    favours = [stored.classes[best] for best in fetched.argmax(1)]
    return rows.with_columns(pl.Series("value", fetched[:, k], pl.Float32), pl.Series("favours", favours, pl.String))


def pair_classes(stored: Stored, j: int, i: int) -> pl.DataFrame:
    """The classes that hit a pair (`store.query.Activations.pair`) and its value for each; raises: BadRequest."""
    c, m = stored.size
    if not (0 <= j < c and 0 <= i < m):
        raise BadRequest(f"no pair ({j}, {i}): codebooks are 0 to {c - 1}, keys 0 to {m - 1}")
    rows = stored.activations.pair(j, i)
    with stored.values() as values:
        fetched = np.array(values[j, i])
    return rows.with_columns(pl.Series("value", fetched[rows["class"].to_numpy()], pl.Float32))


def overlap(stored: Stored, a: int, b: int) -> pl.DataFrame:
    """How far two classes share pairs, from the side of each.

    returns: class, name, other, pairs (that it hits), shared (that both hit), share_shared (of its activations on
    these), jaccard, weighted (`dkvb.overlap.weighted_overlap`); the last two are the same for both.
    """
    stored.check_filled([a, b])
    hits = {k: stored.activations.counts[k] for k in (a, b)}  # as narrow as they are stored
    both = (hits[a] > 0) & (hits[b] > 0)
    alike = {"jaccard": jaccard(hits[a], hits[b]), "weighted": weighted_overlap(hits[a], hits[b])}
    rows = [
        {
            "class": k,
            "name": stored.classes[k],
            "other": stored.classes[other],
            "pairs": int(np.count_nonzero(hits[k])),
            "shared": int(both.sum()),
            "share_shared": hit_share(hits[k], both),
            **alike,
        }
        for k, other in ((a, b), (b, a))
    ]
    return pl.DataFrame(rows)


def overlaps(stored: Stored) -> pl.DataFrame:
    """How far each two classes share pairs: one row for each two, and one for each class with itself.

    returns: class, other (indexes, class <= other), name, other_name, shared (pairs), jaccard, weighted, and exclusive
    (in the rows of a class with itself: share of its activations on pairs that no other class hits).
    """
    from dkvb.overlap_matrix import overlap_matrix

    v = len(stored.classes)
    found = overlap_matrix((counts for _, counts in stored.activations.codebooks()), v)
    a, b = np.triu_indices(v)
    named = np.array(stored.classes, object)
    table = pl.DataFrame(
        {
            "class": a,
            "other": b,
            "name": pl.Series(named[a], dtype=pl.String),
            "other_name": pl.Series(named[b], dtype=pl.String),
            "shared": found.shared[a, b],
            "jaccard": found.jaccard[a, b],
            "weighted": found.weighted[a, b],
            "exclusive": np.where(a == b, found.exclusive[a], np.nan),
        }
    )
    numbers = pl.selectors.float()
    return table.with_columns(numbers.fill_nan(None))


def collateral(stored: Stored, mask: NDArray[np.bool_]) -> pl.DataFrame:
    """What a mask takes from every class: of its training activations, and on its test items.

    mask: (c, m) bool.
    returns: class, name, hit_share (of its training activations), test_items, redirected (test items of which at least
    one code is masked), votes_redirected (the mean share of an item's votes), right_before, right_after, lost (right
    before and wrong after), gained; the class that loses most by hit_share first.
    """
    before, after = Outcome.both(stored, "test", mask)
    v = len(stored.classes)

    def per_class(flags: NDArray[Any]) -> NDArray[np.int64]:
        return np.bincount(before.labels, weights=flags, minlength=v)

    items = per_class(np.ones(len(before.labels)))
    shares = [hit_share(stored.activations.of_class(k), mask) for k in range(v)]
    table = pl.DataFrame(
        {
            "class": np.arange(v),
            "name": stored.classes,
            "hit_share": shares,
            "test_items": items.astype(np.int64),
            "redirected": per_class(after.redirected > 0).astype(np.int64),
            "votes_redirected": per_class(after.redirected) / np.where(items, items, np.nan),
            "right_before": per_class(before.right).astype(np.int64),
            "right_after": per_class(after.right).astype(np.int64),
            "lost": per_class(before.right & ~after.right).astype(np.int64),
            "gained": per_class(~before.right & after.right).astype(np.int64),
        }
    )
    return table.with_columns(pl.selectors.float().fill_nan(None)).sort(
        "hit_share", descending=True, nulls_last=True, maintain_order=True
    )


def confusion(stored: Stored, mask: NDArray[np.bool_] | None = None, *, split: str = "test") -> pl.DataFrame:
    """How many items of each class are taken for each class, before a mask and under it.

    returns: class, name, predicted, predicted_name, before (items), and with a mask after and change; cells without
    items are left out, those that change most come first.
    """
    before, after = Outcome.both(stored, split, mask)
    v = len(stored.classes)
    cells = {"before": np.bincount(before.labels * v + before.predicted, minlength=v * v)}
    if mask is not None:
        cells["after"] = np.bincount(after.labels * v + after.predicted, minlength=v * v)
    there = np.flatnonzero(sum(cells.values()))
    k, predicted = np.divmod(there, v)
    named = np.array(stored.classes, object)
    table = pl.DataFrame(
        {
            "class": k,
            "name": pl.Series(named[k], dtype=pl.String),
            "predicted": predicted,
            "predicted_name": pl.Series(named[predicted], dtype=pl.String),
            **{name: counts[there] for name, counts in cells.items()},
        }
    )
    if mask is None:
        return table.sort("before", descending=True, maintain_order=True)
    table = table.with_columns((pl.col("after") - pl.col("before")).alias("change"))
    return table.sort(pl.col("change").abs(), descending=True, maintain_order=True)
