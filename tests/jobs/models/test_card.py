"""Cards: what strangers named is text in them, long lists end, and numbers are those that were measured."""

import pytest

from jobs.models import card
from jobs.models.card import NAMED, listed, text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat|dog", r"cat\|dog"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("[click](http://x)", r"\[click](http://x)"),
        ("`code`", r"\`code\`"),
        ("two\n# lines", "two\\\\n# lines"),
        ("\x1b[31mred", "\\\\x1b\\[31mred"),
    ],
)
def test_a_name_is_words_and_no_markup(name, shown):
    assert text(name) == shown


def test_a_long_list_says_how_much_it_leaves_out():
    names = [f"class {k}" for k in range(NAMED + 7)]
    assert listed(names).endswith(f"class {NAMED - 1} and 7 more")
    assert listed(names[:3]) == "class 0, class 1, class 2"


def rows(count):
    return [
        {"name": f"c{k}", "forget": k == 5, "test_items": 100, "test_before": 90, "test_after": 90 - k % 7}
        for k in range(count)
    ]


def test_forgotten_classes_come_first_and_then_those_that_lost_most():
    table, *rest = card._classes(rows(NAMED + 9))
    names = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert names[:3] == ["c5", "c6", "c13"]
    assert len(names) == NAMED
    assert rest[0] == "9 classes that lost less are left out."
    assert card._classes(rows(3))[1:] == []


def test_no_items_are_no_share():
    none = {"right": None, "items": 0, "accuracy": None, "low": None, "high": None}
    some = {"right": 3, "items": 4, "accuracy": 0.75, "low": 0.2, "high": 0.99}
    row = card._row("x", {"before": some, "after": none})
    assert row == {
        "items": "x",
        "right before": "3 of 4",
        "right after": "none of 0",
        "accuracy after": "none",
        "95 % interval": "",
    }
    assert card._row("x", {"before": none, "after": some})["95 % interval"] == "20.00 to 99.00 %"
