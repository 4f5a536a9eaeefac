"""Items are named by what leads back to them, and found by key, row and place in a shard."""

import numpy as np
import pytest

from jobs.errors import BadRequest
from jobs.query import item_keys, sql
from jobs.query.item_keys import find_item, item_names, item_places
from jobs.query.stored import Stored
from store import arrays
from store.errors import NotARoot


@pytest.fixture
def stored(finished):
    return Stored(finished)


def have(keys, monkeypatch):
    """Make the items of every split have these keys, or none."""
    found = None if keys is None else np.array(keys, object)
    monkeypatch.setattr(item_keys, "item_keys", lambda stored, split, shards: found)


def test_an_item_is_known_by_its_row_and_by_its_place_in_a_shard(stored):
    shards = stored.manifest("test").shards
    assert find_item(stored, "test:0") == find_item(stored, f"test:{shards[0].name}#0") == ("test", 0)
    last = sum(shard.items for shard in shards) - 1
    (name,) = item_places(shards, [last])
    assert find_item(stored, f"test:{name}") == ("test", last)
    for wrong in ("17", "valid:3", f"test:{last + 1}", "test:-1", "test:x", "test:nowhere#0", "test:"):
        with pytest.raises(BadRequest):
            find_item(stored, wrong)


@pytest.mark.parametrize("number", ["9" * 5000, "tiny#" + "9" * 5000, "³"])
def test_what_is_no_row_is_looked_up_as_a_key_and_refused(stored, number):
    with pytest.raises(BadRequest, match="no item of test has that key"):
        find_item(stored, f"test:{number}")


def test_an_item_is_known_by_its_key_too(stored, images):
    for split in ("train", "test"):
        files = sorted(path.relative_to(images / split).as_posix() for path in (images / split).rglob("*.png"))
        for row in (0, 3, len(files) - 1):
            assert find_item(stored, f"{split}:{files[row]}") == (split, row)
    with pytest.raises(BadRequest, match=r"'test:cat/1\.png': no item of test has that key, as 'ant/1000\.png' is one"):
        find_item(stored, "test:cat/1.png")


@pytest.mark.parametrize(
    ("keys", "name", "found"),
    [
        (["a/17", "000017", "x#y", "x#2"], "test:a/17", 0),
        (["a/17", "000017", "x#y", "x#2"], "test:000017", 1),
        (["a/17", "000017", "x#y", "x#2"], "test:x#y", 2),
        (["a/17", "000017", "x#y", "x#2"], "test:x#2", 3),
        (["row-0", "row-1", "row-0"], "test:row-1", 1),
        (
            ["row-0", "row-1", "row-0"],
            "test:row-0",
            "2 items have that key; write one as test:folder-00000#0, test:folder",
        ),
        (None, "test:row-0", "recorded no keys of items; write test:17"),
    ],
)
def test_keys_with_numbers_repeated_keys_and_none_are_told_apart(keys, name, found, stored, monkeypatch):
    have(keys, monkeypatch)
    if isinstance(found, int):
        assert find_item(stored, name) == ("test", found)
    else:
        with pytest.raises(BadRequest, match=found):
            find_item(stored, name)


def test_items_are_named_by_their_keys(stored, images):
    for split in ("train", "test"):
        files = sorted(path.relative_to(images / split).as_posix() for path in (images / split).rglob("*.png"))
        assert item_names(stored, split, range(len(files))) == files
        rows = sql.query(stored, f"select row, item_key from items where split = '{split}' order by row")
        assert rows["item_key"].to_list() == files
    assert item_names(stored, "test", []) == []


KEYS = [
    "a",
    "a",
    "",
    "3",
    "4",
    "000005",
    "7",
    "folder-00000#8",
    "folder-00000#9",
    "nowhere#9",
    "x#99999999999999999999",
]
NAMED = ["#0", "#1", "#2", "3", "4", "000005", "#6", "#7", "#8", "nowhere#9", "x#99999999999999999999"]
"""As they are, or by place: `a` and `` lead to no one item, 7 is another row and folder-00000#8 another place."""


def test_a_key_that_leads_elsewhere_or_to_several_is_no_name(stored, monkeypatch):
    shard = stored.manifest("train").shards[0]
    assert shard.items >= len(KEYS)
    have([*KEYS, *(f"rest/{row}" for row in range(len(KEYS), shard.items))], monkeypatch)
    names = item_names(stored, "train", range(len(KEYS)))
    assert names == [f"{shard.name}{name}" if name.startswith("#") else name for name in NAMED]
    assert [find_item(stored, f"train:{name}") for name in names] == [("train", row) for row in range(len(KEYS))]


def test_without_keys_items_are_named_by_place(stored, monkeypatch):
    monkeypatch.setattr(arrays, "promised", lambda data, name: name != "item_key")
    shards = stored.manifest("test").shards
    assert (
        item_names(stored, "test", [3, 0]) == item_places(shards, [3, 0]) == [f"{shards[0].name}#{i}" for i in (3, 0)]
    )
    assert sql.query(stored, "select count(item_key) as n from items")["n"].to_list() == [0]


def test_keys_of_more_or_fewer_items_are_refused(stored, monkeypatch):
    monkeypatch.setattr(arrays, "read", lambda data, name: np.array(["a", "b"], object))
    for ask in (lambda: item_names(stored, "test", [0]), lambda: find_item(stored, "test:a")):
        with pytest.raises(NotARoot, match="2 keys of"):
            ask()
