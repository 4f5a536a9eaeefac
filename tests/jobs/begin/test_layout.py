"""Layouts: what of folders and files is taken for training and for test images, and what is refused and why."""

from pathlib import Path

import pytest

from jobs.begin.layout import TEST_SHARE, find_layout, word_of
from jobs.errors import BadRequest
from store.artefacts import ROOT_FILE
from store.errors import ImagesMissing


@pytest.fixture
def made(tmp_path):
    """A folder with files of these names; an image is known by its ending alone."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path / "images"

    return make


def table(folder):
    return find_layout(str(folder)).table


def folders(train, test=None):
    rest = {"test_share": TEST_SHARE} if test is None else {"test": test}
    return {"kind": "folder", "train": train, **rest}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/1.jpg", "dog/1.jpg"], folders("")),
        (["archive/cat/1.jpg", "archive/dog/1.png", "archive/readme.txt"], folders("archive")),
        (["train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg"], folders("train", "test")),
        (["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "val/dog/2.jpg"], folders("train", "val")),
        (
            [
                *(f"seg_{split}/seg_{split}/{name}/1.jpg" for split in ("train", "test") for name in "ab"),
                "seg_pred/3.jpg",
            ],
            folders("seg_train/seg_train", "seg_test/seg_test"),
        ),
        (["Training/a/1.jpg", "Training/b/1.jpg"], folders("Training")),
        (["x/y/train/a/1.jpg", "x/y/train/b/1.jpg"], folders("x/y/train")),
        (["a/deep/er/1.jpg", "b/1.jpg"], folders("")),
        (["train/1.jpg", "bus/1.jpg", "tram/1.jpg"], folders("")),  # vehicles
        (["a/1.jpg", "b/1.jpg", "__MACOSX/a/1.jpg", ".cache/1.jpg", "@eaDir/a/1.jpg", "backup.tar"], folders("")),
        (["cifar-10-batches-py/data_batch_1"], {"kind": "cifar10"}),
        (["cifar-100-python/train"], {"kind": "cifar100"}),
    ],
)
def test_folders_are_told_by_their_names(names, expected, made):
    assert table(made(*names)) == expected


def shards(kind, train, test=None, **more):
    rest = {"test_share": TEST_SHARE} if test is None else {"test": test}
    return {"kind": kind, "train": train, **rest, **more}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["train-000.tar", "train-001.tar", "val-000.tar", "classnames.txt"],
            shards("webdataset", "train-*.tar", "val-000.tar", classes="classnames.txt"),
        ),
        (
            ["in1k-train-0000.tar", "in1k-train-0011.tar", "in1k-validation-00.tar", "in1k-validation-01.tar"],
            shards("webdataset", "in1k-train-*.tar", "in1k-validation-*.tar"),
        ),
        (["train/0.tar", "train/1.tar", "test/0.tar"], shards("webdataset", "train/*.tar", "test/0.tar")),
        (["0.tar", "1.tar", "10.tar"], shards("webdataset", "*.tar")),
        (
            [
                *(f"data/train-0000{n}-of-00002.parquet" for n in (0, 1)),
                *("data/test-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet", "README.md"),
            ],
            shards("parquet", "data/train-*.parquet", "data/test-00000-of-00001.parquet"),
        ),
        (["train.parquet"], shards("parquet", "train.parquet")),
        (["test_data/train-0.parquet", "test_data/train-1.parquet"], shards("parquet", "test_data/train-*.parquet")),
    ],
)
def test_files_of_many_images_are_told_by_their_names(names, expected, made):
    assert table(made(*names)) == expected


def test_a_test_folder_with_other_classes_is_left_alone_and_that_is_said(made):
    found = find_layout(str(made("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/c/1.jpg")))
    assert found.table == folders("train")
    assert found.why == "test has other class folders than train (b, c)"
    found = find_layout(str(made("val/a/1.jpg", "val/b/1.jpg")))
    assert found.table == folders("train", "val")


def test_a_test_folder_without_class_folders_is_left_alone_and_that_is_said(made):
    found = find_layout(str(made("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg", "test/2.jpg")))
    assert found.table == folders("train")
    assert found.why == "test holds images without class folders"


@pytest.mark.parametrize(
    ("names", "unused"),
    [
        (
            [*(f"{split}/{name}/1.jpg" for split in ("train", "test") for name in "ab"), "val/a/1.jpg", "val/a/2.jpg"],
            ["val/ (2 images)"],
        ),
        (
            [
                *(f"x/{split}/{name}/1.jpg" for split in ("train", "test") for name in "ab"),
                *("labels.csv", "x/stray.jpg", "x/extra/c/1.jpg", "x/empty/notes.txt"),
            ],
            ["labels.csv", "x/stray.jpg", "x/empty/ (0 images)", "x/extra/ (1 image)"],
        ),
        (["archive/a/1.jpg", "archive/b/1.jpg", "archive/readme.txt", "readme.txt"], ["readme.txt"]),
        (["a/1.jpg", "b/1.jpg", "readme.txt"], []),  # the folder of class folders: its manifest accounts for it
        (["train-0.tar", "test-0.tar", "val-0.tar", "classes.txt", "stray.jpg"], ["stray.jpg", "val-0.tar"]),
        (["data/0.tar", "data/1.tar", "data/notes.csv", "more/a.csv"], ["data/notes.csv", "more/ (0 images)"]),
    ],
)
def test_what_is_part_of_no_split_is_named(names, unused, made):
    assert [*find_layout(str(made(*names))).unused] == unused


def test_a_folder_of_splits_is_no_class(made):
    names = [f"pics/{split}/{name}/1.jpg" for split in ("train", "test") for name in "ab"]
    with pytest.raises(BadRequest, match=r"pics holds folders of splits \(pics/train, pics/test\), and extra"):
        find_layout(str(made(*names, "extra/1.jpg")))


def test_images_without_an_ending_are_known_by_their_first_bytes(made):
    folder = made("a/1", "b/notes.txt", "c/2")
    for name in ("a/1", "c/2"):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    assert find_layout(str(folder)).table == folders("")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.jpg", "2.jpg"], ": 2 images lie in no class folder (1.jpg, 2.jpg)"),
        (["train/cat.1.jpg", "train/dog.1.jpg", "test/1.jpg"], "train: 2 images lie in no class folder"),
        (["cat/1.jpg"], "one folder of images (cat), which would be the only class"),
        ([".hidden"], "found no images: the folder holds nothing"),
        (
            ["photos.zip", "readme.md"],
            "the folder holds photos.zip, readme.md; unpack photos.zip first",
        ),
        (["train.tar.gz"], "unpack train.tar.gz first"),
        (["docs/a.txt"], "expected a folder for each class, .tar shards or .parquet files"),
        (["train.tar", "train.parquet"], "holds 1 .tar and 1 .parquet files"),
        (["my_train/a/1.jpg", "my_train/b/1.jpg", "train/a/1.jpg", "train/b/1.jpg"], "may both be the train split"),
        (["a-train-x.tar", "b-train.tar", "c-test.tar", "train-d-test-e.tar"], "no one pattern stands for"),
    ],
)
def test_what_is_no_set_of_images_is_told_with_what_to_do(names, said, made):
    folder = made(*names)
    with pytest.raises(BadRequest) as caught:
        find_layout(str(folder))
    assert str(caught.value).startswith(f"{folder}: ")
    assert said in str(caught.value)


def test_a_folder_that_is_not_there_is_told_with_what_is(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ImagesMissing, match="holds photos"):
        find_layout(str(tmp_path / "photo"))


@pytest.mark.parametrize(("name", "remedy"), [("x.tar", "the folder that holds it"), ("x.zip", "unpacked")])
def test_a_file_is_told_to_be_none(name, remedy, made):
    with pytest.raises(BadRequest, match=f"is a file, expected a folder of images; .*{remedy}"):
        find_layout(str(made(name) / name))


def test_the_unpacked_folder_of_cifar_is_told_to_be_one_too_deep(made):
    with pytest.raises(BadRequest, match="give the folder that holds it"):
        find_layout(str(made("cifar-10-batches-py/data_batch_1") / "cifar-10-batches-py"))


def test_a_root_is_no_folder_of_images_and_no_class(made):
    folder = made("a/1.jpg", "b/1.jpg", f"dkvb-images/{ROOT_FILE}", "dkvb-images/digits.png")
    with pytest.raises(BadRequest, match=r"dkvb-images: is a root that dkvb made, and lies where"):
        find_layout(str(folder))
    with pytest.raises(BadRequest, match="`dkvb status "):
        find_layout(str(folder / "dkvb-images"))
    beside = made("x/train/a/1.jpg", "x/train/b/1.jpg", f"x/root/{ROOT_FILE}", "x/root/digits.png") / "x"
    assert table(beside) == folders("train"), "beside the splits it is in nobody's way"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("train", "train"),
        ("val2017", "validation"),
        ("seg_test", "test"),
        ("TRAIN-00.tar", "train"),
        ("test/train-0.tar", "train"),
        ("test/0.tar", "test"),
        ("trainers", None),
        ("contest", None),
    ],
)
def test_words_are_whole_words(name, word):
    assert word_of(name) == word
