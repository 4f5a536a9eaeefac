"""Laws of U-LiRA's heads: which items they learn from, and which of them are compared."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dkvb import metrics
from jobs import inputs
from jobs.comparison.halves import half, measured
from jobs.comparison.heads import ValuesHead
from jobs.comparison.masks import SweptBottleneck
from jobs.kinds.lira import Asks
from jobs.steps import lira
from store import arrays
from tests.jobs.comparison import small

ASKS = Asks(classes=None, seed=0, tau=0.5, heads=18, items=100, first=1)


def test_a_unit_is_a_batch_of_heads_of_a_class_and_margins_have_room_for_all(monkeypatch):
    made = {}
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 2])
    monkeypatch.setattr(inputs, "labels", lambda task, split: torch.tensor([0, -1, 0, 1, 2]))
    monkeypatch.setattr(arrays, "create", lambda path, name, shape: made.update({name: shape}))
    units = lira.prepare(small.task(asks=ASKS, output=SimpleNamespace(data=None)))
    assert units == ["00000-00000", "00000-00016", "00002-00000", "00002-00016"]
    assert made == {"margins/00000": (18, 4, 2), "margins/00002": (18, 4, 1)}


@pytest.fixture
def batch_of(swept, monkeypatch):
    """What the last batch of class 0 writes for some asks, and which items its heads learn from."""
    return lambda asks: ran(asks, swept, monkeypatch)


@pytest.fixture
def batch(batch_of):
    return batch_of(ASKS)


def ran(asks, swept, monkeypatch):
    learns, written, requests = [], [], []

    def fit(codes, labels, members, settings, *, m, v):
        learns.append((labels.tolist(), members))
        return small.VALUES.expand(members.shape[1], -1, -1, -1) * len(learns)

    def unlearn(request, *, seed):
        requests.append(request)
        yield request.weights * 10

    monkeypatch.setattr(lira, "use_one_core", lambda: None)
    monkeypatch.setattr(ValuesHead, "read", lambda task: small.head())
    monkeypatch.setattr(SweptBottleneck, "of", lambda task: swept)
    monkeypatch.setattr(lira, "fit_many_values", fit)
    monkeypatch.setattr(lira, "tuned", lambda *_, **__: (SimpleNamespace(unlearn=unlearn), False))
    monkeypatch.setattr(arrays, "write", lambda path, name, found, *, start: written.append((name, found, start)))
    task = small.task(asks=asks, output=SimpleNamespace(data=None), inputs={"tuning": SimpleNamespace(marks=dict)})
    facts = lira.open_work(task)("00000-00016")
    return SimpleNamespace(learns=learns, written=written, requests=requests, facts=facts)


def test_a_head_learns_the_class_and_its_oracle_the_same_half_of_the_others_without_it(batch):
    (labels, none), (_, oracle) = batch.learns
    assert labels == [0, 0, 1, 2]
    assert none[:2].all()
    assert not oracle[:2].any()
    assert torch.equal(none[2:], oracle[2:])
    assert none[2:].sum(0).tolist() == [1, 1]
    expected = torch.stack([half(2, 0, 0, 16), half(2, 0, 0, 17)], dim=1)
    assert torch.equal(none[2:], expected)


def test_a_head_forgets_the_class_among_the_items_it_learnt_from(batch):
    for i, request in enumerate(batch.requests):
        other = 1 + int(half(2, 0, 0, 16 + i).nonzero())
        assert request.labels.tolist() == [0, 0, other]
        assert request.forget.tolist() == [0, 1]


def test_margins_stand_head_by_head_in_the_order_of_the_methods(batch):
    ((name, found, start),) = batch.written
    assert (name, start, found.shape) == ("margins/00000", 16, (2, 4, 2))
    assert batch.facts == {"class": 0, "heads": 2, "items": 2, "others": 2}
    values = small.VALUES
    # Half of the class's hits are on key 0 of the first codebook, so its items fall to key 1.
    codes, masked = [[0, 1], [0, 2]], [[1, 1], [1, 2]]

    def margins(selected, scale):
        logits = torch.stack([(values[0, a] + values[1, b]) / 2 for a, b in selected]) * scale
        return metrics.margins(logits, torch.zeros(2, dtype=torch.int64)).tolist()

    expected = [margins(codes, 1), margins(masked, 1), margins(codes, 10), margins(codes, 2)]
    for head in found:
        assert head.tolist() == [pytest.approx(row) for row in expected]


def test_every_method_and_control_forgets_where_all_are_asked_for(batch_of):
    ((_, found, _),) = batch_of(replace(ASKS, every=True)).written
    assert found.shape == (2, 13, 2)
    one, other = (dict(zip(lira.EVERY, head.tolist(), strict=True)) for head in found)
    assert one == other
    values = small.VALUES

    def margins(*logits):
        return pytest.approx(metrics.margins(torch.stack(logits), torch.zeros(len(logits), dtype=torch.int64)).tolist())

    whole = [(values[0, 0] + values[1, key]) / 2 for key in (1, 2)]  # of the class's items, which select (0, 1), (0, 2)
    gone = torch.tensor([0.0, 1.0, 1.0])
    assert one["none"] == margins(*whole)
    assert one["uva by tau"] == margins(*((values[0, 1] + values[1, key]) / 2 for key in (1, 2)))
    assert one["uve all"] == margins(
        *[(values[0, 1] + values[1, 0]) / 2] * 2
    )  # keys 1 and 2 of the second are gone too
    assert one["uva zero"] == margins(*(values[1, key] / 2 for key in (1, 2)))
    assert one["uva drop"] == margins(values[1, 1], values[1, 2])
    assert one["column"] == margins(*(logits * gone for logits in whole))
    assert one["logit"] == [-metrics.MARGIN_LIMIT] * 2
    assert one["random"] in (one["none"], one["uva by tau"])  # one pair of the first codebook is gone
    for name in ("scrub", "neggrad+", "finetune", "ssd"):
        assert one[name] == margins(*(10 * logits for logits in whole))
    assert one["retrain"] == margins(*(2 * logits for logits in whole))


@pytest.fixture
def rows(monkeypatch):
    """Rows by method and measure: the head before stands apart, the mask equals the oracle, SCRUB its odd heads."""
    rng = np.random.default_rng(0)
    oracle = rng.normal(size=(16, 5))
    scrub = np.repeat(oracle[1::2], 2, axis=0)
    margins = np.stack([oracle + 20, oracle, scrub, oracle], axis=1)
    written = []
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [1])
    monkeypatch.setattr(inputs, "read_manifest", lambda task: SimpleNamespace(classes=["ant", "bee"]))
    monkeypatch.setattr(arrays, "read", lambda path, name: margins)
    monkeypatch.setattr(lira, "write_rows", lambda path, made, schema: written.extend(made))
    lira.finish(small.task(asks=ASKS, output=SimpleNamespace(data=None, path=Path(), digest="d")))
    by_method: dict[str, dict[str, Any]] = {}
    for row in written:
        by_method.setdefault(row["method"], {})[row["measure"]] = row
    return by_method, torch.from_numpy(oracle), torch.from_numpy(scrub)


def test_a_head_that_forgot_nothing_is_told_and_one_that_equals_its_oracle_is_not(rows):
    found, _, _ = rows
    assert [*found] == ["none", "uva by tau", "scrub", "retrain"]
    assert found["none"]["auc"]["value"] == 1
    assert found["none"]["tpr at 0.1 % fpr"]["value"] == 1
    assert found["uva by tau"]["auc"]["value"] == 0.5
    assert found["uva by tau"]["klom"]["value"] == 0
    assert {row["name"] for measures in found.values() for row in measures.values()} == {"bee"}


def test_every_figure_stands_beside_that_of_one_half_of_the_oracles_to_the_other(rows):
    found, oracle, scrub = rows
    beside = measured(oracle[0::2], oracle[1::2])
    for measures in found.values():
        assert {measure: row["oracle"] for measure, row in measures.items()} == beside
    assert {measure: row["value"] for measure, row in found["retrain"].items()} == beside
    assert {measure: row["value"] for measure, row in found["scrub"].items()} == measured(scrub, oracle)
