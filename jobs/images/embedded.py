"""Images through a backbone: read by one thread, decoded by as many as the worker holds cores, in order.

On a CPU each of these threads also computes: a batch goes from its bytes to its embeddings on one core, so that every
core is busy, none is wanted twice, and the bits depend on no number of cores. Where there is a GPU, threads decode a
few images at a time, one more stacks batches and sends them over beside what the GPU computes.

h, w: pixels that the backbone takes; d_z: width of its embeddings.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic, TypeVar

import torch
from PIL import ImageOps
from torch import Tensor

from dkvb.backbones import Backbone, embed
from jobs.images import copies
from jobs.images.ahead import ahead, batches
from jobs.kinds.embeddings import AHEAD
from jobs.step import Facts
from jobs.worker import cores, device
from store.decoding import PLAIN, Decoding, Load, by_pillow
from store.errors import ImageDataError
from store.images import Encoded, Images, Item, Shard

PART = 8
"""Images that a thread decodes at a time for a GPU: few, so that the first batch of a shard is soon there."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """How images go through a backbone."""

    backbone: Backbone
    """On the worker's device."""
    batch: int
    """Images of a forward pass."""
    decoding: Decoding = PLAIN
    load: Load = by_pillow
    """By what pixels are read."""
    skip: bool = False
    """Whether images with a problem are left out; otherwise the first one is an error."""
    flip: bool = False
    """Whether every image is mirrored."""
    fill: bool = False
    """Whether a smaller batch is filled up with black images: the bits of an image then depend on no others.

    Libraries have other kernels for few images (CPU: for fewer than 16).
    """

    def embed(self, pixels: Tensor) -> Tensor:
        """(rows, 3, h, w) float32 pixels of a batch -> (rows, d_z) float32."""
        rows = len(pixels)
        if self.fill and rows < self.batch:
            black = pixels.new_zeros(self.batch - rows, *pixels.shape[1:])
            pixels = torch.cat([pixels, black]).contiguous(memory_format=torch.channels_last)
        return embed(self.backbone, pixels)[:rows]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items of a shard, embedded."""

    rows: list[int]
    """Positions in the shard of the good items."""
    labels: list[int]
    z: Tensor | None
    """(rows, d_z) float32, on the CPU; None without a good item."""
    left_out: list[Facts]
    """The items with a problem."""
    contents: bytes
    """8 bytes an item, by which copies are known."""
    lost: list[str]
    """What decoding lost, a word for each item that lost it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An item as the backbone takes it."""

    item: Item
    """Without its image."""
    pixels: Tensor | None
    """(3, h, w) float32; None where the item has a problem."""


def embedded(images: Images, shard: Shard, how: Passage) -> Generator[Batch, None, None]:
    """The items of a shard in order, batch after batch; no thread outlives the generator.

    raises: as `Images.encoded`; ImageDataError naming the first image that cannot be read, unless such are skipped.
    """
    if device().type == "cuda":
        yield from _by_gpu(images, shard, how)
        return
    held = cores()

    def passed(items: list[Encoded]) -> Batch:
        batch, pixels = gathered(shard, [decoded(item, how) for item in items], skip=how.skip)
        return batch if pixels is None else replace(batch, z=how.embed(pixels))

    with closing(ahead(batches(images.encoded(shard), how.batch), passed, threads=held, most=held + 1)) as stream:
        yield from stream


def decoded(encoded: Encoded, how: Passage) -> Decoded:
    """Decode and transform one item."""
    item = encoded.decoded(how.decoding, how.load)
    if item.image is None or item.problem is not None:
        return Decoded(replace(item, image=None), None)
    image = ImageOps.mirror(item.image) if how.flip else item.image
    return Decoded(replace(item, image=None), how.backbone.transform(image))


def gathered(shard: Shard, made: list[Decoded], *, skip: bool) -> tuple[Batch, Tensor | None]:
    """A batch that is still to be embedded, and its pixels.

    returns: pixels (rows, 3, h, w) float32, channels last; None without a good item.
    raises: ImageDataError for the first item with a problem, unless such are skipped.
    """
    left_out = problems(shard, [each.item for each in made], skip=skip)
    good = [(each.item, each.pixels) for each in made if each.pixels is not None]
    batch = Batch(
        rows=[item.index for item, _ in good],
        labels=[item.label for item, _ in good],
        z=None,
        left_out=left_out,
        contents=b"".join(each.item.content.ljust(copies.WIDTH, b"\0") for each in made),
        lost=[word for item, _ in good for word in item.lost],
    )
    if not good:
        return batch, None
    return batch, torch.stack([pixels for _, pixels in good]).contiguous(memory_format=torch.channels_last)


def problems(shard: Shard, items: list[Item], *, skip: bool) -> list[Facts]:
    """The items to leave out; raises: ImageDataError for the first one unless they are to be skipped."""
    bad = [item for item in items if item.problem is not None]
    if bad and not skip:
        raise ImageDataError(
            f"{shard.name}: {bad[0].key}: {bad[0].problem}; repair it, or set images.on_error = "
            '"skip" in the spec to leave such items out'
        )
    return [{"shard": shard.name, "item": item.key, "reason": item.problem} for item in bad]


@dataclass(frozen=True, slots=True)
class Sent(Generic[T]):
    """A batch that is still to be embedded, and its pixels on their way to a device."""

    batch: Batch
    pixels: T | None


def fed(images: Images, shard: Shard, how: Passage, send: Callable[[Tensor], T]) -> Generator[Sent[T], None, None]:
    """Batches for a device that computes by itself, decoded in parts; `send` gives a batch of pixels to it.

    At most `AHEAD` batches are ready, and the parts of two more decoded, or one part for each core where that is more.
    """

    def opened(items: list[Encoded]) -> list[Decoded]:
        return [decoded(item, how) for item in items]

    def stacked(made: list[Decoded]) -> Sent[T]:
        batch, pixels = gathered(shard, made, skip=how.skip)
        return Sent(batch, None if pixels is None else send(pixels))

    held = cores()
    most = max(2 * how.batch // PART, held) + 1
    with (
        closing(ahead(batches(images.encoded(shard), PART), opened, threads=held, most=most)) as parts,
        closing(ahead(batches(chain.from_iterable(parts), how.batch), stacked, threads=1, most=AHEAD)) as stream,
    ):
        yield from stream


def _by_gpu(images: Images, shard: Shard, how: Passage) -> Iterator[Batch]:
    """Batches by a GPU, which copies the next one while it computes, and never waits for this thread to fetch one."""
    copying = torch.cuda.Stream()

    def send(pixels: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        with torch.cuda.stream(copying):
            # Only pinned memory is copied while this process goes on.
            there = pixels.pin_memory().to(device(), non_blocking=True)
            return there, copying.record_event()

    waiting: tuple[Batch, Tensor, torch.cuda.Event] | None = None
    with closing(fed(images, shard, how, send)) as stream:
        for sent in stream:
            following = None
            if sent.pixels is not None:
                pixels, arrived = sent.pixels
                computing = torch.cuda.current_stream()
                computing.wait_event(arrived)
                pixels.record_stream(computing)  # or its memory could be given away before it is read
                z = how.embed(pixels)
                here = torch.empty(z.shape, dtype=z.dtype, pin_memory=True).copy_(z, non_blocking=True)
                following = sent.batch, here, computing.record_event()
            if waiting is not None:
                yield _fetched(*waiting)
            waiting = following
            if following is None:
                yield sent.batch
    if waiting is not None:
        yield _fetched(*waiting)


def _fetched(batch: Batch, z: Tensor, ready: torch.cuda.Event) -> Batch:
    ready.synchronize()
    return replace(batch, z=z)
