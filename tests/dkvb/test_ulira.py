"""U-LiRA: a naive loop, heads drawn alike, and planted differences."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.roc import auc, tpr_at_fpr
from dkvb.ulira import FPR, VARIANCE_FLOOR, WIDTH, ULira, _ratios, auc_interval, ulira


def heads(seed: int, count: int, items: int, *, alike: float = 0) -> torch.Tensor:
    """Margins of equal heads: items differ in mean and spread; alike, in [0, 1], is what a head does to all of them."""
    of_items = np.random.default_rng(97)
    mean, spread = 3 * of_items.standard_normal(items), np.exp(of_items.standard_normal(items) / 2)
    gen = np.random.default_rng(seed)
    noise = math.sqrt(1 - alike) * gen.standard_normal((count, items)) + math.sqrt(alike) * gen.standard_normal(
        (count, 1)
    )
    return torch.from_numpy(mean + spread * noise)


def test_the_rates_are_those_of_a_naive_loop():
    u, o = heads(1, 7, 5).numpy(), heads(2, 11, 5).numpy() - 0.7
    folds, rates = 3, []
    for fold in range(folds):
        scores = []
        for heads_of_kind in (u, o):
            rows = []
            for head in range(fold, len(heads_of_kind), folds):
                row = []
                for item in range(5):
                    ratio = 0
                    for sign, kind in ((1, u), (-1, o)):
                        fitted = [kind[i, item] for i in range(len(kind)) if i % folds != fold]
                        ratio += sign * norm.logpdf(heads_of_kind[head, item], np.mean(fitted), np.std(fitted))
                    row.append(ratio)
                rows.append(row)
            scores.append(np.array(rows))
        positives, negatives = scores
        pooled = positives.ravel(), negatives.ravel()
        items = [auc(positives[:, i], negatives[:, i]) for i in range(5)]
        rates.append((auc(*pooled), tpr_at_fpr(*pooled, fpr=FPR), float(np.mean(items))))
    found = ulira(torch.from_numpy(u), torch.from_numpy(o), folds=folds)
    assert found == pytest.approx(tuple(np.mean(rates, 0)))


@pytest.mark.parametrize(("count", "folds"), [(2, 4), (5, 4), (16, 4), (16, 16)])
@pytest.mark.parametrize("alike", [0, 0.9])
def test_equal_heads_are_told_apart_half_of_the_time_however_few(count, folds, alike):
    trials = 200 if alike else 40
    found = [
        ulira(heads(2 * t, count, 31, alike=alike), heads(2 * t + 1, count, 31, alike=alike), folds=folds)
        for t in range(trials)
    ]
    error = np.std(found, 0) / math.sqrt(trials)
    assert abs(np.mean(found, 0)[0] - 0.5) < 4 * error[0]
    assert abs(np.mean(found, 0)[2] - 0.5) < 4 * error[2]


def test_scores_of_different_folds_are_not_compared_since_that_finds_less_than_nothing():
    # The reason for rates within a fold: leave-one-out scores of equal heads, pooled for an item.
    u, o = heads(1, 16, 211).numpy(), heads(2, 16, 211).numpy()
    pooled = np.empty((2, 16, 211))
    for i in range(16):
        fitted = [np.delete(kind, i, 0) for kind in (u, o)]
        for k, kind in enumerate((u, o)):
            as_unlearned, as_oracle = (norm.logpdf(kind[i], f.mean(0), f.std(0)) for f in fitted)
            pooled[k, i] = as_unlearned - as_oracle
    assert np.mean([auc(pooled[0, :, i], pooled[1, :, i]) for i in range(211)]) < 0.47
    assert ulira(torch.from_numpy(u), torch.from_numpy(o)).item_auc > 0.48


def test_a_shift_that_was_planted_is_found_at_its_size():
    u, o = heads(1, 64, 101) + 1 * heads(3, 64, 101).std(0), heads(2, 64, 101)
    found = ulira(u, o)
    best = norm.cdf(1 / math.sqrt(2))  # the AUC of two Gaussians one deviation apart
    assert best - 0.04 < found.auc < best + 0.02
    assert best - 0.04 < found.item_auc < best + 0.02
    assert found.tpr > 5 * FPR


def test_a_leak_of_few_items_and_a_spread_are_found_too():
    o = heads(2, 64, 101)
    some = heads(1, 64, 101)
    some[:, :7] += 9
    assert ulira(some, o).tpr > 0.03
    mean = heads(1, 64, 101).mean(0)
    assert ulira(mean + 4 * (heads(1, 64, 101) - mean), o).auc > 0.8


def test_forgetting_too_much_is_found_as_forgetting_too_little():
    u, o = heads(1, 16, 31), heads(2, 16, 31)
    assert ulira(u - 5, o).auc > 0.9
    assert ulira(u + 5, o).auc > 0.9


def test_heads_that_do_not_vary_are_told_apart_by_any_difference_and_by_nothing_else():
    constant = torch.arange(7.0).expand(5, 7)
    assert ulira(constant, constant) == ULira(0.5, 0, 0.5)
    assert ulira(constant - 0.01, constant) == ULira(1, 1, 1)
    assert math.sqrt(VARIANCE_FLOOR) == pytest.approx(1e-3)


def test_more_folds_than_heads_leave_one_pair_out():
    u, o = heads(1, 3, 13), heads(2, 5, 13)
    assert ulira(u, o, folds=99) == ulira(u, o, folds=3)


def test_margins_are_left_alone_and_give_the_same_again():
    u, o = heads(1, 5, 13).float(), heads(2, 7, 13).float()
    before = u.clone(), o.clone()
    assert ulira(u, o) == ulira(u, o)
    assert torch.equal(u, before[0])
    assert torch.equal(o, before[1])


@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((3, 5), (3, 7)), ((3, 0), (3, 0)), ((1, 5), (3, 5)), ((3, 5), (1, 5))]
)
def test_heads_that_cannot_be_compared_are_refused(shapes):
    with pytest.raises(ShapeMismatch, match=r"unlearned \(N, n\).*oracle \(M, n\)") as caught:
        ulira(*map(torch.zeros, shapes))
    assert isinstance(caught.value, DkvbError)


def test_one_fold_and_margins_that_are_not_finite_are_refused():
    with pytest.raises(BadSetting, match="found 1 folds"):
        ulira(torch.zeros(3, 5), torch.zeros(3, 5), folds=1)
    for wrong in (math.nan, math.inf):
        with pytest.raises(BadSetting, match="not finite"):
            ulira(torch.zeros(3, 5), torch.full((3, 5), wrong))


@pytest.mark.parametrize("paired", [True, False])
def test_the_middle_of_the_interval_is_the_auc_and_its_bounds_lie_around_it(paired):
    u, o = heads(1, 16, 9), heads(2, 16, 9) - 0.3
    mean, low, high = auc_interval(u, o, paired=paired)
    assert mean == pytest.approx(ulira(u, o).auc)
    assert low < mean < high


def test_the_standard_error_is_that_of_the_mean_auc_of_a_head_against_all_others():
    # Two items, four heads of each kind, two folds: heads that score alike on both items are one number each.
    u, o = (heads(seed, 4, 1).expand(-1, 2) for seed in (1, 2))
    variances = []
    for fold in range(2):
        positives, negatives = _ratios([u.numpy(), o.numpy()], fold, 2)
        pairs = [[auc(one, other) for other in negatives] for one in positives]
        variances.append(np.var(np.mean(pairs, 1), ddof=1) / 2 + np.var(np.mean(pairs, 0), ddof=1) / 2)
    mean, low, high = auc_interval(u, o, paired=False, folds=2)
    half = WIDTH * math.sqrt(sum(variances)) / 2
    assert (low, high) == pytest.approx((max(0, mean - half), min(1, mean + half)))


def test_heads_that_equal_their_oracles_have_an_auc_of_one_half_and_no_width_where_they_are_paired():
    u = heads(1, 16, 9)
    mean, low, high = auc_interval(u, u.clone(), paired=True)
    assert mean == pytest.approx(0.5)
    assert high - low < 1e-9


def test_the_interval_holds_one_half_for_equal_heads_and_leaves_it_where_a_leak_was_planted():
    held, trials = 0, 60
    for trial in range(trials):
        u, o = heads(2 * trial, 32, 9, alike=0.5), heads(2 * trial + 1, 32, 9, alike=0.5)
        _, low, high = auc_interval(u, o, paired=False)
        held += low <= 0.5 <= high
    assert held >= 0.85 * trials
    _, low, _ = auc_interval(heads(1, 32, 9) + 1, heads(2, 32, 9), paired=False)
    assert low > 0.5


def test_the_interval_narrows_with_the_number_of_heads():
    widths = []
    for count in (16, 128):
        _, low, high = auc_interval(heads(1, count, 9), heads(2, count, 9), paired=False)
        widths.append(high - low)
    assert widths[1] < widths[0] / 1.5


def test_paired_heads_are_as_many_of_each_kind_and_one_head_of_a_fold_has_no_spread():
    with pytest.raises(ShapeMismatch):
        auc_interval(heads(1, 8, 3), heads(2, 9, 3), paired=True)
    assert auc_interval(heads(1, 4, 3), heads(2, 4, 3), paired=False)[1:] == (0, 1)
