"""Step: projections and keys, a block of codebooks a unit; codebooks are independent, so blocks run in parallel."""

import torch

from dkvb.keys import KeySettings, fit_keys
from dkvb.projection import random_projection
from dkvb.seeds import generator
from dkvb.tiles import each
from jobs import data
from jobs.step import Facts, Task, Work, blocks, use_cores
from store import arrays
from store.layout import CODEBOOKS

VERSION = 2
LEASE_S = 86400


def prepare(task: Task) -> list[str]:
    """The two arrays, chunked by block of codebooks."""
    c, m, d_k = task.spec["c"], task.spec["m"], task.spec["d_k"]
    d_z = data.embeddings(task, "train", stop=1).shape[1]
    arrays.create(task.output.data, "projection", (c, d_z, d_k))
    arrays.create(task.output.data, "keys", (c, m, d_k))
    return blocks(c, CODEBOOKS)


def init_items(task: Task) -> torch.Tensor:
    """The embeddings the keys are fitted on: the training set, or a sample of it in manifest order."""
    z = data.embeddings(task, "train")[data.labels(task, "train") >= 0]
    sample = task.spec["sample"]
    if sample is None or sample >= len(z):
        return z
    chosen = torch.randperm(len(z), generator=generator(task.spec["seed"], "key sample"))[:sample]
    return z[chosen.sort().values]


def open_work(task: Task) -> Work:
    """Hold the init data; fit a block of codebooks at a time."""
    use_cores()
    spec, z = task.spec, init_items(task)
    settings = KeySettings(**spec["settings"])

    def fit_block(unit: str) -> Facts:
        start = int(unit) * CODEBOOKS
        codebooks = range(start, min(start + CODEBOOKS, spec["c"]))
        directions = random_projection(codebooks, z.shape[1], spec["d_k"], seed=spec["seed"])
        keys = torch.empty(len(codebooks), spec["m"], spec["d_k"])

        def fit(i: int) -> None:
            keys[i] = fit_keys(z, directions[i], spec["m"], codebook=start + i, seed=spec["seed"], settings=settings)

        each(fit, range(len(codebooks)))
        arrays.write(task.output.data, "projection", directions.numpy(), start=start)
        arrays.write(task.output.data, "keys", keys.numpy(), start=start)
        return {"codebooks": len(codebooks), "items": len(z)}

    return fit_block


def finish(task: Task) -> Facts:
    """How many items the keys saw."""
    return {"items": next(iter(task.output.marks().values()))["items"]}
