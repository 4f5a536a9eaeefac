"""Image data sets of every kind: what a scan counts is what a read yields, and what is wrong is named."""

import io
import json
import pickle
import tarfile

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from store.errors import ImageDataError, ImagesMissing, ImageSourceError, ShardChanged
from store.images import Manifest, open_images
from tests.paths import DATA
from tests.store.made import contents, everything, picture, tar_samples, write_folder, write_parquet, write_tar

needs_real_images = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")


def test_every_fifth_of_the_digits_is_test(tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    for split, wanted in (("train", [n for n in range(1797) if n % 5 != 4]), ("test", list(range(4, 1797, 5)))):
        images = open_images("digits", "nowhere://", pattern=split, shard_items=500)
        manifest = images.scan(on_error="fail")
        assert [label for *_, label in everything(images, manifest)] == digits.target[wanted].tolist()
        items = [item for shard in manifest.shards for item in images.read(shard)]
        for item, n in zip(items, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(item.image)[..., 2], digits.images[n] * 255 / 16, atol=0.5)
    assert manifest.classes == tuple("0123456789")
    assert manifest.items == 359
    assert len(images.listing()) == 1


def test_a_wrong_description_is_refused_with_what_would_be_right(tmp_path):
    with pytest.raises(ImageSourceError, match="'web-dataset'; did you mean 'webdataset'"):
        open_images("web-dataset", "x", pattern="*")
    with pytest.raises(ImageSourceError, match="expected 'train' or 'test'"):
        open_images("digits", "x", pattern="validation")
    with pytest.raises(ImageSourceError, match=r"leave out class_file 'n\.txt'"):
        open_images("folder", "x", pattern="", class_file="n.txt")
    with pytest.raises(ImageSourceError, match="shard_items is 0"):
        open_images("folder", "x", pattern="", shard_items=0)
    with pytest.raises(ImageSourceError, match="pattern is empty"):
        open_images("parquet", "x", pattern="")
    with pytest.raises(ImageSourceError, match="expected 'fail' or 'skip'"):
        open_images("digits", "x", pattern="test").scan(on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ImageSourceError, match=r"nowhere://x.*[Pp]rotocol"):
        open_images("folder", "nowhere://x", pattern="").listing()


@pytest.mark.parametrize(("kind", "pattern"), [("folder", "train"), ("webdataset", "*.tar"), ("parquet", "*.parquet")])
def test_a_place_without_images_is_told_with_what_lies_there(tmp_path, kind, pattern):
    write_folder(tmp_path, {f"file-{n}.txt": b"" for n in range(8)})
    with pytest.raises(ImagesMissing, match=r"holds file-0\.txt, .*file-5\.txt and 2 more\. Check"):
        open_images(kind, str(tmp_path), pattern=pattern).listing()
    with pytest.raises(ImagesMissing, match=r"no-such.*holds file-0\.txt"):
        open_images(kind, str(tmp_path / "no-such" / "deeper"), pattern=pattern).scan(on_error="skip")


def test_the_report_names_twenty_problems_and_counts_all(tmp_path):
    write_tar(tmp_path / "t.tar", [*tar_samples(0, 2), *((f"x{n}.cls", b"0") for n in range(23))])
    with pytest.raises(ImageDataError, match="23 problems") as caught:
        open_images("webdataset", str(tmp_path), pattern="t.tar").scan(on_error="fail")
    lines = str(caught.value).splitlines()
    assert lines[1] == "  t.tar: x0: no image (fields met: cls)"
    assert lines[20:22] == ["  t.tar: x19: no image (fields met: cls)", "  and 3 more"]


def test_a_data_set_of_which_nothing_is_left_is_refused_even_when_skipping(tmp_path):
    write_tar(tmp_path / "t.tar", [("x.cls", b"0")])
    with pytest.raises(ImageDataError, match="Nothing is left"):
        open_images("webdataset", str(tmp_path), pattern="t.tar").scan(on_error="skip")


def change(members: list[tuple[str, bytes]], how: str) -> list[tuple[str, bytes]]:
    if how == "label":
        return [(name, b"2") if name == "s001.cls" else (name, content) for name, content in members]
    if how == "key":
        return [(name.replace("s004", "s005"), content) for name, content in members]
    return members[:-3] if how == "fewer" else members + tar_samples(5, 1)


@pytest.mark.parametrize("how", ["label", "key", "fewer", "more", "cut", "gone"])
def test_a_shard_changed_since_the_scan_is_named(tmp_path, how):
    path = write_tar(tmp_path / "t.tar", tar_samples(0, 5))
    images = open_images("webdataset", str(tmp_path), pattern="*.tar")
    shard = images.scan(on_error="fail").shards[0]
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        write_tar(path, change(tar_samples(0, 5), how))
    with pytest.raises(ShardChanged, match=r"shard 't\.tar'"):
        list(images.read(shard))


def test_images_pickle_as_their_description_whatever_they_have_open(tmp_path):
    write_folder(tmp_path, {f"c/{n}.png": picture(n) for n in range(5)})
    images = open_images("folder", str(tmp_path), pattern="")
    bare = pickle.dumps(images)
    manifest = images.scan(on_error="fail")
    assert pickle.dumps(images) == bare
    assert everything(pickle.loads(bare), pickle.loads(pickle.dumps(manifest))) == everything(images, manifest)
    assert pickle.loads(pickle.dumps(open_images("folder", "/no/such", pattern=""))).source.location == "/no/such"


def test_a_manifest_goes_through_json(tmp_path):
    write_tar(tmp_path / "t.tar", [*tar_samples(0, 5), ("x.cls", b"0")])
    manifest = open_images("webdataset", str(tmp_path), pattern="*.tar").scan(on_error="skip")
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    assert len(manifest.problems) == 1
    with pytest.raises(ImageDataError, match="not an image manifest"):
        Manifest.from_json({"classes": []})


def test_images_are_read_from_any_fsspec_file_system(tmp_path):
    memory = fsspec.filesystem("memory")
    write_tar(tmp_path / "t-0.tar", tar_samples(0, 5))
    write_parquet(tmp_path / "p.parquet", {"label": [1, 0, 2]})
    write_folder(tmp_path, {"train/a/1.png": picture(1), "train/b/2.png": picture(2), "names.txt": b"x\ny\nz"})
    memory.put(str(tmp_path) + "/", "/bucket/set/", recursive=True)
    try:
        for kind, pattern in (("webdataset", "t-{0..0}.tar"), ("parquet", "*.parquet"), ("folder", "train")):
            names = None if kind == "folder" else "names.txt"
            there = open_images(kind, "memory://bucket/set", pattern=pattern, class_file=names)
            here = open_images(kind, str(tmp_path), pattern=pattern, class_file=names)
            assert there.listing() == here.listing()
            manifest = there.scan(on_error="fail")
            assert manifest == here.scan(on_error="fail")
            assert everything(there, manifest) == everything(here, manifest)
    finally:
        memory.rm("/bucket", recursive=True)


@needs_real_images
def test_tiny_imagenet_reads_as_tarfile_does():
    place = str(DATA / "tiny-imagenet")
    counts = {"train": (20, 20000, 100), "validation": (5, 5000, 25)}
    for split, (shards, items, each) in counts.items():
        last = f"{shards - 1:04d}"
        images = open_images("webdataset", place, pattern=f"{split}-{{0000..{last}}}.tar", class_file="classnames.txt")
        manifest = images.scan(on_error="fail")
        assert (len(manifest.shards), manifest.items, manifest.histogram) == (shards, items, [each] * 200)
        assert (manifest.classes[0], len(set(manifest.classes))) == ("goldfish", 200)
    expected = []
    with tarfile.open(DATA / "tiny-imagenet" / f"validation-{last}.tar") as archive:
        members = contents(archive)
    for name in members:
        if name.endswith(".jpg"):
            pixels = np.asarray(Image.open(io.BytesIO(members[name])).convert("RGB"))
            expected.append((name[:-4], int(members[f"{name[:-4]}.cls"]), pixels))
    for item, (key, label, pixels) in zip(images.read(manifest.shards[-1]), expected, strict=True):
        assert (item.key, item.label, item.problem) == (key, label, None)
        np.testing.assert_array_equal(np.asarray(item.image), pixels)


@needs_real_images
def test_cifar10_parquet_reads_as_pyarrow_does():
    place = str(DATA / "cifar10")
    train = open_images("parquet", place, pattern="train-{00000..00004}-of-00005.parquet").scan(on_error="fail")
    assert (train.items, train.histogram) == (50000, [5000] * 10)
    images = open_images("parquet", place, pattern="test-*.parquet")
    manifest = images.scan(on_error="fail")
    assert (manifest.items, manifest.classes[0], manifest.classes[9]) == (10000, "airplane", "truck")
    table = pq.read_table(DATA / "cifar10" / "test-00000-of-00001.parquet")
    assert list(manifest.shards[0].labels) == table["label"].to_pylist()
    for item, row in zip(images.read(manifest.shards[0]), table["image"].slice(0, 700).to_pylist(), strict=False):
        np.testing.assert_array_equal(np.asarray(item.image), np.asarray(Image.open(io.BytesIO(row["bytes"]))))
