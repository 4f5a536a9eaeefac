"""Step: embeddings of one split: images through the frozen backbone, one image shard a unit."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from dkvb.backbones import BackboneSpec, embed, embedding_width, load_backbone
from jobs import data
from jobs.step import Facts, Task, Work, blocks, device
from store import arrays
from store.errors import ImageDataError
from store.images import Item

VERSION = 1
LEASE_S = 3600


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


def open_work(task: Task) -> Work:
    """Hold the backbone; embed one shard at a time."""
    torch.set_num_threads(1)  # A unit is computed by one thread, so its bits do not depend on the worker count.
    backbone = load_backbone(BackboneSpec(**task.spec["backbone"]), seed=task.spec["seed"] or 0)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    images, manifest = data.images_of(task), data.read_manifest(task)
    skip = task.spec["images"]["on_error"] == "skip"

    def embed_shard(unit: str) -> Facts:
        shard = manifest.shards[int(unit)]
        z = np.zeros((shard.items, backbone.d_z), np.float16)
        labels = np.full(shard.items, -1, np.int32)
        left_out, seen = [], 0
        for batch in batches(images.read(shard), task.spec["batch"]):
            seen += len(batch)
            for item in batch:
                if item.problem is None:
                    continue
                if not skip:
                    raise ImageDataError(
                        f"{shard.name}: {item.key}: {item.problem}; repair it, or set images.on_error = "
                        '"skip" in the spec to leave such items out'
                    )
                left_out.append({"shard": shard.name, "item": item.key, "reason": item.problem})
            good = [(item, item.image) for item in batch if item.problem is None and item.image is not None]
            if good:
                pixels = torch.stack([backbone.transform(image) for _, image in good])
                rows = [item.index for item, _ in good]
                pixels = pixels.to(device()).contiguous(memory_format=torch.channels_last)
                z[rows] = embed(backbone, pixels).cpu().numpy()
                labels[rows] = [item.label for item, _ in good]
        assert seen == shard.items, "the reader promises every item of the shard"
        arrays.write(task.output.data, f"embeddings/{unit}", z)
        arrays.write(task.output.data, f"labels/{unit}", labels)
        return {"items": shard.items, "left_out": left_out, "backbone": {**backbone.facts, "device": device().type}}

    return embed_shard


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
