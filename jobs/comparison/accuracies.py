"""Accuracies of a model that was to forget: on the items to forget, on those to keep, and on all test items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dkvb import metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """In [0, 1]; NaN over no items. Names as in `store.columns`."""

    train_forget: float
    train_retain: float
    train_retain_among_retain: float
    test_forget: float
    test_retain: float
    test_retain_among_retain: float
    test: float

    def tow(self, oracle: "Accuracies") -> float:
        """Tug of war, on the training items to forget, the other training items, and the test items."""
        one, other = ((each.train_forget, each.train_retain, each.test) for each in (self, oracle))
        return metrics.tow(one, other)


def accuracies(
    predicted: Mapping[str, NDArray[Any]],
    among: Mapping[str, NDArray[Any]],
    labels: Mapping[str, Tensor],
    forget: Mapping[str, NDArray[np.bool_]],
    *,
    retain: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Accuracies:
    """Accuracies of predictions (n,) by split.

    predicted, among: among all classes, and among the retain classes.
    forget: split -> (n,) bool, the items that were to be forgotten, or are like them.
    retain: the others; all but those of forget unless given.
    """
    shares: dict[str, float] = {}
    for split, own in labels.items():
        known = own.numpy()
        right, right_among = predicted[split] == known, among[split] == known
        out = forget[split]
        kept = ~out if retain is None else retain[split]
        shares[f"{split}_forget"] = _share(right[out])
        shares[f"{split}_retain"] = _share(right[kept])
        shares[f"{split}_retain_among_retain"] = _share(right_among[kept])
    return Accuracies(**shares, test=_share(right))


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")
