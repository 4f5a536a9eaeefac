"""Masks on a bottleneck, as the steps that compare them need them: predictions over a grid of N, codes at one N."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.metrics import aus
from dkvb.orders import RemovalOrder
from dkvb.sweep import Items, budget_table, codes_by_budget, sweep
from jobs import inputs
from jobs.comparison.heads import kept_items, read_bottleneck
from jobs.step import SPLITS, Task
from store import arrays
from store.layout import BLOCK

Accuracies = dict[str, Any]
"""Name -> accuracy in [0, 1] of one model, or (budgets,) of a grid; NaN over no items. Names as in `store.columns`."""


@dataclass(frozen=True, slots=True)
class Budgeted:
    """In which order a method removes pairs, and at which numbers it is looked at."""

    order: RemovalOrder
    grid: list[int]
    """Increasing N, the first 0."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask at a budget N."""

    budget: int
    pairs: NDArray[np.bool_]
    """(c, m)."""

    @property
    def setting(self) -> dict[str, int]:
        """What was chosen, as tables tell it."""
        return {"budget": self.budget, "pairs": int(self.pairs.sum())}


class Predictions(NamedTuple):
    """Predictions of every order at every N, by split: (orders, budgets, n) int16."""

    every: dict[str, NDArray[np.int16]]
    """Among all classes."""
    retain: dict[str, NDArray[np.int16]]
    """Among the retain classes."""

    def of(self, order: int, budgets: int) -> "Predictions":
        """Those of one order at its own first N: (budgets, n)."""
        return Predictions(*({split: kind[split][order, :budgets] for split in SPLITS} for kind in self))


@dataclass(frozen=True, slots=True)
class SweptItems:
    """A bottleneck with the items it is judged on, which are read block by block."""

    task: Task
    bottleneck: Bottleneck
    kept: Mapping[str, Tensor]
    """Split -> (n,) bool, the items that are not skipped."""

    @classmethod
    def of(cls, task: Task) -> Self:
        """From the inputs of a task."""
        return cls(task, read_bottleneck(task), kept_items(task))

    def blocks(self, split: str) -> Iterator[tuple[slice, Items]]:
        """The items of a split, skipped ones included."""
        codes = arrays.open_array(self.task.path(f"codes_{split}"), "codes")
        lists = arrays.open_array(self.task.path(f"neighbours_{split}"), "neighbours")
        for start in range(0, len(self.kept[split]), BLOCK):
            rows = slice(start, start + BLOCK)
            z = inputs.embeddings(self.task, split, start=start, stop=start + BLOCK)
            yield rows, Items(z, torch.from_numpy(np.asarray(codes[rows])), torch.from_numpy(np.asarray(lists[rows])))

    def like(self, split: str, wanted: Tensor) -> Items:
        """Some items of a split; wanted: (n,) bool, of those that are not skipped."""
        chosen = torch.zeros_like(self.kept[split])
        chosen[self.kept[split]] = wanted
        parts = [
            (items.z[some], items.codes[some], items.neighbours[some])
            for rows, items in self.blocks(split)
            if (some := chosen[rows]).any()
        ]
        return Items(*(torch.cat(kind) for kind in zip(*parts, strict=True)))

    def predictions(self, orders: Sequence[Budgeted], forget: Sequence[Sequence[int]]) -> Predictions:
        """Sweep the items.

        forget: the classes of each order, or none. An order with fewer N stays as its last left it.
        """
        budgets = max(len(budgeted.grid) for budgeted in orders)
        table = budget_table([one.order.position for one in orders], [one.grid for one in orders])
        predictions = Predictions({}, {})
        for split in SPLITS:
            parts = [
                sweep(self.bottleneck, items, table, budgets=budgets, forget=forget) for _, items in self.blocks(split)
            ]
            for which, kind in enumerate(predictions):
                kind[split] = torch.cat([part[which] for part in parts], dim=2)[:, :, self.kept[split]].numpy()
        return predictions

    def codes(self, masks: Sequence[NDArray[np.bool_]], *, splits: Sequence[str] = SPLITS) -> list[dict[str, Tensor]]:
        """The codes under each mask (c, m): split -> (n, c) int16, next-nearest keys taken, NO_VOTE where none is."""
        table = budget_table([np.where(mask, 0, 1) for mask in masks], [[1]] * len(masks))
        by_split: dict[str, Tensor] = {}
        for split in splits:
            parts = [
                codes_by_budget(self.bottleneck, items, table, budgets=1)[:, 0][:, self.kept[split][rows]]
                for rows, items in self.blocks(split)
            ]
            by_split[split] = torch.cat(parts, dim=1)
        return [{split: codes[i] for split, codes in by_split.items()} for i in range(len(masks))]


def accuracies(
    predicted: Mapping[str, NDArray[Any]],
    among: Mapping[str, NDArray[Any]],
    labels: Mapping[str, Tensor],
    forget: Mapping[str, NDArray[np.bool_]],
    *,
    retain: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Accuracies:
    """Accuracies of predictions (..., n) by split.

    predicted, among: among all classes, and among the retain classes.
    forget: split -> (n,) bool, the items that were to be forgotten, or are like them.
    retain: the others; all but those of forget unless given.
    """
    reached: Accuracies = {}
    for split in SPLITS:
        known = labels[split].numpy()
        right, right_among = predicted[split] == known, among[split] == known
        out = forget[split]
        kept = ~out if retain is None else retain[split]
        reached[f"{split}_forget"] = _mean(right[..., out])
        reached[f"{split}_retain"] = _mean(right[..., kept])
        reached[f"{split}_retain_among_retain"] = _mean(right_among[..., kept])
    reached["test"] = _mean(right)
    return reached


def _mean(right: NDArray[np.bool_]) -> Any:
    return right.mean(-1) if right.shape[-1] else np.full(right.shape[:-1], np.nan)[()]


def best_step(grid: Accuracies) -> int:
    """The step of a grid whose first is N = 0 that is best on the training items: as baselines are stopped; ties to
    the smallest N.
    """
    before = grid["train_retain"][0]
    scores = [
        aus(retain_before=before, retain_after=retain, forget_after=forget)
        for retain, forget in zip(grid["train_retain"], grid["train_forget"], strict=True)
    ]
    return int(np.argmax(scores))
