"""Step: what one request costs by every method, on this machine: FLOPs, seconds, memory, bytes; one unit.

It runs alone or beside others as the cluster has it: timings are this machine's, as busy as it was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch import Tensor

from dkvb import baselines, costs, flops, orders, trials
from dkvb.backbones import BackboneSpec, load_backbone
from dkvb.flops import Flops
from jobs import inputs
from jobs.classes import class_hits
from jobs.comparison.heads import HEADS, Head, read_bottleneck, read_head, tuned
from jobs.step import IF_SET, Facts, Inputs, Task, Work
from jobs.worker import use_cores
from store import arrays
from store.artefacts import read_json
from store.layout import COSTS
from store.tables import write_rows

VERSION = 1
LEASE_S = 86400
INPUTS = Inputs([*inputs.MODEL, "tuning"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Of which class the costs are measured, its first, and with which backbone."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of the class's activations that its mask holds."""
    backbone: BackboneSpec
    drawn: int | None
    """The seed of random weights; None for others."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One method's request."""

    head: str
    method: str
    work: Callable[[], object]
    flops: Flops
    """On cached codes or embeddings."""
    images: int
    """Passes of an image through backbone and coding that it needs where nothing is cached."""
    bytes_read: int
    """Of the arrays it reads, as they lie in memory."""


def prepare(task: Task) -> list[str]:
    """One unit: timings beside each other would disturb each other."""
    return ["costs"]


def open_work(task: Task) -> Work:
    """Hold both heads; carry out every request several times."""
    use_cores()

    def measure_all(unit: str) -> Facts:
        k = inputs.wanted_classes(task)[0]
        name = inputs.read_manifest(task).classes[k]
        backbone = load_backbone(BackboneSpec(**task.spec["backbone"]), seed=task.spec["drawn"] or 0)
        bottleneck = read_bottleneck(task)
        c, m = bottleneck.selectable.shape
        size = {"c": c, "d_z": bottleneck.projection.shape[1], "d_k": bottleneck.projection.shape[2], "m": m}
        pixels: Any = backbone.facts["size"]
        image = {"linear": flops.backbone(backbone.module, (3, *pixels))}
        image["values"] = image["linear"] + flops.coding(**size)
        found: list[Cost] = []
        for head_name in HEADS:
            head = read_head(task, head_name)
            out = (head.labels["train"] == k).nonzero().flatten()
            found += [
                *gradient_costs(task, head, out),
                *(mask_costs(task, head, out, k) if head_name == "values" else ()),
            ]
        took = {(cost.head, cost.method): costs.measure(cost.work) for cost in found}
        again = {cost.head: cost.flops.total for cost in found if cost.method == "retrain"}
        rows = []
        for cost in found:
            taken, linear = took[cost.head, cost.method], took["linear", "retrain"]
            masks_pay = costs.break_even(
                train_seconds=bottleneck_seconds(task), retrain_seconds=linear.median, unlearn_seconds=taken.median
            )
            rows.append(
                {
                    "class": k,
                    "name": name,
                    "seed": task.spec["seed"],
                    "head": cost.head,
                    "method": cost.method,
                    "flops_forward": cost.flops.forward,
                    "flops_backward": cost.flops.backward,
                    "flops_uncached": cost.flops.total + cost.images * image[cost.head],
                    "bytes_read": cost.bytes_read,
                    "flops_ratio": ratio(again[cost.head], cost.flops.total),
                    "digest": task.output.digest,
                    "seconds": taken.median,
                    "seconds_least": taken.least,
                    "seconds_most": taken.most,
                    "peak_bytes": taken.peak_bytes,
                    "retrain_ratio": took[cost.head, "retrain"].median / taken.median,
                    "requests_to_pay": masks_pay if cost.method in ("uva", "uve") else None,
                }
            )
        write_rows(task.output.path / "costs.parquet", rows, COSTS)
        return {"rows": len(rows), "flops of an image": image, "bottleneck_seconds": bottleneck_seconds(task)}

    return measure_all


def ratio(whole: int, part: int) -> float | None:
    """How many times less; nothing for what needs no FLOP."""
    return whole / part if part else None


def bottleneck_seconds(task: Task) -> float:
    """What the bottleneck took beside a linear head: keys, codes and values, as their steps were run."""
    kinds = ("keys", "codes_train", "values")
    return sum(float(read_json(task.inputs[kind].path / "provenance.json")["times"]["seconds"]) for kind in kinds)


def gradient_costs(task: Task, head: Head, out: Tensor) -> Iterator[Cost]:
    """The gradient methods with their chosen settings, for as many epochs as they ran; and retraining."""
    problem, seed = head.problem(out), task.spec["seed"]
    n, n_f, v = len(problem.labels), len(out), head.weights.shape[1]
    n_r = n - n_f
    item = flops.value_head(head.codebooks, v) if head.name == "values" else flops.linear_head(len(head.weights) - 1, v)
    held = features_bytes(head) + head.weights.nbytes
    tried = task.inputs["tuning"].marks()
    for method in trials.METHODS:
        settings, _ = tuned(tried, head, method, forget=int(problem.labels[out[0]]))
        epochs = len(trials.best_epoch(problem, trials.run(problem, settings, seed=seed)).history)
        used: Flops
        match settings:
            case baselines.Scrub():
                passes = item * (epochs * n_r + min(epochs, settings.max_epochs) * n_f)
                used = passes + Flops(item.forward * n, 0)  # the teacher
            case baselines.NegGrad():
                batches = -(-n_r // settings.batch)
                used = item * (epochs * (n_r + batches * min(settings.batch, n_f)))
            case baselines.FineTune():
                used = item * (epochs * n_r)
            case baselines.Dampen():
                used = item * (n + n_f)

        def work(settings: trials.Settings = settings, epochs: int = epochs) -> object:
            return [None for _ in islice(trials.run(problem, settings, seed=seed), epochs)]

        yield Cost(head=head.name, method=method, work=work, flops=used, images=n, bytes_read=held)
    once = item * (head.settings.epochs * n_r)

    def again() -> object:
        return baselines.retrain(problem, head.settings, seed=seed)

    yield Cost(head=head.name, method="retrain", work=again, flops=once, images=n_r, bytes_read=held)


def features_bytes(head: Head) -> int:
    """Of the training items as the head sees them."""
    features: Any = head.features["train"]
    return int(features.codes.nbytes if head.name == "values" else features.x.nbytes)


def mask_costs(task: Task, head: Head, out: Tensor, k: int) -> Iterator[Cost]:
    """A mask by either method, from the store to the mask; no gradient, and no forward pass where codes are cached."""
    codes: Any = head.features["train"]
    own, path = codes.codes[out].numpy(), task.path("counts")
    hits = class_hits(arrays.open_array(path, "counts"), k)

    def uva() -> object:
        order = orders.by_activation(class_hits(arrays.open_array(path, "counts"), k))
        return order.mask(order.smallest(task.spec["tau"]))

    def uve() -> object:
        order = orders.by_example(own, hits, seed=task.spec["seed"])
        return order.mask(order.available)

    nothing = Flops(0, 0)
    yield Cost(head="values", method="uva", work=uva, flops=nothing, images=0, bytes_read=hits.nbytes)
    yield Cost(head="values", method="uve", work=uve, flops=nothing, images=len(own), bytes_read=own.nbytes)


def finish(task: Task) -> Facts:
    """What was counted."""
    return dict(task.output.marks()["costs"])
