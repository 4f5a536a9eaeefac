"""Step: codes of one split, a block of rows a unit.

With a "seen" input (the training codes), only keys used in training are selectable.
"""

from jobs import inputs
from jobs.gpu import codes_of
from jobs.kinds.codes import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import BLOCK


def prepare(task: Task[Asks]) -> list[str]:
    """One array over all items of the split, skipped ones included."""
    n, c = len(inputs.labels(task, "embeddings")), arrays.open_array(task.path("keys"), "keys").shape[0]
    arrays.create(task.output.data, "codes", (n, c))
    return blocks(n, BLOCK)


def open_work(task: Task[Asks]) -> Work:
    """Hold projections and keys; encode a block of rows at a time."""
    use_cores()
    projection, keys = inputs.tensor(task, "keys", "projection"), inputs.tensor(task, "keys", "keys")
    labels = inputs.labels(task, "embeddings")
    selectable = inputs.selectable(task, keys)

    def encode_block(unit: str) -> Facts:
        start = int(unit) * BLOCK
        z = inputs.embeddings(task, "embeddings", start=start, stop=start + BLOCK)
        codes = codes_of(z, projection, keys, selectable=selectable)
        codes[labels[start : start + BLOCK] < 0] = -1
        arrays.write(task.output.data, "codes", codes.numpy(), start=start)
        return {"rows": len(z)}

    return encode_block


def finish(task: Task[Asks]) -> Facts:
    """Rows written."""
    return {"rows": sum(mark["rows"] for mark in task.output.marks().values())}
