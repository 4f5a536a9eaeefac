"""Questions to a store: the pairs of a class, the classes of a pair, overlaps, why a class suffered; and as a command.

5 % of the pairs of a class are hit. The reference of a question is Zarr, reading the chunks that the question needs and
no more; that of the matrix is one product of the matrices in question, and that of a command a Python that starts and
imports NumPy and polars, without which it has nothing to answer with: `ratio` is how often the answer fits into that.
`limit` is what any program must do: the files read, hashed and unpacked, one after the other; of the matrix, its FLOPs
at the rate of a large matrix product. Warm: chunks lie in the page cache.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numcodecs import zstd
from timing import matmul_rate, median, report, size

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import identity
from jobs.query import items, pairs
from jobs.query.stored import Stored
from jobs.results.experiment import find
from store import arrays
from store.artefacts import Artefact, open_root, write_json
from store.files import write_atomic
from store.images import Manifest, Shard
from store.layout import BLOCK, CHECKPOINT, MANIFEST

LABELS = ("manifest[test]", "embeddings[test]", "codes[test]", "neighbours[test]", "values", "counts")
STEPS = {label: f"{i:016d}" for i, label in enumerate(LABELS)}
R = 16
SHARE = 0.05


def build(root: Path, *, n: int, c: int, m: int, v: int) -> None:
    """A root with what questions read: random counts, codes and neighbours; values of a sparse file of zeros."""
    write_json(open_root(root, create=True) / "experiments" / "x.json", {"name": "x", "spec": {}, "steps": STEPS})
    made = {label: Artefact(root, label.partition("[")[0], digest) for label, digest in STEPS.items()}
    names = tuple(f"class-{k:04d}" for k in range(v))
    labels = np.arange(n) * v // n
    shard = Shard(name="all", labels=tuple(labels.tolist()), keys="", files="")
    manifest = Manifest(classes=names, shards=(shard,), problems=())
    write_json(made["manifest[test]"].path / MANIFEST, manifest.to_json())
    arrays.create(made["embeddings[test]"].data, "labels/00000", (n,))
    arrays.write(made["embeddings[test]"].data, "labels/00000", labels.astype(np.int32))
    gen = np.random.default_rng(0)
    for name, shape in (("codes", (n, c)), ("neighbours", (n, c, R))):
        data = made[f"{name}[test]"].data
        arrays.create(data, name, shape)
        for start in range(0, n, BLOCK):
            block = gen.integers(0, m, (min(BLOCK, n - start), *shape[1:]), dtype=np.int16)
            arrays.write(data, name, block, start=start)
    counts = np.zeros((v, c, m), np.uint16)
    for k in range(v):
        counts[k] = (gen.random((c, m), np.float32) < SHARE) * gen.integers(1, 9, (c, m), dtype=np.uint16)
    for name in ("counts", "counts_by_codebook"):
        arrays.create(made["counts"].data, name, counts.shape, dtype="uint16")
        for k in range(0, v, 100) if name == "counts" else ():
            arrays.write(made["counts"].data, name, counts[k : k + 100], start=k)
    arrays.write(made["counts"].data, "counts_by_codebook", counts)
    header = {"classes": list(names)}
    write_atomic(made["values"].path / CHECKPOINT, sparse_checkpoint(c, m, v, header))
    for artefact in made.values():
        artefact.finish({"facts": {"classes": list(names), "model": identity(header)}})


def sparse_checkpoint(c: int, m: int, v: int, header: dict[str, Any]) -> Iterator[bytes | memoryview]:
    """The parts of a checkpoint whose values are zeros, one codebook after another."""
    tiny = Bottleneck(
        torch.zeros(c, 1, 1), torch.zeros(c, m, 1), torch.zeros(c, m, v), torch.ones(c, m, dtype=torch.bool), header
    )
    yield from tiny.parts()


def timed(work: Callable[[], Any], runs: int = 7) -> float:
    """Median milliseconds after one warm-up."""
    return 1000 * median(work, runs=runs)


def files(root: Path, chunks: list[str]) -> float:
    """Milliseconds of reading chunks' files, hashing them and unpacking them."""
    data = Artefact(root, "counts", STEPS["counts"]).data

    def read() -> None:
        for chunk in chunks:
            content = (data / chunk).read_bytes()
            hashlib.sha256(content).digest()
            zstd.decompress(content)

    return timed(read)


def by_zarr(root: Path, chunks: list[str]) -> float:
    """Milliseconds of Zarr for the same chunks; its arrays are open already."""
    data = Artefact(root, "counts", STEPS["counts"]).data
    opened = {name: zarr.open_array(data / name, mode="r") for name in ("counts", "counts_by_codebook")}

    def read() -> None:
        for chunk in chunks:
            name, _, k, j, _ = chunk.split("/")
            _ = opened[name][int(k)] if name == "counts" else opened[name][:, int(j)]

    return timed(read)


def command(root: Path, *words: str) -> float:
    """Milliseconds of a whole command."""
    line = [sys.executable, "-m", "jobs.cli", "query", str(root), *words, "--json"]
    return timed(lambda: json.loads(subprocess.run(line, capture_output=True, check=True).stdout), runs=3)


def main() -> None:
    """Ask every question of one store."""
    s = size(__doc__ or "")
    c, m, v = s["c"], s["m"], s["v"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        build(root, n=s["n"], c=c, m=m, v=v)
        experiment = find(root, None)

        def ask(question: Callable[[Stored], Any]) -> Callable[[], Any]:
            return lambda: question(Stored(experiment))  # nothing is kept from the question before

        top = np.unique(pairs.keys(Stored(experiment), 1, limit=20)["codebook"].to_numpy()).tolist()
        book = [f"counts_by_codebook/c/0/{j}/0" for j in top]
        own = [f"counts/c/{k}/0/0" for k in (1, 2)]
        questions = {
            "keys": (ask(lambda stored: stored.activations.of_class(1)), own[:1]),
            "keys, sharers": (ask(lambda stored: pairs.keys(stored, 1, limit=20)), [*own[:1], *book]),
            "classes": (ask(lambda stored: pairs.pair_classes(stored, top[0], 5)), book[:1]),
            "overlap": (ask(lambda stored: pairs.overlap(stored, 1, 2)), own),
            "why": (ask(lambda stored: items.why(stored, 1, [2])), own),
        }
        rows: list[dict[str, Any]] = []
        for what, (work, chunks) in questions.items():
            rows.append(row(what, timed(work), by_zarr(root, chunks), files(root, chunks)))
        begin = time.perf_counter()
        pairs.overlaps(Stored(experiment))
        taken = 1000 * (time.perf_counter() - begin)
        hits = torch.rand(v, m)
        products = 1000 * c * median(lambda: hits @ hits.T)
        rows.append(row("matrix", taken, products, 1000 * 2 * c * v * v * m / matmul_rate()))
        needed = [sys.executable, "-c", "import numpy, polars"]
        imported = timed(lambda: subprocess.run(needed, check=True), runs=3)
        commands = (("keys", "#1"), ("classes", "0", "5"), ("overlap", "#1", "#2"), ("why", "#1", "--forgot", "#2"))
        rows += [row(f"command {words[0]}", command(root, *words), imported, nan) for words in commands]
    report("query", rows, load=os.getloadavg()[0], **s)


def row(what: str, taken: float, reference: float, limit: float) -> dict[str, Any]:
    """One line of the table; all in milliseconds."""
    return {
        "what": what,
        "ms": taken,
        "reference ms": reference,
        "ratio": reference / taken,
        "limit ms": limit,
        "of limit": limit / taken,
    }


if __name__ == "__main__":
    main()
