"""Embeddings: batches made ready by a thread are the same batches, and the thread never outlives its unit."""

import threading
from contextlib import closing
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest
import torch

from cluster.unit_map import SerialExecutor
from dkvb.backbones import embed, load_backbone
from jobs import inputs
from jobs.plan.plan import make_plan
from jobs.run.run import run_steps
from jobs.steps import embeddings
from jobs.steps.embeddings import ahead
from store import arrays
from store.artefacts import open_root
from store.errors import ImageDataError, ShardChanged
from tests.tiny import Watched

BATCH = 23


class Broken(Exception):
    pass


@pytest.fixture
def threads():
    """Names of the threads that a test started and has not ended."""
    before = set(threading.enumerate())
    return lambda: [thread.name for thread in set(threading.enumerate()) - before]


# The thread that works ahead.


@pytest.mark.parametrize("length", [0, 1, 2, 3, 19])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_items_come_out_as_they_went_in(length, number, threads):
    assert list(ahead(iter(range(length)), number)) == list(range(length))
    assert threads() == []


def test_false_and_empty_items_come_out_too():
    items: list[object] = [0, None, [], "", False]
    assert list(ahead(iter(items), 2)) == items


def test_items_are_made_in_one_other_thread():
    makers = set(ahead((threading.current_thread().name for _ in range(7)), 2))
    assert len(makers) == 1
    assert threading.current_thread().name not in makers


def test_at_most_that_many_items_are_made_ahead():
    made = []
    tried = threading.Event()

    def items():
        for number in range(19):
            made.append(number)
            if number == 3:
                tried.set()
            yield number

    with closing(ahead(items(), 3)) as stream:
        assert next(stream) == 0
        assert tried.wait(10)
        assert made == [0, 1, 2, 3]


def test_an_error_comes_after_the_items_before_it_with_its_type_and_text(threads):
    def items():
        yield 2
        yield 3
        raise Broken("at the third")

    stream = ahead(items(), 2)
    assert [next(stream), next(stream)] == [2, 3]
    with pytest.raises(Broken, match=r"^at the third$"):
        next(stream)
    assert threads() == []


def test_leaving_early_ends_the_thread(threads):
    stream = ahead(count(), 2)
    assert list(islice(stream, 3)) == [0, 1, 2]
    assert len(threads()) == 1
    stream.close()
    assert threads() == []


def test_an_error_of_the_consumer_ends_the_thread(threads):
    def fail(stream):
        with stream:
            raise Broken(next(stream.thing))

    with pytest.raises(Broken):
        fail(closing(ahead(count(), 2)))
    assert threads() == []


# A unit of the step.


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


def test_a_unit_is_what_a_plain_loop_over_its_batches_gives(digits, threads):
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
        whole = images.read

        def items(shard, how):
            for item in whole(shard, how):
                yield replace(item, image=None, problem=f"torn at {item.index}") if item.index in bad else item

        monkeypatch.setattr(images, "read", items)
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


def test_a_broken_item_fails_its_unit_by_name_and_ends_the_thread(digits, monkeypatch, threads):
    flawed(monkeypatch, 29, 31)
    with pytest.raises(ImageDataError, match=r"^digits-00001: \S+: torn at 29; repair it, or set images.on_error"):
        embeddings.open_work(digits)("00001")
    assert threads() == []


def test_a_changed_shard_fails_its_unit_with_the_reader_s_error(digits, monkeypatch):
    manifest = inputs.read_manifest(digits)
    other = replace(manifest.shards[0], keys="0" * 32)
    monkeypatch.setattr(inputs, "read_manifest", lambda task: replace(manifest, shards=(other, *manifest.shards[1:])))
    with pytest.raises(ShardChanged, match="is not the one that was scanned"):
        embeddings.open_work(digits)("00000")


def test_an_error_of_the_backbone_ends_the_thread(digits, monkeypatch, threads):
    def broken(*_):
        raise Broken("out of memory")

    monkeypatch.setattr(embeddings, "embed", broken)
    with pytest.raises(Broken, match="out of memory"):
        embeddings.open_work(digits)("00000")
    assert threads() == []
