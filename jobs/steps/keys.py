"""Step: projections and keys, a block of codebooks a unit; codebooks are independent, so blocks run in parallel."""

from dkvb.keys import item_codebooks, sampled
from jobs import inputs
from jobs.gpu import keys_of
from jobs.kinds.keys import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import CODEBOOKS


def prepare(task: Task[Asks]) -> list[str]:
    """The two arrays, chunked by block of codebooks."""
    asks, d_z = task.asks, inputs.embeddings(task, "train", stop=1).shape[1]
    arrays.create(task.output.data, "projection", (asks.c, d_z, asks.d_k))
    arrays.create(task.output.data, "keys", (asks.c, asks.m, asks.d_k))
    return blocks(asks.c, CODEBOOKS)


def open_work(task: Task[Asks]) -> Work:
    """Hold the init data; fit a block of codebooks at a time."""
    use_cores()
    asks = task.asks
    kept = (inputs.labels(task, "train") >= 0).nonzero().flatten()
    z = inputs.some_embeddings(task, "train", kept[sampled(len(kept), asks.sample, seed=asks.seed)])

    def fit_block(unit: str) -> Facts:
        start = int(unit) * CODEBOOKS
        codebooks = range(start, min(start + CODEBOOKS, asks.c))
        size = asks.m, asks.d_k
        if asks.items:
            projection, keys = item_codebooks(z, codebooks, size, seed=asks.seed)
        else:
            projection, keys = keys_of(z, codebooks, size, seed=asks.seed, settings=asks.settings)
        arrays.write(task.output.data, "projection", projection.numpy(), start=start)
        arrays.write(task.output.data, "keys", keys.numpy(), start=start)
        return {"codebooks": len(codebooks), "items": len(z)}

    return fit_block


def finish(task: Task[Asks]) -> Facts:
    """How many items the keys saw."""
    return {"items": next(iter(task.output.marks().values()))["items"]}
