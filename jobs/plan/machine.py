"""How fast this machine is, measured in about two seconds: images through the backbone, and what one core computes."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import torch
from PIL import Image

from cluster.machine import usable_cpus
from dkvb.backbones import Backbone, embed, load_backbone
from jobs.images.decoders import load_by
from jobs.images.embedded import Passage, embedded
from jobs.plan.minutes import Speed
from jobs.spec.schema import Spec
from jobs.worker import cores, device, use_one_core
from store.images import Images, Shard

SECONDS = 1.5
"""For which images go through the backbone."""

CORE_SECONDS = 0.3
"""For which matrices are multiplied."""

BATCH = {"cpu": 8, "cuda": 32}
"""Most images of a forward pass: of more, the time would be over before the first is through.

A core is as fast with eight images as with more: 8.9 to 9.9 ViT-B/32 images a second with 8, 8.5 to 9.4 with 32.
"""

EDGE = 384
"""Of the matrices."""

CORE = 7.8e10
"""Multiply-adds of such products in a second, on a core on which the rates of `jobs.plan.needs` were measured."""


def measure(spec: Spec, images: Images | None, shards: Sequence[Shard] = ()) -> Speed:
    """Measure this machine; the backbone has random weights, which are as fast as its own and need no network.

    images, shards: what can be read of the spec's training images; none where they are not here.
    raises: DkvbError for a backbone that cannot be made; StoreError for images that cannot be read.
    """
    before = torch.get_num_threads()
    use_one_core()
    try:
        backbone = load_backbone(replace(spec.backbone, weights="random"))
        backbone.module.to(device()).to(memory_format=torch.channels_last)
        batch = min(BATCH[device().type], spec.embeddings.batch)
        embed(backbone, _black(backbone, batch))  # the first time takes longer
        own = images is not None and bool(shards)
        if images is not None and own:
            seen, seconds = _own(spec, backbone, images, shards)
        else:
            seen, seconds = _blacks(backbone, batch)
        core = _core()
    finally:
        torch.set_num_threads(before)
    at_once = min(cores(), usable_cpus()) if own and device().type == "cpu" else 1
    return Speed(images=seen / seconds / at_once, device=device().type, seen=seen, decoded=own, core=core)


def _own(spec: Spec, backbone: Backbone, images: Images, shards: Sequence[Shard]) -> tuple[int, float]:
    """How many images of these went through the backbone, as a run does it on all cores, and in how many seconds."""
    how = Passage(
        backbone=backbone,
        batch=min(BATCH[device().type], spec.embeddings.batch),
        decoding=spec.images.decoding,
        load=load_by(spec.images.decode),
        skip=True,
    )
    seen, began = 0, time.perf_counter()
    for shard in sorted(shards, key=lambda shard: -shard.items):
        with closing(embedded(images, shard, how)) as stream:
            for batch in stream:
                seen += len(batch.rows) + len(batch.left_out)
                if time.perf_counter() - began > SECONDS:
                    return seen, time.perf_counter() - began
    return seen, time.perf_counter() - began


def _blacks(backbone: Backbone, batch: int) -> tuple[int, float]:
    """The same of black images, on one core, without decoding."""
    pixels = _black(backbone, batch)
    seen, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        embed(backbone, pixels).cpu()
        seen += len(pixels)
    return seen, time.perf_counter() - began


def _black(backbone: Backbone, batch: int) -> torch.Tensor:
    """(batch, 3, h, w) float32: a batch of black images."""
    one = backbone.transform(Image.new("RGB", (64, 64)))
    return one[None].repeat(batch, 1, 1, 1).contiguous(memory_format=torch.channels_last)


def _core() -> float:
    """How many times as fast one core multiplies matrices as one of those that rates were measured on."""
    matrix = torch.ones(EDGE, EDGE)
    _ = matrix @ matrix
    done, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < CORE_SECONDS:
        _ = matrix @ matrix
        done += 1
    return done * EDGE**3 / seconds / CORE
