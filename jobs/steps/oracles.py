"""Step: Oracle-KV, the model whose keys and values never saw a class; a class a unit.

Keys fitted on all training items have seen the class even where its values are gone; what that is worth is the
difference between the oracle that shares the keys (in `jobs.steps.compare`) and this one.
"""

from dataclasses import dataclass, field

import torch

from dkvb.bottleneck import decode
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.keys import KeySettings, fit_codebooks, sampled
from dkvb.values import fit_values
from jobs import inputs
from jobs.step import IF_SET, SPLITS, Facts, Inputs, Task, Work
from jobs.worker import use_cores
from store import arrays

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["manifest", "train", "test", "values"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """For which classes, and how their keys are fitted: as `jobs.steps.keys` is asked for those of all items."""

    c: int
    m: int
    d_k: int
    sample: int | None
    settings: KeySettings
    seed: int
    classes: list[str] | None
    """Names; None: all that have training items."""
    selectable: str
    """ "used": in evaluation only keys that training used; "all": every key."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


def prepare(task: Task[Asks]) -> list[str]:
    """The logits of both splits, class by class."""
    wanted = inputs.wanted_classes(task)
    v = len(inputs.read_manifest(task).classes)
    for split in SPLITS:
        n = int((inputs.labels(task, split) >= 0).sum())
        arrays.create(task.output.data, f"oracle_logits_{split}", (len(wanted), n, v))
    return [f"{place:05d}" for place in range(len(wanted))]


def open_work(task: Task[Asks]) -> Work:
    """Hold the embeddings; fit a model without one class."""
    use_cores()
    asks, wanted = task.asks, inputs.wanted_classes(task)
    labels = {split: inputs.labels(task, split) for split in SPLITS}
    z = {split: inputs.embeddings(task, split)[labels[split] >= 0] for split in SPLITS}
    labels = {split: labels[split][labels[split] >= 0] for split in SPLITS}
    value_settings = inputs.settings_of(task, "values")
    v = len(inputs.read_manifest(task).classes)

    def fit_without(unit: str) -> Facts:
        k = wanted[int(unit)]
        retain = labels["train"] != k
        z_init = z["train"][retain]
        z_init = z_init[sampled(len(z_init), asks.sample, seed=asks.seed)]
        projection, keys = fit_codebooks(
            z_init, range(asks.c), (asks.m, asks.d_k), seed=asks.seed, settings=asks.settings
        )
        codes = encode(z["train"], projection, keys)
        values, _ = fit_values(codes[retain], labels["train"][retain], value_settings, m=asks.m, v=v, seed=asks.seed)
        used = count_codes(codes[retain], asks.m) > 0
        selectable = used if asks.selectable == "used" else torch.ones_like(used)
        for split in SPLITS:
            logits = decode(encode(z[split], projection, keys, selectable=selectable), values)
            arrays.write(task.output.data, f"oracle_logits_{split}", logits[None].numpy(), start=int(unit))
        return {"class": k, "items": int(retain.sum())}

    return fit_without


def finish(task: Task[Asks]) -> Facts:
    """The classes, in the order of the arrays."""
    return {"classes": inputs.wanted_classes(task)}
