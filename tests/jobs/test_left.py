"""What a spec asks of items that are no longer there, told before a run."""

import pytest

from dkvb.errors import BadBudget
from jobs.errors import BadRequest
from jobs.left import check_left

NAMES = ["ant", "bee", "cat"]


def pairs(*numbers, **more):
    return {"sweep.uva.shares": None, "sweep.uva.pairs": list(numbers), **more}


def test_what_is_left_is_enough(make_spec):
    check_left(make_spec(), NAMES, [11, 13, 17])
    check_left(make_spec(), NAMES, [11, 0, 11])  # a class that is not named and not there is not forgotten
    check_left(make_spec({"sweep.classes": ["bee"]}), NAMES, [1, 11, 0])
    check_left(make_spec({"sweep.uve.examples": None, "sweep.uve.shares": [0.5, 1.0]}), NAMES, [1, 1, 1])
    check_left(make_spec(pairs(5, 11, **{"sweep.uve": None})), NAMES, [1, 1, 2])
    check_left(make_spec({"sweep.each": False, "sweep.sets": [["ant", "bee"]]}), NAMES, [11, 1, 1])


@pytest.mark.parametrize(
    ("changes", "items", "text"),
    [
        ({}, [10, 13, 17], "N = 11 is larger than the 10 training items of class 'ant'"),
        ({"sweep.classes": ["ant", "bee"]}, [11, 0, 17], "sweep.classes: class 'bee' has no training items to forget"),
        ({"sweep.sets": [["ant", "bee"]]}, [11, 0, 17], r"sweep.sets\[0\]: class 'bee' has no training items"),
        ({"sweep.sets": [["ant", "cat"]]}, [11, 0, 11], r"sweep.sets\[0\]: found all 2 classes"),
        ({"sweep.sizes": [2]}, [11, 0, 17], "sweep.sizes: found 2, expected less than the 2 classes"),
        (
            {"sweep.each": False, "sweep.sets": [["ant", "bee"]]},
            [10, 9, 17],
            "N = 11 is larger than the 10 training items of the largest of classes 'ant', 'bee'",
        ),
        (pairs(5, 12, **{"sweep.uve": None}), [1, 11, 11], "N = 12 is larger than the 11 pairs that class 'ant'"),
        (
            pairs(3, **{"sweep.uve": None, "sweep.uva.scope": "per-codebook"}),
            [2, 11, 11],
            "N = 3 is larger than the 2 pairs that class 'ant'",
        ),
        ({"compare.classes": ["bee"]}, [11, 0, 17], "compare.classes: class 'bee' has no training items to forget"),
        ({"compare.oracle_kv": ["bee"]}, [11, 0, 17], "compare.oracle_kv: class 'bee' has no training items"),
    ],
)
def test_what_is_not_left_is_told(changes, items, text, make_spec):
    with pytest.raises((BadRequest, BadBudget), match=text):
        check_left(make_spec(changes), NAMES, items)
