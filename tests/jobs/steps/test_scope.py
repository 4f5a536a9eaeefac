"""Laws of how far masks reach: several classes, one after another, single items, counts from elsewhere."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dkvb import baselines, membership, trials
from dkvb.orders import NEVER, RemovalOrder
from jobs import inputs
from jobs.comparison.judge import model
from jobs.comparison.masks import Budgeted
from jobs.steps import scope
from jobs.steps.scope import Scope
from tests.jobs.comparison import small


def manifest(names):
    return lambda task, name="manifest": SimpleNamespace(classes=names)


@pytest.fixture
def asked():
    """What SCRUB was asked, in order."""
    return []


@pytest.fixture
def own(watched, monkeypatch, asked):
    """The small bottleneck; retraining and SCRUB change nothing."""
    made = object.__new__(Scope)
    made.task = small.task(output=SimpleNamespace(digest="d"))
    made.spec, made.seed, made.tried = {"tau": 0.6, "proxies": {}}, 0, {}
    made.heads, made.seen = {"values": small.head()}, watched
    made.labels = dict(small.OWN)
    made.codes = {split: features.codes for split, features in made.heads["values"].features.items()}
    made.c, made.m, made.v = 2, 3, 4
    made.names, made.order, made.oracles, made.class_of_instances = ["ant", "bee", "cat"], [2, 0, 1], {}, 0
    monkeypatch.setattr(baselines, "retrain", lambda problem, settings, *, seed: problem.weights.clone())

    def scrubbed(head, rows, **more):
        asked.append((rows.tolist(), more))
        weights = more.get("weights")
        return model(head, "scrub", head.weights + 1 if weights is None else weights + 1)

    monkeypatch.setattr(made, "scrubbed", scrubbed)
    return made


@pytest.mark.parametrize(
    ("classes", "there", "sizes", "proxies"),
    [
        (10, {}, [1, 2, 5], ["split"]),
        (12, {"flipped": None}, [1, 2, 5, 6], ["split", "flipped"]),
        (3, {}, [1], ["split"]),
        (1, {}, [1], ["split"]),
    ],
)
def test_units_are_sizes_up_to_half_of_the_classes_both_directions_shares_and_proxies(
    classes, there, sizes, proxies, monkeypatch
):
    monkeypatch.setattr(inputs, "read_manifest", manifest([f"k{i}" for i in range(classes)]))
    assert scope.prepare(SimpleNamespace(inputs=there)) == [
        *(f"classes-{size}" for size in sizes),
        "sequence-forward",
        "sequence-backward",
        "instances-1",
        "instances-10",
        "instances-50",
        *(f"proxy-{name}" for name in proxies),
    ]


def test_what_stays_is_all_but_the_rows_and_all_test_items_but_those_of_the_classes(own):
    like = np.array([False, False])
    judge = own.judge(own.heads["values"], torch.tensor([3]), [0], like)
    assert judge.forget["train"].tolist() == [False, False, False, True]
    assert judge.retain["train"].tolist() == [True, True, True, False]
    assert judge.forget["test"].tolist() == [False, False]
    assert judge.retain["test"].tolist() == [False, True]
    plain = own.judge(own.heads["values"], torch.tensor([3]), [1])
    assert plain.forget["test"].tolist() == [False, True]
    nobody = own.judge(own.heads["values"], torch.tensor([3]), [], like)
    assert nobody.retain["test"].tolist() == [True, True]


def test_an_oracle_is_trained_once_for_the_same_rows_of_the_same_head(own):
    head = own.heads["values"]
    one = own.oracle(head, torch.tensor([0]))
    assert own.oracle(head, torch.tensor([0])) is one
    assert own.oracle(head, torch.tensor([1])) is not one
    assert (
        own.oracle(small.linear_head({"train": [[1.0]] * 4, "test": [[1.0]]}, small.OWN), torch.tensor([0])) is not one
    )


def test_both_orders_have_a_grid_of_shares_of_what_they_remove(own):
    orders = own.orders(torch.tensor([0, 3]))
    assert orders["uva"].order.position.tolist() == [[0, NEVER, NEVER], [NEVER, 1, 2]]
    assert orders["uva"].grid == [0, 1, 2, 3]
    assert orders["uve"].grid == [0, 1, 2]
    assert own.hits(own.codes["train"][[0, 3]]).tolist() == [[2, 0, 0], [0, 1, 1]]


def test_the_mask_is_at_the_n_that_is_best_on_the_training_items_to_forget(own):
    order = Budgeted(RemovalOrder(np.array([[0, NEVER, 1], [NEVER] * 3]), np.ones((2, 3), int), 2), [0, 1, 2])
    head = own.heads["values"]
    for rows, classes, expected in (([0, 3], [0], 1), ([0, 3, 2], [0, 2], 2)):
        mask, budget = own.best_mask(order, classes, own.judge(head, torch.tensor(rows), classes))
        assert (budget, int(mask.sum())) == (expected, expected)
        assert mask[0, 0]


def test_several_classes_are_the_first_of_one_order_and_go_at_once(own, asked):
    rows = list(own.classes("2"))
    assert [row["method"] for row in rows] == ["none", "retrain", "scrub", "uva", "uve"]
    assert {row["names"] for row in rows} == {'["ant", "cat"]'}
    assert asked == [([0, 2, 3], {})]
    assert [row["size"] for row in rows] == [2] * 5
    assert [row["train_forget"] for row in rows][:3] == [1, 1, 1]
    assert rows[3]["train_forget"] == 0


def sequence(own, direction):
    rows = list(own.sequence(direction))
    return rows, [(row["size"], row["names"]) for row in rows if row["method"] == "uva"]


def test_requests_come_one_after_another_and_add_up(own, asked):
    rows, requests = sequence(own, "forward")
    assert requests == [(1, '["cat"]'), (2, '["ant", "cat"]')]
    assert {row["kind"] for row in rows} == {"sequence forward"}
    assert [(out, more["earlier"]) for out, more in asked] == [([2], []), ([0, 3], [2])]
    assert torch.equal(asked[1][1]["weights"], small.head().weights + 1)
    for method in ("uva", "uva recounted", "uve"):
        pairs = [row["setting"] for row in rows if row["method"] == method]
        assert len(pairs) == 2
        assert pairs[0] < pairs[1]


def test_backward_is_the_same_classes_the_other_way_round(own, asked):
    _, requests = sequence(own, "backward")
    assert requests == [(1, '["ant"]'), (2, '["ant", "cat"]')]
    assert [more["earlier"] for _, more in asked] == [[], [0]]


def test_a_recount_sees_the_codes_under_the_mask_so_far(own, monkeypatch):
    counted = []
    monkeypatch.setattr(own, "rule", lambda hits: counted.append(hits.tolist()) or hits > 0)
    list(own.sequence("forward"))
    plain, recounted, plain_next, recounted_next = counted
    assert plain == recounted == [[0, 0, 1], [0, 1, 0]]
    assert plain_next == [[2, 0, 0], [0, 1, 1]]
    # Key 1 of the second codebook is gone by then: its item falls to key 0.
    assert recounted_next == [[2, 0, 0], [1, 0, 1]]


def test_scrub_goes_on_without_the_items_that_are_gone_already(own, monkeypatch):
    seen = []
    settings = trials.METHODS["scrub"]
    monkeypatch.setattr(scope, "tuned", lambda tried, head, method, *, forget: (settings, seen.append(forget)))
    monkeypatch.setattr(
        trials, "run", lambda problem, settings, *, seed: seen.append(problem) or iter([problem.weights])
    )
    weights = own.heads["values"].weights * 2
    made = Scope.scrubbed(own, own.heads["values"], torch.tensor([2]), weights=weights, earlier=[0])
    assert seen[0] == -1
    assert seen[1].labels.tolist() == [1, 2]
    assert seen[1].forget.tolist() == [1]
    assert seen[1].weights is weights
    assert (made.method, made.setting) == ("scrub", {"epoch": 1})
    Scope.scrubbed(own, own.heads["values"], torch.tensor([0, 3]))
    assert seen[3].labels.tolist() == [0, 1, 2, 0]
    assert seen[3].forget.tolist() == [0, 3]


@pytest.mark.parametrize(("percent", "count"), [("1", 2), ("50", 3), ("90", 5)])
def test_some_items_are_a_share_of_the_class_two_at_least_and_the_class_stays(percent, count, own, monkeypatch):
    told = []
    monkeypatch.setattr(
        membership,
        "population_attack",
        lambda members, others, *, seed: told.append((members, others)) or {"loss": SimpleNamespace(auc=0.25)},
    )
    codes = {"train": [[0, 1]] * 6 + [[1, 2], [2, 1]], "test": small.CODES["test"][1:]}
    labels = {"train": torch.tensor([0] * 6 + [1, 2]), "test": small.OWN["test"]}
    own.heads = {"values": small.values_head(codes, labels, small.VALUES.tolist())}
    own.labels, own.codes = labels, {s: f.codes for s, f in own.heads["values"].features.items()}
    monkeypatch.setattr(own, "best_mask", lambda order, classes, judge: (np.zeros((2, 3), bool), 0))
    monkeypatch.setattr(
        own, "masked", lambda method, mask, **setting: model(own.heads["values"], method, torch.ones(6, 3))
    )
    rows = list(own.instances(percent))
    assert [row["method"] for row in rows] == ["none", "retrain", "scrub", "uva", "uve", "uve all"]
    assert {row["names"] for row in rows} == {"[]"}
    assert {row["size"] for row in rows} == {int(percent) / 100}
    assert {row["mia_auc"] for row in rows} == {0.25}
    for members, others in told:
        assert members[1].tolist() == [0] * count
        assert others[1].tolist() == [0]
    assert rows[0]["test_retain"] == 1
    assert np.isnan(rows[0]["test_forget"])


def test_no_test_item_is_counted_and_judged_as_well(own, monkeypatch):
    n = 20
    own.labels = own.labels | {"test": torch.tensor([0, 1] * (n // 2))}
    own.codes = own.codes | {"test": torch.arange(n)[:, None]}
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 1])
    for k, counted, judged in own.proxies("split"):
        mine = {i for i in range(n) if i % 2 == k}
        assert set(counted.flatten().tolist()) == mine - set(np.flatnonzero(judged))
        assert 0 < len(counted) < n // 2


def test_other_images_of_a_class_are_encoded_and_all_test_items_judge(own, monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [1])
    monkeypatch.setattr(inputs, "labels", lambda task, name: torch.tensor([0, 1, -1, 1]))
    z = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.0, 3.0], [3.0, 0.0]])
    monkeypatch.setattr(inputs, "embeddings", lambda task, name: z)
    ((k, codes, judged),) = own.proxies("flipped")
    assert (k, codes.tolist(), judged.tolist()) == (1, [[1, 2], [2, 0]], [True, True])


def test_a_class_of_elsewhere_stands_for_the_one_it_is_named_for(own, monkeypatch):
    own.spec = {"proxies": {"bee": "wasp", "dog": "wolf"}}
    monkeypatch.setattr(inputs, "read_manifest", manifest(["asp", "wolf", "wasp"]))
    assert own.others([0, 1, 2]) == {1: 2}


def test_a_proxy_s_mask_stands_beside_the_class_s_own_on_the_items_that_may_judge(own, monkeypatch):
    codes = torch.tensor([[0, 1], [0, 1], [1, 1]])
    monkeypatch.setattr(own, "proxies", lambda name: iter([(0, codes, np.array([False, True]))]))
    mine, other = own.proxy("split")
    assert (mine["method"], other["method"]) == ("uva", "uva by split")
    assert {row["kind"] for row in (mine, other)} == {"proxy split"}
    assert (mine["size"], other["size"]) == (3, 3)
    assert mine["jaccard"] == 1
    # 0.6 of its own 4 hits are 3: pairs (0, 0) and (1, 1); 0.6 of the other 6 are 4: the same pairs ranked otherwise.
    assert other["jaccard"] == 1
    assert np.isnan(mine["test_forget"])
    assert mine["test_retain"] == 1


def test_the_rule_s_share_is_the_spec_s(own):
    hits = np.array([[5, 0, 1], [0, 3, 1]])
    assert own.rule(hits).sum() == 2
    own.spec = {"tau": 0.5}
    assert own.rule(hits).tolist() == [[True, False, False], [False, False, False]]
