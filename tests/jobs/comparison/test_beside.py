"""Laws of what stands beside the scores of a model that has forgotten a class."""

import math
from dataclasses import replace

import pytest
import torch

from jobs.comparison.beside import beside
from jobs.comparison.judge import Judge
from tests.jobs.comparison.small import by_split, said

LABELS = by_split([0, 0, 1, 1], [0, 0, 1, 1])
FORGET = {split: (own == 0).numpy() for split, own in LABELS.items()}
BEFORE = said([0, 0, 1, 1], [0, 0, 1, 1], method="none")
ORACLE = said([1, 1, 1, 1], [1, 1, 1, 1], method="retrain")
JUDGE = Judge(LABELS, FORGET, [0], BEFORE, ORACLE)


def test_the_tug_of_war_on_test_items_sees_no_training_item():
    half = said([0, 0, 2, 2], [0, 1, 1, 2])  # wrong on all training items, one test item of each side off
    assert beside(JUDGE, half).tow_test == pytest.approx(0.5 * 0.5)
    assert beside(JUDGE, ORACLE).tow_test == 1
    assert beside(JUDGE, BEFORE).tow_test == 0


def test_calibration_is_of_the_test_items_that_stay():
    sure = said([0, 0, 1, 1], [1, 1, 1, 2])  # sure of all, right on one of the two that stay
    wrong = float(torch.tensor([9.0, 0.0, 0.0]).softmax(0)[0])
    assert beside(JUDGE, sure).ece == pytest.approx(wrong - 0.5, abs=1e-6)
    assert beside(JUDGE, ORACLE).ece == pytest.approx(1 - wrong, abs=1e-6)
    nobody = replace(JUDGE, retain={split: ~own for split, own in FORGET.items()})
    assert beside(nobody, sure).ece == beside(JUDGE, sure).ece


def test_what_is_leaked_is_of_all_items_whatever_their_class_and_nothing_where_all_are_alike():
    assert beside(JUDGE, BEFORE).member_auc == 0.5
    surer = replace(BEFORE, logits={"train": BEFORE.logits["train"] * 2, "test": BEFORE.logits["test"]})
    assert beside(JUDGE, surer).member_auc == 1
    ruled_out = replace(BEFORE, logits={s: x.masked_fill(x > 0, -math.inf) for s, x in BEFORE.logits.items()})
    assert beside(JUDGE, ruled_out).member_auc == 0.5
    assert (beside(JUDGE, surer).head, beside(JUDGE, surer).method) == ("values", "none")
