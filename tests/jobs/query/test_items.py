"""Why a class suffered, and what one item's votes are."""

import json

import numpy as np
import pytest

from jobs.errors import BadRequest
from jobs.query import items, pairs
from jobs.query.masked import Masked
from jobs.query.stored import Stored, logits


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


def test_names_of_lost_items_are_shown_and_never_obeyed(stored, monkeypatch):
    monkeypatch.setattr(items, "item_names", lambda stored, split, rows: [f"\x1b[2J{row}\nx.png" for row in rows])
    mask = np.ones(stored.size, bool)
    for k in range(1, len(stored.classes)):
        answer = items.why(stored, k, [0], mask)
        if len(answer.lost):
            row = answer.lost["row"][0]
            assert rf"lost items     \x1b[2J{row}\nx.png" in answer.text()
            assert answer.lost["item"][0] == f"\x1b[2J{row}\nx.png"
            return
    pytest.fail("no item is lost under a mask of all pairs")


def test_it_is_said_which_item_is_meant(stored, images):
    files = sorted(path.relative_to(images / "test").as_posix() for path in (images / "test").rglob("*.png"))
    row = len(files) - 1
    name = files[row].partition("/")[0]
    for asked in (f"test:{row}", f"test:{files[row]}"):
        assert items.item_text(stored, asked) == f"test:{files[row]}, row {row} of test, class {name}"
