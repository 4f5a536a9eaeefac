"""Step: Oracle-KV, the model whose keys and values never saw a class; a class a unit.

Keys fitted on all training items have seen the class even where its values are gone; what that is worth is the
difference between the oracle that shares the keys (in `jobs.steps.compare`) and this one.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dkvb.bottleneck import decode
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.keys import KeySettings, fit_codebooks, item_codebooks, sampled
from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.sums import SelectedKeys, Sums, whole_keys
from dkvb.values import fit_values
from jobs import inputs
from jobs.memory import PROCESS, Sizes
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
    items: bool = field(default=False, metadata=IF_SET)
    """Whether keys are random items, and none is fitted."""
    trained: bool = field(default=True, metadata=IF_SET)
    """Whether values are trained on these keys."""
    lda: LdaSettings | None = field(default=None, metadata=IF_SET)
    """How values are solved for on them; None: they are not."""

    @property
    def written(self) -> list[str]:
        """Arrays that are written, by split."""
        trained = ["oracle_logits"] if self.trained else []
        return [*trained, "oracle_lda_logits"] if self.lda else trained


def memory(asks: Asks, sizes: Sizes) -> int:
    """Embeddings of both splits, and a training or a solve."""
    solve = 0 if asks.lda is None else sizes.solve + 2 * sizes.table
    return PROCESS + solve + 4 * (sizes.train + sizes.test) * sizes.d_z + sizes.training + 2 * sizes.bottleneck


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
