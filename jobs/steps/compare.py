"""Step: what masks forget, beside baselines, controls and oracles, on one class a unit.

Every method is stopped by the training items alone (`dkvb.trials`, `jobs.comparison.masks.best_step`); test items are
looked at once it has ended.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import baselines, metrics, trials
from dkvb.codes import NO_VOTE
from dkvb.orders import NEVER, RemovalOrder, by_activation, by_contrast, by_example
from dkvb.sweep import budget_table, sweep
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison.attacks import RECOVERED, attacks
from jobs.comparison.heads import HEADS, Head, importance_of, read_head, tuned
from jobs.comparison.judge import Judge, Model, model, tow
from jobs.comparison.masks import Accuracies, Budgeted, Watched, accuracies, best_step
from jobs.rows import without_nan
from jobs.spec.schema import Grids
from jobs.step import IF_SET, SPLITS, Facts, Inputs, Task, Work
from jobs.worker import use_one_core
from store import arrays
from store.layout import COMPARE_TABLES
from store.tables import compact, write_rows

VERSION = 1
LEASE_S = 86400
INPUTS = Inputs([*inputs.MODEL, "tuning"], optional=["oracles"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What is compared, over which budgets."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    methods: Grids
    taus: list[float]
    """Shares of the class's activations that label-free rules are tried with."""
    weights: list[float]
    """Of the orders by contrast."""
    seed: int
    tau: float
    """The share that the mask by the label-free rule holds."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


UNMASKED = ("uva", "uve", "uva by tau")
"""Masks that the unmask attack is tried on."""

SHARES = [0.05 * i for i in range(1, 21)]
"""Grid of the orders that the spec has no grid for, as shares of the pairs they can remove."""


def prepare(task: Task) -> list[str]:
    """A class a unit."""
    return [f"{k:05d}" for k in inputs.wanted_classes(task)]


@dataclass(slots=True)
class Bench:
    """What all units share."""

    task: Task
    heads: dict[str, Head]
    watched: Watched
    counts: Any
    total: NDArray[np.int64]
    """(c, m), hits of all classes."""
    important: dict[str, Tensor]
    """Head -> importance of its weights for all training items."""
    tried: dict[str, Any]
    """Marks of the tuning step."""
    names: tuple[str, ...]
    oracle_kv: list[int]
    """Classes of the oracles whose keys never saw them; none without that step."""

    @classmethod
    def of(cls, task: Task) -> Self:
        """From the inputs of a task."""
        heads = {name: read_head(task, name) for name in HEADS}
        counts = arrays.open_array(task.path("counts"), "counts")
        return cls(
            task=task,
            heads=heads,
            watched=Watched.of(task),
            counts=counts,
            total=total_hits(counts),
            important={name: importance_of(head) for name, head in heads.items()},
            tried=task.inputs["tuning"].marks(),
            names=inputs.read_manifest(task).classes,
            oracle_kv=inputs.oracle_classes(task),
        )


def open_work(task: Task) -> Work:
    """Hold both heads; compare on one class at a time."""
    use_one_core()
    bench = Bench.of(task)

    def compare_class(unit: str) -> Facts:
        rows, facts = Comparison(bench, int(unit)).tables()
        for table, schema in COMPARE_TABLES.items():
            about = {"class": int(unit), "name": bench.names[int(unit)], "seed": task.spec["seed"]}
            made = [without_nan({**about, **row, "digest": task.output.digest}) for row in rows[table]]
            write_rows(task.output.path / table / f"{unit}.parquet", made, schema)
        return facts

    return compare_class


class Comparison:
    """One class, forgotten by every method on both heads."""

    def __init__(self, bench: Bench, k: int) -> None:
        self.bench, self.k, self.spec = bench, k, bench.task.spec
        self.labels = bench.heads["values"].labels
        self.forget = {split: (self.labels[split] == k).numpy() for split in SPLITS}
        self.rows = torch.from_numpy(np.flatnonzero(self.forget["train"]))
        self.hits = class_hits(bench.counts, k)
        self.seconds: dict[str, float] = {}

    def tables(self) -> tuple[dict[str, list[dict[str, Any]]], Facts]:
        """Rows by table, and the unit's facts."""
        made: dict[str, list[dict[str, Any]]] = {table: [] for table in COMPARE_TABLES}
        at_edge = []
        for name in HEADS:
            head = self.bench.heads[name]
            judge = self.judge(head)
            models = [judge.before, *self.unlearned(head), *self.controls(head, judge.before), judge.oracle]
            if name == "values":
                models += self.masked(head, judge, made["selection"], made["attacks"])
                made["oracle_gap"] += list(self.gap(judge))
            for one in models:
                clock = time.perf_counter()
                setting = {"setting": json.dumps(one.setting, sort_keys=True)}
                made["compare"].append({"head": name, "method": one.method, **setting, **judge.row(one)})
                at_edge += [f"{name}/{one.method}"] if one.setting.get("edge") else []
                self.spend("judging", clock)
            clock = time.perf_counter()
            made["attacks"] += list(attacks(judge, models, self.k, seed=self.spec["seed"]))
            self.spend("attacks", clock)
        return made, {"class": self.k, "seconds": self.seconds, "best setting at an edge": at_edge}

    def spend(self, what: str, since: float) -> None:
        """Keep the seconds of a part of the work."""
        self.seconds[what] = round(self.seconds.get(what, 0.0) + time.perf_counter() - since, 3)

    def judge(self, head: Head) -> Judge:
        """With the head before, and the oracle."""
        clock = time.perf_counter()
        weights = baselines.retrain(head.problem(self.rows), head.settings, seed=self.spec["seed"])
        self.spend(f"{head.name}/retrain", clock)
        oracle, before = model(head, "retrain", weights), model(head, "none", head.weights)
        return Judge(
            self.labels, self.forget, [self.k], before, oracle, self.never() if head.name == "values" else None
        )

    def unlearned(self, head: Head) -> Iterator[Model]:
        """The gradient methods, each with the setting that was best on other classes."""
        problem = head.problem(self.rows)
        for method in trials.METHODS:
            clock = time.perf_counter()
            settings, edge = tuned(self.bench.tried, head, method, forget=self.k)
            passes = trials.run(problem, settings, seed=self.spec["seed"], important=self.bench.important[head.name])
            epochs: list[Tensor] = []
            kept = trials.best_epoch(problem, remembered(passes, epochs))
            self.spend(f"{head.name}/{method}", clock)
            about: dict[str, Any] = {**asdict(settings), "epoch": kept.epoch, "edge": edge}
            yield model(head, method, kept.weights, setting=about)
            if method == "scrub":
                yield self.rewound(head, [*epochs, *passes], about)

    def rewound(self, head: Head, epochs: list[Tensor], about: dict[str, Any]) -> Model:
        """SCRUB+R: the held-out items of the class that it asks for are test items; no other method sees any."""
        out, held_out = self.rows, torch.from_numpy(np.flatnonzero(self.forget["test"]))
        train, test = head.features["train"].take(out), head.features["test"].take(held_out)
        errors = [1 - metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]
        last = test.forward(epochs[-1]).argmax(1)
        place = baselines.rewind(errors, 1 - metrics.accuracy(last, head.labels["test"][held_out]))
        return model(head, "scrub+r", epochs[place], setting={**about, "epoch": place + 1})

    def controls(self, head: Head, before: Model) -> Iterator[Model]:
        """What forgets by construction, and learns nothing."""
        yield model(head, "column", baselines.without_column(head.weights, [self.k]))
        logits = {split: baselines.without_logit(before.logits[split], [self.k]) for split in SPLITS}
        yield replace(before, method="logit", logits=logits)

    def orders(self) -> dict[str, Budgeted]:
        """Orders of removal by name: those of the methods, and those ranked by contrast with the other classes."""
        spec, hits, others = self.spec["methods"], self.hits, self.bench.total - self.hits
        uve = spec["uve"]
        codes = self.bench.heads["values"].features["train"].take(self.rows).codes.numpy()  # type: ignore[attr-defined]
        found = {
            "uva": self.budgeted(by_activation(hits), spec["uva"], self.spec["taus"]),
            "uva per codebook": self.budgeted(by_activation(hits, scope="per-codebook"), None),
            "uve": self.budgeted(by_example(codes, hits, seed=uve["seeds"][0]), uve),
        }
        for weight in self.spec["weights"]:
            if weight > 0:
                order = by_contrast(hits, others, weight=weight)
                found[contrast(weight)] = self.budgeted(order, None, self.spec["taus"])
        return found

    def budgeted(self, order: RemovalOrder, grid: dict[str, Any] | None, taus: list[float] | None = None) -> Budgeted:
        """With the grid of the spec, or SHARES; and where there are taus, the budgets that they choose."""
        shares, numbers = (True, SHARES) if grid is None else (grid["unit"] == "shares", grid["grid"])
        budgets = order.budgets(numbers, shares=shares, what="pairs or items")
        budgets += [order.smallest(tau) for tau in taus or []]
        return Budgeted(order, sorted({0, *budgets}))

    def masked(
        self, head: Head, judge: Judge, selections: list[dict[str, Any]], attacked: list[dict[str, Any]]
    ) -> Iterator[Model]:
        """The masks, each at the N that is best on the training items; and what label-free rules choose."""
        clock = time.perf_counter()
        orders = self.orders()
        predicted, among = self.bench.watched.predictions(list(orders.values()), [[self.k]] * len(orders))
        at: dict[str, tuple[int, NDArray[np.bool_]]] = {}
        for i, (name, budgeted) in enumerate(orders.items()):
            steps = slice(len(budgeted.grid))
            own, own_among = ({split: kind[split][i, steps] for split in SPLITS} for kind in (predicted, among))
            found = accuracies(own, own_among, self.labels, self.forget)
            if not name.startswith("contrast"):  # these are there for their rules alone
                budget = budgeted.grid[best_step(found)]
                at[name] = budget, budgeted.order.mask(budget)
            selections += list(self.regrets(name, budgeted, found, judge))
        uva = orders["uva"].order
        rule = uva.smallest(self.spec["tau"])
        at["uva by tau"] = rule, uva.mask(rule)
        selectable = self.bench.watched.bottleneck.selectable
        like = baselines.random_mask(torch.from_numpy(at["uva"][1]), selectable, seed=self.spec["seed"])
        at["random"] = at["uva"][0], like.numpy()
        self.spend("values/masks", clock)
        clock = time.perf_counter()
        codes = self.bench.watched.codes([mask for _, mask in at.values()])
        attacked += list(self.unmasked(judge, {name: mask for name, (_, mask) in at.items() if name in UNMASKED}))
        for (name, (budget, mask)), selected in zip(at.items(), codes, strict=True):
            features = {split: CodeFeatures(selected[split], self.hits.shape[1]) for split in SPLITS}
            yield model(head, name, head.weights, features, {"budget": budget, "pairs": int(mask.sum())})
        yield from self.erased(head, orders["uva"])
        self.spend("values/masked codes", clock)

    def unmasked(self, judge: Judge, taken: dict[str, NDArray[np.bool_]]) -> Iterator[dict[str, Any]]:
        """Attack: the share of masked pairs, the most activated first, that must come back until the class is back.

        Back is RECOVERED of its test accuracy before. Whoever does this has the counts, and the keys and values that
        `Bottleneck.masked` erases.
        """
        out = torch.from_numpy(self.forget["test"])
        items, watched = self.bench.watched.like("test", out), self.bench.watched.bottleneck
        goal = RECOVERED * judge.accuracies(judge.before)["test_forget"]
        for name, mask in taken.items():
            total = int(mask.sum())
            first = by_activation(np.where(mask, self.hits, 0))
            last = np.where(mask, total - 1 - np.minimum(first.position, total - 1), NEVER)
            reverse = RemovalOrder(last, first.hits, total)
            grid = sorted({0, *reverse.budgets(SHARES, shares=True, what="masked pairs")})
            predicted, _ = sweep(watched, items, budget_table([last], [grid]), budgets=len(grid), forget=[[self.k]])
            back = (predicted[0] == self.k).double().mean(1) >= goal
            left = max((grid[g] for g in range(len(grid)) if back[g]), default=0)
            row = {"head": "values", "method": name, "attack": "unmask", "measure": "share restored"}
            yield {**row, "value": (total - left) / max(1, total), "oracle": None}

    def erased(self, head: Head, uva: Budgeted) -> Iterator[Model]:
        """The other meanings of a mask: a masked pair votes zero, or its codebook is left out.

        Both divide one sum by different numbers, so their predictions are alike, and so is the best N.
        """
        features, problem = head.features, head.problem(self.rows)
        reached = [trials.training_accuracies(problem, emptied(head.weights, uva.order.mask(n))) for n in uva.grid]
        forget, retain = zip(*reached, strict=True)
        budget = uva.grid[best_step({"train_forget": forget, "train_retain": retain})]
        mask = uva.order.mask(budget)
        setting = {"budget": budget, "pairs": int(mask.sum())}
        yield model(head, "uva zero", emptied(head.weights, mask), setting=setting)
        dropped = {split: CodeFeatures(without(features[split], mask), mask.shape[1]) for split in SPLITS}
        yield model(head, "uva drop", head.weights, dropped, setting)

    def regrets(self, name: str, budgeted: Budgeted, found: Accuracies, judge: Judge) -> Iterator[dict[str, Any]]:
        """What the label-free rules lose against the best N by test labels: of an order by contrast, 0 being UvA's."""
        if name == "uva":
            weight = 0.0
        elif name.startswith("contrast"):
            weight = next(w for w in self.spec["weights"] if contrast(w) == name)
        else:
            return
        oracle = judge.accuracies(judge.oracle)
        tows = [tow({key: values[g] for key, values in found.items()}, oracle) for g in range(len(budgeted.grid))]
        best = int(np.argmax(tows))
        for tau in self.spec["taus"]:
            g = budgeted.grid.index(budgeted.order.smallest(tau))
            yield {
                "weight": weight,
                "tau": tau,
                "budget": budgeted.grid[g],
                "best_budget": budgeted.grid[best],
                "tow": tows[g],
                "best_tow": tows[best],
                "regret": metrics.regret(tows[best], tows[g]),
                "test_forget": float(found["test_forget"][g]),
                "test_retain": float(found["test_retain"][g]),
                "train_forget": float(found["train_forget"][g]),
                "train_retain": float(found["train_retain"][g]),
            }

    def never(self) -> dict[str, Tensor] | None:
        """Logits of the oracle whose keys never saw the class, by split."""
        if self.k not in self.bench.oracle_kv:
            return None
        place, path = self.bench.oracle_kv.index(self.k), self.bench.task.path("oracles")
        found = {split: arrays.open_array(path, f"oracle_logits_{split}")[place] for split in SPLITS}
        return {split: torch.from_numpy(logits) for split, logits in found.items()}

    def gap(self, judge: Judge) -> Iterator[dict[str, Any]]:
        """How far the oracle that shares the keys lies from the one whose keys never saw the class."""
        if judge.never is None:
            return
        v, kv = judge.accuracies(judge.oracle), judge.logits_accuracies(judge.never)
        yield {
            **{f"{name}_{kind}": float(found[name]) for kind, found in (("v", v), ("kv", kv)) for name in GAP},
            "tow": tow(v, kv),
            "js_forget": judge.divergence(judge.oracle, judge.never),
        }


GAP = ("train_forget", "train_retain", "test_forget", "test_retain", "test")


def contrast(weight: float) -> str:
    """Names an order by contrast."""
    return f"contrast {weight:g}"


def emptied(weights: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """Weights (c * m, v) whose masked pairs (c, m) are zero."""
    kept = weights.clone()
    kept[torch.from_numpy(mask.ravel())] = 0
    return kept


def without(features: Any, mask: NDArray[np.bool_]) -> Tensor:
    """Codes (n, c), NO_VOTE where the pair is masked."""
    codes = features.codes.numpy()
    gone = mask[np.arange(mask.shape[0]), codes]
    return torch.from_numpy(np.where(gone, np.int16(NO_VOTE), codes))


def remembered(passes: Iterator[Tensor], into: list[Tensor]) -> Iterator[Tensor]:
    """Pass on, and keep."""
    for weights in passes:
        into.append(weights)
        yield weights


def finish(task: Task) -> Facts:
    """One table of all units for each kind."""
    marks = task.output.marks()
    for table in COMPARE_TABLES:
        parts = [task.output.path / table / f"{unit}.parquet" for unit in marks]
        compact(parts, task.output.path / f"{table}.parquet")
    return {"classes": [mark["class"] for mark in marks.values()], "units": list(marks.values())}
