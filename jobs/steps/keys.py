"""Step: projections and keys, a block of codebooks a unit; codebooks are independent, so blocks run in parallel."""

from dkvb.keys import KeySettings, fit_codebooks, sampled
from jobs import inputs
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import CODEBOOKS

VERSION = 2
LEASE_S = 86400


def prepare(task: Task) -> list[str]:
    """The two arrays, chunked by block of codebooks."""
    c, m, d_k = task.spec["c"], task.spec["m"], task.spec["d_k"]
    d_z = inputs.embeddings(task, "train", stop=1).shape[1]
    arrays.create(task.output.data, "projection", (c, d_z, d_k))
    arrays.create(task.output.data, "keys", (c, m, d_k))
    return blocks(c, CODEBOOKS)


def open_work(task: Task) -> Work:
    """Hold the init data; fit a block of codebooks at a time."""
    use_cores()
    spec = task.spec
    z = inputs.embeddings(task, "train")[inputs.labels(task, "train") >= 0]
    z = z[sampled(len(z), spec["sample"], seed=spec["seed"])]
    settings = KeySettings(**spec["settings"])

    def fit_block(unit: str) -> Facts:
        start = int(unit) * CODEBOOKS
        codebooks = range(start, min(start + CODEBOOKS, spec["c"]))
        size = spec["m"], spec["d_k"]
        directions, keys = fit_codebooks(z, codebooks, size, seed=spec["seed"], settings=settings)
        arrays.write(task.output.data, "projection", directions.numpy(), start=start)
        arrays.write(task.output.data, "keys", keys.numpy(), start=start)
        return {"codebooks": len(codebooks), "items": len(z)}

    return fit_block


def finish(task: Task) -> Facts:
    """How many items the keys saw."""
    return {"items": next(iter(task.output.marks().values()))["items"]}
