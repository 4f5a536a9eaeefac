"""One class under every mask: at the N that is best on the training items, at that of a rule, and taken back.

c: codebooks; m: pairs of a codebook; v: classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import controls, metrics, stopping
from dkvb.decoding import NO_VOTE
from dkvb.orders import NEVER, RemovalOrder, by_activation
from dkvb.stopping import best_model
from dkvb.sweep import budget_table, sweep
from dkvb.values import CodeFeatures
from jobs.comparison import methods
from jobs.comparison.accuracies import Accuracies
from jobs.comparison.attacks import RECOVERED, Attacked
from jobs.comparison.heads import ValuesHead
from jobs.comparison.judge import Judge, Model, model
from jobs.comparison.masks import Budgeted, Mask, SweptBottleneck
from jobs.comparison.methods import ForgetItems, MaskMethod
from jobs.spec.schema import Grids, UvaGrid
from jobs.step import SPLITS

SHARES = [0.05 * i for i in range(1, 21)]
"""Grid of the orders that the spec has no grid for, as shares of the pairs they can remove."""

BY_SHARES = UvaGrid(unit="shares", grid=SHARES, scope="global")


@dataclass(frozen=True, slots=True)
class SweptOrder:
    """A method's order of removal, and what it reaches at each N of its grid."""

    method: MaskMethod
    budgeted: Budgeted
    accuracies: list[Accuracies]
    """At each N."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What a label-free rule loses against the best N by test labels: a row of the table of selection."""

    weight: float
    tau: float
    budget: int
    best_budget: int
    tow: float
    best_tow: float
    regret: float
    test_forget: float
    test_retain: float
    train_forget: float
    train_retain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedClass:
    """A class that masks make a bottleneck forget."""

    head: ValuesHead
    items: SweptBottleneck
    k: int
    forget: Mapping[str, NDArray[np.bool_]]
    """Split -> (n,) bool, the items of the class."""
    hits: NDArray[np.int64]
    """(c, m), hits of the class."""
    others: NDArray[np.int64]
    """(c, m), hits of all other classes."""
    grids: Grids
    """Of the methods of the spec."""
    weights: Sequence[float]
    """Of the orders by contrast."""
    taus: Sequence[float]
    """Shares of the class's activations that label-free rules are tried with."""
    tau: float
    """The share that the mask by the rule holds."""
    seed: int
    extended: Sequence[MaskMethod] = ()
    """Ways to choose pairs of extensions."""

    @property
    def rows(self) -> Tensor:
        """(n_f,) int64, the training items of the class."""
        return torch.from_numpy(np.flatnonzero(self.forget["train"]))

    def orders(self) -> dict[str, SweptOrder]:
        """Orders of removal by name: those of the methods, and those ranked by contrast with the other classes."""
        ranked = [*methods.MASKS, *self.extended, *(methods.contrast(weight) for weight in self.weights if weight > 0)]
        items = ForgetItems(
            codes=self.head.codes["train"][self.rows].numpy(),
            hits=self.hits,
            others=self.others,
            seed=self.grids.example_seed,
        )
        budgeted = [self.budgeted(method, method.order(items)) for method in ranked]
        predictions = self.items.predictions(budgeted, [[self.k]] * len(ranked))
        orders = {}
        for i, (method, order) in enumerate(zip(ranked, budgeted, strict=True)):
            reached = predictions.accuracies(i, len(order.grid), self.head.labels, self.forget)
            orders[method.name] = SweptOrder(method, order, reached)
        return orders

    def budgeted(self, method: MaskMethod, order: RemovalOrder) -> Budgeted:
        """A method's order with its grid, or BY_SHARES, and with the budgets of the rules that are tried on it."""
        grid = BY_SHARES if method.grid is None else self.grids.of(method.grid)
        budgets = order.budgets(grid.grid, shares=grid.unit == "shares", what="pairs or items")
        if method.weight is not None:
            budgets += [order.smallest(tau) for tau in self.taus]
        return Budgeted(order, sorted({0, *budgets}))

    def regrets(self, swept: SweptOrder, judge: Judge) -> list[Regret]:
        """What the label-free rules lose against the best N by test labels, on an order that they are tried on."""
        if swept.method.weight is None:
            return []
        order, grid, reached = swept.budgeted.order, swept.budgeted.grid, swept.accuracies
        oracle = judge.accuracies(judge.oracle.logits)
        tows = [each.tow(oracle) for each in reached]
        best = int(np.argmax(tows))
        chosen = {tau: grid.index(order.smallest(tau)) for tau in self.taus}
        return [
            Regret(
                weight=swept.method.weight,
                tau=tau,
                budget=grid[g],
                best_budget=grid[best],
                tow=tows[g],
                best_tow=tows[best],
                regret=metrics.regret(tows[best], tows[g]),
                test_forget=reached[g].test_forget,
                test_retain=reached[g].test_retain,
                train_forget=reached[g].train_forget,
                train_retain=reached[g].train_retain,
            )
            for tau, g in chosen.items()
        ]

    def chosen(self, orders: Mapping[str, SweptOrder]) -> dict[str, Mask]:
        """Masks by method: each order's at its best N, UvA's at the N of the rule, and a random one like UvA's."""
        masks = {}
        for method in (*methods.MASKS, *self.extended):
            budgeted = orders[method.name].budgeted
            budget = budgeted.best(orders[method.name].accuracies)
            masks[method.name] = Mask(budget, budgeted.order.mask(budget))
        uva, best = orders[methods.UVA.name].budgeted.order, masks[methods.UVA.name]
        rule = uva.smallest(self.tau)
        selectable = self.items.bottleneck.selectable
        like = controls.random_mask(torch.from_numpy(best.pairs), selectable, seed=self.seed)
        masks[methods.UVA_RULE.name] = Mask(rule, uva.mask(rule))
        masks[methods.RANDOM.name] = Mask(best.budget, like.numpy())
        return masks

    def models(self, masks: Mapping[str, Mask]) -> list[Model[CodeFeatures]]:
        """The bottleneck under each mask: an item falls to its next-nearest key."""
        codes = self.items.codes([mask.pairs for mask in masks.values()])
        models = []
        for (name, mask), selected in zip(masks.items(), codes, strict=True):
            features = {split: CodeFeatures(selected[split], self.head.m) for split in SPLITS}
            models.append(model(self.head, name, self.head.weights, features=features, setting=mask.setting))
        return models

    def erased(self, uva: Budgeted) -> list[Model[CodeFeatures]]:
        """The other meanings of a mask: a masked pair votes zero, or its codebook is left out.

        Both divide one sum by different numbers, so their predictions are alike, and so is the best N.
        """
        head, task = self.head, self.head.forget_task(self.rows)
        reached = [stopping.training_accuracies(task, emptied(head.weights, uva.order.mask(n))) for n in uva.grid]
        forget, retain = zip(*reached, strict=True)
        budget = uva.grid[best_model(forget, retain)]
        mask = Mask(budget, uva.order.mask(budget))
        dropped = {split: CodeFeatures(without(head.codes[split], mask.pairs), head.m) for split in SPLITS}
        return [
            model(head, methods.UVA_ZERO.name, emptied(head.weights, mask.pairs), setting=mask.setting),
            model(head, methods.UVA_DROP.name, head.weights, features=dropped, setting=mask.setting),
        ]

    def restored(self, judge: Judge, method: str, mask: NDArray[np.bool_]) -> Attacked:
        """Attack: the share of masked pairs, the most activated first, that must come back until the class is back.

        Back is RECOVERED of its test accuracy before. Whoever does this has the counts, and the keys and values that
        `Bottleneck.masked` erases.

        mask: (c, m).
        """
        out = torch.from_numpy(self.forget["test"])
        items, bottleneck = self.items.like("test", out), self.items.bottleneck
        goal = RECOVERED * judge.accuracies(judge.before.logits).test_forget
        total = int(mask.sum())
        first = by_activation(np.where(mask, self.hits, 0))
        last = np.where(mask, total - 1 - np.minimum(first.position, total - 1), NEVER)
        reverse = RemovalOrder(last, first.hits, total)
        grid = sorted({0, *reverse.budgets(SHARES, shares=True, what="masked pairs")})
        predicted, _ = sweep(bottleneck, items, budget_table([last], [grid]), budgets=len(grid), forget=[[self.k]])
        back = (predicted[0] == self.k).double().mean(1) >= goal
        left = max((grid[g] for g in range(len(grid)) if back[g]), default=0)
        share = (total - left) / max(1, total)
        return Attacked(self.head.name, method, "unmask", "share restored", share, None)


def emptied(weights: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """Weights (c * m, v) whose masked pairs (c, m) are zero."""
    kept = weights.clone()
    kept[torch.from_numpy(mask.ravel())] = 0
    return kept


def without(codes: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """Codes (n, c) int16, NO_VOTE where the pair is masked; mask: (c, m)."""
    gone = mask[np.arange(mask.shape[0]), codes.numpy()]
    return torch.from_numpy(np.where(gone, np.int16(NO_VOTE), codes.numpy()))
