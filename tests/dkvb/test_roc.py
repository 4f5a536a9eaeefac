"""ROC: every pair and every threshold, one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.roc import auc, tpr_at_fpr

SCORES = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, math.inf]), min_size=1, max_size=11).map(np.array)
RATES = st.sampled_from([0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1])


@settings(max_examples=100, deadline=None)
@given(positives=SCORES, negatives=SCORES)
def test_the_auc_is_the_share_of_pairs_in_order_and_ties_count_half(positives, negatives):
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert auc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auc(negatives, positives) == pytest.approx(1 - auc(positives, negatives), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(positives=SCORES, negatives=SCORES, fpr=RATES)
def test_the_rate_is_that_of_the_best_threshold_allowed(positives, negatives, fpr):
    thresholds = [*positives, *negatives]
    rates = [((positives > t).mean(), (negatives > t).mean()) for t in thresholds] + [(1, 1)]
    assert tpr_at_fpr(positives, negatives, fpr=fpr) == max(tpr for tpr, found in rates if found <= fpr + 1e-9)


def test_a_case_by_hand():
    positives, negatives = np.array([5, 3, 3, 1]), np.array([4, 3, 2, 0, 0])
    assert auc(positives, negatives) == (5 + 3.5 + 3.5 + 2) / 20
    assert [tpr_at_fpr(positives, negatives, fpr=fpr) for fpr in (0, 0.2, 0.4, 0.6, 1)] == [0.25, 0.25, 0.75, 1, 1]


@pytest.mark.parametrize("score", [0, 0.1, -7, math.inf])
def test_a_constant_score_tells_nothing(score):
    positives, negatives = np.full(7, score), np.full(11, score)
    assert auc(positives, negatives) == 0.5
    assert [tpr_at_fpr(positives, negatives, fpr=fpr) for fpr in (0, 0.01, 0.99)] == [0, 0, 0]


def test_rates_are_not_lost_to_rounding():
    negatives = np.arange(100)
    assert tpr_at_fpr(np.array([70.5, 71.5]), negatives, fpr=0.29) == 1
    assert tpr_at_fpr(np.array([70.5, 71.5]), negatives, fpr=0.28) == 0.5


def test_half_precision_and_integers_are_taken_and_left_alone():
    positives, negatives = np.array([3, 1], np.float16), np.array([2, 0])
    assert auc(positives, negatives) == 0.75
    assert tpr_at_fpr(positives, negatives, fpr=0) == 0.5
    assert positives.tolist() == [3, 1]
    assert negatives.tolist() == [2, 0]


@pytest.mark.parametrize("rate", [auc, lambda p, n: tpr_at_fpr(p, n, fpr=0.5)])
def test_what_is_no_list_of_numbers_is_refused(rate):
    fine = np.zeros(3)
    for wrong in (np.zeros(0), np.zeros((3, 1))):
        for pair in ((wrong, fine), (fine, wrong)):
            with pytest.raises(ShapeMismatch, match=r"tives: found shape .*expected \(n,\)") as caught:
                rate(*pair)
            assert isinstance(caught.value, DkvbError)
    with pytest.raises(BadSetting, match=r"negatives: .*NaN"):
        rate(fine, np.array([1, math.nan]))


@pytest.mark.parametrize("fpr", [-0.1, 1.1, math.nan])
def test_a_rate_that_cannot_be_is_refused(fpr):
    with pytest.raises(BadSetting, match=r"found .*\[0, 1\]"):
        tpr_at_fpr(np.zeros(3), np.zeros(3), fpr=fpr)
