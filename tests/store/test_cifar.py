"""CIFAR's pickles: what is in them is data, or they are refused."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from store.cifar import batch, published
from store.errors import ImageDataError


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
