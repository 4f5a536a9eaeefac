"""A look at images that ends after a given time: what was counted, and what is estimated from it."""

import pytest

from store.errors import ImageDataError
from store.images import open_images
from tests.store.made import tar_samples, write_tar


@pytest.fixture
def shards(tmp_path):
    for number in range(5):
        write_tar(tmp_path / f"train-{number}.tar", tar_samples(100 * number, 11))
    return open_images("webdataset", str(tmp_path), pattern="train-*.tar")


def test_with_time_enough_it_is_the_scan(shards):
    found = shards.glance(100.0)
    assert found.whole
    assert found.manifest == shards.scan(on_error="fail")
    assert found.items == 55
    assert found.bytes == found.bytes_read > 0


def test_without_time_one_shard_is_read_and_the_rest_estimated_by_size(shards):
    found = shards.glance(0.0)
    assert (found.read, found.shards, found.whole) == (1, 5, False)
    assert found.manifest.items == 11
    assert found.items == 55, "all shards are of one size"


def test_what_is_wrong_is_listed_and_raised_by_the_scan_alone(tmp_path):
    write_tar(tmp_path / "train-0.tar", [*tar_samples(0, 3), ("alone.png", b"")])
    images = open_images("webdataset", str(tmp_path), pattern="train-*.tar")
    found = images.glance(100.0)
    assert found.items == 4
    assert [problem.item for problem in found.manifest.problems] == ["alone"]
    with pytest.raises(ImageDataError, match="label missing"):
        images.scan(on_error="fail")


def test_shards_without_any_item_are_no_reason_to_stop(tmp_path):
    write_tar(tmp_path / "train-0.tar", [("readme.txt", b"")])
    found = open_images("webdataset", str(tmp_path), pattern="train-*.tar").glance(100.0)
    assert (found.items, found.manifest.classes) == (0, ())
    assert found.manifest.problems
