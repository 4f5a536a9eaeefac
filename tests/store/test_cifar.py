"""CIFAR's pickles: what is in them is data, or they are refused."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from store.cifar import batch, published
from store.errors import ImageDataError, ImagesMissing, ImageSourceError
from store.images import open_images
from tests.store.made import everything


class Evil:
    """Would make a file if it were unpickled as Python does."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


def write(path, content, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(content, protocol))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_code_in_a_published_file_is_refused_and_not_run(tmp_path):
    checksum = write(tmp_path / "batch", {"data": Evil(tmp_path / "victim")})
    with pytest.raises(ImageDataError, match="system"):
        published(tmp_path / "batch", checksum)
    assert not (tmp_path / "victim").exists()


def test_a_file_of_another_checksum_is_not_even_parsed(tmp_path):
    write(tmp_path / "batch", {})
    with pytest.raises(ImageDataError, match="published checksum"):
        published(tmp_path / "batch", "0" * 32)


def test_a_batch_is_read_as_images_and_labels(tmp_path):
    pixels = np.arange(5 * 3072).astype(np.uint8).reshape(5, 3072)
    checksum = write(tmp_path / "batch", {"data": pixels, "labels": [1, 0, 2, 1, 0]}, 4)
    found, labels = batch(tmp_path / "batch", checksum)
    assert labels == [1, 0, 2, 1, 0]
    np.testing.assert_array_equal(found[3], pixels[3].reshape(3, 32, 32).transpose(1, 2, 0))


PYTHON2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87R"
    b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89T\x00\x0c\x00\x00" + bytes(range(256)) * 12 + b"tbU\x06labels]K\x07au."
)
"""One image as Python 2 pickled it in 2009."""


def test_a_pickle_of_python_2_is_read(tmp_path):
    (tmp_path / "batch").write_bytes(PYTHON2)
    pixels, labels = batch(tmp_path / "batch", hashlib.md5(PYTHON2).hexdigest())
    assert labels == [7]
    np.testing.assert_array_equal(pixels[0, 0, :5, 0], range(5))


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": ["0", "1"]},
        {"labels": [0]},
    ],
)
def test_a_batch_of_something_else_is_refused(content, tmp_path):
    checksum = write(tmp_path / "batch", content)
    with pytest.raises(ImageDataError):
        batch(tmp_path / "batch", checksum)


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path, monkeypatch):
    """Small files in the published layout; only the checksums that torchvision expects are replaced by theirs."""
    from torchvision.datasets import CIFAR10, CIFAR100

    published, key = (CIFAR10, "labels") if request.param == "cifar10" else (CIFAR100, "fine_labels")
    folder = tmp_path / published.base_folder
    folder.mkdir()
    rng = np.random.default_rng(5)
    arrays = {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def write_batch(name):
        arrays[name] = rng.integers(0, 256, (7, 3072), np.uint8), rng.integers(0, 10, 7).tolist()
        return [name, write(name, {"data": arrays[name][0], key: arrays[name][1]})]

    for split in ("train_list", "test_list"):
        monkeypatch.setattr(published, split, [write_batch(name) for name, _ in getattr(published, split)])
    names = [f"class {n}" for n in range(10)]
    monkeypatch.setattr(
        published, "meta", published.meta | {"md5": write(published.meta["filename"], {published.meta["key"]: names})}
    )
    return request.param, tmp_path, published, arrays


def test_cifar_comes_in_its_published_order(cifar):
    kind, root, published, arrays = cifar
    for split, files in (("train", published.train_list), ("test", published.test_list)):
        images = open_images(kind, str(root), pattern=split, shard_items=3)
        manifest = images.scan(on_error="fail")
        pixels = np.concatenate([arrays[name][0] for name, _ in files])
        labels = [label for name, _ in files for label in arrays[name][1]]
        assert [label for *_, label in everything(images, manifest)] == labels
        assert [s.items for s in manifest.shards] == [min(3, len(labels) - n) for n in range(0, len(labels), 3)]
        assert manifest.classes[3] == "class 3"
        items = [item for shard in manifest.shards for item in images.read(shard)]
        for item, row in zip(items, pixels, strict=True):
            np.testing.assert_array_equal(np.asarray(item.image), row.reshape(3, 32, 32).transpose(1, 2, 0))
        assert items[4].key == f"{split}-4"


def test_cifar_files_that_are_missing_or_damaged_are_refused(cifar):
    kind, root, published, _ = cifar
    folder = root / published.base_folder
    assert {f.name for f in open_images(kind, str(root), pattern="test").listing()} == {
        f"{published.base_folder}/{path.name}" for path in folder.iterdir()
    }
    name = published.test_list[0][0]
    damaged = (folder / name).read_bytes()[:-1] + b"!"
    (folder / name).write_bytes(damaged)
    with pytest.raises(ImageDataError, match="published checksum"):
        open_images(kind, str(root), pattern="test").scan(on_error="skip")
    (folder / name).unlink()
    with pytest.raises(
        ImagesMissing, match=f"found no file {published.base_folder}/{name};.*holds {published.base_folder}"
    ):
        open_images(kind, str(root), pattern="test").listing()
    with pytest.raises(ImageSourceError, match="local folder"):
        open_images(kind, "memory://x", pattern="test").listing()
