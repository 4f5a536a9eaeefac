"""Masks on a bottleneck, as the steps that compare them need them: predictions over a grid of N, codes at one N."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.orders import RemovalOrder
from dkvb.stopping import best_model
from dkvb.sweep import Items, budget_table, codes_by_budget, sweep
from jobs.comparison.accuracies import Accuracies, accuracies
from jobs.comparison.heads import read_bottleneck
from jobs.inputs import SweptItems
from jobs.step import SPLITS, Task


@dataclass(frozen=True, slots=True)
class Budgeted:
    """In which order a method removes pairs, and at which numbers it is looked at."""

    order: RemovalOrder
    grid: list[int]
    """Increasing N, the first 0."""

    def best(self, reached: Sequence[Accuracies]) -> int:
        """The N that is best on the training items, as baselines are stopped; ties to the smallest.

        reached: at each N of the grid.
        """
        forget, retain = zip(*((one.train_forget, one.train_retain) for one in reached), strict=True)
        return self.grid[best_model(forget, retain)]


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

    def accuracies(
        self, order: int, budgets: int, labels: Mapping[str, Tensor], forget: Mapping[str, NDArray[np.bool_]]
    ) -> list[Accuracies]:
        """Those of one order at each of its own first N; labels, forget: as `jobs.comparison.accuracies` takes them."""
        at_each = (
            [{split: kind[split][order, budget] for split in SPLITS} for kind in self] for budget in range(budgets)
        )
        return [accuracies(every, retain, labels, forget) for every, retain in at_each]


@dataclass(frozen=True, slots=True)
class SweptBottleneck:
    """A bottleneck with the items it is judged on, which are read block by block."""

    bottleneck: Bottleneck
    items: Mapping[str, SweptItems]
    """By split."""

    @classmethod
    def of(cls, task: Task[object]) -> Self:
        """From the inputs of a task."""
        return cls(read_bottleneck(task), {split: SweptItems.of(task, split) for split in SPLITS})

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """Split -> (n,) bool, the items that are not skipped."""
        return {split: items.labels >= 0 for split, items in self.items.items()}

    def blocks(self, split: str) -> Iterator[tuple[slice, Items]]:
        """The items of a split, skipped ones included."""
        for rows in self.items[split].blocks():
            yield rows, self.items[split].read(rows)

    def like(self, split: str, wanted: Tensor) -> Items:
        """Some items of a split; wanted: (n,) bool, of those that are not skipped."""
        kept = self.kept[split]
        chosen = torch.zeros_like(kept)
        chosen[kept] = wanted
        parts = [
            (items.z[some], items.codes[some], items.neighbours[some])
            for rows, items in self.blocks(split)
            if (some := chosen[rows]).any()
        ]
        return Items(*(torch.cat(kind) for kind in zip(*parts, strict=True)))

    def predictions(
        self, orders: Sequence[Budgeted], forget: Sequence[Sequence[int]], *, splits: Sequence[str] = SPLITS
    ) -> Predictions:
        """Sweep the items of some splits.

        forget: the classes of each order, or none. An order with fewer N stays as its last left it.
        """
        budgets = max(len(budgeted.grid) for budgeted in orders)
        table = budget_table([one.order.position for one in orders], [one.grid for one in orders])
        predictions, kept = Predictions({}, {}), self.kept
        for split in splits:
            parts = [
                sweep(self.bottleneck, items, table, budgets=budgets, forget=forget) for _, items in self.blocks(split)
            ]
            for which, kind in enumerate(predictions):
                kind[split] = torch.cat([part[which] for part in parts], dim=2)[:, :, kept[split]].numpy()
        return predictions

    def codes(self, masks: Sequence[NDArray[np.bool_]], *, splits: Sequence[str] = SPLITS) -> list[dict[str, Tensor]]:
        """The codes under each mask (c, m): split -> (n, c) int16, next-nearest keys taken, NO_VOTE where none is."""
        table = budget_table([np.where(mask, 0, 1) for mask in masks], [[1]] * len(masks))
        by_split, kept = dict[str, Tensor](), self.kept
        for split in splits:
            parts = [
                codes_by_budget(self.bottleneck, items, table, budgets=1)[:, 0][:, kept[split][rows]]
                for rows, items in self.blocks(split)
            ]
            by_split[split] = torch.cat(parts, dim=1)
        return [{split: codes[i] for split, codes in by_split.items()} for i in range(len(masks))]
