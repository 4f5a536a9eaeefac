"""Metrics on cases solved by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.metrics import (
    MARGIN_LIMIT,
    SMOOTHING,
    accuracy,
    aus,
    calibration_error,
    changed,
    class_accuracies,
    item_change,
    js_divergence,
    klom,
    margins,
    neighbour_damage,
    regret,
    retain_predictions,
    right_by_class,
    tow,
)

SEEDS = st.integers(0, 10**6)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_accuracy_is_the_share_of_right_predictions():
    assert accuracy(torch.tensor([0, 1, 2, 2, 1]), torch.tensor([0, 1, 1, 2, 0])) == pytest.approx(0.6)
    assert accuracy(torch.tensor([1, 1]), torch.tensor([1, 1])) == 1
    assert accuracy(torch.tensor([1, 1]), torch.tensor([0, 0])) == 0


def test_the_accuracy_of_no_items_is_not_a_number():
    empty = torch.empty(0, dtype=torch.int64)
    assert math.isnan(accuracy(empty, empty))


def test_retain_predictions_never_name_a_forget_class():
    logits = torch.tensor([[9.0, 1.0, 2.0, 5.0], [0.0, 8.0, 7.0, 6.0], [1.0, 2.0, 4.0, 3.0]])
    assert retain_predictions(logits, [0]).tolist() == [3, 1, 2]
    assert retain_predictions(logits, [0, 3]).tolist() == [2, 1, 2]
    assert retain_predictions(logits, []).tolist() == [0, 1, 2]


def test_retain_predictions_of_uniform_logits_are_the_lowest_retain_class():
    assert retain_predictions(torch.zeros(2, 5), [0, 1]).tolist() == [2, 2]


def test_retain_predictions_leave_the_logits_alone():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    retain_predictions(logits, [2])
    assert torch.equal(logits, before)


@pytest.mark.parametrize(("models", "steps", "n", "v"), [(2, 3, 101, 5), (3, 1, 7, 11), (1, 5, 0, 3), (0, 2, 13, 3)])
def test_right_predictions_are_counted_by_class_and_negative_labels_are_no_items(models, steps, n, v):
    gen = torch.Generator().manual_seed(n)
    predictions = torch.randint(-1, v, (models, steps, n), generator=gen).to(torch.int16)
    labels = torch.randint(-2, v, (n,), generator=gen)
    expected = np.zeros((models, steps, v), np.int64)
    for f in range(models):
        for g in range(steps):
            for i in range(n):
                if labels[i] >= 0 and predictions[f, g, i] == labels[i]:
                    expected[f, g, labels[i]] += 1
    found = right_by_class(predictions, labels, v)
    assert found.dtype == np.int64
    assert found.shape == (models, steps, v)
    assert (found == expected).all()


def test_what_is_no_item_is_never_right_even_where_the_prediction_agrees():
    predictions = torch.tensor([[[-1, -2, 1]]], dtype=torch.int16)
    assert right_by_class(predictions, torch.tensor([-1, -2, 1]), 3).tolist() == [[[0, 1, 0]]]


def test_right_predictions_of_a_part_of_the_models_and_steps_are_that_part_of_all():
    gen = torch.Generator().manual_seed(3)
    predictions = torch.randint(5, (7, 3, 101), generator=gen).to(torch.int16)
    labels = torch.randint(-1, 5, (101,), generator=gen)
    whole = right_by_class(predictions, labels, 5)
    assert (right_by_class(predictions[::2, 1:], labels, 5) == whole[::2, 1:]).all()


# --- against the oracle ---


def test_neighbour_damage_is_the_largest_loss_among_the_classes_that_stay():
    before, after = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([0.0, 0.7, 0.4, 0.7, 0.3])
    assert neighbour_damage(before, after, forget=[0]) == pytest.approx((0.3, 2))
    assert neighbour_damage(before, after, forget=[0, 2, 4]) == pytest.approx((0.1, 1))
    assert neighbour_damage(before, after, forget=[0, 1, 2, 4]) == pytest.approx((-0.1, 3))
    assert before[0] == 0.9


def test_of_neighbours_equally_damaged_the_lowest_class_is_named():
    assert neighbour_damage(np.array([1.0, 0.5, 1.0, 1.0]), np.array([0.0, 0.5, 0.75, 0.75]), forget=[0]) == (0.25, 2)


def test_a_class_without_items_is_never_the_worst_neighbour():
    before, after = np.array([0.9, math.nan, 0.7]), np.array([0.0, math.nan, 0.9])
    assert neighbour_damage(before, after, forget=[0]) == pytest.approx((-0.2, 2))
    worst, where = neighbour_damage(before, after, forget=[0, 2])
    assert math.isnan(worst)
    assert where == -1


def test_regret_is_what_the_best_budget_had_over_the_chosen_one():
    assert regret(0.9, 0.9) == 0
    assert regret(0.9, 0.7) == pytest.approx(0.2)
    assert regret(0.7, 0.9) == pytest.approx(-0.2)


def test_the_tug_of_war_is_the_product_over_the_splits_of_one_less_the_gap():
    assert tow([0.0, 0.9, 0.8], [0.0, 0.9, 0.8]) == 1
    assert tow([0.5, 0.9, 0.8], [0.0, 0.8, 1.0]) == pytest.approx(0.5 * 0.9 * 0.8)
    assert tow([1.0, 0.9, 0.8], [0.0, 0.9, 0.8]) == 0
    assert math.isnan(tow([math.nan, 0.9], [0.0, 0.9]))


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
def test_the_tug_of_war_is_symmetric_and_lies_between_zero_and_one(pairs):
    one, other = [list(side) for side in zip(*pairs, strict=True)]
    assert tow(one, other) == tow(other, one)
    assert 0 <= tow(one, other) <= 1


def test_the_adaptive_unlearning_score_of_a_class_forgotten_at_no_cost_is_one():
    assert aus(retain_before=0.8, retain_after=0.8, forget_after=0.0) == 1
    assert aus(retain_before=0.8, retain_after=0.7, forget_after=0.0) == pytest.approx(0.9)
    assert aus(retain_before=0.8, retain_after=0.8, forget_after=1.0) == pytest.approx(0.5)
    assert aus(retain_before=0.8, retain_after=0.7, forget_after=0.25) == pytest.approx(0.72)


def naive_js(p: torch.Tensor, q: torch.Tensor) -> float:
    total = 0.0
    for one, other in zip(p.double().softmax(1).tolist(), q.double().softmax(1).tolist(), strict=True):
        for a, b in zip(one, other, strict=True):
            middle = (a + b) / 2
            total += (a * math.log2(a / middle) if a else 0) / 2 + (b * math.log2(b / middle) if b else 0) / 2
    return total / len(p)


@settings(max_examples=50, deadline=None)
@given(
    seed=SEEDS, n=st.sampled_from([1, 7, 11]), v=st.sampled_from([2, 3, 5]), ruled_out=st.sampled_from([-9, -1, 0, 1])
)
def test_js_divergence_is_the_naive_sum_over_classes_symmetric_and_blind_to_a_shift_of_the_logits(
    seed, n, v, ruled_out
):
    p, q = 3 * normal(seed, n, v), 3 * normal(seed + 1, n, v)
    for logits, drawn in ((p, normal(seed + 2, n, v)), (q, normal(seed + 3, n, v))):
        out = drawn < ruled_out
        out[:, 0] = False
        logits[out] = -torch.inf
    found = js_divergence(p, q)
    assert found == pytest.approx(naive_js(p, q), abs=1e-12)
    assert found == js_divergence(q, p)
    assert found == pytest.approx(js_divergence(p.double() + 5, q.double() - 7), abs=1e-12)
    assert js_divergence(p, p) == 0
    assert 0 <= found <= 1 + 1e-12


def test_predictions_that_share_no_class_are_one_apart_however_many_classes_there_are():
    for v in (2, 5, 101):
        p = torch.full((3, v), -torch.inf)
        q = p.clone()
        p[:, 0], q[:, 1:] = 0, 0
        assert js_divergence(p, q) == pytest.approx(1, abs=1e-12)


def test_js_divergence_of_a_coin_and_a_certainty_is_known():
    # H(3/4, 1/4) - H(1/2, 1/2) / 2, in bits.
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5
    p, q = torch.zeros(3, 2), torch.tensor([[0, -torch.inf]] * 3)
    assert js_divergence(p, q) == pytest.approx(expected, abs=1e-12)


def test_the_js_divergence_of_no_items_or_of_an_item_without_classes_is_not_a_number():
    assert math.isnan(js_divergence(torch.empty(0, 3), torch.empty(0, 3)))
    assert math.isnan(js_divergence(torch.full((1, 3), -torch.inf), torch.zeros(1, 3)))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([0, 1, 7, 11]), v=st.sampled_from([2, 3, 5]), dtype=st.sampled_from(["32", "64"]))
def test_a_margin_is_the_log_odds_of_the_item_s_own_class(seed, n, v, dtype):
    logits = 5 * normal(seed, n, v).to(getattr(torch, f"float{dtype}"))
    labels = torch.randint(v, (n,), generator=torch.Generator().manual_seed(seed)).to(torch.int32)
    found = margins(logits, labels)
    assert found.dtype == torch.float64
    assert found.shape == (n,)
    for i in range(n):
        row, label = logits[i].tolist(), int(labels[i])
        others = math.fsum(math.exp(x) for k, x in enumerate(row) if k != label)
        assert found[i].item() == pytest.approx(row[label] - math.log(others), abs=1e-9)
    p = logits.double().softmax(1).gather(1, labels.long()[:, None])[:, 0]
    assert torch.allclose(found, p.logit(), atol=1e-6)


def test_margins_are_clipped_also_where_a_class_is_ruled_out():
    no = -torch.inf
    logits = torch.tensor([[no, 1.0, 2.0], [3.0, no, no], [500.0, 0.0, 1.0], [-500.0, 0.0, no], [no, no, no]])
    before = logits.clone()
    found = margins(logits, torch.zeros(5, dtype=torch.int64))
    assert found[:4].tolist() == [-MARGIN_LIMIT, MARGIN_LIMIT, MARGIN_LIMIT, -MARGIN_LIMIT]
    assert math.isnan(found[4])
    assert torch.equal(logits, before)


def naive_klom(unlearned: list[float], oracle: list[float], bins: int) -> float:
    low, high = min(unlearned + oracle), max(unlearned + oracle)
    width = (high - low) / bins or 1
    shares = []
    for margins_of_kind in (unlearned, oracle):
        counts = [0] * bins
        for margin in margins_of_kind:
            counts[min(int((margin - low) / width), bins - 1)] += 1
        shares.append([(k / len(margins_of_kind) + SMOOTHING) / (1 + bins * SMOOTHING) for k in counts])
    return sum(p * math.log(p / q) for p, q in zip(*shares, strict=True))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([1, 3, 7, 23]), bins=st.sampled_from([1, 2, 13, 20]))
def test_klom_is_the_naive_divergence_of_histograms_and_never_negative(seed, sizes, bins):
    models, oracles, n, _ = sizes
    unlearned, oracle = 7 * normal(seed, models, n), 5 * normal(seed + 1, oracles, n) + 1
    found = klom(unlearned, oracle, bins=bins)
    assert found.dtype == torch.float64
    expected = [naive_klom(unlearned[:, i].tolist(), oracle[:, i].tolist(), bins) for i in range(n)]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert (found > -1e-12).all()
    shuffled = torch.randperm(models, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(klom(unlearned[shuffled], oracle, bins=bins), found)


def test_klom_of_the_same_margins_is_exactly_zero():
    of_models = normal(1, 23, 7)
    assert (klom(of_models, of_models) == 0).all()
    assert (klom(of_models, of_models.repeat(3, 1)) == 0).all()
    assert (klom(torch.full((3, 5), 2.0), torch.full((7, 5), 2.0)) == 0).all()


def test_klom_of_margins_that_never_meet_is_the_ceiling():
    found = klom(torch.full((11, 3), -MARGIN_LIMIT), torch.full((7, 3), MARGIN_LIMIT), bins=20)
    scale = 1 + 20 * SMOOTHING
    full, none = (1 + SMOOTHING) / scale, SMOOTHING / scale
    expected = full * math.log(full / none) + none * math.log(none / full)
    assert found.tolist() == pytest.approx([expected] * 3)
    assert expected < -math.log(SMOOTHING)


def test_klom_of_halves_and_quarters_is_known_up_to_the_smoothing():
    unlearned = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]
    oracle = torch.tensor([0.0, 1.0, 1.0, 1.0])[:, None]
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert klom(unlearned, oracle, bins=2).item() == pytest.approx(expected, abs=1e-4)
    assert klom(unlearned, oracle, bins=1).item() == 0


def test_klom_puts_an_unlearned_margin_where_no_oracle_stands_above_the_reverse():
    near, wide = torch.zeros(11, 1), torch.tensor([0.0] * 10 + [1.0])[:, None]
    assert klom(wide, near) > klom(near, wide)


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_margins_that_are_no_numbers_are_refused(worst):
    with pytest.raises(BadSetting, match="finite"):
        klom(torch.tensor([[0.0, worst]]), torch.zeros(3, 2))
    with pytest.raises(BadSetting, match="0 bins"):
        klom(torch.zeros(2, 3), torch.zeros(5, 3), bins=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: neighbour_damage(np.zeros(3), np.zeros(5), forget=[0]),
        lambda: tow([0.5, 0.5], [0.5, 0.5, 0.5]),
        lambda: tow([], []),
        lambda: js_divergence(torch.zeros(3, 5), torch.zeros(3, 7)),
        lambda: margins(torch.zeros(3, 5), torch.zeros(5, dtype=torch.int64)),
        lambda: klom(torch.zeros(3, 5), torch.zeros(3, 7)),
        lambda: klom(torch.zeros(0, 5), torch.zeros(3, 5)),
        lambda: klom(torch.zeros(3), torch.zeros(3)),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(ShapeMismatch, match="does not fit") as caught:
        wrong()
    assert isinstance(caught.value, DkvbError)
    assert isinstance(caught.value, ValueError)


def test_items_lost_and_gained_are_counted_item_by_item():
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 3, (2, 5, 31)), rng.integers(-1, 3, 31)
    sets = [[2], [0, 1]]
    lost, gained = changed(torch.from_numpy(predictions).short(), torch.from_numpy(labels), v=3, forget=sets)
    for f, gone in enumerate(sets):
        for g in range(5):
            kept = [i for i in range(31) if labels[i] >= 0 and labels[i] not in gone]
            was = [predictions[f, 0, i] == labels[i] for i in kept]
            now = [predictions[f, g, i] == labels[i] for i in kept]
            assert lost[f, g] == sum(a and not b for a, b in zip(was, now, strict=True))
            assert gained[f, g] == sum(b and not a for a, b in zip(was, now, strict=True))
    assert lost[:, 1:].sum() > 0 < gained[:, 1:].sum()
    assert lost[:, 0].sum() == gained[:, 0].sum() == 0


def test_an_item_of_another_class_is_lost_gained_or_as_before():
    labels = torch.tensor([0, 1, 1, 2, 2, -1])
    before, after = torch.tensor([0, 1, 0, 2, 0, -1]), torch.tensor([1, 0, 1, 2, 1, 3])
    assert item_change(before, after, labels=labels, forget=0).tolist() == [0, -1, 1, 0, 0, 0]
    assert item_change(before, after, labels=labels, forget=1).tolist() == [-1, 0, 0, 0, 0, 0]


def test_accuracies_of_a_class_and_of_the_others_follow_from_what_is_right():
    sizes = np.array([4, 2, 0, 8])
    right, among_retain = np.array([[3, 1, 0, 6], [0, 2, 0, 4]]), np.array([[0, 2, 0, 7], [0, 2, 0, 5]])
    found = class_accuracies(right, among_retain, sizes=sizes, forget=[0])
    assert found.forget.tolist() == [0.75, 0]
    assert found.retain.tolist() == [0.7, 0.6]
    assert found.retain_among_retain.tolist() == [0.9, 0.7]
    np.testing.assert_array_equal(found.by_class, [[0.75, 0.5, np.nan, 0.75], [0, 1, np.nan, 0.5]])
    both = class_accuracies(right, among_retain, sizes=sizes, forget=[0, 2, 3])
    assert both.forget.tolist() == [0.75, 4 / 12]
    assert both.retain.tolist() == [0.5, 1]
    assert both.retain_among_retain.tolist() == [1, 1]


def test_accuracies_over_no_items_are_no_numbers():
    found = class_accuracies(np.array([[2, 0]]), np.array([[0, 0]]), sizes=np.array([2, 0]), forget=[1])
    assert np.isnan(found.forget).all()
    assert found.retain.tolist() == [1]
    alone = class_accuracies(np.array([[2, 0]]), np.array([[0, 0]]), sizes=np.array([2, 0]), forget=[0])
    assert (alone.forget.tolist(), np.isnan(alone.retain).tolist()) == ([1], [True])


def confident(p: float, n: int) -> torch.Tensor:
    """Logits of n items that say class 0 of two with probability p."""
    return torch.tensor([[math.log(p / (1 - p)), 0.0]]).expand(n, -1)


def test_predictions_that_are_right_as_often_as_they_say_are_calibrated():
    labels = torch.tensor([0, 0, 0, 1])
    assert calibration_error(confident(0.75, 4), labels) == pytest.approx(0, abs=1e-7)
    assert calibration_error(confident(0.95, 4), labels) == pytest.approx(0.2, abs=1e-6)
    assert calibration_error(confident(0.55, 4), labels) == pytest.approx(0.2, abs=1e-6)


def test_what_is_too_sure_in_one_bin_does_not_make_up_for_what_is_too_unsure_in_another():
    logits = torch.cat([confident(0.9, 2), confident(0.6, 2)])
    labels = torch.tensor([0, 1, 0, 0])  # half right at 0.9, all right at 0.6
    assert calibration_error(logits, labels) == pytest.approx((0.4 + 0.4) / 2, abs=1e-6)
    assert calibration_error(logits, labels, bins=1) == pytest.approx(0, abs=1e-6)


def test_a_certain_prediction_is_in_the_last_bin_and_no_items_have_no_error():
    ruled_out = torch.tensor([[0.0, -math.inf]])
    assert calibration_error(ruled_out, torch.tensor([1])) == 1
    assert calibration_error(ruled_out, torch.tensor([0])) == 0
    assert math.isnan(calibration_error(ruled_out[:0], torch.tensor([], dtype=torch.int64)))
    with pytest.raises(BadSetting, match="bins: found 0"):
        calibration_error(ruled_out, torch.tensor([0]), bins=0)
    with pytest.raises(ShapeMismatch):
        calibration_error(ruled_out, torch.tensor([0, 1]))
