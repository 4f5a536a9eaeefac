"""Step: ordered neighbours of one split, a block of rows a unit: what every sweep over these items walks along."""

from jobs import inputs
from jobs.gpu import lists_of
from jobs.kinds.neighbours import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import BLOCK


def prepare(task: Task[Asks]) -> list[str]:
    """One array over all items of the split, skipped ones included."""
    n, c = len(inputs.labels(task, "embeddings")), arrays.open_array(task.path("keys"), "keys").shape[0]
    arrays.create(task.output.data, "neighbours", (n, c, task.asks.r))
    return blocks(n, BLOCK)


def open_work(task: Task[Asks]) -> Work:
    """Hold projections and keys; list a block of rows at a time."""
    use_cores()
    projection, keys = inputs.tensor(task, "keys", "projection"), inputs.tensor(task, "keys", "keys")
    selectable = inputs.selectable(task, keys)

    def list_block(unit: str) -> Facts:
        start = int(unit) * BLOCK
        z = inputs.embeddings(task, "embeddings", start=start, stop=start + BLOCK)
        lists = lists_of(z, projection, keys, selectable=selectable, r=task.asks.r)
        arrays.write(task.output.data, "neighbours", lists.numpy(), start=start)
        return {"rows": len(z)}

    return list_block


def finish(task: Task[Asks]) -> Facts:
    """Rows written."""
    return {"rows": sum(mark["rows"] for mark in task.output.marks().values())}
