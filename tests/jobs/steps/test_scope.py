"""Laws of how far masks reach: several classes, one after another, single items, counts from elsewhere."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dkvb import baselines, membership
from dkvb.orders import NEVER, RemovalOrder
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.judge import model
from jobs.comparison.masks import Budgeted, Mask
from jobs.steps import scope
from jobs.steps.scope import Proxy, Reach, Shared
from tests.jobs.comparison import small

LINEAR = small.linear_head({"train": [[1.0, 0.0, 0.0]] * 4, "test": [[1.0, 0.0, 0.0]] * 2}, small.OWN)


def manifest(names):
    return lambda task, name="manifest": SimpleNamespace(classes=names)


@pytest.fixture
def asked():
    """What SCRUB was asked, in order."""
    return []


def of(swept, values=None, **asks):
    """What units share."""
    head = values or small.head()
    return Shared(
        task=small.task(
            output=SimpleNamespace(digest="d"),
            asks=SimpleNamespace(**({"seed": 0, "tau": 0.6, "proxies": {}, "held_out": False} | asks)),
        ),
        linear=LINEAR,
        values=head,
        items=swept,
        total=np.array([[2, 1, 1], [0, 2, 2]]),
        tuning={},
        names=("ant", "bee", "cat"),
        order=[2, 0, 1, 3],
    )


@pytest.fixture(autouse=True)
def still(monkeypatch, asked):
    """Retraining and SCRUB change nothing, or all."""
    monkeypatch.setattr(baselines, "retrain", lambda task, settings, *, seed: task.weights.clone())

    def scrubbed(self, head, rows, **more):
        asked.append((head.name, rows.tolist(), more))
        weights = more.get("weights")
        return model(head, "scrub", head.weights + 1 if weights is None else weights + 1)

    monkeypatch.setattr(Shared, "scrubbed", scrubbed)


SCRUBBED = Shared.scrubbed


@pytest.fixture
def own(swept):
    """The small bottleneck."""
    return of(swept)


def rows_of(shared, unit, about, head="values"):
    """Rows of one head."""
    return [row for reach in unit(shared, about) if (row := shared.row(reach))["head"] == head]


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
    assert scope.prepare(small.task(inputs=there)) == [
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
    judge = own.judge(own.values, torch.tensor([3]), [0], like)
    assert judge.forget["train"].tolist() == [False, False, False, True]
    assert judge.retain["train"].tolist() == [True, True, True, False]
    assert judge.forget["test"].tolist() == [False, False]
    assert judge.retain["test"].tolist() == [False, True]
    plain = own.judge(own.values, torch.tensor([3]), [1])
    assert plain.forget["test"].tolist() == [False, True]
    nobody = own.judge(own.values, torch.tensor([3]), [], like)
    assert nobody.retain["test"].tolist() == [True, True]


def test_an_oracle_is_trained_once_for_the_same_rows_of_the_same_head(own):
    one = own.oracle(own.values, torch.tensor([0]))
    assert own.oracle(own.values, torch.tensor([0])) is one
    assert own.oracle(own.values, torch.tensor([1])) is not one
    assert own.oracle(LINEAR, torch.tensor([0])) is not one


def test_both_orders_have_a_grid_of_shares_of_what_they_remove(own):
    orders = own.orders(torch.tensor([0, 3]))
    assert orders["uva"].order.position.tolist() == [[0, NEVER, NEVER], [NEVER, 1, 2]]
    assert orders["uva"].grid == [0, 1, 2, 3]
    assert orders["uve"].grid == [0, 1, 2]
    assert own.hits(own.values.codes["train"][[0, 3]]).tolist() == [[2, 0, 0], [0, 1, 1]]


def test_the_mask_is_at_the_n_that_is_best_on_the_training_items_to_forget(own):
    order = Budgeted(RemovalOrder(np.array([[0, NEVER, 1], [NEVER] * 3]), np.ones((2, 3), int), 2), [0, 1, 2])
    head = own.values
    for rows, classes, expected in (([0, 3], [0], 1), ([0, 3, 2], [0, 2], 2)):
        mask = own.best_mask(order, classes, own.judge(head, torch.tensor(rows), classes))
        assert (mask.budget, int(mask.pairs.sum())) == (expected, expected)
        assert mask.pairs[0, 0]


def test_the_mask_of_single_items_is_found_where_no_class_goes(own):
    order = Budgeted(RemovalOrder(np.array([[1, NEVER, 0], [NEVER] * 3]), np.ones((2, 3), int), 2), [0, 1, 2])
    judge = own.judge(own.values, torch.tensor([2]), [], np.array([False, False]))
    assert own.best_mask(order, [], judge).budget == 1


def test_several_classes_are_the_first_of_one_order_and_go_at_once(own, asked):
    rows = rows_of(own, scope.classes, "2")
    assert [row["method"] for row in rows] == ["none", "retrain", "scrub", "uva", "uve"]
    assert {row["names"] for row in rows} == {'["ant", "cat"]'}
    assert asked == [("linear", [0, 2, 3], {}), ("values", [0, 2, 3], {})]
    assert [row["size"] for row in rows] == [2] * 5
    assert [row["train_forget"] for row in rows][:3] == [1, 1, 1]
    assert rows[3]["train_forget"] == 0
    assert {row["mia_auc"] for row in rows} == {row["jaccard"] for row in rows} == {None}


def test_masks_are_on_the_values_alone(own):
    assert [row["method"] for row in rows_of(own, scope.classes, "2", "linear")] == ["none", "retrain", "scrub"]


def sequence(own, direction):
    rows = rows_of(own, scope.sequence, direction)
    return rows, [(row["size"], row["names"]) for row in rows if row["method"] == "uva"]


def test_requests_come_one_after_another_and_add_up(own, asked):
    rows, requests = sequence(own, "forward")
    assert requests == [(1, '["cat"]'), (2, '["ant", "cat"]')]
    assert {row["kind"] for row in rows} == {"sequence forward"}
    assert [(out, more["earlier"]) for _, out, more in asked] == [([2], []), ([0, 3], [2])]
    assert torch.equal(asked[1][2]["weights"], small.head().weights + 1)
    names = ["none", "retrain", "scrub", "uva", "uva recounted", "uve"]
    assert [row["method"] for row in rows] == names * 2
    for method in names[3:]:
        pairs = [row["setting"] for row in rows if row["method"] == method]
        assert len(pairs) == 2
        assert pairs[0] < pairs[1]


def test_backward_is_the_same_classes_the_other_way_round(own, asked):
    _, requests = sequence(own, "backward")
    assert requests == [(1, '["ant"]'), (2, '["ant", "cat"]')]
    assert [more["earlier"] for *_, more in asked] == [[], [0]]


def test_a_recount_sees_the_codes_under_the_mask_so_far(own, monkeypatch):
    counted = []

    def rule(self, hits):
        counted.append(hits.tolist())
        return hits > 0

    monkeypatch.setattr(Shared, "rule", rule)
    list(scope.sequence(own, "forward"))
    plain, recounted, plain_next, recounted_next = counted
    assert plain == recounted == [[0, 0, 1], [0, 1, 0]]
    assert plain_next == [[2, 0, 0], [0, 1, 1]]
    # Key 1 of the second codebook is gone by then: its item falls to key 0.
    assert recounted_next == [[2, 0, 0], [1, 0, 1]]


def test_scrub_goes_on_without_the_items_that_are_gone_already(own, monkeypatch):
    left_out, tasks = [], []

    def unlearn(task, *, seed):
        tasks.append(task)
        yield task.weights

    def tuned(marks, head, method, *, forget):
        left_out.append((method, forget))
        return SimpleNamespace(unlearn=unlearn), False

    monkeypatch.setattr(scope, "tuned", tuned)
    weights = own.values.weights * 2
    scrub = SCRUBBED(own, own.values, torch.tensor([2]), weights=weights, earlier=[0])
    assert left_out == [(methods.SCRUB, None)], "every tuning class counts"
    assert tasks[0].labels.tolist() == [1, 2]
    assert tasks[0].forget.tolist() == [1]
    assert tasks[0].weights is weights
    assert (scrub.method, scrub.setting) == ("scrub", {"epoch": 1})
    SCRUBBED(own, own.values, torch.tensor([0, 3]))
    assert tasks[1].labels.tolist() == [0, 1, 2, 0]
    assert tasks[1].forget.tolist() == [0, 3]


def some_items(swept, monkeypatch, *, test=(0, 0)):
    """A class of six training items, whose test items have these labels."""
    labels = {"train": torch.tensor([0] * 6 + [1, 2]), "test": torch.tensor([*test, 1])}
    codes = {"train": [[0, 1]] * 6 + [[1, 2], [2, 1]], "test": [[0, 1]] * len(test) + [[1, 2]]}
    shared = of(swept, small.values_head(codes, labels, small.VALUES.tolist()))
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 1])
    monkeypatch.setattr(Shared, "best_mask", lambda *_: Mask(0, np.zeros((2, 3), bool)))
    monkeypatch.setattr(
        Shared, "masked", lambda self, method, mask, setting: model(self.values, method, torch.ones(6, 3))
    )
    linear = {split: [[1.0, 0.0, 0.0]] * len(labels[split]) for split in labels}
    return replace(shared, linear=small.linear_head(linear, labels))


@pytest.mark.parametrize(("percent", "count"), [("1", 2), ("50", 3), ("90", 5)])
def test_some_items_are_a_share_of_the_class_two_at_least_and_the_class_stays(percent, count, swept, monkeypatch):
    sides = []

    def attack(members, others, *, seed):
        sides.append((members, others))
        return {"loss": SimpleNamespace(auc=0.25)}

    monkeypatch.setattr(membership, "population_attack", attack)
    rows = rows_of(some_items(swept, monkeypatch), scope.instances, percent)
    assert [row["method"] for row in rows] == ["none", "retrain", "scrub", "uva", "uve", "uve all"]
    assert {row["names"] for row in rows} == {"[]"}
    assert {row["size"] for row in rows} == {int(percent) / 100}
    assert {row["mia_auc"] for row in rows} == {0.25}
    for members, others in sides:
        assert members[1].tolist() == [0] * count
        assert others[1].tolist() == [0, 0]
    assert rows[0]["test_retain"] == 1
    assert np.isnan(rows[0]["test_forget"])


def test_masks_are_stopped_where_held_out_items_are_where_that_is_asked_for(swept, monkeypatch):
    given = []

    def stopped(judge, items, **more):
        given.append((judge.oracle.head.name, items, more))
        labels = {**judge.labels, "test": judge.labels["test"][1:]}
        return replace(judge, labels=labels), [model(judge.before.head, "uva to held-out", torch.ones(6, 3))]

    monkeypatch.setattr(scope, "stopped_at_held_out", stopped)
    shared = some_items(swept, monkeypatch)
    asks = SimpleNamespace(**{**vars(shared.task.asks), "held_out": True})
    shared = replace(shared, task=small.task(output=shared.task.output, asks=asks))
    reaches = [*scope.instances(shared, "50")]
    assert [one.model.method for one in reaches][-2:] == ["uve all", "uva to held-out"]
    assert reaches[-1].mia_auc is None, "one test item of the class is left to judge"
    ((name, items, more),) = given
    assert (name, items, more["k"], more["seed"]) == ("values", swept, 0, 0)
    assert [*more["orders"]] == ["uva", "uve"]


@pytest.mark.parametrize("test", [(), (0,)])
def test_a_class_of_fewer_than_two_test_items_tells_no_membership_and_stops_nothing(test, swept, monkeypatch):
    rows = rows_of(some_items(swept, monkeypatch, test=test), scope.instances, "50")
    assert [row["method"] for row in rows] == ["none", "retrain", "scrub", "uva", "uve", "uve all"]
    assert {row["mia_auc"] for row in rows} == {None}


def test_two_test_items_of_the_class_are_enough_to_tell_membership(swept, monkeypatch):
    rows = rows_of(some_items(swept, monkeypatch), scope.instances, "50")
    assert rows[0]["mia_auc"] == 0.5, "all items are alike"


def test_no_test_item_is_counted_and_judged_as_well(swept, monkeypatch):
    n = 20
    labels = small.OWN | {"test": torch.tensor([0, 1] * (n // 2))}
    values = small.values_head(
        {"train": small.CODES["train"][:4], "test": [[i % 3, 0] for i in range(n)]}, labels, small.VALUES.tolist()
    )
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 1])
    for counted in scope.proxies(of(swept, values), "split"):
        of_class = labels["test"] == counted.k
        left = of_class.numpy() & counted.judges
        assert 0 < left.sum() < of_class.sum()
        assert len(counted.codes) == of_class.sum() - left.sum()
        assert torch.equal(counted.codes, values.codes["test"][of_class & ~torch.from_numpy(counted.judges)])


def test_other_images_of_a_class_are_encoded_and_all_test_items_judge(own, monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [1])
    monkeypatch.setattr(inputs, "labels", lambda task, name: torch.tensor([0, 1, -1, 1]))
    z = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.0, 3.0], [3.0, 0.0]])
    monkeypatch.setattr(inputs, "embeddings", lambda task, name: z)
    (counted,) = scope.proxies(own, "flipped")
    assert (counted.k, counted.codes.tolist(), counted.judges.tolist()) == (1, [[1, 2], [2, 0]], [True, True])


def test_a_class_of_elsewhere_stands_for_the_one_it_is_named_for(swept, monkeypatch):
    monkeypatch.setattr(inputs, "read_manifest", manifest(["asp", "wolf", "wasp"]))
    assert scope.others(of(swept, proxies={"bee": "wasp", "dog": "wolf"}), [0, 1, 2]) == {1: 2}


def test_a_proxy_s_mask_stands_beside_the_class_s_own_on_the_items_that_may_judge(own, monkeypatch):
    codes = torch.tensor([[0, 1], [0, 1], [1, 1]])
    monkeypatch.setattr(scope, "proxies", lambda shared, images: iter([Proxy(0, codes, np.array([False, True]))]))
    mine, other = rows_of(own, scope.proxy, "split")
    assert (mine["method"], other["method"]) == ("uva", "uva by split")
    assert {row["kind"] for row in (mine, other)} == {"proxy split"}
    assert (mine["size"], other["size"]) == (3, 3)
    assert mine["jaccard"] == 1
    # 0.6 of its own 4 hits are 3: pairs (0, 0) and (1, 1); 0.6 of the other 6 are 4: the same pairs ranked otherwise.
    assert other["jaccard"] == 1
    assert other["setting"] == '{"items": 3, "pairs": 2}'
    assert np.isnan(mine["test_forget"])
    assert mine["test_retain"] == 1


def test_the_rule_s_share_is_the_spec_s(swept):
    hits = np.array([[5, 0, 1], [0, 3, 1]])
    assert of(swept).rule(hits).sum() == 2
    assert of(swept, tau=0.5).rule(hits).tolist() == [[True, False, False], [False, False, False]]


def test_every_unit_has_a_kind_that_is_looked_up_by_its_first_word(own, monkeypatch):
    monkeypatch.setattr(inputs, "read_manifest", manifest(["ant", "bee", "cat"]))
    units = scope.prepare(small.task(inputs={"flipped": None}))
    assert {unit.partition("-")[0] for unit in units} == {*scope.KINDS}
    written = {}
    judge = own.judge(own.values, torch.tensor([0, 3]), [0])
    reach = Reach(judge, judge.before, "classes", 7.0, jaccard=float("nan"))
    monkeypatch.setattr(scope, "use_one_core", lambda: None)
    monkeypatch.setattr(Shared, "of", lambda task: own)
    monkeypatch.setattr(scope, "KINDS", {"classes": lambda shared, size: iter([reach] if size == "7" else [])})
    monkeypatch.setattr(scope, "write_rows", lambda path, rows, schema: written.update({path.name: rows}))
    task = small.task(output=SimpleNamespace(path=Path("scope")))
    assert scope.open_work(task)("classes-7") == {"rows": 1}
    (row,) = written["classes-7.parquet"]
    assert (row["size"], row["head"], row["method"], row["jaccard"]) == (7.0, "values", "none", None)
    assert (row["names"], row["digest"], row["seed"]) == ('["ant"]', "d", 0)
