"""Questions about items: why a class suffered when another left, and what one item's votes are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.orders import hit_share
from jobs.errors import BadRequest
from jobs.printable import per_cent, shown
from jobs.query.item_keys import find_item, item_names
from jobs.query.masked import Masked
from jobs.query.stored import Stored, logits

SHOWN = 5
"""Items that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What a class lost when others were forgotten, and by which pairs."""

    name: str
    forgot: list[str]
    hit_share: float
    """Share of the class's training activations on masked pairs."""
    shared_pairs: int
    """Masked pairs that the class hits."""
    items: int
    """Test items of the class."""
    right_before: int
    right_after: int
    redirected: int
    """Test items of which at least one vote is redirected."""
    votes_redirected: float
    """Mean over these items of the share of their votes."""
    pairs: pl.DataFrame
    """The shared pairs, those that the class hits most first: codebook, key, count, forgot_count, value (what the pair
    adds to the class's logit, times c), test_items (of the class, that selected it)."""
    went: pl.DataFrame
    """Where its test items that were right and now are wrong went: predicted, items."""
    freed: int
    """Test items that were taken for a class that left, and are right now."""
    lost: pl.DataFrame
    """These items: row (of the test split), item (what it is called, `jobs.query.item_keys`), predicted,
    votes_redirected."""

    def to_json(self) -> dict[str, Any]:
        """All of it, tables as rows."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: part.to_dicts() if isinstance(part, pl.DataFrame) else part for name, part in plain.items()}

    def text(self) -> str:
        """One paragraph for people."""
        went = ", ".join(f"{row['items']} for {shown(row['predicted'])}" for row in self.went.head(3).to_dicts())
        lost, left = len(self.lost), " and ".join(map(shown, self.forgot))
        gained = self.right_after - self.right_before + lost
        name = shown(self.name)
        lines = [
            f"{name}, when {left} left: {self.right_after} of {self.items} test items right, before "
            f"{self.right_before} (lost {lost}, gained {gained})",
            f"  shared pairs   {self.shared_pairs} of the masked pairs are hit by {name} too, with "
            f"{per_cent(self.hit_share)} of its training activations",
            f"  redirected     {self.redirected} of {self.items} test items, on average "
            f"{per_cent(self.votes_redirected)} of their votes",
            f"  lost           {f'{lost} that were right; now taken {went}' if lost else 'none'}",
            f"  gained         {gained} that were wrong; {self.freed} of them were taken for {left}",
        ]
        if lost:
            lines.append("  lost items     " + ", ".join(map(shown, self.lost["item"].head(SHOWN))))
        return "\n".join(lines)


def why(stored: Stored, k: int, forgot: list[int], mask: NDArray[np.bool_] | None = None) -> Why:
    """Why a class suffered when others left.

    mask: (c, m) bool; that of Unlearning via Activations at the rule's N unless given.
    raises: BadRequest where the class is one of those that left, or one of them has no training items.
    """
    if k in forgot:
        raise BadRequest(f"class {stored.classes[k]!r} is itself forgotten; ask about another class")
    stored.check_filled([*forgot, k])
    mask = stored.rule_mask(forgot) if mask is None else mask
    own = stored.activations.of_class(k)
    left = sum((stored.activations.of_class(other) for other in forgot), np.zeros(stored.size, np.int64))
    rows = np.flatnonzero(stored.labels("test") == k)
    before, after = Masked(stored, mask).codes("test", rows)
    moved = before != after
    share = moved.sum(1) / np.maximum((before >= 0).sum(1), 1)
    shared = np.argwhere(mask & (own > 0))
    shared = shared[np.argsort(-own[tuple(shared.T)], kind="stable")]
    with stored.values() as values:
        then, now = (logits(codes, values).argmax(1) for codes in (before, after))
        value = values[shared[:, 0], shared[:, 1], k]
    item, book = np.nonzero(before >= 0)
    cells = book * stored.size[1] + before[item, book]
    selected = np.bincount(cells, minlength=own.size).reshape(own.shape)
    lost = np.flatnonzero((then == k) & (now != k))
    lost = lost[np.argsort(-share[lost], kind="stable")]
    named = np.array(stored.classes, object)
    went = np.bincount(now[lost], minlength=len(named))
    there = np.argsort(-went, kind="stable")[: np.count_nonzero(went)]
    return Why(
        name=stored.classes[k],
        forgot=[stored.classes[other] for other in forgot],
        hit_share=hit_share(own, mask),
        shared_pairs=len(shared),
        items=len(rows),
        right_before=int((then == k).sum()),
        right_after=int((now == k).sum()),
        redirected=int((share > 0).sum()),
        votes_redirected=float(share[share > 0].mean()) if (share > 0).any() else 0.0,
        pairs=pl.DataFrame(
            {
                "codebook": shared[:, 0],
                "key": shared[:, 1],
                "count": own[tuple(shared.T)],
                "forgot_count": left[tuple(shared.T)],
                "value": value,
                "test_items": selected[tuple(shared.T)],
            }
        ),
        freed=int((np.isin(then, forgot) & (now == k)).sum()),
        went=pl.DataFrame({"predicted": pl.Series(named[there], dtype=pl.String), "items": went[there]}),
        lost=pl.DataFrame(
            {
                "row": rows[lost],
                "item": pl.Series(item_names(stored, "test", rows[lost].tolist()), dtype=pl.String),
                "predicted": pl.Series(named[now[lost]], dtype=pl.String),
                "votes_redirected": share[lost],
            }
        ),
    )


def item(stored: Stored, name: str, mask: NDArray[np.bool_] | None = None) -> pl.DataFrame:
    """The votes of one item, those for its own class first.

    name: "test:17" or "train:17", a row of a split as the manifest counts them; "test:SHARD#17"; or "test:KEY".
    mask: (c, m) bool, with which each vote is shown before and after.
    returns: codebook, key, value (what the vote adds to the logit of the item's class, times c), favours (the class
    that the vote raises most), favours_by; with a mask also key_after, value_after, favours_after.
    raises: BadRequest.
    """
    split, row = find_item(stored, name)
    label = int(stored.labels(split)[row])
    masked = Masked(stored, np.zeros(stored.size, bool) if mask is None else mask)
    before, after = masked.codes(split, np.array([row]))
    own = max(label, 0)  # a skipped item votes for nothing
    with stored.values() as values:
        table = pl.DataFrame({"codebook": np.arange(stored.size[0]), **votes(stored, before[0], values, own, "")})
        if mask is not None:
            table = table.with_columns(**votes(stored, after[0], values, own, "_after"))
    return table.sort("value", descending=True, nulls_last=True, maintain_order=True)


def item_text(stored: Stored, name: str) -> str:
    """Which item a name means, for people: what it is called, its row, its class; name: as of `item`."""
    split, row = find_item(stored, name)
    label, (called,) = int(stored.labels(split)[row]), item_names(stored, split, [row])
    of = "skipped" if label < 0 else f"class {shown(stored.classes[label])}"
    return f"{split}:{shown(called)}, row {row} of {split}, {of}"


def votes(
    stored: Stored, codes: NDArray[np.int16], values: NDArray[np.float32], label: int, suffix: str
) -> dict[str, pl.Series]:
    """Columns of the votes of one item's codes (c,)."""
    fetched = [values[j, code] if code >= 0 else None for j, code in enumerate(codes)]
    best = [None if row is None else int(row.argmax()) for row in fetched]
    columns: dict[str, Any] = {
        "key": [int(code) if code >= 0 else None for code in codes],
        "value": [None if row is None else float(row[label]) for row in fetched],
        "favours": [None if k is None else stored.classes[k] for k in best],
    }
    return {f"{name}{suffix}": pl.Series(column) for name, column in columns.items()}
