"""A spec for a folder of images: what is chosen by what was found, and that it is written as it is."""

import tomllib

import pytest

from jobs.begin.begun import begin, chosen_lines, found_lines
from jobs.begin.written import as_toml
from jobs.errors import BadRequest, BadSpec
from jobs.spec.reading import load_specs
from store.errors import ImageDataError
from tests.store.made import picture, tar_samples, write_parquet, write_tar
from tests.tiny import TRAIN, paint


@pytest.fixture
def unsplit(tmp_path):
    """Class folders, and no folder to test on."""
    paint(tmp_path / "my photos!", TRAIN, size=120)
    return tmp_path / "my photos!"


def test_class_folders_with_splits_are_taken_as_they_are(images):
    begun = begin(str(images))
    assert begun.table["images"] == {
        "kind": "folder",
        "train": "train",
        "test": "test",
        "shard_items": 250,
        "expect": {"train": 41, "test": 15, "classes": 3},
    }
    assert begun.table["backbone"] == {"library": "efficientnet-lite", "name": "lite0", "image_size": 128}
    assert begun.table["bottleneck"] == {"c": 256, "m": 64}
    assert begun.table["embeddings"] == {"batch": 16}
    assert "the images are small, 32 pixels" in begun.why["backbone.image_size"]


def test_without_a_test_folder_a_fifth_of_each_class_is_held_out(unsplit):
    begun = begin(str(unsplit))
    assert begun.name == "my-photos"
    images = begun.table["images"]
    assert (images["train"], images["test_share"], "test" in images) == ("", 0.2, False)
    assert images["expect"] == {"train": 33, "test": 8, "classes": 3}
    assert "image_size" not in begun.table["backbone"], "images of 120 pixels are not small"
    text = "\n".join(found_lines(begun))
    assert "3 (ant, bee, cat), each with 9 to 14 images to train on" in text
    assert "20 % of the images are held out, drawn by their names: there are no folders of splits" in text
    assert "PNG of 120 x 120 pixels (33 were looked at)" in text


def test_what_is_left_alone_and_what_is_wrong_is_said_once_and_the_spec_goes_on_without_it(unsplit):
    (unsplit / "ant" / "notes.txt").write_text("")
    (unsplit / "bee" / "phone.heic").write_bytes(b"")
    begun = begin(str(unsplit))
    assert begun.table["images"]["on_error"] == "skip"
    text = "\n".join([*found_lines(begun), *chosen_lines(begun)])
    assert "left alone  1 .txt" in text
    assert 'problems    1, left out by on_error = "skip": bee/phone.heic: an image of a kind that is not read' in text
    assert begin(str(unsplit), ["images.on_error=fail"]).table["images"]["on_error"] == "fail"


def test_only_some_problems_are_told_and_how_many_more_there_are(unsplit):
    for i in range(5):
        (unsplit / "bee" / f"{i}.heic").write_bytes(b"")
    begun = begin(str(unsplit))
    assert len(begun.problems) == 5
    assert "bee/2.heic: an image of a kind" in (text := "\n".join(found_lines(begun)))
    assert "; and 2 more, which `dkvb init --json` names" in text
    assert "bee/3.heic" not in text


def test_an_empty_class_folder_counts_as_no_class_that_is_forgotten(unsplit):
    (unsplit / "void").mkdir()
    begun = begin(str(unsplit))
    assert "4 (ant, bee, cat, void), each with 0 to 14 images to train on" in "\n".join(found_lines(begun))
    assert "each of the 3 classes with images to train on is forgotten" in begun.why["sweep"]


def test_what_has_no_label_is_counted_apart(tmp_path):
    for split in ("train", "test"):
        write_tar(tmp_path / f"{split}.tar", [*tar_samples(0, 9), ("odd.png", picture(1))])
    begun = begin(str(tmp_path))
    assert "10 to train on, 10 to test on, of which 2 have no label and are left out" in "\n".join(found_lines(begun))
    assert begun.problems[0].startswith("train.tar: odd: label missing")


def test_an_image_that_cannot_be_decoded_is_met_by_a_look_at_some(unsplit):
    for name in TRAIN:
        for path in (unsplit / name).glob("*5.png"):
            path.write_bytes(b"\x89PNG\r\n\x1a\n torn")
    begun = begin(str(unsplit))
    assert begun.table["images"]["on_error"] == "skip"
    assert any("not a readable image" in text for text in begun.problems)


def test_a_folder_of_which_no_image_can_be_read_is_refused(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"torn")
    with pytest.raises(ImageDataError, match="none of 2 images could be read"):
        begin(str(tmp_path))


def test_one_image_a_class_leaves_none_to_test_on(tmp_path):
    paint(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(BadRequest, match="of test no image that can be used"):
        begin(str(tmp_path))


def test_tars_and_parquet_are_looked_into(tmp_path):
    (tmp_path / "tars").mkdir()
    for split, first, count in (("train", 0, 30), ("val", 100, 9)):
        write_tar(tmp_path / "tars" / f"{split}-0.tar", tar_samples(first, count))
    begun = begin(str(tmp_path / "tars"))
    assert begun.table["images"]["expect"] == {"train": 30, "test": 9, "classes": 3}
    assert begun.counted.classes == ("0", "1", "2")
    (tmp_path / "rows").mkdir()
    write_parquet(tmp_path / "rows" / "all.parquet", {"label": [n % 2 for n in range(50)]}, names=["no", "yes"])
    begun = begin(str(tmp_path / "rows"))
    sizes = begun.counted.sizes
    assert sizes["train"] + sizes["test"] == 50
    assert begun.counted.classes == ("no", "yes")
    assert begun.bytes == (tmp_path / "rows" / "all.parquet").stat().st_size, "one file is counted once"


def test_a_change_of_images_holds_while_it_is_looked(tmp_path):
    (tmp_path / "rows").mkdir()
    path = tmp_path / "rows" / "all.parquet"
    write_parquet(path, {"breed": [n % 2 for n in range(50)], "cute": [n % 3 for n in range(50)]})
    with pytest.raises(Exception, match=r"name one: images\.label = "):
        begin(str(tmp_path / "rows"))
    begun = begin(str(tmp_path / "rows"), ["images.label=breed", "images.test_share=0.5", "bottleneck.m=32", "seed=7"])
    assert len(begun.counted.classes) == 2
    assert begun.counted.sizes["test"] > 14
    (spec,) = begun.specs
    assert (spec.images.label, spec.bottleneck.m, spec.seed) == ("breed", 32, 7)


def test_a_change_that_cannot_be_is_named(images):
    with pytest.raises(BadSpec, match=r"--set images\.shard_item=3: images: unknown key 'shard_item'"):
        begin(str(images), ["images.shard_item=3"])
    with pytest.raises(BadSpec, match=r"--set bottleneck\.k=3: bottleneck: unknown key 'k'"):
        begin(str(images), ["bottleneck.k=3"])


def test_the_two_ways_to_test_exclude_each_other_and_the_one_that_is_set_holds(images, unsplit):
    assert "test" not in begin(str(images), ["images.test_share=0.3"]).table["images"]
    assert begin(str(images), ["images.train=train", "images.test=test"]).table["images"]["test"] == "test"


@pytest.mark.parametrize(
    "changes", [(), ('sweep.classes=["ant"]',), ("values.method=lda",), ("compare.seeds=[0]",), ('name="x"',)]
)
def test_what_is_written_reads_back_as_the_spec_that_was_chosen(changes, unsplit, tmp_path):
    begun = begin(str(unsplit), changes)
    path = tmp_path / "spec.toml"
    path.write_text(as_toml(begun), encoding="utf-8")
    assert load_specs(str(path)) == begun.specs
    assert tomllib.loads(path.read_text()) == begun.table


def test_every_key_that_is_written_says_what_it_is(unsplit):
    text = as_toml(begin(str(unsplit)))
    keys = [line for line in text.splitlines() if " = " in line and not line.startswith(("#", "library", "name ="))]
    bare = [line for line in keys if "  # " not in line]
    assert len(keys) > 6
    assert bare == []


def test_the_lines_that_are_commented_out_are_specs_too(unsplit, tmp_path):
    lines = as_toml(begin(str(unsplit))).splitlines()
    sweep, compare = lines.index("# [sweep]"), lines.index("# [compare]")
    specs = []
    for begun, end in ((sweep, compare - 1), (compare, len(lines))):
        ends = [
            line.removeprefix("# ").replace('["..."]', '["ant"]').replace("[2, 5]", "[2]") for line in lines[begun:end]
        ]
        path = tmp_path / "spec.toml"
        path.write_text("\n".join([*lines[:sweep], *ends]), encoding="utf-8")
        specs += load_specs(str(path))
    first, second = specs
    assert (first.sweep.classes, first.sweep.sizes, first.values.method) == (["ant"], [2], "lda")
    assert second.compare is not None
    assert (second.compare.classes, second.compare.seeds) == (["ant", "bee", "cat"], [0, 1, 2])
    assert (second.compare.heads, second.compare.lira_heads) == (["linear", "values"], 0)


def test_a_comparison_that_is_set_is_not_offered_again(unsplit):
    assert "# [compare]" not in as_toml(begin(str(unsplit), ["compare.seeds=[0]"]))


def test_a_name_that_a_terminal_would_obey_is_shown_as_its_code(tmp_path):
    folder = tmp_path / "red\x1b[31m\nphotos"
    paint(folder, {"a\x1b[1m": 5, "b": 5})
    begun = begin(str(folder))
    text = as_toml(begun) + "\n".join(found_lines(begun))
    assert "\x1b" not in text
    assert begun.name == "red-31m-photos"
    assert tomllib.loads(as_toml(begun)) == begun.table


def test_many_large_images_are_made_smaller(tmp_path, monkeypatch):
    paint(tmp_path / "set", TRAIN, size=120)
    monkeypatch.setattr("jobs.begin.begun.MANY", 20)
    begun = begin(str(tmp_path / "set"))
    assert begun.table["backbone"]["image_size"] == 128
    assert "more than 20 images" in begun.why["backbone.image_size"]
