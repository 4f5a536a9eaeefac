"""How pairs are best ranked: ``python -m tests.ranks ROOT [--classes 10] [--oracles 3] [--train 10000]``, read only.

Each class by itself, in every order and at every share that the rule could take, by the exact sweep in memory. ToW is
that of `dkvb.metrics.tow`, against values retrained without the class for as many epochs (Oracle-V); of classes without
an oracle only accuracies are printed. Regret: the largest ToW at any N of any order, test items deciding, less ToW at
the N of the rule. These are the figures of docs/decisions/026.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.counts import count_codes
from dkvb.metrics import right_by_class, tow
from dkvb.sweep import Items, budget_table, sweep
from dkvb.training import TrainSettings
from dkvb.values import fit_many_values
from jobs.classes import total_hits
from jobs.query.stored import Stored
from jobs.results.experiment import find
from jobs.results.headline import GONE
from store import arrays
from store.files import on_disk
from store.layout import BLOCK, CHECKPOINT

TAUS = (0.9, 0.95, 0.99)
GRID = [share / 20 for share in range(21)]
SETS = 24
"""Orders that are swept together."""

Make = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], orders.RemovalOrder]
"""Of hits (c, m), others' hits (c, m) and values (c, m) for the class."""


def by_value_alone(hits: NDArray[Any], values: NDArray[Any]) -> orders.RemovalOrder:
    """Pairs that the class hits, by max(value, 0), however often it hits them."""
    return orders.by_vote(hits, (hits > 0) * np.maximum(values, 0).astype(np.float64))


RANKS: dict[str, Make] = {
    "activations": lambda hits, others, values: orders.by_activation(hits),
    "votes": lambda hits, others, values: orders.by_vote(hits, orders.votes(hits, values)),
    "value alone": lambda hits, others, values: by_value_alone(hits, values),
    "contrast .02": lambda hits, others, values: orders.by_contrast(hits, others, weight=0.02),
    "contrast .1": lambda hits, others, values: orders.by_contrast(hits, others, weight=0.1),
    "contrast .5": lambda hits, others, values: orders.by_contrast(hits, others, weight=0.5),
}


@dataclass(frozen=True)
class Split:
    """Items of a split, or some of them."""

    labels: torch.Tensor
    blocks: Callable[[], Iterator[tuple[Items, torch.Tensor]]]
    """Items and labels, block by block."""

    def sizes(self, v: int) -> NDArray[np.int64]:
        """(v,) items of each class."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=v).numpy()


def read_split(stored: Stored, split: str, most: int) -> Split:
    """Every k-th item of a split, at most so many."""
    every = stored.labels(split)
    rows = np.arange(0, len(every), -(-len(every) // most))
    labels = torch.from_numpy(every[rows])

    def blocks() -> Iterator[tuple[Items, torch.Tensor]]:
        codes, lists = stored.codes(split), stored.neighbours(split)
        z = arrays.read_shards(stored.of_split("embeddings", split).data, "embeddings")
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            read = (torch.from_numpy(part) for part in (z[some], codes.rows(some), lists.rows(some)))
            yield Items(*read), labels[start : start + BLOCK]

    return Split(labels, blocks)


@dataclass(frozen=True)
class Case:
    """One class in one order."""

    k: int
    rank: str
    order: orders.RemovalOrder
    grid: list[int]
    at: dict[float, int]
    """Share of the rule -> budget index."""

    @staticmethod
    def of(k: int, rank: str, order: orders.RemovalOrder) -> "Case":
        """With the N of every rule in its grid."""
        rules = {tau: order.smallest(tau) for tau in TAUS}
        grid = sorted({*orders.budgets(GRID, order.available, shares=True, what="pairs"), *rules.values()})
        return Case(k, rank, order, grid, {tau: grid.index(n) for tau, n in rules.items()})


@dataclass(frozen=True)
class Accuracies:
    """Of one model, or one at each of b budgets: (b,) each, in [0, 1]."""

    forget_train: NDArray[np.float64]
    retain_train: NDArray[np.float64]
    test: NDArray[np.float64]
    forget_test: NDArray[np.float64]
    retain_test: NDArray[np.float64]

    @staticmethod
    def of(right: dict[str, NDArray[np.int64]], sizes: dict[str, NDArray[np.int64]], k: int) -> "Accuracies":
        """right: split -> (b, v); sizes: split -> (v,)."""
        forget = {split: right[split][:, k] / max(1, sizes[split][k]) for split in right}
        retain = {
            split: (right[split].sum(1) - right[split][:, k]) / max(1, sizes[split].sum() - sizes[split][k])
            for split in right
        }
        test = right["test"].sum(1) / sizes["test"].sum()
        return Accuracies(forget["train"], retain["train"], test, forget["test"], retain["test"])

    def tow(self, g: int, oracle: "Accuracies") -> float:
        """Tug of war at a budget."""
        both = zip(
            (self.forget_train, self.retain_train, self.test),
            (oracle.forget_train, oracle.retain_train, oracle.test),
            strict=True,
        )
        mine, theirs = zip(*((float(own[g]), float(other[0])) for own, other in both), strict=True)
        return tow(mine, theirs)


def swept(model: Bottleneck, cases: list[Case], splits: dict[str, Split], v: int) -> list[Accuracies]:
    """Every case at every N of its grid."""
    right: list[dict[str, NDArray[np.int64]]] = [{} for _ in cases]
    for start in range(0, len(cases), SETS):
        some = cases[start : start + SETS]
        table = budget_table([case.order.position for case in some], [case.grid for case in some])
        longest = max(len(case.grid) for case in some)
        for name, split in splits.items():
            counts = np.zeros((len(some), longest, v), np.int64)
            for items, labels in split.blocks():
                predicted, _ = sweep(model, items, table, budgets=longest, forget=[[case.k] for case in some])
                counts += right_by_class(predicted, labels, v)
            for i in range(len(some)):
                right[start + i][name] = counts[i]
    sizes = {name: split.sizes(v) for name, split in splits.items()}
    return [Accuracies.of(own, sizes, case.k) for own, case in zip(right, cases, strict=True)]


def oracles(
    stored: Stored, model: Bottleneck, classes: list[int], splits: dict[str, Split], v: int
) -> dict[int, Accuracies]:
    """Class -> accuracies of values trained without it, for as many epochs as the model's."""
    if not classes:
        return {}
    step = stored.experiment.artefact("values")
    settings = step.spec()["spec"]["settings"] | {"epochs": step.marks()["values"]["epochs"], "validation": 0.0}
    labels, codes = torch.from_numpy(stored.labels("train")), torch.from_numpy(stored.codes("train")[:])
    kept, m = labels >= 0, model.keys.shape[1]
    members = labels[kept][:, None] != torch.tensor(classes)
    tables = fit_many_values(codes[kept], labels[kept], members, TrainSettings(**settings), m=m, v=v)
    sizes, found = {name: split.sizes(v) for name, split in splits.items()}, {}
    for values, k in zip(tables, classes, strict=True):
        used = count_codes(codes[kept & (labels != k)], m) > 0
        oracle = Bottleneck(model.projection, model.keys, values.contiguous(), used, {})
        right = {name: np.zeros((1, v), np.int64) for name in splits}
        for name, split in splits.items():
            for items, of_items in split.blocks():
                predicted = oracle.logits(items.z).argmax(1)
                hit = of_items[predicted == of_items]
                right[name][0] += torch.bincount(hit[hit >= 0], minlength=v).numpy()
        found[k] = Accuracies.of(right, sizes, k)
    return found


def main() -> None:
    """Print a table for a root."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--classes", type=int, default=10, help="classes, spread evenly over all")
    parser.add_argument("--oracles", type=int, default=3, help="of these the first with an oracle")
    parser.add_argument("--train", type=int, default=10000, help="training items that are judged at most")
    parser.add_argument("--test", type=int, default=10000, help="test items likewise")
    asked = parser.parse_args()
    stored = Stored(find(Path(asked.root), None))
    with on_disk(stored.experiment.artefact("values").path / CHECKPOINT) as file:
        model = Bottleneck.load(file)
    v = len(stored.classes)
    classes = list(range(0, v, -(-v // asked.classes)))
    splits = {"train": read_split(stored, "train", asked.train), "test": read_split(stored, "test", asked.test)}
    counts, values = stored.activations.counts, model.values.numpy()
    total, cases = total_hits(counts), []
    for k in classes:
        hits = stored.activations.of_class(k)
        made = (hits, total - hits, np.ascontiguousarray(values[:, :, k]))
        cases += [Case.of(k, rank, make(*made)) for rank, make in RANKS.items()]
    found = swept(model, cases, splits, v)
    best_known = oracles(stored, model, classes[: asked.oracles], splits, v)
    report(cases, found, best_known, pairs=total.size)


def report(cases: list[Case], found: list[Accuracies], best_known: dict[int, Accuracies], *, pairs: int) -> None:
    """Print means over classes, a line for each order and share."""
    of_class = {
        k: max(
            own.tow(g, oracle)
            for case, own in zip(cases, found, strict=True)
            if case.k == k
            for g in range(len(case.grid))
        )
        for k, oracle in best_known.items()
    }
    print(f"{len({case.k for case in cases})} classes, oracles of {len(best_known)}; means, per cent and points")
    print(f"{'rank':<13} tau   ToW    regret worst  gone train  test   others change worst  masked")
    for rank in RANKS:
        for tau in TAUS:
            rows = [(case, own, case.at[tau]) for case, own in zip(cases, found, strict=True) if case.rank == rank]
            tows = {case.k: own.tow(g, best_known[case.k]) for case, own, g in rows if case.k in best_known}
            regrets = [of_class[k] - tow_ for k, tow_ in tows.items()] or [np.nan]
            train, test = ([100 * part[g] for part, g in parts] for parts in after(rows))
            gone = sum(a <= 100 * GONE and b <= 100 * GONE for a, b in zip(train, test, strict=True))
            change = [100 * (own.retain_test[g] - own.retain_test[0]) for _, own, g in rows]
            masked = [100 * int(case.order.mask(case.grid[g]).sum()) / pairs for case, _, g in rows]
            print(
                f"{rank:<13} {tau:<4}  {np.mean([*tows.values()] or [np.nan]):.4f} {np.mean(regrets):.4f} "
                f"{np.max(regrets):.4f} {gone:>4} {np.mean(train):6.2f} {np.mean(test):6.2f} "
                f"{np.mean(change):+7.2f} {np.min(change):+7.2f} {np.mean(masked):9.2f}",
                flush=True,
            )


def after(rows: list[tuple[Case, Accuracies, int]]) -> tuple[list[tuple[NDArray[np.float64], int]], ...]:
    """What is left of each class, on training and on test items: accuracies along N, and the budget index."""
    return [(own.forget_train, g) for _, own, g in rows], [(own.forget_test, g) for _, own, g in rows]


if __name__ == "__main__":
    main()
