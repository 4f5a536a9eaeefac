"""Membership inference: scores by hand, attacks on nothing, and leaks that were planted."""

import math

import numpy as np
import pytest
import torch

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.membership import (
    LOG_FLOOR,
    Attack,
    balanced_accuracy,
    entropy_attack,
    loss_logistic_attack,
    membership_scores,
    population_attack,
    svc_confidence_attack,
)

NAMES = ["loss", "confidence", "entropy", "modified_entropy"]


def outputs(seed: int, n: int, *, leak: float = 0, v: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits and labels; leak is added to the logit of the label, as training on the items would."""
    gen = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(n, v, generator=gen), torch.randint(v, (n,), generator=gen)
    logits[torch.arange(n), labels] += leak
    return logits, labels


def certain(*p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Items of class 0 of two, with these probabilities."""
    of_label = torch.tensor(p, dtype=torch.float64)
    return torch.stack([of_label, 1 - of_label], 1).log(), torch.zeros(len(p), dtype=torch.int64)


def test_scores_of_an_item_by_hand():
    scores = membership_scores(torch.tensor([[0.5, 0.25, 0.25]] * 2).log(), torch.tensor([0, 1]))
    assert list(scores) == NAMES
    assert scores["loss"] == pytest.approx([-math.log(2), -math.log(4)])
    assert scores["confidence"] == pytest.approx([0.5, 0.25])
    assert scores["entropy"] == pytest.approx([-1.5 * math.log(2)] * 2)
    of_first = 0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.75)
    of_second = 0.75 * math.log(0.25) + 0.5 * math.log(0.5) + 0.25 * math.log(0.75)
    assert scores["modified_entropy"] == pytest.approx([of_first, of_second])
    slip = -0.5 * math.log(2) - 0.5 * math.log(4)  # with log p for log(1 - p)
    assert scores["modified_entropy"][0] != pytest.approx(slip, rel=0.1)


def test_scores_are_those_of_a_naive_loop_over_probabilities():
    logits, labels = outputs(1, 13, v=7)
    scores = membership_scores(logits, labels)
    for i, (item, y) in enumerate(zip(logits.double().softmax(1).tolist(), labels.tolist(), strict=True)):
        others = [p for k, p in enumerate(item) if k != y]
        naive = {
            "loss": math.log(item[y]),
            "confidence": item[y],
            "entropy": sum(p * math.log(p) for p in item),
            "modified_entropy": (1 - item[y]) * math.log(item[y]) + sum(p * math.log(1 - p) for p in others),
        }
        assert {name: score[i] for name, score in scores.items()} == pytest.approx(naive)
    assert all(score.dtype == np.float64 and score.shape == (13,) for score in scores.values())


def test_certainty_that_probabilities_round_away_is_kept():
    logits = torch.tensor([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    right, wrong = (membership_scores(logits, torch.full((2,), y)) for y in (0, 1))
    for name in ("loss", "entropy", "modified_entropy"):
        assert right[name][0] < right[name][1] < 0
    assert right["loss"][0] == pytest.approx(-2 * math.exp(-50))
    assert wrong["loss"] == pytest.approx([-50, -60])
    # Both the label, held impossible, and the class held certain count: log p_y and log(1 - p).
    assert wrong["modified_entropy"] == pytest.approx([-100 + math.log(2), -120 + math.log(2)])


def test_a_class_ruled_out_has_finite_scores():
    logits = torch.tensor([[-torch.inf, 0, 0], [0, -torch.inf, -torch.inf], [-1000, 1000, 0]])
    scores = membership_scores(logits, torch.tensor([0, 0, 0]))
    assert scores["loss"] == pytest.approx([LOG_FLOOR, 0, LOG_FLOOR])
    assert scores["confidence"] == pytest.approx([0, 1, 0])
    assert scores["entropy"] == pytest.approx([-math.log(2), 0, 0])
    assert scores["modified_entropy"] == pytest.approx([LOG_FLOOR - math.log(2), 0, 2 * LOG_FLOOR])


def test_items_that_look_more_trained_on_score_higher():
    logits, labels = outputs(3, 11)
    harder = logits.scatter_add(1, labels[:, None], torch.full((11, 1), 9.0))
    hardest = harder.scatter_add(1, labels[:, None], torch.ones(11, 1))
    before, after = membership_scores(harder, labels), membership_scores(hardest, labels)
    assert all((before[name] < after[name]).all() for name in NAMES)


@pytest.mark.parametrize(("logits", "labels"), [((3, 5), (2,)), ((3, 5), (3, 1)), ((3,), (3,))])
def test_labels_of_other_items_are_refused(logits, labels):
    wrong = torch.zeros(logits), torch.zeros(labels, dtype=torch.int64)
    fine = outputs(1, 3)
    attacks = [
        lambda: membership_scores(*wrong),
        lambda: population_attack(fine, wrong, seed=1),
        lambda: loss_logistic_attack(wrong, fine, seed=1),
        lambda: svc_confidence_attack(fine, fine, wrong),
    ]
    for attack in attacks:
        with pytest.raises(ShapeMismatch, match=r"labels \(n,\)") as caught:
            attack()
        assert isinstance(caught.value, DkvbError)


@pytest.mark.parametrize("label", [-1, 5])
def test_labels_that_are_no_class_are_refused(label):
    with pytest.raises(BadSetting, match=r"outside \[0, 5\)"):
        membership_scores(torch.zeros(1, 5), torch.tensor([label]))


@pytest.mark.parametrize("item", [[math.nan, 0], [math.inf, math.inf], [-math.inf, -math.inf]])
def test_logits_that_mean_nothing_are_refused(item):
    with pytest.raises(BadSetting, match="logits: found NaN"):
        membership_scores(torch.tensor([[0, 0], item]), torch.tensor([0, 0]))


@pytest.mark.parametrize(("members", "others"), [(2, 2), (3, 7), (53, 11), (101, 97)])
def test_a_constant_score_has_balanced_accuracy_of_exactly_one_half(members, others):
    assert balanced_accuracy(np.full(members, 0.1), np.full(others, 0.1), seed=3) == 0.5


def test_scores_apart_are_told_apart_in_both_directions_whatever_their_unit():
    high, low = np.linspace(5, 6, 23) * 1e-6, np.linspace(3, 4, 91) * 1e-6
    assert balanced_accuracy(high, low, seed=1) == 1
    assert balanced_accuracy(low, high, seed=1) == 1


def test_equal_scores_have_balanced_accuracy_of_one_half_in_expectation():
    gen = np.random.default_rng(1)
    found = [balanced_accuracy(gen.standard_normal(37), gen.standard_normal(71), seed=i) for i in range(30)]
    assert abs(np.mean(found) - 0.5) < 0.04


def test_scores_that_cannot_be_cross_validated_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\[1, 5\] items"):
        balanced_accuracy(np.zeros(1), np.zeros(5), seed=1)
    with pytest.raises(BadSetting, match="not finite"):
        balanced_accuracy(np.array([0, 1, math.inf]), np.zeros(5), seed=1)


def test_a_leak_that_was_planted_is_found_and_none_where_none_is():
    test = outputs(2, 600)
    leaking, clean = (population_attack(outputs(1, 400, leak=leak), test, seed=1) for leak in (3, 0))
    assert list(leaking) == list(clean) == NAMES
    for name in NAMES:
        assert leaking[name].auc > (0.7 if name == "entropy" else 0.9)
        assert leaking[name].balanced_accuracy > (0.65 if name == "entropy" else 0.85)
        assert leaking[name].tpr > 0.02
        assert abs(clean[name].auc - 0.5) < 0.06
        assert abs(clean[name].balanced_accuracy - 0.5) < 0.08
        assert clean[name].tpr < 0.05


def test_members_that_look_less_like_members_lie_below_one_half():
    found = population_attack(outputs(1, 211, leak=-3), outputs(2, 211), seed=1)["loss"]
    assert found.auc < 0.1
    assert found.balanced_accuracy > 0.85


def test_confidence_has_the_order_of_the_loss():
    found = population_attack(outputs(1, 101, leak=1), outputs(2, 211), seed=1)
    assert found["confidence"].auc == found["loss"].auc
    assert found["confidence"].tpr == found["loss"].tpr


def test_equal_outputs_give_no_attack_anything():
    same = torch.zeros(53, 3), torch.zeros(53, dtype=torch.int64)
    assert population_attack(same, same, seed=1) == dict.fromkeys(NAMES, Attack(0.5, 0.5, 0))
    assert loss_logistic_attack(same, same, seed=1) == 0.5


@pytest.mark.parametrize("n", [2, 3, 5, 11, 23, 97])
def test_the_loss_attack_gives_one_half_for_a_constant_loss(n):
    forget, test = (certain(*[0.7] * count) for count in (n, n + 13))
    assert loss_logistic_attack(forget, test, seed=1) == 0.5


def test_the_loss_attack_finds_what_was_planted():
    clean, leaking = (loss_logistic_attack(outputs(1, 500, leak=x), outputs(2, 300), seed=1) for x in (0, 3))
    assert abs(clean - 0.5) < 0.08
    assert leaking > 0.85


def test_the_svc_takes_forget_items_for_what_they_lie_nearer_to():
    # Symmetric sides: the boundary is halfway between them.
    retain, test = certain(*[0.9] * 11), certain(*[0.1] * 11)
    assert svc_confidence_attack(retain, test, certain(0.95, 0.7, 0.51, 0.49)) == 0.75
    assert svc_confidence_attack(retain, test, certain(0.45, 0.2)) == 0
    assert svc_confidence_attack(test, retain, certain(0.45, 0.2)) == 1


def test_the_svc_is_fitted_to_as_many_retain_items_as_test_items():
    retain, test, forget = certain(*[0.9] * 11, *[0.1] * 500), certain(*[0.1] * 11), certain(0.8, 0.8, 0.3)
    assert svc_confidence_attack(retain, test, forget) == pytest.approx(2 / 3)


def test_an_svc_without_items_is_refused():
    some, none = outputs(1, 3), outputs(1, 0)
    for kinds in ((none, some, some), (some, none, some), (some, some, none)):
        with pytest.raises(ShapeMismatch, match="one or more of each"):
            svc_confidence_attack(*kinds)


def test_the_seed_alone_draws_samples_and_parts():
    members, others = outputs(1, 101, leak=0.5), outputs(2, 211)

    def attacked(seed):
        return population_attack(members, others, seed=seed), loss_logistic_attack(members, others, seed=seed)

    np.random.seed(1)
    one = attacked(5)
    np.random.seed(2)
    assert attacked(5) == one
    assert attacked(6) != one


def test_attacks_leave_their_inputs_alone():
    kinds = [outputs(seed, 31) for seed in (1, 2, 3)]
    before = [(logits.clone(), labels.clone()) for logits, labels in kinds]
    membership_scores(*kinds[0])
    population_attack(*kinds[:2], seed=1)
    loss_logistic_attack(*kinds[:2], seed=1)
    svc_confidence_attack(*kinds)
    for (logits, labels), (same_logits, same_labels) in zip(kinds, before, strict=True):
        assert torch.equal(logits, same_logits)
        assert torch.equal(labels, same_labels)


def test_the_entropy_attack_is_the_population_attack_by_entropy_without_labels():
    members, others = outputs(1, 90, leak=1.0), outputs(2, 60)
    found = entropy_attack(members[0], others[0], seed=3)
    assert found == population_attack(members, others, seed=3)["entropy"]
    assert found.auc > 0.6
    assert entropy_attack(others[0], others[0], seed=3).auc == pytest.approx(0.5, abs=0.05)
