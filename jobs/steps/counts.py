"""Step: counts of every class on every pair, in two layouts: one fast for a class, one fast for a key."""

from dkvb.counts import class_counts
from jobs import inputs
from jobs.kinds.counts import Asks
from jobs.step import Facts, Task, Work
from store import arrays


def prepare(task: Task[Asks]) -> list[str]:
    """Both arrays; counts are a cache of the codes, quick to rebuild, so they are one unit."""
    manifest = inputs.read_manifest(task)
    c, m = arrays.open_array(task.path("keys"), "keys").shape[:2]
    dtype = arrays.count_dtype(max(manifest.histogram))
    for name in ("counts", "counts_by_codebook"):
        arrays.create(task.output.data, name, (len(manifest.classes), c, m), dtype=dtype)
    return ["counts"]


def open_work(task: Task[Asks]) -> Work:
    """Count the codes of each class."""

    def count(unit: str) -> Facts:
        codes, labels = inputs.tensor(task, "codes", "codes"), inputs.labels(task, "embeddings")
        array = arrays.open_array(task.output.data, "counts")
        counts = class_counts(codes, labels, classes=array.shape[0], m=array.shape[2])
        votes = int((codes[labels >= 0] >= 0).sum())
        assert int(counts.sum()) == votes, "a code was counted twice or not at all"
        for name in ("counts", "counts_by_codebook"):
            arrays.write(task.output.data, name, counts.numpy().astype(array.dtype))
        return {"votes": votes, "hits": counts.sum((1, 2)).tolist()}

    return count


def finish(task: Task[Asks]) -> Facts:
    """How many votes were counted."""
    return dict(task.output.marks()["counts"])
