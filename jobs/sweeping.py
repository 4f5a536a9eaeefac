"""What both sweeps share: one method over forget sets, and what its masks do to every item.

Shapes: n items of a split, c codebooks, m keys of a codebook, v classes; k forget sets of a unit; b budgets of the
longest grid among theirs: a set with a shorter one stays as its last budget left it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadBudget
from dkvb.metrics import changed, class_accuracies, neighbour_damage, right_by_class
from dkvb.orders import NEVER, RemovalOrder
from dkvb.searches import NEVER_INDEX
from dkvb.sweep import Items, sweep
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison.heads import read_bottleneck
from jobs.errors import BadRequest
from jobs.spec.schema import Grid, Grids, UvaGrid, UveGrid
from jobs.step import SPLITS, Task
from store import arrays
from store.arrays import StoredArray

KEPT = 256
"""Classes whose hits are kept in memory, as pairs that are hit and how often."""

MOST_BUDGETS = NEVER_INDEX - 2
"""Of a grid: 0 and the N of the rule come to them."""

RELATIVE = ("train_forget", "train_retain", "test_forget", "test_retain")
"""Accuracies that are also told as what is left of them."""


class ClassPairs(NamedTuple):
    """The pairs that the training items of one class hit."""

    places: NDArray[np.int64]
    """Flat indexes among (c, m), increasing."""
    hits: NDArray[np.int64]
    """How often each is hit."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all units share."""

    task: Task[Any]
    bottleneck: Bottleneck
    items: dict[str, inputs.SweptItems]
    """By split."""
    counts: StoredArray
    """(v, c, m), hits of each class."""
    total: NDArray[np.int64]
    """(c, m), hits of all classes."""
    train_codes: NDArray[np.int16]
    """(n, c) of the training items: what Unlearning via Examples draws from."""
    names: tuple[str, ...]
    """(v,) of the classes."""

    @classmethod
    def of(cls, task: Task[Any]) -> Self:
        """From the inputs of a task."""
        items = {split: inputs.SweptItems.of(task, split) for split in SPLITS}
        counts = arrays.open_array(task.path("counts"), "counts")
        return cls(
            task=task,
            bottleneck=read_bottleneck(task),
            items=items,
            counts=counts,
            total=total_hits(counts),
            train_codes=items["train"].codes[...],
            names=inputs.read_manifest(task).classes,
        )

    def order(self, classes: Sequence[int], grid: Grid, *, seed: int) -> RemovalOrder:
        """The order in which a forget set loses its pairs: by rank over all its classes, or N examples of each."""
        hits = np.zeros(self.total.size, np.int64)
        for k in classes:
            pairs = self.pairs(k)
            hits[pairs.places] += pairs.hits
        if isinstance(grid, UvaGrid):
            together = hits.reshape(self.total.shape)
            return orders.by_rank(
                grid.rank or orders.RANKS[0],
                together,
                scope=grid.scope,
                votes=lambda: self.votes(classes),
                others=lambda: self.total - together,
            )
        position = np.full(self.total.size, NEVER)
        for k in classes:
            places = self.pairs(k).places
            position[places] = np.minimum(position[places], self.first_examples(k, seed))
        available = max(len(self.examples(k)) for k in classes)
        return RemovalOrder(position.reshape(self.total.shape), hits.reshape(self.total.shape), available)

    def votes(self, classes: Sequence[int]) -> NDArray[np.float64]:
        """(c, m) the votes of all pairs for some classes, as `dkvb.orders.by_vote` is given them."""
        given, table = np.zeros(self.total.size), self.bottleneck.values.flatten(0, 1).numpy()
        for k in classes:
            pairs = self.pairs(k)
            given[pairs.places] += orders.votes(pairs.hits, table[pairs.places, k])
        return given.reshape(self.total.shape)

    def examples(self, k: int) -> NDArray[np.int64]:
        """Rows of the training items of a class."""
        return np.flatnonzero(self.items["train"].labels.numpy() == k)

    @cached_property
    def pairs(self) -> Callable[[int], ClassPairs]:
        """The pairs of a class."""

        def read(k: int) -> ClassPairs:
            hits = class_hits(self.counts, k).ravel()
            places = np.flatnonzero(hits)
            return ClassPairs(places, hits[places])

        return lru_cache(KEPT)(read)

    @cached_property
    def first_examples(self) -> Callable[[int, int], NDArray[np.int64]]:
        """Of each of the pairs of a class (in the order of `pairs`), by a seed: the first example that selects it."""

        def draw(k: int, seed: int) -> NDArray[np.int64]:
            pairs = self.pairs(k)
            hits = np.zeros(self.total.size, np.int64)
            hits[pairs.places] = pairs.hits
            codes = self.train_codes[self.examples(k)]
            return orders.by_example(codes, hits.reshape(self.total.shape), seed=seed).position.ravel()[pairs.places]

        return lru_cache(KEPT)(draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One forget set under one method and seed, before anything is swept."""

    classes: tuple[int, ...]
    budgets: list[int]
    """(b,) increasing from 0 on, the N of the rule among them."""
    available: int
    """The largest N there is."""
    rule: int
    """Budget index of the rule's N."""
    pairs: NDArray[np.int64]
    """(b,) how many are masked; and what share they hold of the set's hits, or of what else the order ranks by, and of
    the hits of all other classes."""
    forget_share: NDArray[np.float64]
    retain_share: NDArray[np.float64]


def available_in_words(grid: Grid, names: Sequence[str]) -> str:
    """What the budgets of a grid count, of the classes of these names."""
    what = "pairs that" if isinstance(grid, UvaGrid) else "training items of"
    if len(names) == 1:
        return f"{what} class {names[0]!r}{' activates' if isinstance(grid, UvaGrid) else ''}"
    some = f"{', '.join(map(repr, names[:3]))}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    return f"{what} classes {some} activate" if isinstance(grid, UvaGrid) else f"{what} the largest of classes {some}"


def make_case(shared: Shared, classes: Sequence[int], *, grid: Grid, seed: int, falls: NDArray[np.uint8]) -> Case:
    """The budgets of one forget set, and at which of them each pair goes.

    falls: (c, m) filled in: the budget index at which each pair goes, NEVER_INDEX where none takes it.
    """
    order = shared.order(classes, grid, seed=seed)
    what = available_in_words(grid, [shared.names[k] for k in classes])
    of_grid, rule = order.budgets(grid.grid, shares=grid.unit == "shares", what=what), order.smallest(orders.TAU)
    budgets = sorted({0, *of_grid, rule})
    places = np.flatnonzero(order.position < budgets[-1])  # few pairs
    steps = np.repeat(np.arange(len(budgets)), np.diff(budgets, prepend=0))  # of each position that falls
    index = steps[order.position.ravel()[places]]
    falls[:] = NEVER_INDEX
    falls.reshape(-1)[places] = index  # not ravel: falls is a view
    hits, total = order.hits.sum(), shared.total.sum()

    def masked(weights: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """(b,) the sum of the weights (c, m), or the number, of the pairs that are masked at each budget."""
        own = None if weights is None else weights.ravel()[places]
        return np.bincount(index, weights=own, minlength=len(budgets)).cumsum().astype(np.int64)

    forget_hits, all_hits = masked(order.hits), masked(shared.total)
    held = forget_hits if order.mass is None else masked(order.mass)
    return Case(
        classes=tuple(classes),
        budgets=budgets,
        available=order.available,
        rule=budgets.index(rule),
        pairs=masked(None),
        forget_share=held / (order.ranked.sum() or np.nan),
        retain_share=(all_hits - forget_hits) / ((total - hits) or np.nan),
    )


@dataclass(slots=True, kw_only=True)
class MethodSweep:
    """One method with one seed over the forget sets of a unit, and what its masks do to the items swept so far."""

    shared: Shared
    method: str
    seed: int
    cases: list[Case]
    table: NDArray[np.uint8]
    """(c, m, k), see `dkvb.sweep`."""
    right: dict[str, NDArray[np.int64]]
    """Split -> (k, b, v), items of each class that are predicted right."""
    right_among_retain: dict[str, NDArray[np.int64]]
    """The same where only the retain classes may be predicted."""
    lost: NDArray[np.int64]
    """(k, b), test items of other classes that were right at N = 0 and are wrong; and the other way round."""
    gained: NDArray[np.int64]
    seconds: float = 0.0

    @classmethod
    def of(cls, shared: Shared, forget: Sequence[Sequence[int]], *, grid: Grid, seed: int) -> Self:
        """Before any item is swept; forget: the classes of each forget set."""
        falls = np.empty((len(forget), *shared.total.shape), np.uint8)
        cases = [
            make_case(shared, classes, grid=grid, seed=seed, falls=own)
            for classes, own in zip(forget, falls, strict=True)
        ]
        size, v = (len(cases), max(len(case.budgets) for case in cases)), len(shared.names)
        return cls(
            shared=shared,
            method=grid.method,
            seed=seed,
            cases=cases,
            table=np.ascontiguousarray(falls.transpose(1, 2, 0)),
            right={split: np.zeros((*size, v), np.int64) for split in SPLITS},
            right_among_retain={split: np.zeros((*size, v), np.int64) for split in SPLITS},
            lost=np.zeros(size, np.int64),
            gained=np.zeros(size, np.int64),
        )

    def sweep_block(self, items: inputs.SweptItems, rows: slice, block: Items) -> Tensor:
        """Sweep one block of items, and count who is still predicted right; returns predictions (k, b, block)."""
        labels, v = items.labels[rows], len(self.shared.names)
        forget, budgets = [case.classes for case in self.cases], self.lost.shape[1]
        clock = time.perf_counter()
        predicted, among_retain = sweep(self.shared.bottleneck, block, self.table, budgets=budgets, forget=forget)
        self.seconds += time.perf_counter() - clock
        self.right[items.split] += right_by_class(predicted, labels, v)
        self.right_among_retain[items.split] += right_by_class(among_retain, labels, v)
        if items.split == "test":
            lost, gained = changed(predicted, labels, v=v, forget=forget)
            self.lost += lost
            self.gained += gained
        return predicted

    def measures(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """What is measured of each forget set at each of its budgets: place of the set, budget index, measures."""
        v = len(self.shared.names)
        sizes = {split: items.sizes(v) for split, items in self.shared.items.items()}
        for i, case in enumerate(self.cases):
            train, test = (
                class_accuracies(
                    self.right[split][i], self.right_among_retain[split][i], sizes=sizes[split], forget=case.classes
                )
                for split in SPLITS
            )
            accuracies = {
                "train_forget": train.forget,
                "train_retain": train.retain,
                "train_retain_among_retain": train.retain_among_retain,
                "test_forget": test.forget,
                "test_retain": test.retain,
                "test_retain_among_retain": test.retain_among_retain,
            }
            for g, budget in enumerate(case.budgets):
                now = {name: float(values[g]) for name, values in accuracies.items()}
                damage, worst = neighbour_damage(test.by_class[0], test.by_class[g], forget=case.classes)
                yield (
                    i,
                    g,
                    {
                        "method": self.method,
                        "seed": self.seed,
                        "budget": budget,
                        "share": budget / case.available if case.available else 0.0,
                        "pairs_masked": int(case.pairs[g]),
                        "pairs_masked_share": float(case.pairs[g] / self.shared.total.size),
                        "forget_hit_share": float(case.forget_share[g]),
                        "retain_hit_share": float(case.retain_share[g]),
                        **now,
                        **{f"{name}_relative": ratio(now[name], accuracies[name][0]) for name in RELATIVE},
                        "worst_neighbour": None if worst < 0 else worst,
                        "neighbour_damage": damage,
                        "test_retain_lost": int(self.lost[i, g]),
                        "test_retain_gained": int(self.gained[i, g]),
                        "digest": self.shared.task.output.digest,
                    },
                )


def ratio(now: float, before: float) -> float:
    """What is left: now / before; NaN, which becomes null, when there was nothing to lose."""
    return now / before if before else float("nan")


def method_sweeps(shared: Shared, forget: Sequence[Sequence[int]], methods: Grids) -> list[MethodSweep]:
    """Every method with each of its seeds over the forget sets of a unit."""
    return [
        MethodSweep.of(shared, forget, grid=grid, seed=seed)
        for grid in methods
        for seed in (grid.seeds if isinstance(grid, UveGrid) else [0])
    ]


def check_grids(methods: Grids) -> None:
    """Raise BadRequest for a grid of more budgets than a sweep tells apart."""
    for grid in methods:
        if len(grid.grid) > MOST_BUDGETS:
            raise BadRequest(f"sweep.{grid.key}: found {len(grid.grid)} budgets, expected at most {MOST_BUDGETS}")


def check_budgets(grid: Grid, available: int, what: str) -> None:
    """Raise BadBudget, naming the key of the spec, for a grid that asks for more pairs or items than are available.

    what: names what is available.
    """
    try:
        orders.budgets([*grid.grid], available, shares=grid.unit == "shares", what=what)
    except BadBudget as error:
        raise BadBudget(f"sweep.{grid.key}.{grid.unit}: {error}") from error
