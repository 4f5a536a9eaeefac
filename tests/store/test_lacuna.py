"""LACUNA out of a tree of VGGFace2's form: by content, no image is in both splits; what is odd is left out and said."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import lacuna
from store.errors import ImageDataError, ImagesMissing, ImageSourceError, NotWritten, PlaceTaken, StoreError
from store.lacuna import Shape, build
from tests.store.vggface2 import SMALL, assert_whole, contents, fill, nothing_left, picture


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """Other people's writes are not waited for."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def tree(tmp_path):
    """Five identities of 11 images, and two of too few, in the two folders of the published archives."""
    root = tmp_path / "vggface2"
    for k in range(7):
        fill(root / ("test" if k == 4 else "train") / f"n{k:06d}", 100 * k, 3 if k in (1, 5) else 11)
    return root


def test_no_image_is_in_both_splits_and_the_readers_read_the_set(tree, tmp_path):
    record, new = build(tree, tmp_path / "out", shape=SMALL)
    assert new
    assert record == assert_whole(tmp_path / "out")
    assert record["found"] == {"identities": 7, "with_enough_files": 5}
    few = "3 image files, 7 needed"
    assert record["skipped"] == {"train/n000001": few, "train/n000005": few}
    for identity, about in record["drawn"].items():
        assert about["from"] == f"{'test' if identity == 'n000004' else 'train'}/{identity}"
        assert about["distinct"] == 11
        for name in about["train"]:
            copied = (tmp_path / "out" / "train" / identity / name).read_bytes()
            assert copied == (tree / about["from"] / name).read_bytes()
    assert nothing_left(tmp_path, but=("out", "vggface2"))


def test_a_tree_without_train_and_test_is_the_same_set(tree, tmp_path):
    build(tree, tmp_path / "out", shape=SMALL)
    flat = tmp_path / "flat"
    flat.mkdir()
    for folder in tree.glob("*/n*"):
        folder.rename(flat / folder.name)
    build(flat, tmp_path / "other", shape=SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


def test_equal_trees_and_seeds_give_equal_bytes_and_another_seed_another_set(tree, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build(tree, tmp_path / name, seed=seed, shape=SMALL)
    assert (tmp_path / "a" / "lacuna.json").read_bytes() == (tmp_path / "b" / "lacuna.json").read_bytes()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_the_draw_does_not_depend_on_file_names(tree, tmp_path):
    build(tree, tmp_path / "a", shape=SMALL)
    for path in list(tree.glob("*/*/*.jpg")):
        path.rename(path.with_name(f"{1000 - int(path.stem[:4])}_x.jpg"))
    build(tree, tmp_path / "b", shape=SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_every_identity_that_qualifies_can_be_drawn_and_every_image_can_be_test(tree):
    identities, images = set(), set()
    for seed in range(40):
        drawn = lacuna.draw(tree, seed=seed, shape=SMALL, tell=lambda _: None)["drawn"]
        identities |= drawn.keys()
        images |= drawn.get("n000000", {"test": {}})["test"].keys()
    assert identities == {"n000000", "n000002", "n000003", "n000004", "n000006"}
    assert len(images) == 11


def test_copies_within_an_identity_count_once_and_stay_in_one_split(tree, tmp_path):
    for folder in tree.glob("*/*"):
        for path in sorted(folder.glob("*.jpg")):
            (folder / f"copy of {path.name}").write_bytes(path.read_bytes())
    record, _ = build(tree, tmp_path / "out", shape=SMALL)
    assert_whole(tmp_path / "out")
    assert {about["distinct"] for about in record["drawn"].values()} == {11}
    left_out = next(iter(record["drawn"].values()))["left_out"]
    assert left_out["copy of 0003_01.jpg"] == "the same bytes as 0003_01.jpg"


def test_an_identity_that_has_enough_files_but_too_few_contents_is_skipped(tree, tmp_path):
    folder = tree / "train" / "n000001"
    for n in range(9):
        (folder / f"again {n}.jpg").write_bytes(picture(100))
    for seed in range(5):
        record = lacuna.draw(tree, seed=seed, shape=Shape(identities=5, train=5, test=2), tell=lambda _: None)
        assert "n000001" not in record["drawn"]
    reasons = [
        lacuna.draw(tree, seed=seed, shape=SMALL, tell=lambda _: None)["skipped"].get("train/n000001")
        for seed in range(20)
    ]
    assert "3 distinct images, 7 needed; left out: 9 x the same bytes as another" in reasons


def test_an_image_of_two_identities_belongs_to_one(tree, tmp_path):
    for k in (2, 3, 6):
        for n in range(4):
            (tree / "train" / f"n{k:06d}" / f"{n:04d}_01.jpg").write_bytes(picture(n))  # those of n000000
    for seed in range(9):
        build(tree, tmp_path / str(seed), seed=seed, shape=SMALL)
        assert_whole(tmp_path / str(seed))


def test_an_identity_under_two_names_is_one_class(tree, tmp_path):
    (tree / "train" / "the same").symlink_to(tree / "train" / "n000000", target_is_directory=True)
    shape = Shape(identities=5, train=5, test=2)
    record, _ = build(tree, tmp_path / "out", shape=shape)
    assert_whole(tmp_path / "out", shape)
    assert len({"n000000", "the same"} & record["drawn"].keys()) == 1


def test_whose_images_an_identity_shares_is_said(tree):
    fill(tree / "train" / "n000007", 0, 11)  # those of n000000
    wanted = Shape(identities=5, train=5, test=2)
    drawn = lacuna.draw(tree, seed=0, shape=wanted, tell=lambda _: None)
    pair = {"n000000", "n000007"}
    (one,), (other,) = pair & drawn["drawn"].keys(), pair - drawn["drawn"].keys()
    reason = f"0 distinct images, 7 needed; left out: 11 x the same bytes as an image of {one}"
    assert drawn["skipped"].get(f"train/{other}", reason) == reason
    reasons = [lacuna.draw(tree, seed=seed, shape=wanted, tell=lambda _: None)["skipped"].values() for seed in range(9)]
    assert any("11 x the same bytes as an image of n00000" in each for found in reasons for each in found)


def test_an_identity_in_train_and_in_test_is_skipped_and_said(tree, tmp_path):
    fill(tree / "test" / "n000000", 900, 11)
    record, _ = build(tree, tmp_path / "out", shape=SMALL)
    assert "n000000" not in record["drawn"]
    reason = "the same identity in train/n000000 and test/n000000; one is expected"
    assert record["skipped"]["train/n000000"] == record["skipped"]["test/n000000"] == reason


def test_what_is_odd_in_an_identity_is_left_out_and_said(tree, tmp_path):
    for folder in tree.glob("train/*"):
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "._0001_01.jpg").write_bytes(b"x")
        (folder / "notes.txt").write_text("x")
        (folder / "0404_01.jpg").write_text("<html>")
        (folder / "empty.png").write_bytes(b"")
        (folder / "torn.png").write_bytes(picture(9)[:45])
        (folder / "dead.jpg").symlink_to("nowhere.jpg")
        os.mkfifo(folder / "pipe.jpg")
        (folder / "two\nlines.jpg").write_bytes(picture(1))
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(picture(2))
        fill(folder / "more", 800, 3)
    record, _ = build(tree, tmp_path / "out", shape=SMALL)
    assert_whole(tmp_path / "out")
    about = next(about for about in record["drawn"].values() if about["from"].startswith("train"))
    unreadable = "not a readable image in JPEG, PNG, BMP, WEBP, TIFF, GIF, AVIF, PPM"
    assert about["left_out"] == {
        ".DS_Store": "hidden",
        "._0001_01.jpg": "hidden",
        "notes.txt": "not named as an image",
        "0404_01.jpg": f"{unreadable} (6 bytes)",
        "empty.png": f"{unreadable} (0 bytes)",
        "torn.png": "image cannot be decoded: image file is truncated",
        "dead.jpg": "a link to nothing",
        "pipe.jpg": "no regular file",
        "two\\nlines.jpg": "a name with characters that cannot be shown",
        "\\udcff.jpg": "a name with characters that cannot be shown",
        "more": "a folder",
    }


def test_names_with_spaces_and_of_other_scripts_are_kept_and_links_are_followed(tmp_path):
    tree, aside = tmp_path / "vggface2", tmp_path / "aside"
    fill(tree / "Zoë Müller", 0, 7)
    fill(aside / "x", 100, 7)
    (tree / "山田 花子").symlink_to(aside / "x", target_is_directory=True)
    folder = fill(tree / "n000003", 200, 6)
    (aside / "7.png").write_bytes(picture(300))
    (folder / "é 顔.PNG").symlink_to(aside / "7.png")
    record, _ = build(tree, tmp_path / "out", shape=SMALL)
    assert_whole(tmp_path / "out")
    assert record["drawn"].keys() == {"Zoë Müller", "山田 花子", "n000003"}
    assert list((tmp_path / "out").glob("*/n000003/é 顔.PNG"))


def test_what_is_no_identity_is_skipped_and_said(tree, tmp_path):
    (tree / "identity_meta.csv").write_text("x")
    (tree / "bb_landmark").mkdir()
    (tree / "train" / ".cache").mkdir()
    (tree / "train" / "loop").symlink_to("loop")
    (tree / "train" / "a\x1b[31m").mkdir()
    skipped = build(tree, tmp_path / "out", shape=SMALL)[0]["skipped"]
    assert skipped["identity_meta.csv"] == skipped["train/loop"] == "no folder"
    assert skipped["bb_landmark"] == "0 image files, 7 needed"
    assert skipped["train/.cache"] == "hidden"
    assert skipped["train/a\\x1b[31m"] == "a name with characters that cannot be shown"


@pytest.mark.parametrize("what", ["folder", "file", "address"])
def test_a_tree_that_is_none_is_named(what, tmp_path):
    place = {"folder": tmp_path / "none", "file": tmp_path / "file", "address": Path("s3://bucket/vggface2")}[what]
    (tmp_path / "file").write_text("")
    expected = ImageSourceError if what == "address" else ImagesMissing
    with pytest.raises(expected, match={"folder": "no such", "file": "is a file", "address": "an address"}[what]):
        build(place, tmp_path / "out", shape=SMALL)
    assert nothing_left(tmp_path, but=["file"])


def test_too_few_identities_are_counted_with_what_is_needed(tree, tmp_path):
    with pytest.raises(ImageDataError) as caught:
        build(tree, tmp_path / "out", shape=Shape(identities=6, train=5, test=2))
    text = str(caught.value)
    assert text.startswith(f"{tree}: found 7 identities, 5 of them with 7 image files or more; 6 are needed\n")
    assert "  train/n000001: 3 image files, 7 needed\n" in text
    assert nothing_left(tmp_path)


def test_too_few_distinct_images_are_counted_too(tree, tmp_path):
    for folder in (tree / "train" / "n000000", tree / "train" / "n000002"):
        for path in folder.iterdir():
            path.write_bytes(picture(5))
    with pytest.raises(ImageDataError, match=r"5 of them .*, 3 of those with 7 distinct images; 4 are needed"):
        build(tree, tmp_path / "out", shape=Shape(identities=4, train=5, test=2))
    assert nothing_left(tmp_path)


def test_an_empty_tree_says_what_is_expected(tmp_path):
    (tmp_path / "vggface2").mkdir()
    with pytest.raises(ImageDataError, match=r"found 0 identities(.|\n)*n000001"):
        build(tmp_path / "vggface2", tmp_path / "out", shape=SMALL)


def test_a_number_below_one_is_refused():
    with pytest.raises(ImageSourceError, match="test is 0"):
        Shape(test=0)


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_left(tree, tmp_path, monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.parts[-2:] in {(f"n{k:06d}", "0002_01.jpg") for k in range(7)}:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageDataError, match=r"0002_01\.jpg: cannot be read: Permission denied; make it readable"):
        build(tree, tmp_path / "out", shape=SMALL)
    assert nothing_left(tmp_path)


def copies(monkeypatch, then):
    """The fourth copy ends otherwise."""
    copy, done = lacuna._copy, []

    def counted(*asked):
        done.append(asked)
        return then(*asked) if len(done) == 4 else copy(*asked)

    monkeypatch.setattr(lacuna, "_copy", counted)


def failing(error):
    def do(*_):
        raise error

    return do


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_build_that_is_interrupted_leaves_nothing(error, tree, tmp_path, monkeypatch):
    copies(monkeypatch, failing(error))
    expected = NotWritten if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        build(tree, tmp_path / "out", shape=SMALL)
    if expected is NotWritten:
        assert str(caught.value) == (
            f"{tmp_path}/out: cannot be written: No space left on device; nothing of it was left"
        )
    assert nothing_left(tmp_path)
    monkeypatch.undo()
    assert build(tree, tmp_path / "out", shape=SMALL)[1]


def test_before_its_end_a_build_does_not_look_complete(tree, tmp_path, monkeypatch):
    seen = []
    copies(monkeypatch, lambda *_: seen.append(sorted(path.name for path in tmp_path.iterdir())))
    build(tree, tmp_path / "out", shape=SMALL)
    ((hidden, other),) = seen
    assert other == "vggface2"
    assert hidden.startswith(".out.")


def test_what_a_killed_build_left_is_told_and_stands_in_nobodys_way(tree, tmp_path):
    left = tmp_path / f".out.{'0a' * 8}"
    left.mkdir()
    told: list[str] = []
    build(tree, tmp_path / "out", shape=SMALL, tell=told.append)
    assert [line for line in told if str(left) in line]
    assert_whole(tmp_path / "out")
    assert left.is_dir()


def test_an_image_that_changes_while_it_is_copied_ends_the_build(tree, tmp_path, monkeypatch):
    copy = lacuna._copy
    copies(monkeypatch, lambda source, target, digest: (source.write_bytes(picture(999)), copy(source, target, digest)))
    with pytest.raises(ImageDataError, match="changed while"):
        build(tree, tmp_path / "out", shape=SMALL)
    assert nothing_left(tmp_path)


def test_a_second_run_says_that_the_set_stands(tree, tmp_path):
    record, _ = build(tree, tmp_path / "out", shape=SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert build(tree, tmp_path / "out", shape=SMALL) == (record, False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_set_of_another_seed_is_not_written_over(tree, tmp_path):
    build(tree, tmp_path / "out", shape=SMALL)
    before = contents(tmp_path / "out")
    with pytest.raises(PlaceTaken, match="holds a set of seed 0, asked was seed 5; name a new folder"):
        build(tree, tmp_path / "out", seed=5, shape=SMALL)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("change", ["gone", "added"])
def test_a_set_that_was_changed_does_not_stand(change, tree, tmp_path):
    build(tree, tmp_path / "out", shape=SMALL)
    folder = next((tmp_path / "out" / "train").iterdir())
    file = sorted(folder.iterdir())[0] if change == "gone" else folder / "more.jpg"
    file.unlink() if change == "gone" else file.write_bytes(picture(1))
    with pytest.raises(
        PlaceTaken, match=f"other files than lacuna.json names: train/{folder.name}/{file.name}; remove"
    ):
        build(tree, tmp_path / "out", shape=SMALL)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "lacuna/1"}', '{"format": "lacuna/2", "seed": 0}'])
def test_a_record_that_is_none_is_refused(content, tree, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lacuna.json").write_text(content)
    with pytest.raises(StoreError) as caught:
        build(tree, tmp_path / "out", shape=SMALL)
    assert str(tmp_path / "out") in str(caught.value)


def test_a_folder_of_other_files_is_refused_and_an_empty_one_is_taken(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    build(tree, out, shape=SMALL)
    assert_whole(out)
    with pytest.raises(PlaceTaken, match="holds other files"):
        build(tree, tree, shape=SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceTaken, match="is a file"):
        build(tree, tmp_path / "file", shape=SMALL)


def test_a_place_that_cannot_be_written_is_named_before_anything_is_read(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lacuna, "draw", failing(AssertionError("the tree is read")))
    with pytest.raises(NotWritten, match="file/out: cannot be written: Not a directory"):
        build(tree, tmp_path / "file" / "out", shape=SMALL)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.lists(st.lists(st.integers(0, 19), max_size=12), min_size=3, max_size=6),
    seed=st.integers(-3, 99),
)
def test_whatever_is_copied_where_no_image_is_drawn_twice(held, seed, tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for k, numbers in enumerate(held):
        (tree / f"n{k}").mkdir()
        for n, number in enumerate(numbers):
            (tree / f"n{k}" / f"{n}.jpg").write_bytes(picture(number))
    try:
        drawn = lacuna.draw(tree, seed=seed, shape=Shape(identities=2, train=3, test=2), tell=lambda _: None)["drawn"]
    except ImageDataError:
        return
    digests = [digest for about in drawn.values() for split in ("train", "test") for digest in about[split].values()]
    assert len(digests) == len(set(digests)) == 2 * 5
    for about in drawn.values():
        for split in ("train", "test"):
            for name, digest in about[split].items():
                assert hashlib.sha256((tree / about["from"] / name).read_bytes()).hexdigest() == digest
