"""Which sets of classes are forgotten together, and which are refused before anything is embedded."""

import re
import unicodedata

import pytest

from cluster.unit_map import SerialExecutor
from dkvb.errors import BadBudget
from jobs.errors import BadRequest
from jobs.forget_sets import ForgetSet, forget_sets, repeated
from jobs.images.splits import check_manifests
from jobs.plan.cost import look_ahead
from jobs.plan.plan import make_plan, waves
from jobs.run.run import run_steps
from jobs.spec.schema import SetAsks
from store.artefacts import open_root

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
ITEMS = [3, 5, 2, 0, 7, 11, 13]
THERE = {0, 1, 2, 4, 5, 6}


def asked(sets=(), sizes=(), draws=0, seed=0):
    return SetAsks(sets=[*sets], sizes=[*sizes], draws=draws, seed=seed)


def test_sets_by_name_come_first_in_the_order_of_the_spec():
    made = forget_sets(asked([["gnu", "ant"], ["bee"]], [1], 2), NAMES, ITEMS)
    assert made[:2] == [ForgetSet((0, 6), None), ForgetSet((1,), None)]
    assert [one.draw for one in made[2:]] == [0, 1]


def test_within_a_draw_larger_sets_hold_the_smaller_and_only_classes_with_training_items():
    made = forget_sets(asked(sizes=[5, 1, 2], draws=30), NAMES, ITEMS)
    assert [len(one.classes) for one in made] == [1, 2, 5] * 30
    assert [one.draw for one in made] == [draw for draw in range(30) for _ in range(3)]
    for small, middle, large in zip(made[::3], made[1::3], made[2::3], strict=True):
        assert {*small.classes} < {*middle.classes} < {*large.classes} < THERE
        assert [*large.classes] == sorted(large.classes)
    assert {one.classes for one in made[::3]} == {(k,) for k in THERE}


def test_draws_follow_from_the_seed_alone():
    one, more, other = (
        forget_sets(asked(sizes=[2], draws=draws, seed=seed), NAMES, ITEMS) for draws, seed in ((5, 3), (9, 3), (5, 4))
    )
    assert more[:5] == one
    assert other != one
    assert [one.classes for one in forget_sets(asked(sizes=[2, 4], draws=5, seed=3), NAMES, ITEMS)][::2] == [
        two.classes for two in one
    ]


def test_half_is_half_of_the_classes_with_training_items_and_a_size_that_is_there_already_is_taken_once():
    assert [len(one.classes) for one in forget_sets(asked(sizes=["half"], draws=1), NAMES, ITEMS)] == [3]
    assert [len(one.classes) for one in forget_sets(asked(sizes=["half", 3], draws=2), NAMES, ITEMS)] == [3, 3]
    assert [len(one.classes) for one in forget_sets(asked(sizes=["half"], draws=1), NAMES[:3], ITEMS[:3])] == [1]


def test_more_draws_than_there_are_sets_are_told_with_how_many_there_are():
    (told,) = repeated(asked(sizes=[2, 3, "half"], draws=16), 6)
    assert "of 6 classes there are only 15 different sets of 2" in told
    assert repeated(asked(sizes=[2], draws=15), 6) == repeated(asked(sizes=[6, 7], draws=99), 6) == []
    made = forget_sets(asked(sizes=[2], draws=400), NAMES, ITEMS)
    assert (len(made), len({one.classes for one in made})) == (400, 15)


@pytest.mark.parametrize("draws", [3, 4])
def test_a_plan_and_a_run_tell_them_too(draws, make_spec, images, run_tiny, tmp_path, watched):
    changes = {"sweep.each": False, "sweep.sizes": [2], "sweep.draws": draws}
    told = [text for text in look_ahead(make_spec(changes), str(images), None).found.notes if "sweep.draws" in text]
    assert len(told) == (draws > 3)
    plan = make_plan(make_spec(changes), str(images))
    root = open_root(tmp_path / "root", create=True)
    run_steps(waves([plan])[0], root, SerialExecutor(), watched)
    assert [text for text in check_manifests(plan.spec, plan.steps, root) if "sweep.draws" in text] == told


CAFE = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]


@pytest.mark.parametrize(
    ("asks", "text"),
    [
        (asked([["ant"], ["bee", "catt"]]), "sweep.sets[1]: no class 'catt'; did you mean 'cat'"),
        (asked([["ant", "dog"]]), "sweep.sets[0]: class 'dog' has no training items to forget; take it out"),
        (
            asked([["ant", "bee", "cat", "eel", "fox", "gnu"]]),
            "sweep.sets[0]: found all 6 classes that have training items, expected fewer",
        ),
        (asked(sizes=[1, 6], draws=1), "sweep.sizes: found 6, expected less than the 6 classes that have training"),
    ],
)
def test_sets_that_cannot_be_are_refused(asks, text):
    with pytest.raises(BadRequest, match=re.escape(text)):
        forget_sets(asks, NAMES, ITEMS)


def test_a_class_in_two_unicode_forms_is_one_class():
    with pytest.raises(BadRequest, match=r"sweep.sets\[0\]: found 2 names of 1 classes, expected each class once"):
        forget_sets(asked([CAFE]), ["ant", CAFE[0], "bee"], [1, 1, 1])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sweep.sets": [["ant", "antt"]]}, "sweep.sets[0]: no class 'antt'"),
        ({"sweep.sets": [["ant", "bee", "cat"]]}, "sweep.sets[0]: found all 3 classes"),
        ({"sweep.sizes": [3]}, "sweep.sizes: found 3, expected less than the 3 classes"),
    ],
)
def test_such_sets_are_told_before_anything_is_embedded(changes, text, run_tiny, images, tmp_path, watched):
    for _ in range(2):
        with pytest.raises(BadRequest, match=re.escape(text)):
            run_tiny(tmp_path / "root", images, changes, progress=watched)
    assert watched.steps.keys() == {"manifest[train]", "manifest[test]"}


def test_more_examples_than_a_class_of_a_set_has_are_told_before_anything_is_embedded(
    run_tiny, images, tmp_path, watched
):
    changes = {"sweep.each": False, "sweep.sets": [["bee", "cat"]], "sweep.uve.examples": [14]}
    with pytest.raises(BadBudget, match="N = 14 is larger than the 13 training items of class 'bee'"):
        run_tiny(tmp_path / "root", images, changes, progress=watched)
    assert watched.steps.keys() == {"manifest[train]", "manifest[test]"}
