"""Step: Oracle-KV, the model whose keys and values never saw a class; a class a unit.

Keys fitted on all training items have seen the class even where its values are gone; what that is worth is the
difference between the oracle that shares the keys (in `jobs.steps.compare`) and this one.
"""

import torch

from dkvb.bottleneck import decode
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.keys import KeySettings, fit_codebooks, sampled
from dkvb.values import fit_values
from jobs import inputs
from jobs.step import Facts, Task, Work
from jobs.worker import use_cores
from store import arrays

VERSION = 1
LEASE_S = 86400


def prepare(task: Task) -> list[str]:
    """The logits of both splits, class by class."""
    wanted = inputs.wanted_classes(task)
    v = len(inputs.read_manifest(task).classes)
    for split in ("train", "test"):
        n = int((inputs.labels(task, split) >= 0).sum())
        arrays.create(task.output.data, f"oracle_logits_{split}", (len(wanted), n, v))
    return [f"{place:05d}" for place in range(len(wanted))]


def open_work(task: Task) -> Work:
    """Hold the embeddings; fit a model without one class."""
    use_cores()
    spec, wanted = task.spec, inputs.wanted_classes(task)
    labels = {split: inputs.labels(task, split) for split in ("train", "test")}
    z = {split: inputs.embeddings(task, split)[labels[split] >= 0] for split in labels}
    labels = {split: own[own >= 0] for split, own in labels.items()}
    settings, key_settings = inputs.settings_of(task, "values"), KeySettings(**spec["settings"])
    v = len(inputs.read_manifest(task).classes)

    def fit_without(unit: str) -> Facts:
        k = wanted[int(unit)]
        kept = labels["train"] != k
        own = z["train"][kept]
        own = own[sampled(len(own), spec["sample"], seed=spec["seed"])]
        size = spec["m"], spec["d_k"]
        projection, keys = fit_codebooks(own, range(spec["c"]), size, seed=spec["seed"], settings=key_settings)
        codes = encode(z["train"], projection, keys)
        values, _ = fit_values(
            codes[kept],
            labels["train"][kept],
            settings,
            m=spec["m"],
            v=v,
            seed=spec["seed"],
        )
        used = count_codes(codes[kept], spec["m"]) > 0
        selectable = used if spec["selectable"] == "used" else torch.ones_like(used)
        for split in ("train", "test"):
            logits = decode(encode(z[split], projection, keys, selectable=selectable), values)
            arrays.write(task.output.data, f"oracle_logits_{split}", logits[None].numpy(), start=int(unit))
        return {"class": k, "items": int(kept.sum())}

    return fit_without


def finish(task: Task) -> Facts:
    """The classes, in the order of the arrays."""
    return {"classes": inputs.wanted_classes(task)}
