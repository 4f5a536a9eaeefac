"""Step: what one request costs by every method, on this machine: FLOPs, seconds, memory, bytes; one unit.

It runs alone or beside others as the cluster has it: timings are this machine's, as busy as it was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb import baselines, costs, flops, orders, stopping
from dkvb.backbones import load_backbone
from dkvb.baselines import Baseline, ForgetTask
from dkvb.flops import Flops
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison import methods
from jobs.comparison.heads import Head, LinearHead, ValuesHead, read_bottleneck
from jobs.comparison.masked_class import MaskedClass
from jobs.comparison.masks import SweptBottleneck
from jobs.comparison.methods import ForgetItems, tuned
from jobs.comparison.solved import SolvedHead, read_solved
from jobs.kinds.costs import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import use_cores
from store import arrays
from store.columns import COSTS
from store.tables import write_rows

SOLVED_FOR = "-lda"
"""End of the names of heads that are solved for."""

MASKS = (methods.UVA.name, methods.UVE.name)
"""Methods for whose sake there is a bottleneck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One method's request."""

    head: str
    method: str
    work: Callable[[], object]
    flops: Flops | None
    """On cached codes or embeddings; None where they are not counted."""
    images: int
    """Passes of an image through backbone and coding that it needs where nothing is cached."""
    bytes_read: int
    """Of the arrays it reads, as they lie in memory."""


def prepare(task: Task[Asks]) -> list[str]:
    """One unit: timings beside each other would disturb each other."""
    return ["costs"]


def open_work(task: Task[Asks]) -> Work:
    """Hold both heads; carry out every request several times."""
    use_cores()

    def measure_all(unit: str) -> Facts:
        k = inputs.wanted_classes(task)[0]
        name = inputs.read_manifest(task).classes[k]
        backbone = load_backbone(task.asks.backbone, seed=task.asks.drawn or 0)
        bottleneck = read_bottleneck(task)
        c, m = bottleneck.selectable.shape
        size = {"c": c, "d_z": bottleneck.projection.shape[1], "d_k": bottleneck.projection.shape[2], "m": m}
        pixels: Any = backbone.facts["size"]
        image = {"linear": flops.backbone(backbone.module, (3, *pixels))}
        image["values"] = image["linear"] + flops.coding(**size)
        linear_head, values_head = LinearHead.read(task), ValuesHead.read(task)
        out = (values_head.labels["train"] == k).nonzero().flatten()
        requests = [
            *gradient_costs(task, linear_head, out),
            *gradient_costs(task, values_head, out),
            *mask_costs(task, values_head, out, k),
            *choosing_costs(task, values_head, k),
            *solved_costs(task, out),
        ]
        took = {(cost.head, cost.method): costs.measure(cost.work) for cost in requests}
        retrain = methods.RETRAIN.name
        again = {cost.head: cost.flops.total for cost in requests if cost.method == retrain and cost.flops}
        rows = []
        for cost in requests:
            taken, linear = took[cost.head, cost.method], took[LinearHead.name, retrain]
            counted, pass_of_image = cost.flops, image[cost.head.removesuffix(SOLVED_FOR)]
            masks_pay = costs.break_even(
                train_seconds=bottleneck_seconds(task), retrain_seconds=linear.median, unlearn_seconds=taken.median
            )
            rows.append(
                {
                    "class": k,
                    "name": name,
                    "seed": task.asks.seed,
                    "head": cost.head,
                    "method": cost.method,
                    "flops_forward": counted and counted.forward,
                    "flops_backward": counted and counted.backward,
                    "flops_uncached": counted and counted.total + cost.images * pass_of_image,
                    "bytes_read": cost.bytes_read,
                    "flops_ratio": counted and ratio(again[cost.head], counted.total),
                    "digest": task.output.digest,
                    "seconds": taken.median,
                    "seconds_least": taken.least,
                    "seconds_most": taken.most,
                    "peak_bytes": taken.peak_bytes,
                    "retrain_ratio": took[cost.head, retrain].median / taken.median,
                    "requests_to_pay": masks_pay if cost.method in MASKS else None,
                }
            )
        write_rows(task.output.path / "costs.parquet", rows, COSTS)
        return {"rows": len(rows), "flops of an image": image, "bottleneck_seconds": bottleneck_seconds(task)}

    return measure_all


def ratio(whole: int, part: int) -> float | None:
    """How many times less; nothing for what needs no FLOP."""
    return whole / part if part else None


def bottleneck_seconds(task: Task[Asks]) -> float:
    """What the bottleneck took beside a linear head: keys, codes and values, as their steps were run."""
    kinds = ("keys", "codes_train", "values")
    return sum(float(task.inputs[kind].provenance()["times"]["seconds"]) for kind in kinds)


def gradient_costs(task: Task[Asks], head: Head[Any], out: Tensor) -> Iterator[Cost]:
    """The gradient methods with their chosen settings, for as many epochs as they ran; and retraining.

    out: (n_f,) int64, rows of the class.
    """
    request, seed = head.forget_task(out), task.asks.seed
    n, n_f = len(request.labels), len(out)
    n_r = n - n_f
    held = head.train_bytes + head.weights.nbytes
    marks = task.inputs["tuning"].marks()
    for method in methods.GRADIENT:
        baseline, _ = tuned(marks, head, method, forget=int(request.labels[out[0]]))
        epochs = len(stopping.best_epoch(request, baseline.unlearn(request, seed=seed)).history)
        yield Cost(
            head=head.name,
            method=method.name,
            work=partial(run_epochs, baseline, request, epochs, seed=seed),
            flops=baseline.flops(head.item_flops, retain=n_r, forget=n_f, epochs=epochs),
            images=n,
            bytes_read=held,
        )
    yield Cost(
        head=head.name,
        method=methods.RETRAIN.name,
        work=partial(baselines.retrain, request, head.settings, seed=seed),
        flops=head.item_flops * (head.settings.epochs * n_r),
        images=n_r,
        bytes_read=held,
    )


def run_epochs(baseline: Baseline, request: ForgetTask, epochs: int, *, seed: int) -> object:
    """Unlearn for some epochs, and keep nothing."""
    return [None for _ in islice(baseline.unlearn(request, seed=seed), epochs)]


def mask_costs(task: Task[Asks], head: ValuesHead, out: Tensor, k: int) -> Iterator[Cost]:
    """A mask by either method, from the store to the mask; no gradient, and no forward pass where codes are cached."""
    codes, path = head.codes["train"][out].numpy(), task.path("counts")
    hits = class_hits(arrays.open_array(path, "counts"), k)

    def uva() -> object:
        order = orders.by_activation(class_hits(arrays.open_array(path, "counts"), k))
        return order.mask(order.smallest(task.asks.tau))

    def uve() -> object:
        order = orders.by_example(codes, hits, seed=task.asks.seed)
        return order.mask(order.available)

    nothing = Flops(0, 0)
    by_counts, by_codes = MASKS
    yield Cost(head=head.name, method=by_counts, work=uva, flops=nothing, images=0, bytes_read=hits.nbytes)
    yield Cost(head=head.name, method=by_codes, work=uve, flops=nothing, images=len(codes), bytes_read=codes.nbytes)


def choosing_costs(task: Task[Asks], head: ValuesHead, k: int) -> Iterator[Cost]:
    """A mask by either method at the N that is best on the training items: the sweep that finds it is part of it."""
    if task.asks.choosing is None:
        return
    counts, items = arrays.open_array(task.path("counts"), "counts"), SweptBottleneck.of(task)
    hits, labels = class_hits(counts, k), head.labels["train"].numpy()
    own = labels == k
    masks = MaskedClass(
        head=head,
        items=items,
        k=k,
        forget={"train": own},
        hits=hits,
        others=total_hits(counts) - hits,
        grids=task.asks.choosing,
        weights=(),
        taus=(),
        tau=task.asks.tau,
        seed=task.asks.seed,
    )
    codes = head.codes["train"][torch.from_numpy(np.flatnonzero(own))].numpy()
    forget = ForgetItems(codes=codes, hits=hits, others=masks.others, seed=task.asks.choosing.example_seed)

    def sweep(method: methods.MaskMethod) -> object:
        budgeted = masks.budgeted(method, method.order(forget))
        (predicted,) = items.predictions([budgeted], [[k]], splits=["train"]).every["train"]
        right = predicted == labels
        best = stopping.best_model(right[:, own].mean(1).tolist(), right[:, ~own].mean(1).tolist())
        return budgeted.order.mask(budgeted.grid[best])

    for method in (methods.UVA, methods.UVE):
        yield Cost(
            head=head.name,
            method=f"{method.name} by sweep",
            work=partial(sweep, method),
            flops=None,
            images=len(labels),
            bytes_read=hits.nbytes + head.train_bytes,
        )


def solved_costs(task: Task[Asks], out: Tensor) -> Iterator[Cost]:
    """Subtraction, and new sums, on heads that are solved for; out: (n_f,) int64, rows of the class."""
    if task.asks.solved is None:
        return
    for name, solved in read_solved(task, task.asks.solved).items():
        head = solved.head
        rest = head.forget_task(out).retain
        item = head.train_bytes // len(head.labels["train"])
        held = 8 * solved.sums.moments.numel()
        kinds = ((methods.EXACT, solved.without, out, held), (methods.RETRAIN, solved.anew, rest, 0))
        for method, solve, rows, sums in kinds:
            yield Cost(
                head=name,
                method=method.name,
                work=partial(solve, rows),
                flops=solve_flops(solved, len(rows)),
                images=len(rows),
                bytes_read=item * len(rows) + sums,
            )


def solve_flops(solved: SolvedHead[Any], items: int) -> Flops:
    """By formula, as torch's counter knows no Cholesky factor: products of the items, the factor, all weights."""
    d, (features, v) = len(solved.sums.moments), solved.head.weights.shape
    width = 1 if solved.head.codebooks == 1 else d // solved.head.codebooks
    return Flops(2 * items * d * d + d**3 // 3 + 2 * features * width * v, 0)


def finish(task: Task[Asks]) -> Facts:
    """What was counted."""
    return dict(task.output.marks()["costs"])
