"""Embeddings: a unit is what a plain loop gives, whatever number of threads; none of them outlives its unit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cluster.unit_map import SerialExecutor
from dkvb.backbones import embed, load_backbone
from jobs import inputs
from jobs.images import embedded
from jobs.plan.plan import make_plan
from jobs.run.run import run_steps
from jobs.steps import embeddings
from store import arrays
from store.artefacts import open_root
from store.errors import ImageDataError, ShardChanged
from tests.tiny import Watched

BATCH = 23


class Broken(Exception):
    pass


@pytest.fixture(scope="session")
def digits_plan(make_spec):
    """Embeddings of the bundled digits."""
    changes = {"images.kind": "digits", "images.shard_items": 61, "embeddings.batch": BATCH}
    return make_plan(make_spec(changes), None)


@pytest.fixture
def digits(digits_plan, tmp_path):
    """The task of the test split, its manifests made and its arrays prepared."""
    root = open_root(tmp_path / "root", create=True)
    manifests = {label: digits_plan.step(label) for label in ("manifest[train]", "manifest[test]")}
    run_steps(manifests, root, SerialExecutor(), Watched())
    task = digits_plan.step("embeddings[test]").task(root)
    embeddings.prepare(task)
    return task


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_a_unit_is_what_a_plain_loop_over_its_batches_gives(cores, digits, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    facts = embeddings.open_work(digits)("00005")
    backbone = load_backbone(digits.asks.backbone)
    backbone.module.to(memory_format=torch.channels_last)
    items = list(inputs.images_of(digits).read(inputs.read_manifest(digits).shards[5]))
    assert len(items) == 359 - 5 * 61
    assert len(items) % BATCH
    plain = []
    for start in range(0, len(items), BATCH):
        pixels = torch.stack([backbone.transform(item.image) for item in items[start : start + BATCH] if item.image])
        plain.append(embed(backbone, pixels.contiguous(memory_format=torch.channels_last)).numpy().astype(np.float16))
    found = arrays.read(digits.output.data, "embeddings/00005")
    assert np.concatenate(plain).tobytes() == found.tobytes()
    assert arrays.read(digits.output.data, "labels/00005").tolist() == [item.label for item in items]
    assert (facts["items"], facts["left_out"]) == (len(items), [])
    assert threads() == []


def flawed(monkeypatch, *bad):
    """Let the items at some positions of every shard be broken."""
    read = inputs.images_of

    def images_of(task):
        images = read(task)
        whole = images.encoded

        def items(shard):
            for item in whole(shard):
                yield replace(item, fault=f"torn at {item.index}") if item.index in bad else item

        monkeypatch.setattr(images, "encoded", items)
        return images

    monkeypatch.setattr(inputs, "images_of", images_of)


def test_skipped_items_are_listed_in_order_and_leave_zeros(digits, monkeypatch):
    flawed(monkeypatch, 7, *range(BATCH, 2 * BATCH), 60)  # one, a whole batch, the last
    skipping = replace(digits, asks=replace(digits.asks, images=replace(digits.asks.images, on_error="skip")))
    facts = embeddings.open_work(skipping)("00000")
    bad = [7, *range(BATCH, 2 * BATCH), 60]
    assert [one["reason"] for one in facts["left_out"]] == [f"torn at {row}" for row in bad]
    z, labels = (arrays.read(digits.output.data, f"{name}/00000") for name in ("embeddings", "labels"))
    assert np.flatnonzero(labels == -1).tolist() == np.flatnonzero(~z.any(1)).tolist() == bad


@pytest.mark.parametrize("cores", [1, 3])
def test_the_first_broken_item_fails_its_unit_by_name_and_ends_the_threads(cores, digits, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    flawed(monkeypatch, 29, 31, 50)
    with pytest.raises(ImageDataError, match=r"^digits-00001: \S+: torn at 29; repair it, or set images.on_error"):
        embeddings.open_work(digits)("00001")
    assert threads() == []


def test_a_changed_shard_fails_its_unit_with_the_reader_s_error(digits, monkeypatch):
    manifest = inputs.read_manifest(digits)
    other = replace(manifest.shards[0], keys="0" * 32)
    monkeypatch.setattr(inputs, "read_manifest", lambda task: replace(manifest, shards=(other, *manifest.shards[1:])))
    with pytest.raises(ShardChanged, match="is not the one that was scanned"):
        embeddings.open_work(digits)("00000")


def test_an_error_of_the_backbone_ends_the_threads(digits, monkeypatch, threads):
    def broken(*_):
        raise Broken("out of memory")

    monkeypatch.setattr(embedded, "embed", broken)
    with pytest.raises(Broken, match="out of memory"):
        embeddings.open_work(digits)("00000")
    assert threads() == []
