"""Class folders: every file below them is an image, a problem, or left alone and counted."""

import asyncio
import io
import unicodedata
from pathlib import Path

import pytest
from fsspec.asyn import AsyncFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from store.errors import ImageDataError, ShardChanged
from store.folders import FolderReader
from store.images import open_images
from store.locations import Location, Source
from store.samples import Sample
from tests.store.made import NAMES, everything, picture, reasons, write_folder

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def scanned(root, on_error="fail"):
    images = open_images("folder", str(root), pattern="")
    return images, images.scan(on_error=on_error)


def test_images_of_every_kind_that_is_read_are_taken_by_any_ending(tmp_path):
    forms = {
        "a.tif": "TIFF", "b.TIFF": "TIFF", "c.gif": "GIF", "d.jfif": "JPEG", "e.jpe": "JPEG", "f.ppm": "PPM",
        "g.bmp": "BMP", "h.dib": "BMP", "i.webp": "WEBP", "noending": "JPEG", "odd.jpg_large": "JPEG", "z.bak": "PNG",
    }  # fmt: skip
    if features.check("avif"):
        forms["y.avif"] = "AVIF"
    write_folder(tmp_path, {f"c/{name}": picture(n + 1, form) for n, (name, form) in enumerate(forms.items())})
    images, manifest = scanned(tmp_path)
    assert {key for _, key, _ in everything(images, manifest)} == {f"c/{name}" for name in forms}
    assert all(item.problem is None for item in images.read(manifest.shards[0]))
    assert (manifest.problems, manifest.left_alone) == ((), {})


def test_images_that_cannot_be_read_are_problems_by_ending_or_by_content(tmp_path):
    jp2 = io.BytesIO()
    Image.new("RGB", (5, 3)).save(jp2, "JPEG2000")
    write_folder(tmp_path, {"c/1.png": picture(1), "c/2.jp2": jp2.getvalue(), "c/3.heic": b"?", "c/4": jp2.getvalue()})
    with pytest.raises(ImageDataError, match=r"3 problems(?s:.*)c/2\.jp2: .*JPEG 2000|\.jp2(?s:.*)c/3\.heic(?s:.*)c/4"):
        scanned(tmp_path)
    _, manifest = scanned(tmp_path, "skip")
    assert [(item, "not read" in reason) for _, item, reason in reasons(manifest)] == [
        ("c/2.jp2", True),
        ("c/3.heic", True),
        ("c/4", True),
    ]
    assert manifest.items == 1


def test_what_is_no_data_is_left_alone_at_any_depth_and_counted_by_kind(tmp_path):
    junk = ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found", ".git"]
    write_folder(tmp_path, {"c/1.png": picture(1), "c/deep/2.png": picture(2), "d/3.png": picture(3)})
    for above in ("", "c/", "c/deep/"):
        write_folder(tmp_path, {f"{above}{folder}/9.png": picture(9) for folder in junk})
        write_folder(tmp_path, {f"{above}{name}": b"x" for name in ("._1.png", ".DS_Store", "Thumbs.db", "notes.txt")})
    write_folder(tmp_path, {"c/readme": b"plain words", "c/data.xyz": b"\0\1"})
    images, manifest = scanned(tmp_path)
    assert [key for _, key, _ in everything(images, manifest)] == ["c/1.png", "c/deep/2.png", "d/3.png"]
    assert manifest.classes == ("c", "d")
    hidden = "hidden (._*, .DS_Store and the like)"
    counted = {f"{folder} folders": 3 for folder in junk if folder != ".git"} | {"hidden folders": 3}
    assert manifest.left_alone == counted | {
        hidden: 6, "Thumbs.db": 3, ".txt": 3, "without an ending": 1, ".xyz": 1
    }  # fmt: skip


def test_a_listing_holds_images_alone_so_that_a_note_beside_them_changes_no_digest(tmp_path):
    write_folder(tmp_path, {"c/1.png": picture(1)})
    before = scanned(tmp_path)[0].listing()
    write_folder(tmp_path, {"c/notes.txt": b"x", "c/.hidden": b"x", "c/odd.xyz": b"x", "c/@eaDir/2.png": picture(2)})
    assert scanned(tmp_path)[0].listing() == before


def test_one_class_name_in_two_unicode_forms_is_the_same_class_across_splits(tmp_path):
    write_folder(tmp_path, {f"a/{COMPOSED}/1.png": picture(1), f"b/{DECOMPOSED}/1.png": picture(2), "a/bee/2.png": b""})
    for split in ("a", "b"):
        images = open_images("folder", str(tmp_path), pattern=split)
        manifest = images.scan(on_error="fail")
        assert COMPOSED in manifest.classes
        assert [label for *_, label in everything(images, manifest)][-1] == manifest.classes.index(COMPOSED)


def test_one_class_name_in_two_unicode_forms_within_a_split_is_refused_by_code_points(tmp_path):
    write_folder(tmp_path, {f"{COMPOSED}/1.png": picture(1), f"{DECOMPOSED}/1.png": picture(2)})
    with pytest.raises(ImageDataError, match=r"two Unicode forms \(.*U\+0065 U\+0301; .*U\+00E9\)"):
        scanned(tmp_path, "skip")


def test_a_shard_knows_its_files_by_name_and_size(tmp_path):
    def files():
        images = open_images("folder", str(tmp_path), pattern="", shard_items=2)
        return [shard.files for shard in images.scan(on_error="fail").shards]

    write_folder(tmp_path, {f"c/{n}.png": picture(n) for n in range(5)})
    before = files()
    assert len(set(before)) == 3
    (tmp_path / "c" / "3.png").write_bytes(picture(3) + b"!")
    after = files()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


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


@settings(max_examples=30, deadline=None)
@given(files=st.sets(st.tuples(st.sampled_from("pqr"), NAMES), min_size=1, max_size=9), cut=st.integers(1, 4))
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


@pytest.mark.timeout(60)
def test_images_far_away_are_asked_for_together_and_come_in_order(tmp_path):
    together = asyncio.Barrier(8)  # those who are asked one after the other wait for the others in vain

    class Far(AsyncFileSystem):  # type: ignore[misc]
        async def _cat_file(self, path, start=None, end=None, **kwargs):
            await asyncio.wait_for(together.wait(), 30)
            return Path(path).read_bytes()[start:end]

    files = {f"{name}/{n:02}.png": picture(n) for name in "cd" for n in range(together.parties)}
    write_folder(tmp_path, files)
    source = Source(kind="folder", location=str(tmp_path), pattern="", shard_items=1000, class_file=None)
    reader = FolderReader(Location(source))
    [shard] = reader.survey().shards
    reader.place.fs = Far(asynchronous=False)
    entries = list(reader.samples(shard, pixels=True))
    read = {sample.key: sample.pixels for sample in entries if isinstance(sample, Sample)}
    assert list(read) == list(files)
    assert read == files


def test_an_image_that_vanished_is_named(tmp_path):
    write_folder(tmp_path, {f"c/{n}.png": picture(n) for n in range(3)})
    images, manifest = scanned(tmp_path)
    reader = images._reader
    (tmp_path / "c" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"c/1\.png"):
        list(reader.samples(manifest.shards[0].name, pixels=True))
