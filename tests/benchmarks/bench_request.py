"""One request of Unlearning via Activations: from a cold store to the mask on disk, in process and as a command.

The store is dropped from the page cache before every run. Read `cold ms` against 100 and `command s` against 2;
`without checks ms` is the same on a root without checksums; `of limit` is the time of plain file calls that read the
class's chunk of counts and write a mask, over the time taken; `ratio` is how many times the command would fit into the
import of torch alone, which it does without.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timing import report, size

from dkvb.bottleneck import Bottleneck
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from store import arrays
from store.artefacts import Artefact, open_root, write_json
from store.files import write_atomic
from store.layout import CHECKPOINT

STEPS = {"values": "0" * 16, "counts": "1" * 16, "sweep": "2" * 16}
RUNS = 9
SHARE = 0.95


def build(root: Path, *, c: int, m: int, v: int) -> None:
    """A root with what a request reads; every class hits 8 % of the pairs, four times each in the mean."""
    write_json(open_root(root, create=True) / "experiments" / "x.json", {"name": "x", "spec": {}, "steps": STEPS})
    values, counts = (Artefact(root, step, STEPS[step]) for step in ("values", "counts"))
    # Only the header is read, so the tensors may be small.
    small, header = torch.zeros(1, 1, 1), {"classes": [name_of(k) for k in range(v)]}
    model = Bottleneck(small, small, small, torch.ones(1, 1, dtype=torch.bool), header)
    write_atomic(values.path / CHECKPOINT, model.parts())
    arrays.create(counts.data, "counts", (v, c, m), dtype="uint16")
    gen = np.random.default_rng(0)
    patterns = [(gen.random((c, m)) < 0.08) * gen.geometric(0.25, (c, m)).astype("uint16") for _ in range(7)]
    for pattern in patterns:  # each item hits one pair in every codebook
        hits = pattern.sum(1)
        pattern[:, 0] += (hits.max() - hits).astype("uint16")
    for k in range(v):
        arrays.write(counts.data, "counts", np.roll(patterns[k % 7], k, axis=1)[None], start=k)
    for artefact in (values, counts):
        artefact.finish({"facts": {}})
    os.sync()  # only pages that are on disk can be dropped


def name_of(k: int) -> str:
    """Name of a class."""
    return f"class-{k:04d}"


def unsealed(root: Path) -> None:
    """Make it a root of a version without checksums."""
    for step, digest in STEPS.items():
        if (root / step / digest / "checksums.json").exists():
            (root / step / digest / "checksums.json").unlink()
            (root / step / digest / "DONE").write_bytes(b"")
    os.sync()


def drop(root: Path) -> None:
    """Take the store out of the page cache."""
    for path in root.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def cold(root: Path, work: Callable[[int], float], classes: list[int]) -> list[float]:
    """What the work says it took on each class, cold; the first is a warm-up of the code."""
    taken = []
    for k in classes:
        drop(root)
        taken.append(work(k))
    return taken[1:]


def main() -> None:
    """Time the request, the command and the file calls on different classes of one store."""
    s = size(__doc__ or "")
    c, m, v = s["c"], s["m"], s["v"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        begin = time.perf_counter()
        build(root, c=c, m=m, v=v)
        built = time.perf_counter() - begin
        classes = [k % v for k in range(0, v * (RUNS + 1), max(1, v // RUNS))][: RUNS + 1]
        whole: list[float] = []

        def request(k: int) -> float:
            begin = time.perf_counter()
            experiment = find(root, None)
            found = time.perf_counter() - begin
            done = unlearn(experiment, Request(classes=[name_of(k)], share=SHARE), mask_only=True)
            whole.append(time.perf_counter() - begin)
            return found + float(done.mask_seconds)

        def command(k: int) -> float:
            words = ["unlearn", root, "--class", name_of(k), "--share", SHARE, "--mask-only", "--json"]
            begin = time.perf_counter()
            told = subprocess.run(
                [sys.executable, "-m", "jobs.cli", *map(str, words)], capture_output=True, check=True
            ).stdout
            taken = time.perf_counter() - begin
            assert json.loads(told)["classes"] == [name_of(k)]
            return taken

        def files(k: int) -> float:
            chunk = root / "counts" / STEPS["counts"] / "data.zarr" / "counts" / "c" / str(k) / "0" / "0"
            begin = time.perf_counter()
            chunk.read_bytes()
            with (root / f"plain-{k}").open("wb") as file:
                file.write(bytes(c * m))
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - begin

        def torch_alone(_: int) -> float:
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch"], check=True)
            return time.perf_counter() - begin

        limit = statistics.median(cold(root, files, classes))
        taken = cold(root, request, classes)
        commands = cold(root, command, classes)
        unsealed(root)
        unchecked = cold(root, request, classes)
        alone = statistics.median(cold(root, torch_alone, classes[:4]))
    row = {
        "cold ms": 1000 * statistics.median(taken),
        "worst ms": 1000 * max(taken),
        "to DONE ms": 1000 * statistics.median(whole[1:]),
        "without checks ms": 1000 * statistics.median(unchecked),
        "limit ms": 1000 * limit,
        "of limit": limit / statistics.median(taken),
        "command s": statistics.median(commands),
        "worst s": max(commands),
        "import torch s": alone,
        "ratio": alone / statistics.median(commands),
        "built s": built,
    }
    report("request", [row], **s)


if __name__ == "__main__":
    main()
