"""What a model says of all items of a split, under a mask or none, from what is stored: no image, no torch.

v: classes; c: codebooks; m: keys of a codebook; n: items of the split that were not skipped.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from jobs.query.masked import Masked
from jobs.query.stored import Stored, logits

BLOCK = 8192
"""Items that are decoded at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Predictions and scores of one split."""

    rows: NDArray[np.int64]
    """(n,) of the items in the manifest's order."""
    labels: NDArray[np.int64]
    """(n,) classes."""
    predicted: NDArray[np.int64]
    """(n,) classes."""
    among: NDArray[np.int64]
    """(n,) predictions among the retain classes alone."""
    score: NDArray[np.float64]
    """(n,) log probability of the label in nats: minus the loss."""
    redirected: NDArray[np.float64]
    """(n,) share of an item's votes that the mask redirects or takes away."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether the prediction is the label."""
        return np.equal(self.predicted, self.labels)

    @property
    def right_among(self) -> NDArray[np.bool_]:
        """(n,) whether the prediction among the retain classes is the label."""
        return np.equal(self.among, self.labels)

    @staticmethod
    def of(stored: Stored, split: str, *, forget: Sequence[int] = ()) -> "Outcome":
        """What the model says of a split, by its stored codes; forget: classes that are not among the retain ones."""
        return Outcome.both(stored, split, None, forget=forget)[0]

    @staticmethod
    def both(
        stored: Stored,
        split: str,
        mask: NDArray[np.bool_] | None,
        *,
        forget: Sequence[int] = (),
        retrained: NDArray[np.float32] | None = None,
    ) -> tuple["Outcome", "Outcome"]:
        """What the model says of a split before a mask and under it; what is stored is read once.

        mask: (c, m) bool; None masks nothing.
        forget: classes that are not among the retain classes.
        retrained: (c, m, v) values that take the place of the model's under the mask.
        """
        every = stored.labels(split)
        rows = np.flatnonzero(every >= 0)
        labels = every[rows]
        blocks = [slice(start, start + BLOCK) for start in range(0, max(1, len(rows)), BLOCK)]
        masked = Masked(stored, np.zeros(stored.size, bool) if mask is None else mask)
        with stored.values() as values, ThreadPoolExecutor(os.cpu_count()) as threads:

            def judged(at: slice) -> tuple[Outcome, Outcome]:
                before, after = masked.codes(split, rows[at])
                outputs = logits(before, values)
                then = judge(rows[at], labels[at], outputs, forget, np.zeros(len(before)))
                changed = before != after
                moved = np.flatnonzero(changed.any(1)) if retrained is None else np.arange(len(before))
                if not len(moved):
                    return then, then
                outputs[moved] = logits(after[moved], values if retrained is None else retrained)
                shares = changed.sum(1) / np.maximum((before >= 0).sum(1), 1)
                return then, judge(rows[at], labels[at], outputs, forget, shares)

            then, now = zip(*threads.map(judged, blocks), strict=True)
        return joined(then), joined(now)


def judge(
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    outputs: NDArray[np.float32],
    forget: Sequence[int],
    redirected: NDArray[np.float64],
) -> Outcome:
    """What logits (n, v) say of some items; the other arguments are as in `Outcome`."""
    retain = outputs.copy()
    retain[:, list(forget)] = -np.inf
    return Outcome(
        rows=rows,
        labels=labels,
        predicted=outputs.argmax(1),
        among=retain.argmax(1),
        score=log_probability(outputs, labels),
        redirected=redirected,
    )


def joined(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of items, block after block, as one."""
    names = [field.name for field in fields(Outcome)]
    return Outcome(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def log_probability(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k,) log probability of the labels in nats, of logits (k, v)."""
    wide = outputs.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    return wide[np.arange(len(wide)), labels] - np.log(np.exp(wide).sum(1))  # type: ignore[no-any-return]
