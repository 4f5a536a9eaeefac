"""Laws of the attacks on models that have forgotten a class."""

import numpy as np
import pytest
import torch

from dkvb import membership
from jobs.comparison import attacks
from jobs.comparison.attacks import CAP, LOWEST, Probed, memberships, outputs, public_attacks, recovery, some
from jobs.comparison.judge import Judge, model
from tests.jobs.comparison.small import by_split, linear_head, said, values_head


def split_by(labels, k=0):
    return {split: (own == k).numpy() for split, own in labels.items()}


def judge_of(labels, before, oracle=None):
    return Judge(labels, split_by(labels), [0], before, oracle or before)


# Learning back.


def odds(gap, *, c=1, train=((0,), (0,)), test=((0,), (0,))):
    """A head on which both items of class 0 are called 1, by so much."""
    labels = by_split([0] * len(train), [0] * len(test))
    codes = {"train": [list(one) * c for one in train], "test": [list(one) * c for one in test]}
    head = values_head(codes, labels, [[[0.0, gap], [0.0, gap]]] * c)
    one = model(head, "none", head.weights)
    return one, Probed(judge_of(labels, one), 0, seed=0)


@pytest.mark.parametrize(("gap", "steps"), [(0.0, 0), (1.0, 1), (3.0, 2)])
def test_a_step_moves_the_logits_by_the_error_of_an_item(gap, steps):
    # From (0, 1): error (-0.73, 0.73), so (0.73, 0.27). From (0, 3): (0.95, 2.05), then (1.70, 1.30).
    one, probed = odds(gap)
    assert recovery(one, probed, 1, goal=1.0) == steps


def test_more_shots_are_a_mean_and_more_codebooks_the_same_step_in_logits():
    for c in (1, 2, 5):
        one, probed = odds(3.0, c=c)
        assert recovery(one, probed, 1, goal=1.0) == recovery(one, probed, 2, goal=1.0) == 2


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_on_the_linear_head_too_the_scale_of_the_features_does_not_matter(scale):
    labels = by_split([0, 0], [0])
    head = linear_head({"train": [[scale, scale]] * 2, "test": [[scale, scale]]}, labels)
    x = head.features["train"].x[0]
    weights = torch.outer(x, torch.tensor([0.0, 3.0])) / x.square().sum()  # its logits are 0 and 3
    one = model(head, "none", weights)
    assert recovery(one, Probed(judge_of(labels, one), 0, seed=0), 2, goal=1.0) == 2


def test_only_so_many_shots_are_learnt_from_and_what_is_out_of_their_reach_is_given_up():
    # The test items select key 1, as the second training item does.
    one, probed = odds(1.0, train=((0,), (1,)), test=((1,), (1,)))
    assert recovery(one, probed, 1, goal=1.0) == CAP
    assert 0 < recovery(one, probed, 2, goal=1.0) < CAP


def test_recovery_leaves_the_weights_as_they_were():
    one, probed = odds(3.0)
    kept = one.weights.clone()
    recovery(one, probed, 2, goal=1.0)
    assert torch.equal(one.weights, kept)


# Items.


def test_some_items_are_as_many_of_the_wanted_at_most():
    wanted = np.array([True, False, True, True, False])
    assert some(wanted, 9, 0, "x").tolist() == wanted.tolist()
    for seed in range(5):
        two = some(wanted, 2, seed, "x")
        assert two.sum() == 2
        assert not two[~wanted].any()


def test_what_is_ruled_out_is_a_low_finite_number():
    one = said([0, 1], [1, 1])
    one.logits["train"][0] = torch.tensor([-torch.inf, 1.0, -2e4])
    logits, labels = outputs(judge_of(by_split([2, 0], [1, 0]), one), one, "train", np.array([True, False]))
    assert logits.tolist() == [[LOWEST, 1, LOWEST]]
    assert labels.tolist() == [2]


def test_probes_see_as_many_training_items_of_the_class_as_of_the_others_and_half_as_many_test_items(monkeypatch):
    monkeypatch.setattr(attacks, "ITEMS", 4)
    labels = by_split([0, 1] * 7 + [2], [1, 0, 2] * 4)
    probed = Probed(judge_of(labels, said([0] * 15, [0] * 12)), 0, seed=3)
    for split, each in (("train", 4), ("test", 2)):
        assert probed.forget[split].sum() == each
        assert len(probed.rows[split]) == 2 * each
        assert ((labels[split][probed.rows[split]] == 0).numpy() == probed.forget[split]).all()


def test_shots_are_training_items_of_the_class_and_all_its_test_items_tell_whether_it_is_back():
    probed = Probed(judge_of(by_split([1, 0, 0, 2], [0, 1, 2, 0]), said([0] * 4, [0] * 4)), 0, seed=0)
    assert probed.shots.tolist() == [1, 2]
    assert probed.test_forget.tolist() == [0, 3]
    assert probed.labels.tolist() == [0, 0]


# What a model holds.


def test_a_probe_finds_a_class_where_it_is_and_nothing_where_all_items_are_alike():
    labels = by_split([0, 0, 1, 1], [0, 0, 1, 1])
    own = [[0], [0], [1], [1]]
    for codes, expected in ((own, 1.0), ([[1]] * 4, 0.5)):
        head = values_head({"train": codes, "test": codes}, labels, [[[1.0, 0.0], [0.0, 1.0]]])
        one = model(head, "none", head.weights)
        found = dict(Probed(judge_of(labels, one), 0, seed=0).scores(one, seed=0))
        assert found == {(f"probe {x}", "balanced accuracy"): expected for x in ("logits", "values", "codes")}


# Membership.


def surely(gaps):
    """Logits of items of class 0 that it leads by so much, and their labels."""
    return torch.tensor([[gap, 0.0] for gap in gaps]), torch.zeros(len(gaps), dtype=torch.int64)


def test_members_that_are_surer_are_told_by_every_score():
    found = dict(memberships(surely([5.0, 6.0, 7.0, 8.0]), surely([0.1, 0.2, 0.3, 0.4]), seed=0))
    scores = ("loss", "confidence", "entropy", "modified_entropy")
    measures = ("auc", "balanced accuracy", "tpr at 1 % fpr")
    assert found == {(f"population {score}", measure): 1.0 for score in scores for measure in measures}


def test_an_auc_tells_the_direction_and_a_balanced_accuracy_does_not():
    found = dict(memberships(surely([0.1, 0.2, 0.3, 0.4]), surely([5.0, 6.0, 7.0, 8.0]), seed=0))
    assert found["population loss", "auc"] == 0
    assert found["population loss", "balanced accuracy"] == 1
    assert found["population loss", "tpr at 1 % fpr"] == 0


def test_the_svc_compares_as_many_other_training_items_as_the_class_has_test_items_with_other_test_items(monkeypatch):
    asked: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def svc(retain, test, forget):
        asked.update(retain=retain, test=test, forget=forget)
        return 0.25

    monkeypatch.setattr(membership, "svc_confidence_attack", svc)
    monkeypatch.setattr(membership, "loss_logistic_attack", lambda forget, test, *, seed: float(len(forget[1])))
    labels = by_split([0, 0, 0, 1, 2, 1, 2, 1], [0, 0, 2, 1, 2, 1])
    one = said([0] * 8, [1] * 6)
    judge = judge_of(labels, one)
    members, others = (outputs(judge, one, split, judge.forget[split]) for split in ("train", "test"))
    found = dict(public_attacks(judge, one, members, others, seed=0))
    assert found == {("svc confidence", "share called members"): 0.25, ("loss of the class", "accuracy"): 3.0}
    assert asked["forget"] is members
    for side, predicted in (("retain", 0), ("test", 1)):
        logits, own = asked[side]
        assert len(own) == 2
        assert (own > 0).all()
        assert (logits.argmax(1) == predicted).all()


# The table.


@pytest.fixture
def table():
    """A head that knows its class, its oracle that never does, and two models between them."""
    labels = by_split([0] * 6 + [1] * 6, [0] * 4 + [1] * 4)
    codes = {"train": [[0]] * 6 + [[1]] * 6, "test": [[0]] * 4 + [[1]] * 4}
    head = values_head(codes, labels, [[[4.0, 0.0], [0.0, 4.0]]])
    before = model(head, "none", head.weights)
    oracle = model(head, "retrain", torch.tensor([[0.0, 3.0], [0.0, 4.0]]))
    scrub, random = (model(head, method, torch.tensor([[0.0, 1.0], [0.0, 4.0]])) for method in ("scrub", "random"))
    return attacks.attacks(judge_of(labels, before, oracle), [before, scrub, random], 0, seed=0)


def test_every_model_stands_beside_the_same_attack_on_the_oracle(table):
    steps = {row.method: (row.value, row.oracle) for row in table if row.attack == "recovery 5 shots"}
    assert steps == {"none": (0, 2), "scrub": (1, 2)}
    assert {row.head for row in table} == {"values"}


def test_membership_is_asked_of_all_models_and_what_opens_them_of_some(table):
    by_method: dict[str, set[str]] = {}
    for row in table:
        by_method.setdefault(row.method, set()).add(row.attack.split()[0])
    assert by_method == {
        "none": {"population", "svc", "loss", "recovery", "probe"},
        "scrub": {"population", "svc", "loss", "recovery", "probe"},
        "random": {"population"},
    }


@pytest.mark.parametrize(("before", "expected"), [([0, 0, 0, 1], 1.0), ([1, 1, 1, 1], 0.0)])
def test_the_class_is_back_at_a_share_of_what_the_model_before_knew_of_it(before, expected):
    labels = by_split([0] * 4 + [1] * 4, [0] * 4 + [1] * 4)
    codes = {"train": [[0]] * 4 + [[1]] * 4, "test": [[0]] * 4 + [[1]] * 4}
    head = values_head(codes, labels, [[[0.0, 1.0], [0.0, 4.0]]])
    knew = said([0] * 8, [*before, 1, 1, 1, 1], method="before")
    scrub = model(head, "scrub", head.weights)
    rows = attacks.attacks(judge_of(labels, knew, scrub), [scrub], 0, seed=0)
    assert {row.value for row in rows if row.measure == "steps"} == {expected}


def test_nineteen_of_twenty_are_enough_where_all_were_known():
    labels = by_split([0] * 4 + [1] * 4, [0] * 20 + [1] * 4)
    codes = {"train": [[0]] * 4 + [[1]] * 4, "test": [[0]] * 19 + [[1]] * 5}  # one item that no shot reaches
    head = values_head(codes, labels, [[[0.0, 1.0], [0.0, 4.0]]])
    knew = said([0] * 8, [0] * 20 + [1] * 4)
    scrub = model(head, "scrub", head.weights)
    rows = attacks.attacks(judge_of(labels, knew, scrub), [scrub], 0, seed=0)
    assert {row.value for row in rows if row.measure == "steps"} == {1.0}


def test_members_are_the_training_items_of_the_class():
    labels = by_split([0] * 4 + [1] * 4, [0] * 4 + [1] * 4)
    codes = {"train": [[0]] * 4 + [[2]] * 4, "test": [[1]] * 4 + [[2]] * 4}
    head = values_head(codes, labels, [[[4.0, 0.0], [1.0, 0.0], [0.0, 4.0]]])  # surer of its training items
    one = model(head, "random", head.weights)
    rows = list(attacks.attacks(judge_of(labels, one), [one], 0, seed=0))
    assert {row.value for row in rows if row.measure == "auc"} == {1.0}
