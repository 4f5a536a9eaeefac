"""Embeddings through actors: the real step in a real session on this machine, against a bare loop in plain processes.

Both read, decode, transform and embed the same JPEG files (scikit-learn's digits, enlarged and repeated) through the
same pretrained network, in turns, with the same batch, number of processes, environment and niceness. Start-up is left
out: the clock runs from when every process has done one shard. Read `ratio` as the actors' images a second over those
of the bare loop with the same decoders (`jobs.images.embedded`), which writes nothing; `plain` is a loop that does one
thing after the other, without threads; `of limit` is the actors' share of the forward passes alone, on pixels made
beforehand: where every core holds a process, the rest is decoding and transforming. `equal` is the share of shards that
came out alike bit for bit. All of it yields to whatever else the machine does (niceness 15), so `seconds` has every
round: they must be near each other to mean anything.

`decoded by 1` and `by 2`: images a second of one process that decodes and transforms photographs (the digits at 500 x
375 pixels, for a backbone of 224) by one thread and by two, in turns; `decoding x2` is the median of the ratios of
neighbouring turns. On a machine with one core these are left out.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from io import BytesIO
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from timing import report, size
from torch import Tensor

from cluster.session import session
from cluster.unit_map import Policy, RayExecutor, SerialExecutor
from dkvb.backbones import Backbone, BackboneSpec, embed, load_backbone
from jobs import inputs
from jobs.images.ahead import ahead, batches
from jobs.images.embedded import PART, Passage, decoded, embedded
from jobs.kinds.embeddings import Asks
from jobs.plan.plan import make_plan
from jobs.run.progress import Reporter
from jobs.run.run import run_steps
from jobs.spec.reading import build
from jobs.spec.schema import Spec
from jobs.step import Task, Work
from jobs.steps import embeddings
from store import arrays
from store.artefacts import open_root
from store.images import open_images

ROUNDS = 5
SHARDS = 10
EDGE = 256
"""Pixels of a file's edge: about what a loader of photographs decodes."""
PHOTO = (500, 375)
"""Pixels of a photograph: about the median of ImageNet-1k."""
DECODED = 400
DECODING_ROUNDS = 10
NICE = 15
"""Of Ray's workers, and so of the plain processes."""
PATIENCE_S = 600
HELD: dict[str, Callable[[str], int | None]] = {}
"""In a plain process: what it can do, by name."""


def write_images(folder: Path, n: int, edges: tuple[int, int] = (EDGE, EDGE)) -> None:
    """n digits of so many pixels as class folders; a test split of one image a class beside them."""
    digits = load_digits()
    files = []
    for pixels in digits.images[:n]:
        grey = Image.fromarray((pixels * 15.9375).astype(np.uint8))
        grey.convert("RGB").resize(edges).save(file := BytesIO(), "JPEG", quality=95)
        files.append(file.getvalue())
    for split, count in (("train", n), ("test", 10)):
        for number in range(count):
            which = number % len(files)
            path = folder / split / str(digits.target[which]) / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[which])


def prepare(folder: Path, n: int, image_size: int) -> Task[Asks]:
    """The step's task, its manifest and arrays made."""
    write_images(folder / "images", n)
    table = {
        "name": "bench",
        "images": {"kind": "folder", "shard_items": n // SHARDS},
        "backbone": {"library": "efficientnet-lite", "name": "lite0", "image_size": image_size},
        "sweep": {"uva": {"shares": [1.0]}},
    }
    plan = make_plan(build(Spec, table, ""), str(folder / "images"))
    root = open_root(folder / "root", create=True)
    manifest = plan.step("manifest[train]")
    run_steps({manifest.label: manifest}, root, SerialExecutor(), Reporter(root=root))
    task = plan.step("embeddings[train]").task(root)
    task.output.declare(embeddings.prepare(task))
    return task


def warmed(factory: Callable[[], Work], unit: str, workers: int, arrived: Path) -> Work:
    """In an actor: the work, once every actor has done one unit."""
    work = factory()
    work(unit)
    (arrived / str(os.getpid())).touch()
    while len(list(arrived.iterdir())) < workers:
        time.sleep(0.005)
    return work


def marked(task: Task[Asks]) -> Work:
    """The step's work with its markers, every unit done however often it was."""
    work = embeddings.open_work(task)

    def do(unit: str) -> dict[str, int]:
        task.output.mark(unit, work(unit))
        return {}

    return do


def through_actors(task: Task[Asks], units: list[str], executor: RayExecutor) -> float:
    """Seconds the step takes for all units, from when the last actor was warm."""
    with tempfile.TemporaryDirectory() as name:
        arrived, workers = Path(name), executor.pool(on_gpu=True).wanted(len(units), placed=0)
        factory = partial(warmed, partial(marked, task), units[0], workers, arrived)
        with task.output.journal() as journal:
            mapped = executor.map(
                factory, units, policy=Policy(), on_event=lambda event: journal.write(asdict(event)), on_gpu=True
            )
            assert all(outcome.ok for outcome in mapped)
        return time.time() - max(path.stat().st_mtime for path in arrived.iterdir())


def stacked(task: Task[Asks], backbone: Backbone, unit: str) -> Iterator[Tensor]:
    """The batches of a shard as the backbone takes them."""
    shard = inputs.read_manifest(task).shards[int(unit)]
    for items in batches(inputs.images_of(task).read(shard), task.asks.batch):
        pixels = torch.stack([backbone.transform(item.image) for item in items if item.image is not None])
        yield pixels.contiguous(memory_format=torch.channels_last)


def hold(task: Task[Asks], unit: str, ready: Barrier) -> None:
    """Start a plain process: load the backbone, do one unit each way, wait for the others."""
    os.nice(NICE)
    torch.set_num_threads(1)
    backbone = load_backbone(task.asks.backbone)
    backbone.module.to(memory_format=torch.channels_last)
    pixels = list(stacked(task, backbone, unit))

    images, shards = inputs.images_of(task), inputs.read_manifest(task).shards
    how = Passage(backbone=backbone, batch=task.asks.batch)

    def bare_loop(unit: str) -> int:
        with closing(embedded(images, shards[int(unit)], how)) as stream:
            z = [batch.z.numpy().astype(np.float16) for batch in stream if batch.z is not None]
        return zlib.crc32(np.concatenate(z).tobytes())

    def plain(unit: str) -> int:
        z = [embed(backbone, pixels).numpy().astype(np.float16) for pixels in stacked(task, backbone, unit)]
        return zlib.crc32(np.concatenate(z).tobytes())

    def forward_alone(_: str) -> None:
        for batch in pixels:
            embed(backbone, batch)

    HELD.update(bare_loop=bare_loop, plain=plain, forward_alone=forward_alone)
    for work in HELD.values():
        work(unit)
    ready.wait(PATIENCE_S)


def held(kind: str, unit: str) -> tuple[str, int | None]:
    """In a plain process: do one unit."""
    return unit, HELD[kind](unit)


def decoding(folder: Path) -> dict[str, float]:
    """Images a second by one thread and by two, and how many times as many these are; nothing with one core."""
    if len(os.sched_getaffinity(0)) < 2:
        return {}
    write_images(folder, DECODED, PHOTO)
    images = open_images("folder", str(folder), pattern="train", shard_items=DECODED)
    shard = images.scan(on_error="fail").shards[0]
    backbone = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", weights="random", image_size=224))
    how = Passage(backbone=backbone, batch=PART)

    def rate(threads: int) -> float:
        begin = time.perf_counter()
        parts = batches(images.encoded(shard), PART)
        made = ahead(parts, lambda items: [decoded(item, how) for item in items], threads=threads, most=2 * threads)
        with closing(made) as stream:
            assert sum(map(len, stream)) == DECODED
        return DECODED / (time.perf_counter() - begin)

    rate(2)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(DECODING_ROUNDS):
        for threads in (1, 2) if turn % 2 == 0 else (2, 1):
            rates[threads].append(rate(threads))
    return {
        "decoded by 1": statistics.median(rates[1]),
        "decoded by 2": statistics.median(rates[2]),
        "decoding x2": statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True)),
    }


def main() -> None:
    """Time the four in turns, and decoding by itself."""
    s = size(__doc__ or "")
    image_size = 96 if s["n"] <= 1000 else 128
    taken: dict[str, list[float]] = {"actors": [], "bare_loop": [], "plain": [], "forward_alone": []}
    crc: dict[str, int | None] = {}
    with tempfile.TemporaryDirectory() as name, session() as executor:
        task = prepare(Path(name), s["n"], image_size)
        units = task.output.units() or []
        assert isinstance(executor, RayExecutor)
        actors = executor.pool(on_gpu=True)
        workers = actors.wanted(len(units), placed=0)
        os.environ.update(actors.shape.actor_options()["runtime_env"]["env_vars"])  # of the plain processes too
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(workers + 1)
        with context.Pool(workers, hold, (task, units[0], ready)) as pool:
            ready.wait(PATIENCE_S)
            for turn in range(ROUNDS):
                for kind in list(taken)[:: 1 if turn % 2 == 0 else -1]:
                    if kind == "actors":
                        taken[kind].append(through_actors(task, units, executor))
                        continue
                    begin = time.perf_counter()
                    results = dict(pool.imap_unordered(partial(held, kind), units))
                    taken[kind].append(time.perf_counter() - begin)
                    crc = results if kind == "bare_loop" else crc
        equal = [
            crc[unit] == zlib.crc32(arrays.read(task.output.data, f"embeddings/{unit}").tobytes()) for unit in units
        ]
    seconds = {kind: statistics.median(runs) for kind, runs in taken.items()}
    row = {
        "images/s": s["n"] / seconds["actors"],
        "bare loop": s["n"] / seconds["bare_loop"],
        "ratio": seconds["bare_loop"] / seconds["actors"],
        "plain": s["n"] / seconds["plain"],
        "forward alone": s["n"] / seconds["forward_alone"],
        "of limit": seconds["forward_alone"] / seconds["actors"],
        "equal": sum(equal) / len(equal),
    }
    facts = {"n": s["n"], "image_size": image_size, "batch": task.asks.batch, "shards": len(units)}
    with tempfile.TemporaryDirectory() as name:
        row |= decoding(Path(name))
    report("embeddings", [row], **facts, workers=workers, seconds=taken)


if __name__ == "__main__":
    main()
