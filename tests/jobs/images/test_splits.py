"""What splits, manifests and the spec decide together is told before anything is embedded."""

import io
import shutil
import tarfile
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dkvb.errors import BadBudget
from jobs.classes import class_indexes
from jobs.errors import BadRequest, BadSpec
from jobs.images.splits import check_manifests
from jobs.plan.plan import make_plan
from store.errors import ImageDataError, ImageSourceError
from store.names import told_apart

MANIFESTS = {"manifest[train]", "manifest[test]"}


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def parquet(tmp_path):
    """Makes a set of parquet files out of labels; classes of coloured noise."""
    from tests.tiny import picture

    def write(train, test):
        for split, labels in (("train", train), ("test", test)):
            rows = [
                {"bytes": png(picture(sorted({*train}).index(k) if k in train else 3, 100 * len(split) + n, 32))}
                for n, k in enumerate(labels)
            ]
            image = pa.array(rows, pa.struct([("bytes", pa.binary())]))
            (tmp_path / "set").mkdir(exist_ok=True)
            pq.write_table(pa.table({"image": image, "label": labels}), tmp_path / "set" / f"{split}.parquet")
        return tmp_path / "set"

    return write


PARQUET = {"images.kind": "parquet", "images.train": "train.parquet", "images.test": "test.parquet"}
NO_GRID = {"sweep.uve": None}


# --- splits that share files


@pytest.mark.parametrize("test", ["./train", "train/", "train/../train", "linked", "classes-linked", "each-linked"])
def test_splits_that_share_files_are_refused_however_they_are_named(test, make_spec, own_images, tmp_path):
    (own_images / "linked").symlink_to(own_images / "train")
    for name in ("classes-linked", "each-linked"):
        (own_images / name).mkdir()
    for folder in (own_images / "train").iterdir():
        (own_images / "classes-linked" / folder.name).symlink_to(folder)
        (own_images / "each-linked" / folder.name).mkdir()
        for file in folder.iterdir():
            (own_images / "each-linked" / folder.name / file.name).symlink_to(file)
    error = ImageSourceError if ".." in test else BadSpec
    with pytest.raises(error, match=r"points outside|share 41 of 41 test files \(.*0000\.png"):
        make_plan(make_spec({"images.test": test}), str(own_images))


def test_a_split_inside_the_other_is_refused(make_spec, own_images):
    with pytest.raises(BadSpec, match="share 15 of 15 test files"):
        make_plan(make_spec({"images.train": "", "images.test": "test"}), str(own_images))


def test_overlapping_patterns_of_shards_are_refused(make_spec, tmp_path):
    for n in range(3):
        with tarfile.open(tmp_path / f"s-{n}.tar", "w"):
            pass
    spec = make_spec({"images.kind": "webdataset", "images.train": "s-*.tar", "images.test": "s-{2..2}.tar"})
    with pytest.raises(BadSpec, match=r"share 1 of 1 test files \(.*s-2\.tar\)"):
        make_plan(spec, str(tmp_path))


def test_splits_apart_are_taken_with_dots_and_slashes_too(make_spec, own_images):
    plain = make_plan(make_spec(), str(own_images))
    dotted = make_plan(make_spec({"images.train": "./train/"}), str(own_images))
    assert [len(plan.steps) for plan in (plain, dotted)] == [len(plain.steps)] * 2


# --- classes


def test_a_data_set_of_one_class_is_refused(run_tiny, own_images, tmp_path, watched):
    for split in ("train", "test"):
        for name in ("bee", "cat"):
            shutil.rmtree(own_images / split / name)
    with pytest.raises(ImageDataError, match="1 of 1 classes with training items: a classifier needs two"):
        run_tiny(tmp_path / "root", own_images, progress=watched)
    assert watched.steps.keys() == MANIFESTS


def test_labels_from_one_are_refused_before_anything_is_embedded(run_tiny, parquet, tmp_path, watched):
    folder = parquet([1, 2, 3] * 4, [1, 2, 3])
    with pytest.raises(ImageDataError, match=r"labels run from 1 to 3, and no item has label 0: .*images\.classes"):
        run_tiny(tmp_path / "root", folder, PARQUET | NO_GRID, progress=watched)
    assert watched.steps.keys() == MANIFESTS
    (folder / "names.txt").write_text("nobody\none\ntwo\nthree\n")
    run_tiny(tmp_path / "other", folder, PARQUET | NO_GRID | {"images.classes": "names.txt"}, progress=watched)
    assert "tiny: no training items, not forgotten: 1 of 4 classes (nobody)" in watched.notes


def test_classes_without_training_items_are_not_swept_and_named(run_tiny, parquet, tmp_path, watched, sweep_names):
    folder = parquet([0, 2] * 6, [0, 2, 4])
    folder.joinpath("names.txt").write_text("ant\nbee\ncow\ndog\neel\n")
    asked = PARQUET | NO_GRID | {"images.classes": "names.txt"}
    done = run_tiny(tmp_path / "root", folder, asked, progress=watched)
    assert "tiny: no training items, not forgotten: 3 of 5 classes (bee, dog, eel)" in watched.notes
    assert sweep_names(done) == ["ant", "cow"]
    with pytest.raises(BadRequest, match="class 'dog' has no training items to forget"):
        run_tiny(tmp_path / "other", folder, asked | {"sweep.classes": ["ant", "dog"]})


@pytest.fixture
def sweep_names():
    from jobs.results.headline import sweep_table

    return lambda done: sorted(sweep_table(done)["name"].unique())


def test_classes_without_test_items_are_named(run_tiny, parquet, tmp_path, watched):
    folder = parquet([0, 1, 2] * 4, [0, 2])
    run_tiny(tmp_path / "root", folder, PARQUET | NO_GRID, progress=watched)
    assert any("no test items" in note and "(1)" in note for note in watched.notes)


def test_the_columns_that_are_read_are_told(run_tiny, parquet, tmp_path, watched):
    done = run_tiny(tmp_path / "root", parquet(["x", "y"] * 4, ["x", "y"]), PARQUET | NO_GRID, progress=watched)
    assert "manifest[train]: images from column image, labels from column label" in watched.notes
    assert done.facts("manifest[test]")["columns"] == {"image": "image", "label": "label"}
    assert done.classes == ["x", "y"]


def test_what_was_left_alone_is_told_and_kept(run_tiny, own_images, tmp_path, watched):
    (own_images / "train" / "ant" / "@eaDir").mkdir()
    (own_images / "train" / "ant" / "notes.txt").write_text("x")
    done = run_tiny(tmp_path / "root", own_images, progress=watched)
    assert watched.notes == ["manifest[train]: left alone, as no data: 1 .txt, 1 @eaDir folders"]
    assert done.facts("manifest[train]")["left_alone"] == {".txt": 1, "@eaDir folders": 1}


@pytest.mark.parametrize("dotted", ["sweep.classes", "compare.classes", "compare.oracle_kv"])
def test_misspelt_classes_are_told_before_anything_is_embedded(dotted, run_tiny, images, tmp_path, watched):
    changes = {"compare": {"seeds": [0]}, dotted: ["cat", "antt"]}
    for _ in range(2):
        with pytest.raises(BadRequest, match="no class 'antt'; did you mean 'ant'"):
            run_tiny(tmp_path / "root", images, changes, progress=watched)
    assert watched.steps.keys() == MANIFESTS


def test_more_examples_than_a_class_has_are_told_before_anything_is_embedded(run_tiny, images, tmp_path, watched):
    with pytest.raises(BadBudget, match="N = 12 is larger than the 11 training items of class 'ant'"):
        run_tiny(tmp_path / "root", images, {"sweep.uve.examples": [12]}, progress=watched)
    assert watched.steps.keys() == MANIFESTS


def test_an_old_manifest_of_tars_says_that_it_did_not_count_all(make_spec, run_tiny, parquet, tmp_path, unsealed):
    folder, root = parquet([0, 1] * 4, [0, 1]), tmp_path / "root"
    run_tiny(root, folder, PARQUET | NO_GRID)
    plan = make_plan(make_spec(PARQUET | NO_GRID), str(folder))
    assert check_manifests(plan.spec, plan.steps, root) == []
    unsealed(root)
    path = plan.step("manifest[test]").task(root).output.path / "manifest.json"
    path.write_text(path.read_text().replace('"left_alone"', '"other"'))
    (note,) = check_manifests(plan.spec, plan.steps, root)
    assert "manifests of this root (test) were written by a version that did not account" in note


# --- names


def test_a_class_is_found_in_either_unicode_form():
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert class_indexes(["bee", composed], [decomposed]) == [1]
    assert class_indexes(["bee", decomposed], [composed, "bee"]) == [0, 1]


def test_a_name_that_only_looks_like_another_is_told_apart_by_code_points():
    latin, cyrillic = "cat", "c\u0430t"
    with pytest.raises(BadRequest, match=r"did you mean 'cat'.*U\+0063 U\+0061 U\+0074.*U\+0063 U\+0430 U\+0074"):
        class_indexes([latin, "bee"], [cyrillic])
    assert told_apart(["cat", "cat "]) == ["'cat' (U+0063 U+0061 U+0074)", "'cat ' (U+0063 U+0061 U+0074 U+0020)"]
    assert told_apart(["cat", "Cat", "Über", "über"]) == ["cat", "Cat", "Über", "über"]  # anybody sees that
    assert told_apart(["cat", "dog"]) == ["cat", "dog"]
    assert told_apart([latin, cyrillic])[0] == "'cat' (U+0063 U+0061 U+0074)"


@pytest.mark.parametrize("asked", ["Grape", "GRAPE"])
def test_a_name_in_another_case_is_suggested_without_code_points(asked):
    with pytest.raises(BadRequest, match=rf"^no class '{asked}'; did you mean 'grape'\? \(there: bee, grape\)$"):
        class_indexes(["bee", "grape"], [asked])


# --- addresses


def test_images_and_root_are_found_by_tilde_and_by_file_address(dkvb, run_words, own_images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = run_words(images="~/images", root=f"file://{tmp_path}/root")
    assert dkvb(*words).code == 0
    again = dkvb(*run_words(images=f"file://{own_images}", root="~/root"))
    assert again.code == 0
    assert "done already" in again.err
    assert (tmp_path / "root" / "dkvb-root.json").is_file()


def test_a_chain_of_addresses_is_refused_with_what_to_do(dkvb, run_words, tmp_path):
    done = dkvb(*run_words(images=f"zip://train::{tmp_path}/set.zip"))
    assert done.code == 1
    assert "addresses chained by '::' are not followed; unpack or copy the images" in done.err
    assert "Traceback" not in done.err
