"""Step: sums over the training items, exact, of which values are solved for; a block of codebooks a unit.

Sums of different codebooks hold different features, so blocks are independent and run in parallel.
"""

import torch

from dkvb.sums import SelectedKeys, block_sums, whole_keys
from jobs import inputs
from jobs.kinds.sums import UNIT, Asks
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays


def prepare(task: Task[Asks]) -> list[str]:
    """The arrays, chunked by block of codebooks."""
    c, m, d_k = arrays.open_array(task.path("keys"), "keys").shape
    v = len(inputs.read_manifest(task).classes)
    arrays.create(task.output.data, "whole_keys", (c, m, d_k))
    arrays.create(task.output.data, "class_sums", (c, d_k, v))
    arrays.create(task.output.data, "moments", (c, d_k, c * d_k))
    return blocks(c, UNIT)


def open_work(task: Task[Asks]) -> Work:
    """Hold codes and whole keys; sum up a block of codebooks at a time."""
    use_cores()
    keys, bits = whole_keys(inputs.tensor(task, "keys", "keys"))
    codes, labels = inputs.tensor(task, "codes", "codes"), inputs.labels(task, "embeddings")
    kept = labels >= 0
    labels = labels[kept]
    features = SelectedKeys.of(codes[kept], keys)
    c, _, d_k = keys.shape
    v = len(inputs.read_manifest(task).classes)
    about = {
        "items": torch.bincount(labels, minlength=v).tolist(),
        "bits": bits,
        "largest": features.largest,
    }

    def sum_block(unit: str) -> Facts:
        first = int(unit) * UNIT
        last = min(first + UNIT, c)
        block = block_sums(features, labels, v=v, start=first * d_k, stop=last * d_k)
        moments = torch.zeros(last - first, d_k, c * d_k, dtype=torch.int64)  # of earlier units: their own
        moments[:, :, block.start :] = block.moments.view(last - first, d_k, -1)
        class_sums = block.classes.T.contiguous().view(last - first, d_k, v)
        for name, part in (("whole_keys", keys[first:last]), ("class_sums", class_sums), ("moments", moments)):
            arrays.write(task.output.data, name, part.numpy(), start=first)
        return about

    return sum_block


def finish(task: Task[Asks]) -> Facts:
    """How many items of each class are in the sums, and how keys were made whole."""
    return dict(next(iter(task.output.marks().values())))
