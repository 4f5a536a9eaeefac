"""Step: embeddings of one split: images through the frozen backbone, one image shard a unit.

A thread reads, decodes and transforms the next batches while the backbone computes the present one.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dkvb.backbones import BackboneSpec, embed, embedding_width, load_backbone
from jobs import inputs
from jobs.images import copies, reuse
from jobs.printable import shown
from jobs.spec.images import SplitImages
from jobs.step import IF_SET, Facts, Inputs, Task, Work
from jobs.worker import blocks, device, use_one_core
from store import arrays
from store.decoding import PLAIN, Decoding
from store.errors import ImageDataError
from store.images import Item, Manifest, Shard

VERSION = 1
LEASE_S = 3600
ON_GPU = True
INPUTS = Inputs(["manifest", "train"])
"""The manifest of the images, and that of the training images, whose classes they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which images are embedded, and how."""

    images: SplitImages
    backbone: BackboneSpec
    batch: int
    """Images of a forward pass."""
    decoding: Decoding = field(default=PLAIN, metadata=IF_SET)
    seed: int | None
    """Of random weights; None for others."""
    weights_file: str | None = field(default=None, metadata=IF_SET)
    """SHA-256 of the file that the weights are read from."""
    flip: bool = field(default=False, metadata=IF_SET)
    """Whether every image is mirrored."""


AHEAD = 2
"""Batches made ready while the backbone is busy: the next one, and one more because some take longer."""

LOST = {
    "orientation": 'EXIF says that {n} are to be turned, and they were not (images.orientation = "apply" does)',
    "alpha": '{n} are transparent in parts, which was dropped (images.alpha = "white" or "black" gives them a ground)',
    "frames": "{n} have further frames or pages, of which the first alone was taken",
    "depth": "{n} have 16 bits a channel, of which 8 were taken",
}
"""What people are told of images that lost something in decoding, by the word for it in `store.decoding.Decoded`."""

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
    contents: bytes
    """8 bytes an item, by which copies are known."""
    lost: list[str]
    """What decoding lost, a word for each item that lost it."""


def prepare(task: Task[Asks]) -> list[str]:
    """One array an image shard: shards are ragged, and chunks must not be shared."""
    manifest = inputs.read_manifest(task)
    d_z = embedding_width(task.asks.backbone)
    units = blocks(len(manifest.shards), 1)
    for unit, shard in zip(units, manifest.shards, strict=True):
        attributes = {"shard": shard.name}
        arrays.create(task.output.data, f"embeddings/{unit}", (shard.items, d_z), attributes=attributes)
        arrays.create(task.output.data, f"labels/{unit}", (shard.items,), attributes=attributes)
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

    def next_one() -> list[T]:
        return list(islice(items, 1))  # empty past the last

    try:
        coming = deque(thread.submit(next_one) for _ in range(count))
        while item := coming.popleft().result():
            coming.append(thread.submit(next_one))
            yield item[0]
    finally:
        thread.shutdown(cancel_futures=True)


def open_work(task: Task[Asks]) -> Work:
    """Hold the backbone; embed one shard at a time."""
    use_one_core()
    asks = task.asks
    backbone = load_backbone(asks.backbone, seed=asks.seed or 0)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    images, manifest = inputs.images_of(task), inputs.read_manifest(task)
    facts = {**backbone.facts, "device": device().type}
    donors = reuse.donors(task, VERSION, manifest)

    def transform(image: Image.Image) -> Tensor:
        return backbone.transform(ImageOps.mirror(image) if asks.flip else image)

    def ready_batches(shard: Shard) -> Iterator[Batch]:
        for items in batches(images.read(shard, asks.decoding), asks.batch):
            left_out = problems(shard, items, skip=asks.images.skip)
            yield make_ready(items, left_out, transform)

    def embed_shard(unit: str) -> Facts:
        shard = manifest.shards[int(unit)]
        taken = reuse.take(donors[unit], task, unit, shard=shard, backbone=facts) if unit in donors else None
        if taken is not None:
            return taken
        z = np.zeros((shard.items, backbone.d_z), np.float16)
        labels = np.full(shard.items, -1, np.int32)
        left_out, seen, contents, lost = list[Facts](), 0, bytearray(), Counter[str]()
        with closing(ahead(ready_batches(shard), AHEAD)) as stream:
            for batch in stream:
                seen += len(batch.rows) + len(batch.left_out)
                left_out += batch.left_out
                contents += batch.contents
                lost.update(batch.lost)
                if batch.pixels is not None:
                    # No autocast: bfloat16 would change 8 % of the codes, so the backbone stays in float32.
                    z[batch.rows] = embed(backbone, batch.pixels.to(device(), non_blocking=True)).cpu().numpy()
                    labels[batch.rows] = batch.labels
        assert seen == shard.items, "the reader promises every item of the shard"
        arrays.write(task.output.data, f"embeddings/{unit}", z)
        arrays.write(task.output.data, f"labels/{unit}", labels)
        copies.write(task.output.path, unit, bytes(contents))
        return {"items": shard.items, "left_out": left_out, "lost": dict(lost), "backbone": facts}

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
    return Batch(
        rows=[item.index for item, _ in good],
        labels=[item.label for item, _ in good],
        pixels=pixels,
        left_out=left_out,
        contents=b"".join(item.content.ljust(copies.WIDTH, b"\0") for item in items),
        lost=[word for item, _ in good for word in item.lost],
    )


def finish(task: Task[Asks]) -> Facts:
    """What the backbone was, every item that was left out, and what the images lost on their way."""
    marks, manifest = task.output.marks(), inputs.read_manifest(task)
    check_alike(task, marks)
    items = sum(mark["items"] for mark in marks.values())
    lost = sum((Counter(mark.get("lost", {})) for mark in marks.values()), Counter[str]())
    taken = [unit for unit, mark in marks.items() if "taken_from" in mark]
    doubled = copies.within(task.output)
    notes = [LOST[word].format(n=f"{number} of {items} images") for word, number in sorted(lost.items())]
    labels = set(arrays.read_shards(task.output.data, "labels").tolist())
    if unread := unread_classes(manifest, labels):
        names = ", ".join(map(shown, unread[:5]))
        notes.append(f"of {len(unread)} classes no image can be read ({names}{', ...' if len(unread) > 5 else ''})")
    if taken:
        notes.append(
            f"{len(taken)} of {len(marks)} shards are as in an earlier run on this root and were taken from there"
        )
    if doubled is not None and doubled.items:
        notes.append(
            f"{doubled.items} of {items} images are copies of another one in this split, byte for byte"
            + (f"; {doubled.relabelled} of them with another label" if doubled.relabelled else "")
        )
    return {
        "items": items,
        "left_out": [item for mark in marks.values() for item in mark["left_out"]],
        "lost": dict(lost),
        "taken": taken,
        "backbone": next(iter(marks.values()))["backbone"],
        "copies": None if doubled is None else doubled.items,
        "notes": notes,
    }


def check_alike(task: Task[Asks], marks: Mapping[str, Any]) -> None:
    """Whether all shards were embedded in the same way; raises: ImageDataError."""
    first = next(iter(marks.values()))["backbone"]
    for mark in marks.values():
        if differ := inputs.differences(first, mark["backbone"]):
            raise ImageDataError(
                f"{task.output.path}: shards were embedded in different ways (they differ in: {', '.join(differ)}), "
                "which changes codes; delete the folder and run again in one environment"
            )


def unread_classes(manifest: Manifest, labels: set[int]) -> list[str]:
    """Names of the classes that have items, none of which was embedded; labels: of those that were."""
    counted = zip(manifest.classes, manifest.histogram, strict=True)
    return [name for k, (name, items) in enumerate(counted) if items and k not in labels]
