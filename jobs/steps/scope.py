"""Step: how far masks reach: several classes at once and one after another, single items, and counts from elsewhere."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import baselines, membership, trials
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.orders import by_activation, by_example
from dkvb.overlap import jaccard
from dkvb.seeds import drawn, generator
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_indexes
from jobs.comparison.attacks import LOWEST
from jobs.comparison.heads import HEADS, Head, read_head, tuned
from jobs.comparison.judge import Judge, Model, model
from jobs.comparison.masks import Budgeted, Watched, accuracies, best_step
from jobs.rows import without_nan
from jobs.step import IF_SET, SPLITS, Facts, Inputs, Task, Work
from jobs.worker import use_one_core
from store.layout import SCOPE
from store.names import one_form
from store.tables import compact, write_rows

VERSION = 1
LEASE_S = 86400
INPUTS = Inputs([*inputs.MODEL, "tuning", "flipped"], optional=["other", "other_manifest"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which classes are forgotten, and what stands in for their images."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of a class's activations that its mask holds."""
    proxies: dict[str, str]
    """Class -> class of the other data set whose images stand for it."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


SIZES = (1, 2, 5, 10, 20)
"""Numbers of classes forgotten at once; and half of the classes."""

INSTANCES = (1, 10, 50)
"""Percent of a class's training items."""

SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
"""Grid of N, as a share of what there is."""


def prepare(task: Task) -> list[str]:
    """Sizes, the sequence forward and backward, shares of items, proxies."""
    names = inputs.read_manifest(task).classes
    half = max(1, len(names) // 2)
    if "other" in task.inputs:  # a name that is none is told before anything is done
        class_indexes(names, list(task.spec["proxies"]))
        class_indexes(inputs.read_manifest(task, "other_manifest").classes, list(task.spec["proxies"].values()))
    sizes = sorted({*(size for size in SIZES if size < half), half})
    proxies = ["split", *(name for name in ("flipped", "other") if name in task.inputs)]
    return [
        *(f"classes-{size}" for size in sizes),
        "sequence-forward",
        "sequence-backward",
        *(f"instances-{percent}" for percent in INSTANCES),
        *(f"proxy-{name}" for name in proxies),
    ]


def open_work(task: Task) -> Work:
    """Hold both heads; one unit at a time."""
    use_one_core()
    scope = Scope(task)

    def measure(unit: str) -> Facts:
        kind, _, size = unit.partition("-")
        made = [without_nan(row) for row in getattr(scope, kind)(size)]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", made, SCOPE)
        return {"rows": len(made)}

    return measure


class Scope:
    """What all units share."""

    def __init__(self, task: Task) -> None:
        self.task, self.spec, self.seed = task, task.spec, task.spec["seed"]
        self.heads = {name: read_head(task, name) for name in HEADS}
        self.seen = Watched.of(task)
        self.labels = self.heads["values"].labels
        self.codes: dict[str, Tensor] = {
            split: features.codes  # type: ignore[attr-defined]
            for split, features in self.heads["values"].features.items()
        }
        self.c, self.m, self.v = self.seen.bottleneck.values.shape
        self.names = inputs.read_manifest(task).classes
        self.tried = task.inputs["tuning"].marks()
        self.order = torch.randperm(self.v, generator=generator(self.seed, "class order")).tolist()
        self.oracles: dict[tuple[str, bytes], Tensor] = {}
        self.class_of_instances = inputs.wanted_classes(task)[0]

    # Judging.

    def judge(self, head: Head, rows: Tensor, classes: Sequence[int], test: NDArray[np.bool_] | None = None) -> Judge:
        """With the head before, and one trained without the rows.

        test: the test items that are like those forgotten; those of the classes unless given.
        """
        train = np.zeros(len(self.labels["train"]), bool)
        train[rows.numpy()] = True
        gone = np.isin(self.labels["test"].numpy(), list(classes))
        like = gone if test is None else test
        oracle, before = model(head, "retrain", self.oracle(head, rows)), model(head, "none", head.weights)
        stay = {"train": ~train, "test": ~gone}  # what a proxy was counted on is neither
        return Judge(self.labels, {"train": train, "test": like}, classes, before, oracle, retain=stay)

    def oracle(self, head: Head, rows: Tensor) -> Tensor:
        """Weights of the head trained without the rows; kept, as several units ask for the same."""
        asked = head.name, rows.numpy().tobytes()
        if asked not in self.oracles:
            self.oracles[asked] = baselines.retrain(head.problem(rows), head.settings, seed=self.seed)
        return self.oracles[asked]

    def row(self, judge: Judge, one: Model, kind: str, size: float, **more: Any) -> dict[str, Any]:
        """One row of the table."""
        found = judge.row(one)
        return {
            "kind": kind,
            "size": size,
            "names": json.dumps([self.names[k] for k in judge.classes]),
            "seed": self.seed,
            "head": one.head,
            "method": one.method,
            "setting": json.dumps(one.setting, sort_keys=True),
            **{name: found[name] for name in SCOPE if name in found},
            "jaccard": more.get("jaccard"),
            "mia_auc": more.get("mia_auc"),
            "digest": self.task.output.digest,
        }

    # Methods.

    def hits(self, codes: Tensor) -> NDArray[np.int64]:
        """(c, m) of the codes of some items."""
        return count_codes(codes, self.m).numpy()

    def masked(self, method: str, mask: NDArray[np.bool_], **setting: Any) -> Model:
        """The bottleneck under a mask."""
        own = self.seen.codes([mask])[0]
        features = {split: CodeFeatures(own[split], self.m) for split in SPLITS}
        return model(self.heads["values"], method, self.heads["values"].weights, features, setting)

    def best_mask(self, budgeted: Budgeted, classes: Sequence[int], judge: Judge) -> tuple[NDArray[np.bool_], int]:
        """At the N that is best on the training items."""
        predicted, among = self.seen.predictions([budgeted], [list(classes) or [0]])
        own, own_among = ({split: kind[split][0] for split in SPLITS} for kind in (predicted, among))
        found = accuracies(own, own_among, self.labels, judge.forget)
        budget = budgeted.grid[best_step(found)]
        return budgeted.order.mask(budget), budget

    def orders(self, rows: Tensor) -> dict[str, Budgeted]:
        """Both methods, for some training items."""
        codes = self.codes["train"][rows]
        hits = self.hits(codes)
        found = {
            "uva": by_activation(hits),
            "uve": by_example(codes.numpy(), hits, seed=self.seed),
        }
        return {
            method: Budgeted(order, sorted({0, *order.budgets(SHARES, shares=True, what="pairs or items")}))
            for method, order in found.items()
        }

    def scrubbed(
        self, head: Head, rows: Tensor, *, weights: Tensor | None = None, earlier: Sequence[int] = ()
    ) -> Model:
        """SCRUB with the setting chosen on the tuning classes, from the head or from other weights.

        earlier: classes that were forgotten before: their items are gone, or they would be learnt again.
        """
        settings, _ = tuned(self.tried, head, "scrub", forget=-1)
        problem = head.problem(rows)
        if weights is not None:
            there = torch.from_numpy(np.flatnonzero(~np.isin(problem.labels.numpy(), list(earlier))))
            forget = torch.searchsorted(there, rows)
            problem = baselines.Problem(problem.features.take(there), problem.labels[there], weights, forget)
        kept = trials.best_epoch(problem, trials.run(problem, settings, seed=self.seed))
        return model(head, "scrub", kept.weights, setting={"epoch": kept.epoch})

    def rows_of(self, classes: Sequence[int]) -> Tensor:
        """Training items of some classes."""
        return torch.from_numpy(np.flatnonzero(np.isin(self.labels["train"].numpy(), list(classes))))

    # Units.

    def classes(self, size: str) -> Iterator[dict[str, Any]]:
        """Several classes at once: the first of one random order, so that larger sets hold the smaller."""
        forget = sorted(self.order[: int(size)])
        rows = self.rows_of(forget)
        for name, head in self.heads.items():
            judge = self.judge(head, rows, forget)
            models = [judge.before, judge.oracle, self.scrubbed(head, rows)]
            if name == "values":
                for method, budgeted in self.orders(rows).items():
                    mask, budget = self.best_mask(budgeted, forget, judge)
                    models.append(self.masked(method, mask, budget=budget, pairs=int(mask.sum())))
            for one in models:
                yield self.row(judge, one, "classes", int(size))

    def sequence(self, direction: str) -> Iterator[dict[str, Any]]:
        """The same classes one after another, up to half of them or five; rows after each request.

        "uva" ranks by the counts before anything was masked, so that order does not matter; "uva recounted" counts anew
        under the mask so far, and there it does; "uve" masks what the examples selected first. N by the label-free
        rule for UvA, all examples for UvE. SCRUB goes on from its own last weights.
        """
        head = self.heads["values"]
        wanted = self.order[: min(5, max(1, self.v // 2))]
        wanted = wanted[::-1] if direction == "backward" else wanted
        made = {method: np.zeros((self.c, self.m), bool) for method in ("uva", "uva recounted", "uve")}
        codes, weights = self.codes["train"], head.weights
        for i in range(len(wanted)):
            forget, own = sorted(wanted[: i + 1]), self.rows_of([wanted[i]])
            rows, hits = self.rows_of(forget), self.hits(self.codes["train"][own])
            judge = self.judge(head, rows, forget)
            made["uva"] |= self.rule(hits)
            made["uve"] |= hits > 0
            made["uva recounted"] |= self.rule(self.hits(codes[own]))
            codes = self.seen.codes([made["uva recounted"]], splits=["train"])[0]["train"]
            scrub = self.scrubbed(head, own, weights=weights, earlier=wanted[:i])
            weights = scrub.weights
            models = [self.masked(method, mask, pairs=int(mask.sum())) for method, mask in made.items()]
            for one in (judge.before, judge.oracle, scrub, *models):
                yield self.row(judge, one, f"sequence {direction}", i + 1)

    def rule(self, hits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """UvA's mask by the label-free rule."""
        order = by_activation(hits)
        return order.mask(order.smallest(self.spec["tau"]))

    def instances(self, percent: str) -> Iterator[dict[str, Any]]:
        """Some items of a class; the class itself stays. Membership is told by test items of the same class."""
        k = self.class_of_instances
        own = self.rows_of([k])
        share = int(percent) / 100
        count = max(2, round(share * len(own)))
        rows = own[drawn(len(own), count, self.seed, "instances")]
        like = np.zeros(len(self.labels["test"]), bool)
        for name, head in self.heads.items():
            judge = self.judge(head, rows, [], like)
            models = [judge.before, judge.oracle, self.scrubbed(head, rows)]
            if name == "values":
                for method, budgeted in self.orders(rows).items():
                    mask, budget = self.best_mask(budgeted, [], judge)
                    models.append(self.masked(method, mask, budget=budget, pairs=int(mask.sum())))
                everything = self.hits(self.codes["train"][rows]) > 0
                models.append(self.masked("uve all", everything, pairs=int(everything.sum())))
            for one in models:
                others = (self.labels["test"] == k).nonzero().flatten()
                found = membership.population_attack(
                    (one.logits["train"][rows].clamp(min=LOWEST), self.labels["train"][rows]),
                    (one.logits["test"][others].clamp(min=LOWEST), self.labels["test"][others]),
                    seed=self.seed,
                )
                yield self.row(judge, one, "instances", share, mia_auc=found["loss"].auc)

    def proxy(self, name: str) -> Iterator[dict[str, Any]]:
        """UvA from counts of other images of each class, beside its own; N holds the same share of its counts."""
        head = self.heads["values"]
        for k, codes, judged in self.proxies(name):
            rows = self.rows_of([k])
            like = (self.labels["test"] == k).numpy() & judged
            judge = self.judge(head, rows, [k], like)
            own = self.rule(self.hits(self.codes["train"][rows]))
            mask = self.rule(self.hits(codes))
            for method, one in (("uva", own), (f"uva by {name}", mask)):
                made = self.masked(method, one, pairs=int(one.sum()), items=len(codes))
                yield self.row(judge, made, f"proxy {name}", len(codes), jaccard=jaccard(own, one))

    def proxies(self, name: str) -> Iterator[tuple[int, Tensor, NDArray[np.bool_]]]:
        """Class, codes of the other images of it, and which test items may judge: (n,) bool."""
        wanted = inputs.wanted_classes(self.task)
        everything = np.ones(len(self.labels["test"]), bool)
        if name == "split":
            half = (torch.rand(len(everything), generator=generator(self.seed, "half of the test items")) < 0.5).numpy()
            for k in wanted:
                yield k, self.codes["test"][torch.from_numpy(half) & (self.labels["test"] == k)], ~half
        else:
            labels = inputs.labels(self.task, name)
            pairs = {k: k for k in wanted} if name == "flipped" else self.others(wanted)
            z = inputs.embeddings(self.task, name)
            for k, other in pairs.items():
                model_ = self.seen.bottleneck
                own = z[labels == other]
                yield k, encode(own, model_.projection, model_.keys, selectable=model_.selectable), everything

    def others(self, wanted: Sequence[int]) -> dict[int, int]:
        """Class -> the class of the other data set that stands for it."""
        names = inputs.read_manifest(self.task, "other_manifest").classes
        stands_for = {one_form(name): other for name, other in self.spec["proxies"].items()}
        found = {}
        for k in wanted:
            if one_form(self.names[k]) in stands_for:
                (found[k],) = class_indexes(names, [stands_for[one_form(self.names[k])]])
        return found


def finish(task: Task) -> Facts:
    """One table of all units."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / "scope.parquet")
    return {"rows": sum(mark["rows"] for mark in marks.values())}
