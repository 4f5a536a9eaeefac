"""Step: U-LiRA, by many cheap heads on cached codes; a batch of heads of one class a unit.

A head learns from the class and a random half of the other items; its oracle from that half alone. Each head then
forgets the class by every method, and what it says of the class's items is kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb import metrics, orders, trials, ulira
from dkvb.baselines import Problem
from dkvb.bottleneck import decode
from dkvb.counts import count_codes
from dkvb.seeds import drawn
from dkvb.values import CodeFeatures, fit_many_values
from jobs import inputs
from jobs.comparison.heads import read_head, tuned
from jobs.comparison.masks import Watched
from jobs.rows import without_nan
from jobs.step import Facts, Inputs, Task, Work
from jobs.worker import use_one_core
from store import arrays
from store.layout import ATTACKS, LIRA_HEADS
from store.tables import write_rows

VERSION = 1
LEASE_S = 86400
INPUTS = Inputs([*inputs.MODEL, "tuning"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How many heads are trained, on what, and for which classes."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of the class's activations that its mask holds."""
    heads: int
    """Trained with the class, and as many without."""
    items: int
    """Training items that they are trained on, drawn by the seed."""
    first: int
    """Of the classes only the first so many."""


METHODS = ("none", "uva by tau", "scrub", "retrain")
"""What is done with a head; the last stands for its oracle."""


def prepare(task: Task) -> list[str]:
    """The margins of the class's items under every head."""
    heads, wanted = task.spec["heads"], inputs.wanted_classes(task)
    labels = inputs.labels(task, "train")
    for k in wanted:
        items = len(members(labels[labels >= 0], k, task.spec)[0])
        arrays.create(task.output.data, f"margins/{k:05d}", (heads, len(METHODS), items))
    return [f"{k:05d}-{start:05d}" for k in wanted for start in range(0, heads, LIRA_HEADS)]


def members(labels: Tensor, k: int, spec: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The items that heads are trained on: rows of the class, rows of the others; drawn by the seed."""
    rows = drawn(len(labels), spec["items"], spec["seed"], "lira items")
    own = labels[rows] == k
    return rows[own], rows[~own]


def open_work(task: Task) -> Work:
    """Hold the codes; train and unlearn a batch of heads at a time."""
    use_one_core()
    spec, head, seen = task.spec, read_head(task, "values"), Watched.of(task)
    codes, labels = head.features["train"].codes, head.labels["train"]  # type: ignore[attr-defined]
    m, v = head.features["train"].m, head.weights.shape[1]  # type: ignore[attr-defined]
    tried = task.inputs["tuning"].marks()

    def unlearn_batch(unit: str) -> Facts:
        k, start = (int(part) for part in unit.split("-"))
        own, others = members(labels, k, spec)
        rows = torch.cat([own, others])
        count = min(LIRA_HEADS, spec["heads"] - start)
        halves = torch.stack([half(len(others), spec["seed"], k, start + i) for i in range(count)], dim=1)
        trained = {}
        for kind in ("none", "retrain"):
            learns = torch.cat([torch.full((len(own), count), kind == "none"), halves])
            trained[kind] = fit_many_values(codes[rows], labels[rows], learns, head.settings, m=m, v=v)
        settings, _ = tuned(tried, head, "scrub", forget=k)
        order = orders.by_activation(count_codes(codes[own], m).numpy())
        mask = order.mask(order.smallest(spec["tau"]))
        masked = seen.codes([mask], splits=["train"])[0]["train"][own]
        found = np.empty((count, len(METHODS), len(own)), np.float32)
        for i in range(count):
            weights = trained["none"][i].reshape(-1, v)
            used = torch.cat([torch.arange(len(own)), len(own) + halves[:, i].nonzero().flatten()])
            features = CodeFeatures(codes[rows[used]], m)
            problem = Problem(features, labels[rows[used]], weights, torch.arange(len(own)))
            scrubbed = trials.best_epoch(problem, trials.run(problem, settings, seed=spec["seed"])).weights
            models = (codes[own], trained["none"][i]), (masked, trained["none"][i]), (codes[own], scrubbed)
            for j, (selected, values) in enumerate((*models, (codes[own], trained["retrain"][i]))):
                logits = decode(selected, values.reshape(codes.shape[1], m, v))
                found[i, j] = metrics.margins(logits, labels[own]).numpy()
        arrays.write(task.output.data, f"margins/{k:05d}", found, start=start)
        return {"class": k, "heads": count, "items": len(own), "others": len(others)}

    return unlearn_batch


def half(n: int, seed: int, k: int, head: int) -> Tensor:
    """(n,) bool, a random half."""
    chosen_rows = torch.zeros(n, dtype=torch.bool)
    chosen_rows[drawn(n, n // 2, seed, "lira half", k, head)] = True
    return chosen_rows


def finish(task: Task) -> Facts:
    """The attack on every method, and on oracles against oracles: what no attack can tell apart."""
    rows = []
    names = inputs.read_manifest(task).classes
    for k in inputs.wanted_classes(task):
        margins = torch.from_numpy(arrays.read(task.output.data, f"margins/{k:05d}"))
        by_method = dict(zip(METHODS, margins.unbind(1), strict=True))
        oracle = by_method.pop("retrain")
        one, other = oracle[0::2], oracle[1::2]
        beside = measured(one, other)
        for method, own in (*by_method.items(), ("retrain", one)):
            for measure, value in (beside if method == "retrain" else measured(own, oracle)).items():
                about = {"class": k, "name": names[k], "seed": task.spec["seed"], "head": "values", "method": method}
                values = {"value": value, "oracle": beside[measure], "digest": task.output.digest}
                rows.append(without_nan({**about, "attack": "u-lira", "measure": measure, **values}))
    write_rows(task.output.path / "attacks.parquet", rows, ATTACKS)
    return {"rows": len(rows), "heads": task.spec["heads"], "items": task.spec["items"]}


def measured(unlearned: Tensor, oracle: Tensor) -> dict[str, float]:
    """What tells unlearned heads from oracles, on margins (heads, items)."""
    found = ulira.ulira(unlearned, oracle)
    return {
        "auc": found.auc,
        "tpr at 0.1 % fpr": found.tpr,
        "klom": float(metrics.klom(unlearned, oracle).mean()),
    }
