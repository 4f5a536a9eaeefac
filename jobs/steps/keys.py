"""Step: projections and keys, a block of codebooks a unit; codebooks are independent, so blocks run in parallel."""

from dataclasses import dataclass

from dkvb.keys import KeySettings, fit_codebooks, sampled
from jobs import inputs
from jobs.step import Facts, Inputs, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import CODEBOOKS

VERSION = 2
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["train"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which keys are fitted, and how."""

    c: int
    """Codebooks."""
    m: int
    """Keys of a codebook."""
    d_k: int
    """Width of a key."""
    sample: int | None
    """Training items that the keys see; None: all."""
    settings: KeySettings
    seed: int


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
    z = inputs.embeddings(task, "train")[inputs.labels(task, "train") >= 0]
    z = z[sampled(len(z), asks.sample, seed=asks.seed)]

    def fit_block(unit: str) -> Facts:
        start = int(unit) * CODEBOOKS
        codebooks = range(start, min(start + CODEBOOKS, asks.c))
        projection, keys = fit_codebooks(z, codebooks, (asks.m, asks.d_k), seed=asks.seed, settings=asks.settings)
        arrays.write(task.output.data, "projection", projection.numpy(), start=start)
        arrays.write(task.output.data, "keys", keys.numpy(), start=start)
        return {"codebooks": len(codebooks), "items": len(z)}

    return fit_block


def finish(task: Task[Asks]) -> Facts:
    """How many items the keys saw."""
    return {"items": next(iter(task.output.marks().values()))["items"]}
