"""Step: embeddings of one split: images through the frozen backbone, one image shard a unit.

A thread reads, decodes and transforms the next batches while the backbone computes the present one.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dkvb.backbones import BackboneSpec, embed, embedding_width, load_backbone
from jobs import data
from jobs.step import Facts, Task, Work, blocks, device, use_one_core
from store import arrays
from store.errors import ImageDataError
from store.images import Item, Shard

VERSION = 1
LEASE_S = 3600

AHEAD = 2
"""Batches made ready while the backbone is busy: one to go on with, one against uneven ones."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items of a shard as the backbone takes them."""

    rows: list[int]
    """Positions in the shard of the good items."""
    labels: list[int]
    pixels: Tensor | None
    """(rows, 3, h, w) float32, channels last, pinned where there is a GPU; None without a good item."""
    left_out: list[Facts]
    """The items with a problem."""


def prepare(task: Task) -> list[str]:
    """One array an image shard: shards are ragged, and chunks must not be shared."""
    manifest = data.read_manifest(task)
    expected = data.read_manifest(task, "train").classes
    if manifest.classes != expected:
        differ = sorted(set(manifest.classes) ^ set(expected))[:5]
        raise ImageDataError(
            f"{task.where['location']}: the splits have different classes ({len(expected)} in train, "
            f"{len(manifest.classes)} in this one; not in both: {', '.join(differ) or 'none, the order differs'}); "
            "give both splits the same class folders, or the same file of class names"
        )
    d_z = embedding_width(BackboneSpec(**task.spec["backbone"]))
    units = blocks(len(manifest.shards), 1)
    for unit, shard in zip(units, manifest.shards, strict=True):
        about = {"shard": shard.name}
        arrays.create(task.output.data, f"embeddings/{unit}", (shard.items, d_z), attributes=about)
        arrays.create(task.output.data, f"labels/{unit}", (shard.items,), attributes=about)
    return units


def batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream into lists."""
    while batch := list(islice(items, size)):
        yield batch


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """The same items; a thread makes up to ``count`` of them ahead, and ends with this generator.

    raises: what ``items`` raises, in its place. Leave before the end by ``close``: the item being made is waited for.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        made = deque(thread.submit(list, islice(items, 1)) for _ in range(count))
        while one := made.popleft().result():
            made.append(thread.submit(list, islice(items, 1)))
            yield one[0]
    finally:
        thread.shutdown(cancel_futures=True)


def open_work(task: Task) -> Work:
    """Hold the backbone; embed one shard at a time."""
    use_one_core()
    backbone = load_backbone(BackboneSpec(**task.spec["backbone"]), seed=task.spec["seed"] or 0)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    images, manifest = data.images_of(task), data.read_manifest(task)
    skip = task.spec["images"]["on_error"] == "skip"

    def transform(image: Image.Image) -> Tensor:
        return backbone.transform(ImageOps.mirror(image) if task.spec.get("flip") else image)

    def ready(shard: Shard) -> Iterator[Batch]:
        for items in batches(images.read(shard), task.spec["batch"]):
            left_out = problems(shard, items, skip=skip)
            yield make_ready(items, left_out, transform)

    def embed_shard(unit: str) -> Facts:
        shard = manifest.shards[int(unit)]
        z = np.zeros((shard.items, backbone.d_z), np.float16)
        labels = np.full(shard.items, -1, np.int32)
        left_out, seen = list[Facts](), 0
        with closing(ahead(ready(shard), AHEAD)) as stream:
            for batch in stream:
                seen += len(batch.rows) + len(batch.left_out)
                left_out += batch.left_out
                if batch.pixels is not None:
                    # No autocast: bfloat16 would change 8 % of the codes, so the backbone stays in float32.
                    z[batch.rows] = embed(backbone, batch.pixels.to(device(), non_blocking=True)).cpu().numpy()
                    labels[batch.rows] = batch.labels
        assert seen == shard.items, "the reader promises every item of the shard"
        arrays.write(task.output.data, f"embeddings/{unit}", z)
        arrays.write(task.output.data, f"labels/{unit}", labels)
        return {"items": shard.items, "left_out": left_out, "backbone": {**backbone.facts, "device": device().type}}

    return embed_shard


def problems(shard: Shard, items: list[Item], *, skip: bool) -> list[Facts]:
    """The items to leave out; raises: ImageDataError for the first one unless they are to be skipped."""
    bad = [item for item in items if item.problem is not None]
    if bad and not skip:
        raise ImageDataError(
            f"{shard.name}: {bad[0].key}: {bad[0].problem}; repair it, or set images.on_error = "
            '"skip" in the spec to leave such items out'
        )
    return [{"shard": shard.name, "item": item.key, "reason": item.problem} for item in bad]


def make_ready(items: list[Item], left_out: list[Facts], transform: Callable[[Image.Image], Tensor]) -> Batch:
    """Transform and stack the good items."""
    good = [(item, item.image) for item in items if item.problem is None and item.image is not None]
    pixels = None
    if good:
        pixels = torch.stack([transform(image) for _, image in good]).contiguous(memory_format=torch.channels_last)
        if device().type == "cuda":
            pixels = pixels.pin_memory()  # only then does the copy to the GPU not hold up this process
    return Batch([item.index for item, _ in good], [item.label for item, _ in good], pixels, left_out)


def finish(task: Task) -> Facts:
    """What the backbone was, and every item that was left out."""
    marks = list(task.output.marks().values())
    left_out = [item for mark in marks for item in mark["left_out"]]
    backbone = marks[0]["backbone"]
    if differ := next(filter(None, (data.differences(backbone, mark["backbone"]) for mark in marks)), None):
        raise ImageDataError(
            f"{task.output.path}: shards were embedded in different ways (not alike in: {', '.join(differ)}), which "
            "changes codes; delete the folder and run again in one environment"
        )
    return {"items": sum(mark["items"] for mark in marks), "left_out": left_out, "backbone": backbone}
