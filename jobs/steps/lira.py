"""Step: U-LiRA, by many cheap heads on cached codes; a batch of heads of one class a unit.

A head learns from the class and a random half of the other items; its oracle from that half alone. Each head then
forgets the class by every method, and what it says of the class's items is kept.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import controls, metrics, orders, stopping
from dkvb.baselines import ForgetTask
from dkvb.bottleneck import decode
from dkvb.counts import count_codes
from dkvb.values import CodeFeatures, fit_many_values
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.halves import U_LIRA, attack_rows, half, members
from jobs.comparison.heads import ValuesHead
from jobs.comparison.masked_class import emptied, without
from jobs.comparison.masks import SweptBottleneck
from jobs.comparison.methods import tuned
from jobs.kinds.lira import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import use_one_core
from store import arrays
from store.columns import ATTACKS
from store.layout import LIRA_HEADS
from store.tables import write_rows

METHODS = tuple(method.name for method in (methods.NONE, methods.UVA_RULE, methods.SCRUB, methods.RETRAIN))
"""What is done with a head; the last stands for its oracle."""

MASKS = (methods.UVA_RULE, methods.UVE_ALL, methods.RANDOM)
"""Masks whose items fall to their next-nearest keys; UvA's is that of the rule, and the random one is as large."""

EVERY = (
    methods.NONE.name,
    *(method.name for method in (*MASKS, methods.UVA_ZERO, methods.UVA_DROP, methods.COLUMN, methods.LOGIT)),
    *(method.name for method in methods.GRADIENT),
    methods.RETRAIN.name,
)
"""The same where every method is asked for. The other masks are UvA's by the rule; none is chosen on a head's items."""


def methods_of(*, every: bool) -> tuple[str, ...]:
    """What is done with a head, in the order of the margins."""
    return EVERY if every else METHODS


def prepare(task: Task[Asks]) -> list[str]:
    """The margins of the class's items under every head."""
    heads, wanted = task.asks.heads, inputs.wanted_classes(task)
    labels = inputs.labels(task, "train")
    for k in wanted:
        items = len(members(labels[labels >= 0], k, items=task.asks.items, seed=task.asks.seed)[0])
        arrays.create(task.output.data, f"margins/{k:05d}", (heads, len(methods_of(every=task.asks.every)), items))
    return [f"{k:05d}-{start:05d}" for k in wanted for start in range(0, heads, LIRA_HEADS)]


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
        names = methods_of(every=asks.every)
        baselines = {
            method.name: tuned(marks, head, method, forget=k)[0] for method in methods.GRADIENT if method.name in names
        }
        masks = masks_of(codes[out], items, asks)
        codes_under = items.codes([*masks.values()], splits=["train"])
        masked = {name: under["train"][out] for name, under in zip(masks, codes_under, strict=True)}
        margins = np.empty((count, len(names), len(out)), np.float32)
        for i in range(count):
            weights = trained["none"][i].reshape(-1, v)
            used = torch.cat([torch.arange(len(out)), len(out) + halves[:, i].nonzero().flatten()])
            features = CodeFeatures(codes[rows[used]], m)
            request = ForgetTask(features, labels[rows[used]], weights, torch.arange(len(out)))
            models = {methods.NONE.name: (codes[out], weights)} | {name: (own, weights) for name, own in masked.items()}
            for name, baseline in baselines.items():
                kept = stopping.best_epoch(request, baseline.unlearn(request, seed=asks.seed))
                models[name] = codes[out], kept.weights
            models[methods.RETRAIN.name] = codes[out], trained["retrain"][i].reshape(-1, v)
            if asks.every:
                mask = masks[methods.UVA_RULE.name]
                models[methods.UVA_ZERO.name] = codes[out], emptied(weights, mask)
                models[methods.UVA_DROP.name] = without(codes[out], mask), weights
                models[methods.COLUMN.name] = codes[out], controls.without_column(weights, [k])
            logits = {
                name: decode(selected, values.reshape(codes.shape[1], m, v))
                for name, (selected, values) in models.items()
            }
            if asks.every:
                logits[methods.LOGIT.name] = controls.without_logit(logits[methods.NONE.name], [k])
            for j, name in enumerate(names):
                margins[i, j] = metrics.margins(logits[name], labels[out]).numpy()
        arrays.write(task.output.data, f"margins/{k:05d}", margins, start=start)
        return {"class": k, "heads": count, "items": len(out), "others": len(others)}

    return unlearn_batch


def masks_of(codes: Tensor, items: SweptBottleneck, asks: Asks) -> Mapping[str, NDArray[np.bool_]]:
    """Masks (c, m) by method; UvA's by the rule alone unless every method is asked for.

    codes: (n_f, c) of the class's items.
    """
    selectable = items.bottleneck.selectable
    hits = count_codes(codes, selectable.shape[1]).numpy()
    order = orders.by_activation(hits)
    rule = order.mask(order.smallest(asks.tau))
    if not asks.every:
        return {methods.UVA_RULE.name: rule}
    like = controls.random_mask(torch.from_numpy(rule), selectable, seed=asks.seed)
    return dict(zip((method.name for method in MASKS), (rule, hits > 0, like.numpy()), strict=True))


def finish(task: Task[Asks]) -> Facts:
    """The attack on every method, and on oracles against oracles: what no attack can tell apart."""
    rows = []
    names, asks = inputs.read_manifest(task).classes, task.asks
    for k in inputs.wanted_classes(task):
        margins = torch.from_numpy(arrays.read(task.output.data, f"margins/{k:05d}"))
        by_method = dict(zip(methods_of(every=asks.every), margins.unbind(1), strict=True))
        about = {"class": k, "name": names[k], "seed": asks.seed, "head": ValuesHead.name, "attack": U_LIRA}
        about["digest"] = task.output.digest
        rows += attack_rows(about, by_method, interval=asks.every, paired=True)
    write_rows(task.output.path / "attacks.parquet", rows, ATTACKS)
    return {"rows": len(rows), "heads": task.asks.heads, "items": task.asks.items}
