"""Parts of a set that comes in one: every item in one of them, by its name alone."""

import unicodedata

import pytest

from store.errors import ImageSourceError
from store.images import open_images
from store.parts import Part, place
from tests.store.made import tar_samples, write_tar
from tests.tiny import TRAIN, paint

SHARE = 0.3
TRAINING, HELD_OUT = (Part(split=split, test_share=SHARE) for split in ("train", "test"))


def opened(folder, part, **changes):
    asked = {"kind": "folder", "pattern": "", "part": part, **changes}
    return open_images(asked.pop("kind"), str(folder), **asked)


def keys(manifest):
    return [key for shard in manifest.shards for key in shard.item_keys]


def test_every_item_is_in_one_of_both_parts_and_about_the_share_is_held_out():
    names = [f"item-{number}" for number in range(2000)]
    held = [name for name in names if HELD_OUT.holds(name)]
    assert [name for name in names if not TRAINING.holds(name)] == held
    assert 500 < len(held) < 700


def test_of_each_class_the_share_is_held_out_at_least_one_and_never_all():
    names = [
        f"{name}/{number}.png" for name, count in {"a": 10, "b": 2, "c": 1, "d": 3}.items() for number in range(count)
    ]
    held = HELD_OUT.chosen(names)
    assert {name: sum(one.startswith(f"{name}/") for one in held) for name in "abcd"} == {
        "a": 3,
        "b": 1,
        "c": 0,
        "d": 1,
    }
    assert TRAINING.chosen(names) == {*names} - held
    assert HELD_OUT.chosen(reversed(names)) == held, "the order in which files are listed decides nothing"


def test_one_more_image_moves_few_of_the_others():
    names = [f"a/{number}.png" for number in range(100)]
    before, after = HELD_OUT.chosen(names), HELD_OUT.chosen([*names, "a/new.png"])
    assert len(before - after) <= 1
    assert len(after - before) <= 1


def test_a_name_has_one_place_in_whichever_unicode_form_it_is_written():
    assert place(unicodedata.normalize("NFD", "caf\u00e9/1.png")) == place("caf\u00e9/1.png") != place("cafe/1.png")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_of_nothing_or_all_is_refused(share):
    with pytest.raises(ImageSourceError, match="a share between 0 and 1"):
        Part(split="test", test_share=share)


def test_class_folders_are_read_part_by_part_without_an_image_in_both(tmp_path):
    paint(tmp_path, TRAIN)
    train, test = (opened(tmp_path, part, shard_items=7) for part in (TRAINING, HELD_OUT))
    scanned = {name: images.scan(on_error="fail") for name, images in (("train", train), ("test", test))}
    assert scanned["test"].histogram == [round(SHARE * count) for count in TRAIN.values()]
    assert scanned["train"].items + scanned["test"].items == sum(TRAIN.values())
    assert {*keys(scanned["train"])}.isdisjoint(keys(scanned["test"]))
    assert scanned["train"].classes == scanned["test"].classes == tuple(TRAIN)
    for images, manifest in ((train, scanned["train"]), (test, scanned["test"])):
        read = [item for shard in manifest.shards for item in images.read(shard)]
        assert [item.key for item in read] == keys(manifest)
        assert {item.problem for item in read} == {None}
    assert {*train.paths()}.isdisjoint(test.paths())


def test_items_of_one_tar_go_to_both_parts(tmp_path):
    write_tar(tmp_path / "all-0.tar", tar_samples(0, 60))
    both = [opened(tmp_path, part, kind="webdataset", pattern="all-*.tar") for part in (TRAINING, HELD_OUT)]
    train, test = (images.scan(on_error="fail") for images in both)
    assert sorted(keys(train) + keys(test)) == [f"s{number:03d}" for number in range(60)]
    assert 5 < test.items < 35
    assert [item.key for item in both[1].read(test.shards[0])] == keys(test)


def test_a_shard_without_an_item_of_a_part_is_no_problem(tmp_path):
    part = next(part for part in (TRAINING, HELD_OUT) if not part.holds("all-0.tar#s000"))
    write_tar(tmp_path / "all-0.tar", tar_samples(0, 1))
    write_tar(tmp_path / "all-1.tar", tar_samples(1, 60))
    found = opened(tmp_path, part, kind="webdataset", pattern="all-*.tar").scan(on_error="fail")
    assert [shard.name for shard in found.shards] == ["all-1.tar"]


@pytest.mark.parametrize("kind", ["digits", "cifar10"])
def test_published_sets_come_in_splits_of_their_own(kind):
    with pytest.raises(ImageSourceError, match="leave out test_share"):
        open_images(kind, "", pattern="train", part=HELD_OUT)
