"""Step: embeddings of one split: images through the frozen backbone, one image shard a unit.

Threads read and decode while others compute (`jobs.images.embedded`); what a unit gives depends on no number of them.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
import torch

from dkvb.backbones import embedding_width, load_backbone
from dkvb.extensions import BACKBONES, Extension
from jobs import inputs
from jobs.excluded import forgotten_rows
from jobs.images import copies, reuse
from jobs.images.decoders import load_by
from jobs.images.embedded import Passage, embedded
from jobs.kinds.embeddings import VERSION, Asks
from jobs.printable import shown
from jobs.step import Facts, Task, Work
from jobs.worker import blocks, device, use_one_core
from store import arrays
from store.errors import ImageDataError
from store.images import Manifest

LOST = {
    "orientation": 'EXIF says that {n} are to be turned, and they were not (images.orientation = "apply" does)',
    "alpha": '{n} are transparent in parts, which was dropped (images.alpha = "white" or "black" gives them a ground)',
    "frames": "{n} have further frames or pages, of which the first alone was taken",
    "depth": "{n} have 16 bits a channel, of which 8 were taken",
}
"""What people are told of images that lost something in decoding, by the word for it in `store.decoding.Decoded`."""


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


def open_work(task: Task[Asks]) -> Work:
    """Hold the backbone; embed one shard at a time."""
    use_one_core()
    asks, manifest = task.asks, inputs.read_manifest(task)
    if (copy := reuse.all_taken(task, VERSION, manifest)) is not None:
        return copy
    if asks.extension is not None:
        Extension(BACKBONES, asks.backbone.library, asks.extension).load()
    backbone = load_backbone(asks.backbone, seed=asks.seed or 0)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    images = inputs.images_of(task)
    facts = {**backbone.facts, "device": device().type}
    if asks.decode != "pil":
        facts["decode"] = asks.decode
    donors = reuse.donors(task, VERSION, manifest)
    how = Passage(
        backbone=backbone,
        batch=asks.batch,
        decoding=asks.decoding,
        load=load_by(asks.decode),
        skip=asks.images.skip,
        flip=asks.flip,
    )

    def embed_shard(unit: str) -> Facts:
        shard = manifest.shards[int(unit)]
        taken = reuse.take(donors[unit], task, unit, shard=shard, backbone=facts) if unit in donors else None
        if taken is not None:
            return taken
        z = np.zeros((shard.items, backbone.d_z), np.float16)
        labels = np.full(shard.items, -1, np.int32)
        left_out, seen, contents, lost = list[Facts](), 0, bytearray(), Counter[str]()
        with closing(embedded(images, shard, how)) as stream:
            for batch in stream:
                seen += len(batch.rows) + len(batch.left_out)
                left_out += batch.left_out
                contents += batch.contents
                lost.update(batch.lost)
                if batch.z is not None:
                    z[batch.rows] = batch.z.numpy()
                    labels[batch.rows] = batch.labels
        assert seen == shard.items, "the reader promises every item of the shard"
        gone = forgotten_rows(shard)
        z[gone], labels[gone] = 0, -1  # read, as the shard is recognised by all of its items
        arrays.write(task.output.data, f"embeddings/{unit}", z)
        arrays.write(task.output.data, f"labels/{unit}", labels)
        copies.write(task.output.path, unit, copies.blank(bytes(contents), gone))
        return {"items": shard.items, "left_out": left_out, "lost": dict(lost), "backbone": facts}

    return embed_shard


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
