"""What a model says of all items of a split, under a mask or none, from what is stored: no image, no torch.

v: classes; c: codebooks; m: keys of a codebook; n: items of the split that were not skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

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

    @classmethod
    def of(
        cls, stored: Stored, split: str, mask: NDArray[np.bool_] | None = None, *, forget: Sequence[int] = ()
    ) -> Self:
        """Predict a split from its stored codes.

        mask: (c, m) bool; nothing is masked unless given.
        forget: classes that are not among the retain classes.
        """
        labels = stored.labels(split)
        rows = np.flatnonzero(labels >= 0)
        labels = labels[rows]
        mask = np.zeros(stored.size, bool) if mask is None else mask
        predicted, among, score, redirected = [], [], [], []
        with stored.values() as values:
            for start in range(0, len(rows), BLOCK):
                own = labels[start : start + BLOCK]
                before, after = stored.masked_codes(split, rows[start : start + BLOCK], mask)
                outputs = logits(after, values)
                predicted.append(outputs.argmax(1))
                score.append(log_probability(outputs, own))
                outputs[:, list(forget)] = -np.inf
                among.append(outputs.argmax(1))
                redirected.append((before != after).sum(1) / np.maximum((before >= 0).sum(1), 1))
        parts = (np.concatenate(part) if part else np.zeros(0) for part in (predicted, among, score, redirected))
        predictions, among_retain, scores, shares = parts
        return cls(
            rows=rows,
            labels=labels,
            predicted=predictions.astype(np.int64),
            among=among_retain.astype(np.int64),
            score=scores,
            redirected=shares,
        )


def log_probability(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k,) log probability of the labels in nats, of logits (k, v)."""
    wide = outputs.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    return wide[np.arange(len(wide)), labels] - np.log(np.exp(wide).sum(1))  # type: ignore[no-any-return]
