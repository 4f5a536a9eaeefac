"""Step: Oracle-KV, the model whose keys and values never saw a class; a class a unit.

Keys fitted on all training items have seen the class even where its values are gone; what that is worth is the
difference between the oracle that shares the keys (in `jobs.steps.compare`) and this one.
"""

import torch
from torch import Tensor

from dkvb.bottleneck import decode
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.keys import fit_codebooks, item_codebooks, sampled
from dkvb.lda import discriminants, lda_values
from dkvb.sums import SelectedKeys, Sums, whole_keys
from dkvb.values import fit_values
from jobs import inputs
from jobs.kinds.oracles import Asks
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import use_cores
from store import arrays


def prepare(task: Task[Asks]) -> list[str]:
    """The logits of both splits, class by class."""
    wanted = inputs.wanted_classes(task)
    v = len(inputs.read_manifest(task).classes)
    for split in SPLITS:
        n = int((inputs.labels(task, split) >= 0).sum())
        for name in task.asks.written:
            arrays.create(task.output.data, f"{name}_{split}", (len(wanted), n, v))
    return [f"{place:05d}" for place in range(len(wanted))]


def open_work(task: Task[Asks]) -> Work:
    """Hold the embeddings; fit a model without one class."""
    use_cores()
    asks, wanted = task.asks, inputs.wanted_classes(task)
    labels = {split: inputs.labels(task, split) for split in SPLITS}
    z = {split: inputs.embeddings(task, split)[labels[split] >= 0] for split in SPLITS}
    labels = {split: labels[split][labels[split] >= 0] for split in SPLITS}
    value_settings = inputs.settings_of(task, "values") if asks.trained else None
    v = len(inputs.read_manifest(task).classes)

    def fit_without(unit: str) -> Facts:
        k = wanted[int(unit)]
        retain = labels["train"] != k
        z_init = z["train"][retain]
        z_init = z_init[sampled(len(z_init), asks.sample, seed=asks.seed)]
        codebooks, size = range(asks.c), (asks.m, asks.d_k)
        if asks.items:
            projection, keys = item_codebooks(z_init, codebooks, size, seed=asks.seed)
        else:
            projection, keys = fit_codebooks(z_init, codebooks, size, seed=asks.seed, settings=asks.settings)
        codes = encode(z["train"], projection, keys)
        values: dict[str, Tensor] = {}
        if value_settings is not None:
            values["oracle_logits"], _ = fit_values(
                codes[retain], labels["train"][retain], value_settings, m=asks.m, v=v, seed=asks.seed
            )
        if asks.lda is not None:
            whole, _ = whole_keys(keys)
            sums = Sums.of(SelectedKeys.of(codes[retain], whole), labels["train"][retain], v=v)
            values["oracle_lda_logits"] = lda_values(discriminants(sums, asks.lda), whole)
        used = count_codes(codes[retain], asks.m) > 0
        selectable = used if asks.selectable == "used" else torch.ones_like(used)
        for split in SPLITS:
            selected = encode(z[split], projection, keys, selectable=selectable)
            for name, table in values.items():
                logits = decode(selected, table)
                arrays.write(task.output.data, f"{name}_{split}", logits[None].numpy(), start=int(unit))
        return {"class": k, "items": int(retain.sum())}

    return fit_without


def finish(task: Task[Asks]) -> Facts:
    """The classes, in the order of the arrays."""
    return {"classes": inputs.wanted_classes(task)}
