"""Image data sets of every kind: what a scan counts is what a read yields, and what is wrong is named."""

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from store.errors import ImageDataError, ImagesMissing, ImageSourceError, ShardChanged
from store.images import Manifest, open_images
from tests.store.made import everything, picture, reasons, tar_samples, write_folder, write_parquet, write_tar

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_real_images = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images at {REAL}")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_cut_into_shards_in_path_order(tmp_path):
    files = ["a-b/1.png", "a/2.PNG", "a/10.png", "a/deep/0.png", "b/x.png"]
    write_folder(tmp_path / "train", {name: picture(n) for n, name in enumerate(files)})
    write_folder(tmp_path / "train", {"b/notes.txt": b"", "b/._x.png": b"", ".cache/y.png": b"", "README.md": b""})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.png").write_bytes(picture(99))
    (tmp_path / "train" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "b" / "y.png").symlink_to(tmp_path / "train" / "a" / "2.PNG")
    images = open_images("folder", str(tmp_path), pattern="train", shard_items=3)
    manifest = images.scan(on_error="fail")
    assert manifest.classes == ("a", "a-b", "b", "c")
    assert manifest.histogram == [3, 1, 2, 1]
    assert [(s.name, s.items) for s in manifest.shards] == [
        ("folder-00000", 3),
        ("folder-00001", 3),
        ("folder-00002", 1),
    ]
    keys = ["a/10.png", "a/2.PNG", "a/deep/0.png", "a-b/1.png", "b/x.png", "b/y.png", "c/z.png"]
    assert [key for _, key, _ in everything(images, manifest)] == keys
    assert [(f.name, f.bytes) for f in images.listing()] == [(k, (tmp_path / "train" / k).stat().st_size) for k in keys]


def test_stray_images_empty_classes_and_dead_links_of_a_folder_are_named(tmp_path):
    write_folder(tmp_path, {"a/1.png": picture(1), "loose.png": picture(2)})
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    images = open_images("folder", str(tmp_path), pattern="")
    with pytest.raises(ImageDataError, match=r"3 problems(?s:.*)a/dead\.png(?s:.*)loose\.png(?s:.*)b/: no image"):
        images.scan(on_error="fail")
    manifest = images.scan(on_error="skip")
    assert (manifest.classes, manifest.histogram) == (("a", "b"), [1, 0])
    assert [key for _, key, _ in everything(images, manifest)] == ["a/1.png"]


def test_images_come_as_rgb_with_their_own_pixels_and_no_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    forms = {
        "rgb.png": picture(10), "grey.png": picture(20, mode="L"), "palette.png": picture(30, mode="P"),
        "alpha.png": picture(40, mode="RGBA"),
        "cmyk.jpg": picture(50, "JPEG", "CMYK"), "turned.jpeg": picture(60, "JPEG", exif=exif),
        "old.bmp": picture(70, "BMP"), "new.webp": picture(80, "WEBP", lossless=True), "png-inside.JPEG": picture(90),
    }  # fmt: skip
    write_folder(tmp_path, {f"c/{name}": content for name, content in forms.items()})
    images = open_images("folder", str(tmp_path), pattern="")
    items = {item.key[2:]: item for item in images.read(images.scan(on_error="fail").shards[0])}
    assert items.keys() == forms.keys()
    for name, content in forms.items():
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert items[name].problem is None
        assert expected.shape == (3, 5, 3)
        np.testing.assert_array_equal(np.asarray(items[name].image), expected)
    assert items["rgb.png"].image.getpixel((4, 2)) == (10, 5, 7)


def test_images_that_cannot_be_decoded_stay_in_place_with_the_reason(tmp_path, monkeypatch):
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.effect_noise((43, 31), 80).save(jpeg, "JPEG")
    Image.effect_noise((43, 31), 80).save(png, "PNG")
    deep, large = io.BytesIO(), io.BytesIO()
    Image.new("I;16", (5, 3)).save(deep, "PNG")
    Image.new("L", (131, 17)).save(large, "PNG")
    files = {
        "0.png": picture(1), "1.jpg": jpeg.getvalue()[:-300], "2.png": b"no image", "3.png": b"",
        "4.png": deep.getvalue(),
        "5.png": large.getvalue(), "6.png": png.getvalue()[:-300], "7.png": picture(7, "PCX"), "8.png": picture(8),
    }  # fmt: skip
    write_folder(tmp_path, {f"c/{name}": content for name, content in files.items()})
    images = open_images("folder", str(tmp_path), pattern="")
    shard = images.scan(on_error="fail").shards[0]
    for limit in (131 * 17 - 1, 131 * 17 // 2 - 1):  # Pillow warns above its limit and raises above twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        items = list(images.read(shard))
        assert [item.image is None for item in items] == [False, True, True, True, True, True, True, True, False]
        assert "decompression bomb" in items[5].problem
    monkeypatch.undo()
    found = [item.problem for item in images.read(shard)]
    assert [found[0], found[5], found[8]] == [None, None, None]
    assert "truncated" in found[1]
    assert "not a readable image" in found[2]
    assert "(0 bytes)" in found[3]
    assert "I;16" in found[4]
    assert found[6]
    assert "JPEG, PNG, BMP, WEBP, TIFF, GIF, AVIF, PPM" in found[7]


# --- tars ------------------------------------------------------------------------------------------------------------


def test_tar_shards_of_a_brace_range_are_read_in_order(tmp_path):
    for shard in range(8, 11):
        write_tar(tmp_path / f"t-{shard:02d}.tar", tar_samples(10 * shard, shard - 5))
    write_tar(tmp_path / "t-11.tar", tar_samples(0, 1))
    images = open_images("webdataset", str(tmp_path), pattern="t-{08..10}.tar")
    manifest = images.scan(on_error="fail")
    expected = [(f"t-{s:02d}.tar", f"s{n:03d}", n % 3) for s in (8, 9, 10) for n in range(10 * s, 11 * s - 5)]
    assert everything(images, manifest) == expected
    assert manifest.classes == ("0", "1", "2")
    assert (manifest.items, sum(manifest.histogram)) == (12, 12)
    assert [f.name for f in images.listing()] == ["t-08.tar", "t-09.tar", "t-10.tar"]
    mixed = open_images("webdataset", str(tmp_path), pattern="t-*.tar")
    assert [s.name for s in mixed.scan(on_error="fail").shards] == ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]
    mixed = open_images("webdataset", str(tmp_path), pattern="?-{9..11}.t*")
    with pytest.raises(ImagesMissing, match=r"\?-9\.t\*"):
        mixed.scan(on_error="fail")
    mixed = open_images("webdataset", str(tmp_path), pattern="?-{10..11}.t*")
    assert [s.name for s in mixed.scan(on_error="fail").shards] == ["t-10.tar", "t-11.tar"]


def test_a_shard_missing_from_a_brace_range_is_named(tmp_path):
    write_tar(tmp_path / "t-0.tar", tar_samples(0, 2))
    with pytest.raises(ImagesMissing, match=r"no file t-1\.tar, t-2\.tar; .* holds t-0\.tar\. Check"):
        open_images("webdataset", str(tmp_path), pattern="t-{0..2}.tar").listing()


def test_tars_in_folders_with_glob_characters_and_dotted_members_are_read(tmp_path):
    folder = tmp_path / "[odd] *name"
    (folder / "sub").mkdir(parents=True)
    members = [("README.txt", b"hi"), ("./a/x.seg.png", picture(9)), ("./a/x.JPG", picture(1, "JPEG"))]
    members += [("./a/x.cls", b" 2\n"), ("b/x.cls", b"0"), ("b/x.webp", picture(2, "WEBP"))]
    write_tar(folder / "sub" / "one.tar", members)
    images = open_images("webdataset", str(folder), pattern="sub/*.tar")
    assert everything(images, images.scan(on_error="fail")) == [("sub/one.tar", "a/x", 2), ("sub/one.tar", "b/x", 0)]
    write_tar(folder / "top.tar", tar_samples(0, 1))
    deep = open_images("webdataset", str(folder), pattern="**/*.tar").scan(on_error="fail")
    assert [shard.name for shard in deep.shards] == ["sub/one.tar", "top.tar"]


def test_class_names_come_from_the_class_file(tmp_path):
    write_tar(tmp_path / "t.tar", tar_samples(0, 4))
    lines = ["n01\ttench, Tinca tinca", "n02\tcrane", "n03\tcrane, derrick", "plain, whole line", ""]
    (tmp_path / "names.txt").write_text("\n".join(lines))
    images = open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt")
    assert images.scan(on_error="fail").classes == ("tench", "crane (n02)", "crane (n03)", "plain, whole line")
    assert [f.name for f in images.listing()] == ["t.tar", "names.txt"]
    (tmp_path / "names.txt").write_text("cat\n\ncat\n")
    with pytest.raises(ImageDataError, match=r"names\.txt.*line 1: the name 'cat'.*twice"):
        open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt").scan(on_error="skip")
    with pytest.raises(ImagesMissing, match=r"no class file 'other\.txt'.*names\.txt, t\.tar"):
        open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="other.txt").scan(on_error="skip")


def test_broken_samples_of_a_tar_are_named_and_positions_hold(tmp_path):
    png = picture(3)
    members = [
        ("ok.png", png), ("ok.cls", b"1"), ("word.png", png), ("word.cls", b"cat"),
        ("high.png", png), ("high.cls", b"7"),
        ("low.png", png), ("low.cls", b"-1"), ("bare.png", png), ("lost.cls", b"0"),
        ("lost.json", b"{}"), ("meta.json", b"{}"),
        ("two.png", png), ("two.jpg", png), ("two.cls", b"0"),
        ("ok.png", png), ("ok.cls", b"0"), ("last.png", b"?"), ("last.cls", b"0"),
        ("last.png", png), ("last.cls", b"0"),
    ]  # fmt: skip
    write_tar(tmp_path / "t.tar", members)
    (tmp_path / "names.txt").write_text("x\ny")
    images = open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt")
    manifest = images.scan(on_error="skip")
    assert reasons(manifest) == [
        ("t.tar", "word", "label 'cat' is not an integer"),
        ("t.tar", "high", "label 7 is outside the classes 0 to 1"),
        ("t.tar", "low", "label -1 is outside the classes 0 to 1"),
        ("t.tar", "bare", "label missing (no cls member; fields met: png)"),
        ("t.tar", "lost", "no image (fields met: cls, json)"),
        ("t.tar", "meta", "no image (fields met: json)"),
        ("t.tar", "two", "two images (png, jpg)"),
        ("t.tar", "ok", "duplicate key; the first sample of that key is kept"),
        ("t.tar", "last", "duplicate key; the first sample of that key is kept"),
    ]
    kept = [("ok", 1), ("word", -1), ("high", -1), ("low", -1), ("bare", -1), ("last", 0)]
    assert [(key, label) for _, key, label in everything(images, manifest)] == kept
    assert (manifest.items, manifest.histogram) == (6, [1, 1])
    problems = [item.problem for item in images.read(manifest.shards[0])]
    assert problems[:2] == [None, "label 'cat' is not an integer"]
    assert "not a readable image" in problems[5]
    with pytest.raises(ImageDataError, match=r'9 problems(?s:.*)t\.tar: word: label(?s:.*)on_error = "skip"'):
        images.scan(on_error="fail")


@pytest.mark.parametrize("image_first", [True, False])
def test_a_tar_cut_anywhere_keeps_exactly_the_complete_samples_before_the_cut(tmp_path, image_first):
    members = tar_samples(0, 5)
    if not image_first:  # then the last bytes of a sample are pixels, which a scan does not read
        members = [member for n in range(0, 15, 3) for member in (members[n + 1], members[n])]
    whole = write_tar(tmp_path / "t.tar", members)
    content = whole.read_bytes()
    with tarfile.open(whole) as archive:
        ends = {m.name: m.offset_data + m.size for m in archive}
        end_marker = archive.offset
    images = open_images("webdataset", str(tmp_path), pattern="t.tar")
    for cut in [*range(0, end_marker + 512, 257), *ends.values(), *(end - 1 for end in ends.values()), end_marker]:
        whole.write_bytes(content[:cut])
        complete = [f"s{n:03d}" for n in range(5) if ends[f"s{n:03d}.png"] <= cut and ends[f"s{n:03d}.cls"] <= cut]
        with pytest.raises(ImageDataError, match=r"t\.tar: truncated or damaged tar"):
            images.scan(on_error="fail")
        if complete:
            manifest = images.scan(on_error="skip")
            assert [key for _, key, _ in everything(images, manifest)] == complete, cut
            assert [(p.shard, p.item) for p in manifest.problems] == [("t.tar", "")]


def test_tars_that_tarfile_would_end_silently_are_named(tmp_path):
    good = write_tar(tmp_path / "a-good.tar", tar_samples(0, 5)).read_bytes()
    damaged = bytearray(good)
    damaged[good.index(b"s003.png")] ^= 1
    contents = {
        "b-damaged.tar": bytes(damaged), "c-joined.tar": good + good,
        "d-garbage.tar": b"garbage" * 999, "e-zero.tar": b"",
        "f-empty.tar": bytes(10240),
    }  # fmt: skip
    write_folder(tmp_path, contents)
    images = open_images("webdataset", str(tmp_path), pattern="*.tar")
    manifest = images.scan(on_error="skip")
    assert [(s.name, s.items) for s in manifest.shards] == [
        ("a-good.tar", 5),
        ("b-damaged.tar", 3),
        ("c-joined.tar", 5),
    ]
    texts = {p.shard: p.reason for p in manifest.problems}
    assert texts.keys() == contents.keys()
    assert "no end marker" in texts["b-damaged.tar"]
    assert "data behind the end marker" in texts["c-joined.tar"]
    assert texts["f-empty.tar"] == "holds no items"
    assert len(everything(images, manifest)) == 13


def test_labels_without_class_names_that_no_data_set_has_are_taken_for_broken(tmp_path):
    write_tar(tmp_path / "t.tar", [*tar_samples(0, 2), ("x.png", picture(1)), ("x.cls", b"123456789012")])
    manifest = open_images("webdataset", str(tmp_path), pattern="t.tar").scan(on_error="skip")
    assert manifest.classes == ("0", "1")
    assert manifest.shards[0].labels == (0, 1, -1)


# --- parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_rows_come_in_order_over_row_groups_and_files(tmp_path):
    names = ["cat", "dog", "eel"]
    for part, count in enumerate((7, 11)):
        write_parquet(
            tmp_path / f"p-{part}.parquet", {"label": [n % 3 for n in range(count)]}, names=names, row_group_size=3
        )
    images = open_images("parquet", str(tmp_path), pattern="p-*.parquet")
    manifest = images.scan(on_error="fail")
    assert manifest.classes == ("cat", "dog", "eel")
    expected = [(f"p-{p}.parquet", f"row-{n}", n % 3) for p, count in enumerate((7, 11)) for n in range(count)]
    assert everything(images, manifest) == expected
    shades = [item.image.getpixel((0, 0))[0] for item in images.read(manifest.shards[1])]
    assert shades == list(range(11))


def test_what_is_wrong_in_parquet_files_is_named(tmp_path):
    write_folder(tmp_path, {"0-broken.parquet": b"PAR1 not really PAR1"})
    write_parquet(tmp_path / "1-ok.parquet", {"label": [0, None, 2, -1, 1]}, names=["a", "b"])
    write_parquet(tmp_path / "2-other.parquet", {"label": [0]}, names=["b", "a"])
    write_parquet(tmp_path / "3-empty.parquet", {"label": []}, names=["a", "b"])
    table = pq.read_table(tmp_path / "1-ok.parquet")
    rows = [{"bytes": None, "path": "x.png"}, {"bytes": picture(1), "path": "y.png"}]
    for name, some in (("4-bare.parquet", rows[:1]), ("5-half.parquet", rows)):
        image = pa.array(some, table.schema.field("image").type)
        pq.write_table(pa.table({"image": image, "label": [1] * len(some)}, schema=table.schema), tmp_path / name)
    images = open_images("parquet", str(tmp_path), pattern="*.parquet")
    manifest = images.scan(on_error="skip")
    assert [(p.shard, p.item) for p in manifest.problems] == [
        ("0-broken.parquet", ""), ("1-ok.parquet", "row-1"), ("1-ok.parquet", "row-2"), ("1-ok.parquet", "row-3"),
        ("2-other.parquet", ""), ("3-empty.parquet", ""), ("4-bare.parquet", ""),
    ]  # fmt: skip
    assert "class names differ" in manifest.problems[4].reason
    assert "its column 'image' holds paths and no bytes" in manifest.problems[6].reason
    assert manifest.shards[0].labels == (0, -1, -1, -1, 1)
    assert [label for *_, label in everything(images, manifest)] == [0, -1, -1, -1, 1, 1, 1]
    assert next(images.read(manifest.shards[1])).problem == "no image bytes"


def test_parquet_row_groups_are_read_one_by_one(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"label": [0, 1] * 5}, row_group_size=5, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1)
    start = next(c.data_page_offset for c in map(group.column, range(3)) if c.path_in_schema == "image.bytes")
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    images = open_images("parquet", str(tmp_path), pattern="p.parquet")
    items = images.read(images.scan(on_error="fail").shards[0])
    assert [next(items).label for _ in range(5)] == [0, 1, 0, 1, 0]
    with pytest.raises(ImageDataError, match=r"shard 'p\.parquet' cannot be read"):
        next(items)


def test_parquet_without_class_names_takes_the_class_file(tmp_path):
    write_parquet(tmp_path / "p.parquet", {"label": [1, 0]})
    (tmp_path / "names.txt").write_text("hen\nowl\nyak\n")
    images = open_images("parquet", str(tmp_path), pattern="p.parquet", class_file="names.txt")
    assert images.scan(on_error="fail").classes == ("hen", "owl", "yak")


# --- published sets --------------------------------------------------------------------------------------------------


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


# --- all kinds -------------------------------------------------------------------------------------------------------


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
        open_images("digits", "x", pattern="test").scan(on_error="ignore")
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


def test_a_folder_changed_since_the_scan_is_named(tmp_path):
    write_folder(tmp_path, {f"c/{n}.png": picture(n) for n in range(5)})
    images = open_images("folder", str(tmp_path), pattern="", shard_items=2)
    shards = images.scan(on_error="fail").shards
    (tmp_path / "c" / "0.5.png").write_bytes(picture(9))
    fresh = open_images("folder", str(tmp_path), pattern="", shard_items=2)
    for shard in shards:
        with pytest.raises(ShardChanged, match=shard.name):
            list(fresh.read(shard))
    (tmp_path / "c" / "3.png").unlink()
    assert [item.key for item in images.read(shards[0])] == ["c/0.png", "c/1.png"]
    with pytest.raises(ShardChanged, match="lost a file"):
        list(images.read(shards[1]))


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


# --- laws ------------------------------------------------------------------------------------------------------------

names = st.text("abcXYZ019-_ éß", min_size=1, max_size=6).map(lambda text: text.strip() or "n")


@settings(max_examples=30, deadline=None)
@given(samples=st.lists(st.tuples(names, st.integers(0, 6)), min_size=1, max_size=9, unique_by=lambda s: s[0]))
def test_keys_and_labels_of_a_tar_come_back_in_order(tmp_path_factory, samples):
    root = tmp_path_factory.mktemp("tar")
    write_tar(
        root / "t.tar", [m for key, n in samples for m in ((f"{key}.cls", b"%d" % n), (f"{key}.png", picture(n)))]
    )
    images = open_images("webdataset", str(root), pattern="*.tar")
    assert [(key, label) for _, key, label in everything(images, images.scan(on_error="fail"))] == samples


@settings(max_examples=30, deadline=None)
@given(files=st.sets(st.tuples(st.sampled_from("pqr"), names), min_size=1, max_size=9), cut=st.integers(1, 4))
def test_keys_and_labels_of_a_folder_come_back_in_order(tmp_path_factory, files, cut):
    root = write_folder(tmp_path_factory.mktemp("folder"), {f"{c}/{n}.png": picture(1) for c, n in files})
    images = open_images("folder", str(root), pattern="", shard_items=cut)
    manifest = images.scan(on_error="fail")
    expected = sorted((f"{c}", f"{n}.png") for c, n in files)
    classes = sorted({c for c, _ in files})
    assert [(k, label) for _, k, label in everything(images, manifest)] == [
        (f"{c}/{n}", classes.index(c)) for c, n in expected
    ]
    assert {shard.items for shard in manifest.shards[:-1]} <= {cut}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_tar_never_escapes_the_report(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("tar")
    content = bytearray(write_tar(root / "t.tar", tar_samples(0, 4)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (root / "t.tar").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images = open_images("webdataset", str(root), pattern="*.tar")
    try:
        manifest = images.scan(on_error="skip")
    except ImageDataError:
        return
    everything(images, manifest)


# --- real images -----------------------------------------------------------------------------------------------------


@needs_real_images
def test_tiny_imagenet_reads_as_tarfile_does():
    place = str(REAL / "tiny-imagenet")
    counts = {"train": (20, 20000, 100), "validation": (5, 5000, 25)}
    for split, (shards, items, each) in counts.items():
        last = f"{shards - 1:04d}"
        images = open_images("webdataset", place, pattern=f"{split}-{{0000..{last}}}.tar", class_file="classnames.txt")
        manifest = images.scan(on_error="fail")
        assert (len(manifest.shards), manifest.items, manifest.histogram) == (shards, items, [each] * 200)
        assert (manifest.classes[0], len(set(manifest.classes))) == ("goldfish", 200)
    expected = []
    with tarfile.open(REAL / "tiny-imagenet" / f"validation-{last}.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    for name in members:
        if name.endswith(".jpg"):
            pixels = np.asarray(Image.open(io.BytesIO(members[name])).convert("RGB"))
            expected.append((name[:-4], int(members[f"{name[:-4]}.cls"]), pixels))
    for item, (key, label, pixels) in zip(images.read(manifest.shards[-1]), expected, strict=True):
        assert (item.key, item.label, item.problem) == (key, label, None)
        np.testing.assert_array_equal(np.asarray(item.image), pixels)


@needs_real_images
def test_cifar10_parquet_reads_as_pyarrow_does():
    place = str(REAL / "cifar10")
    train = open_images("parquet", place, pattern="train-{00000..00004}-of-00005.parquet").scan(on_error="fail")
    assert (train.items, train.histogram) == (50000, [5000] * 10)
    images = open_images("parquet", place, pattern="test-*.parquet")
    manifest = images.scan(on_error="fail")
    assert (manifest.items, manifest.classes[0], manifest.classes[9]) == (10000, "airplane", "truck")
    table = pq.read_table(REAL / "cifar10" / "test-00000-of-00001.parquet")
    assert list(manifest.shards[0].labels) == table["label"].to_pylist()
    for item, row in zip(images.read(manifest.shards[0]), table["image"].slice(0, 700).to_pylist(), strict=False):
        np.testing.assert_array_equal(np.asarray(item.image), np.asarray(Image.open(io.BytesIO(row["bytes"]))))
