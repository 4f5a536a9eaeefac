"""Images through a backbone: batches as a plain loop makes them, by threads, in parts, and on a GPU."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from PIL import ImageOps
from torch import Tensor

from dkvb.backbones import BackboneSpec, embed, load_backbone
from jobs.images import embedded as module
from jobs.images.embedded import PART, Passage, embedded, fed
from jobs.kinds.embeddings import AHEAD
from store.errors import ImageDataError
from store.images import Images, Shard, open_images
from tests.tiny import paint

BATCH = 2 * PART + 3


@pytest.fixture(scope="module")
def how():
    backbone = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", image_size=32))
    backbone.module.to(memory_format=torch.channels_last)
    return Passage(backbone=backbone, batch=BATCH)


@pytest.fixture(scope="module")
def digits():
    return open_images("digits", "", pattern="test", shard_items=2 * BATCH + 5)


@pytest.fixture(scope="module")
def shard(digits):
    """Three batches of images, the last of them shorter."""
    return digits.scan(on_error="fail").shards[0]


def plain(images: Images, shard: Shard, how: Passage) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, embeddings) of each batch, one image after the other."""
    whole = [item.image for item in images.read(shard) if item.image is not None]
    turned = [ImageOps.mirror(image) if how.flip else image for image in whole]
    for start in range(0, len(turned), how.batch):
        pixels = torch.stack([how.backbone.transform(image) for image in turned[start : start + how.batch]])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        yield pixels, embed(how.backbone, pixels)


def equal(one: Tensor | None, other: Tensor) -> bool:
    """Whether both are on one device, and have the same bits."""
    return one is not None and one.device == other.device and torch.equal(one, other)


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_batches_are_embedded_as_by_a_plain_loop_to_the_last_bit(cores, flip, digits, shard, how, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = [z for _, z in plain(digits, shard, replace(how, flip=flip))]
    finally:
        torch.set_num_threads(before)
    made = list(embedded(digits, shard, replace(how, flip=flip)))
    assert [len(batch.rows) for batch in made] == [BATCH, BATCH, 5]
    assert [row for batch in made for row in batch.rows] == list(range(2 * BATCH + 5))
    assert [label for batch in made for label in batch.labels] == list(shard.labels)
    assert all(equal(batch.z, z) for batch, z in zip(made, expected, strict=True))
    assert threads() == []


def test_two_cores_decode_two_batches_at_once(digits, shard, how, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    together, one = threading.Barrier(2), module.decoded

    def decoded(encoded, how):
        if encoded.index in (0, BATCH):
            together.wait(20)
        return one(encoded, how)

    monkeypatch.setattr(module, "decoded", decoded)
    assert len(list(embedded(digits, shard, how))) == 3


@pytest.mark.parametrize("cores", [1, 3, 40])
def test_parts_are_put_together_to_the_same_batches(cores, digits, shard, how, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    sent: list[str] = []

    def send(pixels):
        sent.append(threading.current_thread().name)
        return pixels

    made = list(fed(digits, shard, how, send))
    assert [each.batch.rows for each in made] == [
        [*range(BATCH)],
        [*range(BATCH, 2 * BATCH)],
        [*range(2 * BATCH, 2 * BATCH + 5)],
    ]
    assert all(equal(each.pixels, pixels) for each, (pixels, _) in zip(made, plain(digits, shard, how), strict=True))
    assert len(set(sent)) == 1
    assert threads() == []


def test_parts_are_decoded_a_bounded_number_ahead(how, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    images = open_images("digits", "", pattern="train", shard_items=1000)
    taken: list[int] = []
    whole = images.encoded

    def counted(shard):
        for item in whole(shard):
            taken.append(item.index)
            yield item

    monkeypatch.setattr(images, "encoded", counted)
    small = replace(how, batch=PART)
    stream = fed(images, images.scan(on_error="fail").shards[0], small, lambda pixels: pixels)
    next(stream)
    stream.close()
    assert len(taken) <= (1 + AHEAD + 1 + 3 + 1) * PART < 1000


@pytest.mark.parametrize("feed", [embedded, lambda images, shard, how: fed(images, shard, how, lambda pixels: pixels)])
def test_the_first_bad_image_is_named_and_skipped_ones_are_listed(feed, how, tmp_path, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    paint(tmp_path, {"ant": 2 * BATCH})
    bad = [tmp_path / "ant" / f"{number:04d}.png" for number in (BATCH - 1, BATCH, 2 * BATCH - 1)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    images = open_images("folder", str(tmp_path), pattern="")
    shard = images.scan(on_error="fail").shards[0]
    with pytest.raises(ImageDataError, match=rf"^folder-00000: ant/{bad[0].name}: .*; repair it, or set images.on_err"):
        list(feed(images, shard, how))
    assert threads() == []
    made = [getattr(each, "batch", each) for each in feed(images, shard, replace(how, skip=True))]
    assert [item["item"] for batch in made for item in batch.left_out] == [f"ant/{path.name}" for path in bad]
    good = [row for row in range(2 * BATCH) if row not in (BATCH - 1, BATCH, 2 * BATCH - 1)]
    assert [row for batch in made for row in batch.rows] == good
    assert b"".join(batch.contents for batch in made).count(b"\0" * 8) == 0


def test_a_batch_without_a_good_image_has_no_embeddings(how, tmp_path):
    paint(tmp_path, {"ant": 3})
    for path in (tmp_path / "ant").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    images = open_images("folder", str(tmp_path), pattern="")
    (made,) = embedded(images, images.scan(on_error="fail").shards[0], replace(how, skip=True))
    assert (made.z, made.rows, len(made.left_out)) == (None, [], 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_what_one_batch_after_the_other_gives_on_it(digits, shard, threads):
    backbone = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", image_size=32))
    backbone.module.to("cuda").to(memory_format=torch.channels_last)
    how = Passage(backbone=backbone, batch=BATCH)
    made = list(embedded(digits, shard, how))
    for batch, (_, z) in zip(made, plain(digits, shard, how), strict=True):
        assert equal(batch.z, z.cpu())
    assert [label for batch in made for label in batch.labels] == list(shard.labels)
    assert threads() == []
