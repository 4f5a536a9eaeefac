"""Laws of one class's comparison: its models, its choices and its rows, without a pipeline."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dkvb.baselines import ForgetTask
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.attacks import Attacked
from jobs.comparison.extended import Extended
from jobs.comparison.judge import OracleGap, model
from jobs.kinds.compare import Asks
from jobs.steps import compare
from jobs.steps.compare import Compared, Comparison, Judged, Masked
from store import arrays
from store.columns import COMPARE_TABLES
from tests.jobs.comparison import small
from tests.jobs.comparison.small import HITS, OTHERS, RULES, by_split, linear_head, oracle_judge, reached


def comparison(k=0, *, oracle_kv=(), swept=None, **asks):
    shared: Any = SimpleNamespace(
        task=small.task(asks=SimpleNamespace(**(RULES | {"methods": small.GRIDS, "beside": False} | asks))),
        linear=None,
        values=small.head(),
        items=swept,
        counts=np.stack([HITS, OTHERS]),
        total=HITS + OTHERS,
        oracle_kv=list(oracle_kv),
        extended=Extended(),
        metrics=(),
    )
    return Comparison(shared, k)


def test_the_items_to_forget_are_those_of_the_class_among_those_kept():
    own = comparison(0)
    assert own.rows.tolist() == [0, 3]
    assert own.forget["test"].tolist() == [True, False]
    assert comparison(1).hits.tolist() == OTHERS.tolist()


def test_a_unit_is_a_class_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [3, 12])
    assert compare.prepare(small.task()) == ["00003", "00012"]


# Oracles.


def test_the_logits_of_the_oracle_are_those_at_the_class_s_place(monkeypatch):
    there = {f"oracle_logits_{split}": np.arange(6).reshape(3, 1, 2) + 10 * i for i, split in enumerate(small.OWN)}
    monkeypatch.setattr(arrays, "open_array", lambda path, name: there[name])
    found = comparison(1, oracle_kv=[2, 1, 0]).never()
    assert {split: logits.tolist() for split, logits in found.items()} == {"train": [[2, 3]], "test": [[12, 13]]}
    assert comparison(1, oracle_kv=[0]).never() is None


# Models.


def test_rewinding_goes_to_the_epoch_whose_forget_error_is_nearest_to_the_held_out_error_of_the_last():
    z = {"train": [[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2, "test": [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]}
    own = comparison()
    own.rows, own.forget = torch.tensor([0, 1]), {"test": np.array([True, False, True])}
    head = linear_head(z, by_split([0, 0, 1, 1], [0, 1, 0]))
    knows, lost = torch.tensor([[1.0, 0], [0, 1], [0, 0]]), torch.tensor([[0, 1.0], [0, 1], [0, 0]])
    swapped = torch.tensor([[0, 1.0], [1, 0], [0, 0]])
    # The last epoch is wrong on one of two held-out items; forget errors of 0, 1 and 1: all as near, the last is taken.
    found = own.rewound(head, [knows, lost, swapped], {"lr": 1, "epoch": 7})
    assert (found.method, found.setting) == ("scrub+r", {"lr": 1, "epoch": 3})
    # Nothing held out is wrong in the end: back to the epoch that was wrong on no item to forget.
    own.forget = {"test": np.array([False, False, True])}
    found = own.rewound(head, [lost, knows, lost, swapped], {})
    assert (found.setting["epoch"], found.weights.tolist()) == (2, knows.tolist())


def test_a_task_without_the_class_is_what_the_oracle_is_trained_on():
    head = small.head()
    own = comparison(1)
    assert isinstance(head.forget_task(own.rows), ForgetTask)
    judge = own.judge(head)
    assert judge.classes == [1]
    assert judge.oracle.logits["train"].argmax(1)[1] != 1
    assert judge.before.logits["train"].argmax(1).tolist() == [0, 1, 2, 0]
    assert judge.never is None
    never = {"train": torch.zeros(4, 3), "test": torch.zeros(2, 3)}
    assert own.judge(head, never).never is never


class Steps:
    """A baseline whose epochs are known."""

    def __init__(self, *epochs):
        self.epochs, self.ran, self.asked = epochs, 0, []

    def unlearn(self, task, *, seed, important):
        self.asked.append((task.forget.tolist(), seed, important))
        for weights in self.epochs:
            self.ran += 1
            yield weights


@pytest.mark.parametrize("method", methods.GRADIENT, ids=lambda method: method.name)
def test_a_baseline_is_stopped_where_it_gets_no_better_and_scrub_alone_is_rewound(method, monkeypatch):
    own, head = comparison(0), small.head()
    own.shared.tuning, own.shared.important = "marks", {"values": "important"}
    nothing = torch.zeros_like(head.weights)  # all is class 0
    steps = Steps(head.weights, nothing, nothing, nothing, nothing)
    read = []

    def tuned(*words, forget):
        read.append((*words, forget))
        return steps, None

    monkeypatch.setattr(compare, "tuned", tuned)
    monkeypatch.setattr(compare, "asdict", lambda baseline: {"lr": 7})
    found = own.unlearned(head, method)
    assert steps.asked == [([0, 3], 0, "important")]
    assert read == [("marks", head, method, 0)]
    best = {"lr": 7, "epoch": 1, "edge": None}
    if method is methods.SCRUB:
        assert steps.ran == 5
        assert [one.method for one in found] == ["scrub", "scrub+r"]
        assert found[1].setting == best | {"epoch": 5}  # as wrong on what is held out as on the class
    else:
        assert steps.ran == 3, "an epoch was run that nobody looks at"
        assert [one.method for one in found] == [method.name]
    assert found[0].setting == best
    assert torch.equal(found[0].weights, head.weights)


def test_models_stand_in_the_order_of_the_table_of_methods(monkeypatch, swept):
    own = comparison(0, swept=swept)
    own.hits = np.array([[2, 0, 0], [0, 1, 1]])
    own.shared.total = np.array([[2, 1, 1], [0, 2, 2]])

    def unlearned(head, method):
        names = ["scrub", "scrub+r"] if method is methods.SCRUB else [method.name]
        return [model(head, name, head.weights) for name in names]

    monkeypatch.setattr(own, "unlearned", unlearned)
    judge = own.judge(own.shared.values)
    masked = own.masked(judge)
    made = [one.method for one in [*own.models(own.shared.values, judge), *masked.models]]
    assert made == [method.name for method in methods.COMPARED]
    assert {row.weight for row in masked.regrets} == {0.0, 0.5}
    # Less half of the others' hits 2, 1/2 and 1/2 are left of the class's 2, 1 and 1: a half in one pair, all in three.
    assert [row.budget for row in masked.regrets if row.weight == 0.5] == [1, 3]
    assert [row.method for row in masked.restored] == ["uva", "uve", "uva by tau"]
    assert [*own.seconds] == ["values/retrain", "values/masks", "values/masked codes"]


def test_every_model_is_judged_and_told_with_its_setting_and_where_a_better_trial_may_lie(monkeypatch):
    own, head = comparison(0), small.head()
    judge, given = oracle_judge(), []

    def attacks(*words, seed):
        given.append((*words, seed))
        return ["attacked"]

    monkeypatch.setattr(compare, "attacks", attacks)
    models = [
        model(head, "scrub", head.weights, setting={"lr": 2, "epoch": 1, "edge": True}),
        model(head, "ssd", head.weights, setting={"edge": False}),
        judge.oracle,
    ]
    judged = own.judged(judge, models)
    assert [(row["head"], row["method"]) for row in judged.rows] == [
        ("values", "scrub"),
        ("values", "ssd"),
        ("values", judge.oracle.method),
    ]
    assert judged.rows[0]["setting"] == '{"edge": true, "epoch": 1, "lr": 2}'
    assert [row["tow"] for row in judged.rows][2] == 1
    assert judged.edges == ["values/scrub"]
    assert judged.attacked == ["attacked"]
    assert given == [(judge, models, 0, 0)]


def test_files_are_attacked_and_calibration_is_measured_where_it_is_asked_for_alone(monkeypatch, swept):
    head = small.head()
    for asked in (False, True):
        own = comparison(0, swept=swept, beside=asked)
        own.hits = np.array([[2, 0, 0], [0, 1, 1]])
        own.shared.total = np.array([[2, 1, 1], [0, 2, 2]])
        monkeypatch.setattr(compare, "attacks", lambda *_, seed: [])
        judge = own.judge(head)
        judged, masked = own.judged(judge, [judge.before, judge.oracle]), own.masked(judge)
        assert [row.method for row in judged.beside] == (["none", "retrain"] if asked else [])
        assert {row.attack for row in judged.attacked} == ({"row sums"} if asked else set())  # one test item
        missing = {row.method for row in masked.restored if row.attack == "missing pairs"}
        masks = {"uva", "uva per codebook", "uve", "uva by tau", "random"}
        assert missing == (masks if asked else set())
        tables = Compared(judged, judged, masked, None, {}).tables()
        assert len(tables["beside"]) == (4 if asked else 0)
        asks = Asks(classes=None, methods=small.GRIDS, taus=[], weights=[], seed=0, tau=0.9, beside=asked)
        assert [*compare.tables(asks)] == [*COMPARE_TABLES, *(["beside"] if asked else [])]


def test_rows_of_both_heads_stand_one_after_the_other_and_what_comes_back_before_the_attacks_on_values():
    attacked = [Attacked(head, "uva", attack, "x", 1.0, None) for head, attack in (("l", "a"), ("v", "u"), ("v", "a"))]
    linear = Judged([{"head": "l"}], [attacked[0]], ["l/scrub"])
    values = Judged([{"head": "v"}], [attacked[2]], ["v/ssd"])
    compared = Compared(linear, values, Masked([], [], [attacked[1]]), None, {})
    tables = compared.tables()
    assert [*tables] == [*COMPARE_TABLES, "beside", "metrics"]
    assert [row["head"] for row in tables["compare"]] == ["l", "v"]
    assert [(row["head"], row["attack"]) for row in tables["attacks"]] == [("l", "a"), ("v", "u"), ("v", "a")]
    assert tables["oracle_gap"] == tables["selection"] == []
    assert compared.edges == ["l/scrub", "v/ssd"]
    gap = OracleGap(reached(train_forget=0.5, test=1.0), reached(test=0.5), 0.1)
    (row,) = Compared(linear, values, Masked([], [], []), gap, {}).tables()["oracle_gap"]
    assert (row["train_forget_v"], row["train_forget_kv"], row["test_v"], row["test_kv"]) == (0.5, 0.0, 1.0, 0.5)
    assert (row["tow"], row["js_forget"]) == (0.25, 0.1)
