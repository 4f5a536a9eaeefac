"""Step: U-LiRA, by many cheap heads on cached codes; a batch of heads of one class a unit.

A head learns from the class and a random half of the other items; its oracle from that half alone. Each head then
forgets the class by every method, and what it says of the class's items is kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dkvb import metrics, orders, stopping, ulira
from dkvb.baselines import ForgetTask
from dkvb.bottleneck import decode
from dkvb.counts import count_codes
from dkvb.seeds import drawn
from dkvb.values import CodeFeatures, fit_many_values
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.heads import ValuesHead
from jobs.comparison.masks import SweptBottleneck
from jobs.comparison.methods import tuned
from jobs.rows import without_nan
from jobs.step import Facts, Inputs, Task, Work
from jobs.worker import use_one_core
from store import arrays
from store.columns import ATTACKS
from store.layout import LIRA_HEADS
from store.tables import write_rows

VERSION = 1
LEASE_S = 86400
ON_GPU = False
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


METHODS = tuple(method.name for method in (methods.NONE, methods.UVA_RULE, methods.SCRUB, methods.RETRAIN))
"""What is done with a head; the last stands for its oracle."""


def prepare(task: Task[Asks]) -> list[str]:
    """The margins of the class's items under every head."""
    heads, wanted = task.asks.heads, inputs.wanted_classes(task)
    labels = inputs.labels(task, "train")
    for k in wanted:
        items = len(members(labels[labels >= 0], k, items=task.asks.items, seed=task.asks.seed)[0])
        arrays.create(task.output.data, f"margins/{k:05d}", (heads, len(METHODS), items))
    return [f"{k:05d}-{start:05d}" for k in wanted for start in range(0, heads, LIRA_HEADS)]


def members(labels: Tensor, k: int, *, items: int, seed: int) -> tuple[Tensor, Tensor]:
    """The items that heads are trained on: rows of the class, rows of the others; drawn by the seed."""
    rows = drawn(len(labels), items, seed, "lira items")
    of_class = labels[rows] == k
    return rows[of_class], rows[~of_class]


def open_work(task: Task[Asks]) -> Work:
    """Hold the codes; train and unlearn a batch of heads at a time."""
    use_one_core()
    asks, head, items = task.asks, ValuesHead.read(task), SweptBottleneck.of(task)
    codes, labels, m, v = head.codes["train"], head.labels["train"], head.m, head.v
    marks = task.inputs["tuning"].marks()

    def unlearn_batch(unit: str) -> Facts:
        k, start = (int(part) for part in unit.split("-"))
        out, others = members(labels, k, items=asks.items, seed=asks.seed)
        rows = torch.cat([out, others])
        count = min(LIRA_HEADS, asks.heads - start)
        halves = torch.stack([half(len(others), asks.seed, k, start + i) for i in range(count)], dim=1)
        trained = {}
        for kind in ("none", "retrain"):
            learns = torch.cat([torch.full((len(out), count), kind == "none"), halves])
            trained[kind] = fit_many_values(codes[rows], labels[rows], learns, head.settings, m=m, v=v)
        baseline, _ = tuned(marks, head, methods.SCRUB, forget=k)
        order = orders.by_activation(count_codes(codes[out], m).numpy())
        mask = order.mask(order.smallest(asks.tau))
        masked = items.codes([mask], splits=["train"])[0]["train"][out]
        margins = np.empty((count, len(METHODS), len(out)), np.float32)
        for i in range(count):
            weights = trained["none"][i].reshape(-1, v)
            used = torch.cat([torch.arange(len(out)), len(out) + halves[:, i].nonzero().flatten()])
            features = CodeFeatures(codes[rows[used]], m)
            request = ForgetTask(features, labels[rows[used]], weights, torch.arange(len(out)))
            scrubbed = stopping.best_epoch(request, baseline.unlearn(request, seed=asks.seed)).weights
            models = (codes[out], trained["none"][i]), (masked, trained["none"][i]), (codes[out], scrubbed)
            for j, (selected, values) in enumerate((*models, (codes[out], trained["retrain"][i]))):
                logits = decode(selected, values.reshape(codes.shape[1], m, v))
                margins[i, j] = metrics.margins(logits, labels[out]).numpy()
        arrays.write(task.output.data, f"margins/{k:05d}", margins, start=start)
        return {"class": k, "heads": count, "items": len(out), "others": len(others)}

    return unlearn_batch


def half(n: int, seed: int, k: int, head: int) -> Tensor:
    """(n,) bool, a random half."""
    chosen_rows = torch.zeros(n, dtype=torch.bool)
    chosen_rows[drawn(n, n // 2, seed, "lira half", k, head)] = True
    return chosen_rows


def finish(task: Task[Asks]) -> Facts:
    """The attack on every method, and on oracles against oracles: what no attack can tell apart."""
    rows = []
    names = inputs.read_manifest(task).classes
    for k in inputs.wanted_classes(task):
        margins = torch.from_numpy(arrays.read(task.output.data, f"margins/{k:05d}"))
        by_method = dict(zip(METHODS, margins.unbind(1), strict=True))
        oracle = by_method.pop(methods.RETRAIN.name)
        one, other = oracle[0::2], oracle[1::2]
        beside = measured(one, other)
        scores = {method: measured(unlearned, oracle) for method, unlearned in by_method.items()}
        about = {"class": k, "name": names[k], "seed": task.asks.seed, "head": ValuesHead.name}
        for method, by_measure in {**scores, methods.RETRAIN.name: beside}.items():
            for measure, value in by_measure.items():
                attack = {"method": method, "attack": "u-lira", "measure": measure}
                values = {"value": value, "oracle": beside[measure], "digest": task.output.digest}
                rows.append(without_nan({**about, **attack, **values}))
    write_rows(task.output.path / "attacks.parquet", rows, ATTACKS)
    return {"rows": len(rows), "heads": task.asks.heads, "items": task.asks.items}


def measured(unlearned: Tensor, oracle: Tensor) -> dict[str, float]:
    """What tells unlearned heads from oracles, on margins (heads, items)."""
    attack = ulira.ulira(unlearned, oracle)
    return {
        "auc": attack.auc,
        "tpr at 0.1 % fpr": attack.tpr,
        "klom": float(metrics.klom(unlearned, oracle).mean()),
    }
