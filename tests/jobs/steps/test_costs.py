"""Laws of what a request costs, counted on a few items."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dkvb import baselines, flops, stopping
from dkvb import costs as timing
from dkvb.flops import Flops
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.heads import LinearHead, ValuesHead
from jobs.comparison.masks import SweptBottleneck
from jobs.steps import costs
from jobs.steps.costs import (
    Cost,
    bottleneck_seconds,
    choosing_costs,
    gradient_costs,
    mask_costs,
    ratio,
    solve_flops,
    solved_costs,
)
from store import arrays
from store.artefacts import Artefact
from tests.jobs.comparison import small


def test_a_ratio_is_the_whole_over_the_part_and_none_of_nothing():
    assert ratio(10, 4) == 2.5
    assert ratio(10, 0) is None
    assert costs.prepare(small.task()) == ["costs"]


def test_a_bottleneck_costs_its_keys_its_training_codes_and_its_values(tmp_path):
    seconds = {"keys": "1.5", "codes_train": 2, "values": 4, "linear": 100, "codes_test": 1000}
    parts = {name: Artefact(tmp_path, name, "0" * 16) for name in seconds}
    for name, part in parts.items():
        part.prepare({})
        part.finish({"times": {"seconds": seconds[name]}})
    assert bottleneck_seconds(small.task(inputs=parts)) == 7.5


LINEAR = {"train": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], "test": [[1.0, 0.0, 0.0]] * 2}


LINEAR_HEAD: Any = small.linear_head(LINEAR, small.OWN)


@pytest.mark.parametrize("kind", ["linear", "values"])
def test_a_gradient_method_is_paid_for_every_item_of_every_epoch(kind, monkeypatch):
    head = small.head() if kind == "values" else small.linear_head(LINEAR, small.OWN)
    settings = {
        "scrub": baselines.Scrub(max_epochs=2),
        "neggrad+": baselines.NegGrad(batch=3),
        "finetune": baselines.FineTune(batch=3),
        "ssd": baselines.Dampen(),
    }
    asked, left = [], []

    def unlearn(baseline, request, *, seed):
        for _ in range(9):
            left.append(baseline)
            yield request.weights

    def tuned(marks, h, method, *, forget):
        asked.append(forget)
        return settings[method.name], False

    monkeypatch.setattr(costs, "tuned", tuned)
    for baseline in settings.values():
        monkeypatch.setattr(type(baseline), "unlearn", unlearn)
    monkeypatch.setattr(stopping, "best_epoch", lambda request, passes: SimpleNamespace(history=(0.1, 0.3, 0.2)))
    task = small.task(asks=SimpleNamespace(seed=0), inputs={"tuning": SimpleNamespace(marks=dict)})
    found = {cost.method: cost for cost in gradient_costs(task, head, torch.tensor([2]))}
    item = flops.value_head(2, 3) if kind == "values" else flops.linear_head(3, 3)
    assert asked == [2] * 4  # the class of the items to forget
    # Three epochs on 3 items that stay; SCRUB takes the one to forget in two of them, and its teacher all 4 once.
    assert found["scrub"].flops == item * (3 * 3 + 2 * 1) + Flops(item.forward * 4, 0)
    assert found["neggrad+"].flops == item * (3 * (3 + 1))
    assert found["finetune"].flops == item * (3 * 3)
    assert found["ssd"].flops == item * (4 + 1)
    assert found["retrain"].flops == item * (3 * 3)  # as many epochs as the head was trained for
    assert {method: cost.images for method, cost in found.items()} == {**dict.fromkeys(settings, 4), "retrain": 3}
    assert {cost.bytes_read for cost in found.values()} == {head.train_bytes + head.weights.nbytes}
    left.clear()
    found["neggrad+"].work()
    assert left == [settings["neggrad+"]] * 3


def test_neggrad_takes_a_batch_to_forget_with_every_batch_that_stays(monkeypatch):
    monkeypatch.setattr(costs, "tuned", lambda *_, **__: (baselines.NegGrad(batch=2), False))
    monkeypatch.setattr(methods, "GRADIENT", (methods.NEGGRAD,))
    monkeypatch.setattr(stopping, "best_epoch", lambda request, passes: SimpleNamespace(history=(0.1,)))
    task = small.task(asks=SimpleNamespace(seed=0), inputs={"tuning": SimpleNamespace(marks=dict)})
    cost, _ = gradient_costs(task, small.head(), torch.tensor([1]))
    # 3 items that stay are two batches, each beside the one item to forget.
    assert cost.flops == flops.value_head(2, 3) * (3 + 2)


def test_a_mask_reads_counts_or_the_class_s_codes_and_computes_nothing(monkeypatch):
    counts = np.array([[[2, 0, 0], [0, 1, 1]], [[0, 1, 0], [0, 0, 1]]])
    monkeypatch.setattr(arrays, "open_array", lambda path, name: counts)
    task = small.task(asks=SimpleNamespace(seed=0, tau=0.7))
    uva, uve = mask_costs(task, small.head(), torch.tensor([0, 3]), 0)
    assert (uva.method, uva.images, uva.bytes_read) == ("uva", 0, 6 * 8)
    assert (uve.method, uve.images, uve.bytes_read) == ("uve", 2, 2 * 2 * 2)
    assert uva.flops == uve.flops == Flops(0, 0)
    assert np.array_equal(np.asarray(uva.work()), [[True, False, False], [False, True, False]])
    assert np.array_equal(np.asarray(uve.work()), [[True, False, False], [False, True, True]])


def test_choosing_n_is_the_sweep_on_training_items_that_finds_the_best(swept, monkeypatch):
    counts = np.array([[[2, 0, 0], [0, 1, 1]], [[0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0]]])
    read, split_names = arrays.open_array, []
    monkeypatch.setattr(arrays, "open_array", lambda path, name: counts if name == "counts" else read(path, name))
    monkeypatch.setattr(SweptBottleneck, "of", lambda task: swept)
    plain = SweptBottleneck.predictions

    def predictions(self, orders, forget, *, splits):
        split_names.extend(splits)
        return plain(self, orders, forget, splits=splits)

    monkeypatch.setattr(SweptBottleneck, "predictions", predictions)
    task = small.task(asks=SimpleNamespace(seed=0, tau=0.7, choosing=small.GRIDS))
    uva, uve = choosing_costs(task, small.head(), 0)
    assert [uva.method, uve.method] == ["uva by sweep", "uve by sweep"]
    assert uva.flops is uve.flops is None
    # Half of three pairs is two: without keys 0 and one more no item of the class is right, and others as before.
    mask = np.asarray(uva.work())
    assert mask[0, 0]
    assert mask.sum() in (1, 2)
    assert split_names == ["train"]
    assert np.asarray(uve.work()).sum() == 2  # of one example
    assert [*choosing_costs(small.task(asks=SimpleNamespace(choosing=None)), small.head(), 0)] == []


def test_a_solved_head_pays_for_the_items_that_leave_or_for_those_that_stay(monkeypatch):
    head, asked = small.head(), []
    sums = SimpleNamespace(moments=torch.zeros(8, 8, dtype=torch.int64))
    solved = SimpleNamespace(
        head=head,
        sums=sums,
        without=lambda rows: asked.append(("without", rows.tolist())),
        anew=lambda rows: asked.append(("anew", rows.tolist())),
    )
    monkeypatch.setattr(costs, "read_solved", lambda task, heads: {"values-lda": solved})
    task = small.task(asks=SimpleNamespace(solved="asked"))
    exact, again = solved_costs(task, torch.tensor([0, 3]))
    assert [(exact.head, exact.method), (again.head, again.method)] == [
        ("values-lda", "exact"),
        ("values-lda", "retrain"),
    ]
    for cost in (exact, again):
        cost.work()
    assert asked == [("without", [0, 3]), ("anew", [1, 2])]
    # Eight features of two codebooks, four of a key; six rows of values for three classes.
    rest = 8**3 // 3 + 2 * 6 * 4 * 3
    assert exact.flops == again.flops == Flops(2 * 2 * 8 * 8 + rest, 0)
    assert (exact.bytes_read, again.bytes_read) == (8 * 64 + 2 * 4, 2 * 4)  # two codes of 16 bits an item
    linear: Any = SimpleNamespace(sums=sums, head=LINEAR_HEAD)
    assert solve_flops(linear, 5) == Flops(2 * 5 * 64 + 170 + 2 * 4 * 3, 0)
    assert [*solved_costs(small.task(asks=SimpleNamespace(solved=None)), torch.tensor([0]))] == []


@pytest.fixture
def rows(monkeypatch):
    """Rows by head and method: retraining takes 8 s on the linear head, 20 s on the values, the rest 2 s."""
    written = []
    labels = torch.tensor([0, 0, 1])
    values = SimpleNamespace(selectable=torch.ones(2, 3), projection=torch.ones(2, 5, 4))
    monkeypatch.setattr(costs, "use_cores", lambda: None)
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [1, 0])
    monkeypatch.setattr(inputs, "read_manifest", lambda task: SimpleNamespace(classes=["ant", "bee"]))
    loaded = SimpleNamespace(facts={"size": (7, 9)}, module=None)
    monkeypatch.setattr(costs, "load_backbone", lambda spec, *, seed: loaded)
    monkeypatch.setattr(costs, "read_bottleneck", lambda task: values)
    monkeypatch.setattr(flops, "backbone", lambda module, shape: int(np.prod(shape)))
    monkeypatch.setattr(flops, "coding", lambda *, c, d_z, d_k, m: 1000 * c + 100 * d_z + 10 * d_k + m)
    for head in (LinearHead, ValuesHead):
        here = SimpleNamespace(name=head.name, labels={"train": labels})
        monkeypatch.setattr(head, "read", lambda task, here=here: here)

    def cost(head, method, seconds, forward, backward, images):
        return Cost(head=head, method=method, work=seconds, flops=Flops(forward, backward), images=images, bytes_read=5)

    def gradients(task, head, out):
        assert out.tolist() == [2]
        yield cost(head.name, "scrub", 2.0, 10, 30, 3)
        yield cost(head.name, "retrain", 8.0 if head.name == "linear" else 20.0, 30, 90, 2)

    monkeypatch.setattr(costs, "gradient_costs", gradients)
    monkeypatch.setattr(costs, "mask_costs", lambda task, head, out, k: [cost("values", "uva", 2.0, 0, 0, 0)])
    monkeypatch.setattr(
        timing,
        "measure",
        lambda seconds: SimpleNamespace(median=seconds, least=seconds / 2, most=seconds * 2, peak_bytes=11),
    )
    monkeypatch.setattr(costs, "bottleneck_seconds", lambda task: 12.0)
    monkeypatch.setattr(costs, "write_rows", lambda path, made, schema: written.extend(made))
    task = small.task(
        asks=SimpleNamespace(backbone={}, drawn=None, seed=4, choosing=None, solved=None),
        output=SimpleNamespace(path=Path(), digest="d"),
    )
    assert costs.open_work(task)("costs")["rows"] == 5
    return {(row["head"], row["method"]): row for row in written}


def test_a_request_without_a_cache_passes_its_images_through_backbone_and_coding(rows):
    image = {"linear": 3 * 7 * 9, "values": 3 * 7 * 9 + 2000 + 500 + 40 + 3}
    for head, method, images, cached in (
        ("linear", "scrub", 3, 40),
        ("values", "scrub", 3, 40),
        ("values", "uva", 0, 0),
    ):
        assert rows[head, method]["flops_uncached"] == cached + images * image[head]


def test_what_a_method_saves_is_told_against_retraining_its_own_head(rows):
    assert rows["linear", "scrub"]["retrain_ratio"] == 4
    assert rows["values", "scrub"]["retrain_ratio"] == 10
    assert rows["values", "scrub"]["flops_ratio"] == 3
    assert rows["values", "uva"]["flops_ratio"] is None
    assert {row["name"] for row in rows.values()} == {"bee"}


def test_a_bottleneck_pays_off_against_retraining_the_linear_head_and_by_masks_alone(rows):
    assert rows["values", "uva"]["requests_to_pay"] == 12 / (8 - 2)
    assert {method for (_, method), row in rows.items() if row["requests_to_pay"] is not None} == {"uva"}
    assert (rows["values", "uva"]["seconds_least"], rows["values", "uva"]["seconds_most"]) == (1, 4)
