"""Why a class suffered, and what one item's votes are."""

import json

import numpy as np
import pytest

from jobs.errors import BadRequest
from jobs.query import items, pairs
from jobs.query.masked import Masked
from jobs.query.stored import Stored, logits
from store import arrays


@pytest.fixture
def stored(finished):
    return Stored(finished)


def test_why_agrees_with_what_the_mask_costs(stored):
    mask = stored.rule_mask([0])
    for k in range(1, len(stored.classes)):
        answer = items.why(stored, k, [0])
        row = pairs.collateral(stored, mask).filter(**{"class": k}).row(0, named=True)
        assert answer.hit_share == row["hit_share"]
        assert (answer.right_before, answer.right_after) == (row["right_before"], row["right_after"])
        assert answer.redirected == row["redirected"]
        assert len(answer.lost) == row["lost"] == answer.went["items"].sum()
        own = stored.activations.of_class(k)
        assert answer.shared_pairs == len(answer.pairs) == np.count_nonzero(own[mask])
        assert answer.pairs["count"].sum() == own[mask].sum()
        assert json.dumps(answer.to_json())
        assert answer.text().startswith(f"{stored.classes[k]}, when {stored.classes[0]} left")


def test_a_class_does_not_suffer_from_itself(stored):
    with pytest.raises(BadRequest, match="itself forgotten"):
        items.why(stored, 1, [0, 1])


def test_the_votes_of_an_item_add_up_to_its_logit(stored):
    split, row = "test", 3
    label = int(stored.labels(split)[row])
    mask = stored.rule_mask([label])
    table = items.item(stored, f"{split}:{row}", mask)
    before, after = Masked(stored, mask).codes(split, np.array([row]))
    with stored.values() as values:
        assert table["value"].mean() == pytest.approx(float(logits(before, values)[0, label]), abs=1e-6)
        assert table["value_after"].drop_nulls().mean() == pytest.approx(
            float(logits(after, values)[0, label]), abs=1e-6
        )
    assert table.sort("codebook")["key"].to_list() == before[0].tolist()


def test_an_item_is_known_by_its_row_and_by_its_place_in_a_shard(stored):
    shards = stored.manifest("test").shards
    assert items.find_item(stored, "test:0") == items.find_item(stored, f"test:{shards[0].name}#0") == ("test", 0)
    last = sum(shard.items for shard in shards) - 1
    (name,) = stored.item_names("test", [last])
    assert items.find_item(stored, f"test:{name}") == ("test", last)
    for wrong in ("17", "valid:3", f"test:{last + 1}", "test:-1", "test:x", "test:nowhere#0", "test:"):
        with pytest.raises(BadRequest):
            items.find_item(stored, wrong)


@pytest.mark.parametrize("number", ["9" * 5000, "tiny#" + "9" * 5000, "³"])
def test_what_is_no_row_is_looked_up_as_a_key_and_refused(stored, number):
    with pytest.raises(BadRequest, match="no item of test has that key"):
        items.find_item(stored, f"test:{number}")


def test_an_item_is_known_by_its_key_too(stored, images):
    for split in ("train", "test"):
        files = sorted(path.relative_to(images / split).as_posix() for path in (images / split).rglob("*.png"))
        for row in (0, 3, len(files) - 1):
            assert items.find_item(stored, f"{split}:{files[row]}") == (split, row)
    with pytest.raises(BadRequest, match=r"'test:cat/1\.png': no item of test has that key, as 'ant/1000\.png' is one"):
        items.find_item(stored, "test:cat/1.png")


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
    monkeypatch.setattr(arrays, "promised", lambda data, name: name != "item_key" or keys is not None)
    monkeypatch.setattr(arrays, "read", lambda data, name: np.array(keys, object))
    if isinstance(found, int):
        assert items.find_item(stored, name) == ("test", found)
    else:
        with pytest.raises(BadRequest, match=found):
            items.find_item(stored, name)
