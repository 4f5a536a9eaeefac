"""Step: how far masks reach: several classes at once and one after another, single items, and counts from elsewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import baselines, stopping
from dkvb.baselines import ForgetTask
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.orders import by_activation
from dkvb.overlap import jaccard
from dkvb.seeds import drawn, generator
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_indexes
from jobs.comparison import methods
from jobs.comparison.attacks import loss_auc
from jobs.comparison.heads import F, Head, LinearHead, ValuesHead
from jobs.comparison.held_out import stopped_at_held_out
from jobs.comparison.judge import Judge, Model, model
from jobs.comparison.masks import Budgeted, Mask, SweptBottleneck
from jobs.comparison.methods import ForgetItems, tuned
from jobs.kinds.scope import Asks
from jobs.rows import without_nan
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import use_one_core
from store.columns import SCOPE
from store.names import one_form
from store.tables import compact, write_rows

SIZES = (1, 2, 5, 10, 20)
"""Numbers of classes forgotten at once; and half of the classes."""

INSTANCES = (1, 10, 50)
"""Percent of a class's training items."""

SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
"""Grid of N, as a share of what there is."""


def prepare(task: Task[Asks]) -> list[str]:
    """Sizes, the sequence forward and backward, shares of items, proxies."""
    names = inputs.read_manifest(task).classes
    half = max(1, len(names) // 2)
    if "other" in task.inputs:  # a name that is none is told before anything is done
        class_indexes(names, list(task.asks.proxies))
        class_indexes(inputs.read_manifest(task, "other_manifest").classes, list(task.asks.proxies.values()))
    sizes = sorted({*(size for size in SIZES if size < half), half})
    proxies = ["split", *(name for name in ("flipped", "other") if name in task.inputs)]
    return [
        *(f"classes-{size}" for size in sizes),
        "sequence-forward",
        "sequence-backward",
        *(f"instances-{percent}" for percent in INSTANCES),
        *(f"proxy-{name}" for name in proxies),
    ]


def open_work(task: Task[Asks]) -> Work:
    """Hold both heads; one unit at a time."""
    use_one_core()
    shared = Shared.of(task)

    def measure(unit: str) -> Facts:
        kind, _, about = unit.partition("-")
        rows = [without_nan(shared.row(reach)) for reach in KINDS[kind](shared, about)]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", rows, SCOPE)
        return {"rows": len(rows)}

    return measure


@dataclass(frozen=True, slots=True)
class Reach:
    """One model and what it is judged by."""

    judge: Judge
    model: Model[Any]
    kind: str
    size: float
    """Classes, requests so far, share of the class's items, or images counted."""
    jaccard: float | None = field(default=None, kw_only=True)
    """Of a proxy's mask with that of the class's own counts."""
    mia_auc: float | None = field(default=None, kw_only=True)
    """Of single items, by loss, against test items of their class."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Other images of a class."""

    k: int
    codes: Tensor
    """(n, c) int16, of these images."""
    judges: NDArray[np.bool_]
    """(n,) bool, the test items that may judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all units share."""

    task: Task[Asks]
    linear: LinearHead
    values: ValuesHead
    items: SweptBottleneck
    total: NDArray[np.int64]
    """(c, m), hits of all training items."""
    tuning: Mapping[str, Any]
    """Marks of the tuning step."""
    names: tuple[str, ...]
    order: list[int]
    """All classes in one random order."""
    oracles: dict[tuple[str, bytes], Tensor] = field(default_factory=dict)
    """Weights of the oracles trained so far, by head and rows."""

    @classmethod
    def of(cls, task: Task[Asks]) -> Self:
        """From the inputs of a task."""
        values = ValuesHead.read(task)
        return cls(
            task=task,
            linear=LinearHead.read(task),
            values=values,
            items=SweptBottleneck.of(task),
            total=count_codes(values.codes["train"], values.m).numpy(),
            tuning=task.inputs["tuning"].marks(),
            names=inputs.read_manifest(task).classes,
            order=torch.randperm(values.v, generator=generator(task.asks.seed, "class order")).tolist(),
        )

    @property
    def seed(self) -> int:
        """Of the model."""
        return self.task.asks.seed

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """Split -> (n,) int64, of the items that are not skipped."""
        return self.values.labels

    def row(self, reach: Reach) -> dict[str, Any]:
        """A row of the table."""
        verdict = reach.judge.verdict(reach.model).row
        return {
            "kind": reach.kind,
            "size": reach.size,
            "names": json.dumps([self.names[k] for k in reach.judge.classes]),
            "seed": self.seed,
            "head": reach.model.head.name,
            "method": reach.model.method,
            "setting": json.dumps(reach.model.setting, sort_keys=True),
            **{name: verdict[name] for name in SCOPE if name in verdict},
            "jaccard": reach.jaccard,
            "mia_auc": reach.mia_auc,
            "digest": self.task.output.digest,
        }

    def judge(
        self, head: Head[Any], rows: Tensor, classes: Sequence[int], test: NDArray[np.bool_] | None = None
    ) -> Judge:
        """With the head before, and one trained without the rows.

        test: the test items that are like those forgotten; those of the classes unless given.
        """
        train = np.zeros(len(self.labels["train"]), bool)
        train[rows.numpy()] = True
        gone = np.isin(self.labels["test"].numpy(), list(classes))
        like = gone if test is None else test
        stay = {"train": ~train, "test": ~gone}  # what a proxy was counted on is neither
        return Judge(
            labels=self.labels,
            forget={"train": train, "test": like},
            classes=classes,
            before=model(head, methods.NONE.name, head.weights),
            oracle=model(head, methods.RETRAIN.name, self.oracle(head, rows)),
            retain=stay,
        )

    def oracle(self, head: Head[Any], rows: Tensor) -> Tensor:
        """Weights of the head trained without the rows; kept, as several units need the same."""
        key = head.name, rows.numpy().tobytes()
        if key not in self.oracles:
            self.oracles[key] = baselines.retrain(head.forget_task(rows), head.settings, seed=self.seed)
        return self.oracles[key]

    def rows_of(self, classes: Sequence[int]) -> Tensor:
        """Training items of some classes: (n,) int64 rows."""
        return torch.from_numpy(np.flatnonzero(np.isin(self.labels["train"].numpy(), list(classes))))

    def hits(self, codes: Tensor) -> NDArray[np.int64]:
        """(c, m) of the codes (n, c) of some items."""
        return count_codes(codes, self.values.m).numpy()

    def orders(self, rows: Tensor) -> dict[str, Budgeted]:
        """Ways to choose pairs by name, for some training items."""
        codes = self.values.codes["train"][rows]
        hits = self.hits(codes)
        items = ForgetItems(codes=codes.numpy(), hits=hits, others=self.total - hits, seed=self.seed)
        orders = {method.name: method.order(items) for method in methods.REACHING}
        grids = {name: order.budgets(SHARES, shares=True, what="pairs or items") for name, order in orders.items()}
        return {name: Budgeted(order, sorted({0, *grids[name]})) for name, order in orders.items()}

    def best_mask(self, budgeted: Budgeted, classes: Sequence[int], judge: Judge) -> Mask:
        """At the N that is best on the training items."""
        predictions = self.items.predictions([budgeted], [classes])
        reached = predictions.accuracies(0, len(budgeted.grid), self.labels, judge.forget)
        budget = budgeted.best(reached)
        return Mask(budget, budgeted.order.mask(budget))

    def rule(self, hits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """UvA's mask (c, m) by the label-free rule."""
        return (order := by_activation(hits)).mask(order.smallest(self.task.asks.tau))

    def masked(self, method: str, mask: NDArray[np.bool_], setting: Mapping[str, Any]) -> Model[CodeFeatures]:
        """The bottleneck under a mask (c, m)."""
        (codes,) = self.items.codes([mask])
        features = {split: CodeFeatures(codes[split], self.values.m) for split in SPLITS}
        return model(self.values, method, self.values.weights, features=features, setting=setting)

    def best_masked(self, rows: Tensor, classes: Sequence[int], judge: Judge) -> list[Model[CodeFeatures]]:
        """The bottleneck under each way to choose pairs, at its best N."""
        masks = {name: self.best_mask(budgeted, classes, judge) for name, budgeted in self.orders(rows).items()}
        return [self.masked(name, mask.pairs, mask.setting) for name, mask in masks.items()]

    def scrubbed(
        self, head: Head[F], rows: Tensor, *, weights: Tensor | None = None, earlier: Sequence[int] = ()
    ) -> Model[F]:
        """SCRUB with the setting chosen on the tuning classes, from the head or from other weights.

        earlier: classes that were forgotten before: their items are gone, or they would be learnt again.
        """
        baseline, _ = tuned(self.tuning, head, methods.SCRUB, forget=None)
        task = head.forget_task(rows)
        if weights is not None:
            there = torch.from_numpy(np.flatnonzero(~np.isin(task.labels.numpy(), list(earlier))))
            forget = torch.searchsorted(there, rows)
            task = ForgetTask(task.features.take(there), task.labels[there], weights, forget)
        kept = stopping.best_epoch(task, baseline.unlearn(task, seed=self.seed))
        return model(head, methods.SCRUB.name, kept.weights, setting={"epoch": kept.epoch})


def classes(shared: Shared, size: str) -> Iterator[Reach]:
    """Several classes at once: the first of one random order, so that larger sets hold the smaller."""
    forget = sorted(shared.order[: int(size)])
    rows = shared.rows_of(forget)
    for head in (shared.linear, shared.values):
        judge = shared.judge(head, rows, forget)
        models: list[Model[Any]] = [judge.before, judge.oracle, shared.scrubbed(head, rows)]
        if head is shared.values:
            models += shared.best_masked(rows, forget, judge)
        for one in models:
            yield Reach(judge, one, "classes", int(size))


def sequence(shared: Shared, direction: str) -> Iterator[Reach]:
    """The same classes one after another, up to half of them or five; what is left after each request.

    "uva" ranks by the counts before anything was masked, so that order does not matter; "uva recounted" counts anew
    under the mask so far, and there it does; "uve" masks what the examples selected first. N by the label-free rule
    for UvA, all examples for UvE. SCRUB goes on from its own last weights.
    """
    head = shared.values
    wanted = shared.order[: min(5, max(1, len(shared.order) // 2))]
    wanted = wanted[::-1] if direction == "backward" else wanted
    uva, recounted, uve = (np.zeros((head.c, head.m), bool) for _ in range(3))
    codes, weights = head.codes["train"], head.weights
    for i, k in enumerate(wanted):
        forget, rows = sorted(wanted[: i + 1]), shared.rows_of([k])
        hits = shared.hits(head.codes["train"][rows])
        judge = shared.judge(head, shared.rows_of(forget), forget)
        uva |= shared.rule(hits)
        uve |= hits > 0
        recounted |= shared.rule(shared.hits(codes[rows]))
        codes = shared.items.codes([recounted], splits=["train"])[0]["train"]
        scrub = shared.scrubbed(head, rows, weights=weights, earlier=wanted[:i])
        weights = scrub.weights
        masks = {methods.UVA.name: uva, methods.UVA_RECOUNTED.name: recounted, methods.UVE.name: uve}
        masked = [shared.masked(name, mask, {"pairs": int(mask.sum())}) for name, mask in masks.items()]
        for one in (judge.before, judge.oracle, scrub, *masked):
            yield Reach(judge, one, f"sequence {direction}", i + 1)


def instances(shared: Shared, percent: str) -> Iterator[Reach]:
    """Some items of a class; the class itself stays. Membership is told by test items of the same class."""
    k = inputs.wanted_classes(shared.task)[0]
    items = shared.rows_of([k])
    share = int(percent) / 100
    count = max(2, round(share * len(items)))
    rows = items[drawn(len(items), count, shared.seed, "instances")]
    others = (shared.labels["test"] == k).nonzero().flatten()
    for head in (shared.linear, shared.values):
        judge = shared.judge(head, rows, [], np.zeros(len(shared.labels["test"]), bool))
        models: list[Model[Any]] = [judge.before, judge.oracle, shared.scrubbed(head, rows)]
        if head is shared.values:
            hit = shared.hits(shared.values.codes["train"][rows]) > 0
            models += shared.best_masked(rows, [], judge)
            models.append(shared.masked(methods.UVE_ALL.name, hit, {"pairs": int(hit.sum())}))
        for one in models:
            yield Reach(judge, one, "instances", share, mia_auc=loss_auc(judge, one, rows, others, seed=shared.seed))
    if shared.task.asks.held_out:  # the last judge is that of the values
        judge, models = stopped_at_held_out(
            judge, shared.items, orders=shared.orders(rows), masked=shared.masked, k=k, seed=shared.seed
        )
        left = (judge.labels["test"] == k).nonzero().flatten()
        for one in models:
            yield Reach(judge, one, "instances", share, mia_auc=loss_auc(judge, one, rows, left, seed=shared.seed))


def proxy(shared: Shared, images: str) -> Iterator[Reach]:
    """UvA from counts of other images of each class, beside its own; N holds the same share of its counts."""
    for counted in proxies(shared, images):
        rows = shared.rows_of([counted.k])
        like = (shared.labels["test"] == counted.k).numpy() & counted.judges
        judge = shared.judge(shared.values, rows, [counted.k], like)
        own = shared.rule(shared.hits(shared.values.codes["train"][rows]))
        other = shared.rule(shared.hits(counted.codes))
        for method, mask in ((methods.UVA, own), (methods.by_proxy(images), other)):
            masked = shared.masked(method.name, mask, {"pairs": int(mask.sum()), "items": len(counted.codes)})
            yield Reach(judge, masked, f"proxy {images}", len(counted.codes), jaccard=jaccard(own, mask))


def proxies(shared: Shared, images: str) -> Iterator[Proxy]:
    """Other images of each class: half of its test images ("split"), or those of another input."""
    wanted = inputs.wanted_classes(shared.task)
    labels = shared.labels["test"]
    if images == "split":
        half = (torch.rand(len(labels), generator=generator(shared.seed, "half of the test items")) < 0.5).numpy()
        for k in wanted:
            yield Proxy(k, shared.values.codes["test"][torch.from_numpy(half) & (labels == k)], ~half)
    else:
        bottleneck = shared.items.bottleneck
        stands_for = {k: k for k in wanted} if images == "flipped" else others(shared, wanted)
        of_images, z = inputs.labels(shared.task, images), inputs.embeddings(shared.task, images)
        for k, other in stands_for.items():
            selectable = bottleneck.selectable
            codes = encode(z[of_images == other], bottleneck.projection, bottleneck.keys, selectable=selectable)
            yield Proxy(k, codes, np.ones(len(labels), bool))


def others(shared: Shared, wanted: Sequence[int]) -> dict[int, int]:
    """Class -> the class of the other data set that stands for it."""
    names = inputs.read_manifest(shared.task, "other_manifest").classes
    stands_for = {one_form(name): other for name, other in shared.task.asks.proxies.items()}
    pairs = {}
    for k in wanted:
        if one_form(shared.names[k]) in stands_for:
            (pairs[k],) = class_indexes(names, [stands_for[one_form(shared.names[k])]])
    return pairs


KINDS: Mapping[str, Callable[[Shared, str], Iterator[Reach]]] = {
    "classes": classes,
    "sequence": sequence,
    "instances": instances,
    "proxy": proxy,
}
"""What the first word of a unit's name stands for; the rest of it says of how many, or of which."""


def finish(task: Task[Asks]) -> Facts:
    """One table of all units."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / "scope.parquet")
    return {"rows": sum(mark["rows"] for mark in marks.values())}
