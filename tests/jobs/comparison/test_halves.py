"""Laws of U-LiRA's heads: which items they learn from, and how they are told from oracles."""

from typing import Any

import numpy as np
import pytest
import torch

from dkvb.ulira import auc_interval
from jobs.comparison.halves import among_others, attack_rows, half, measured, members


def test_the_items_of_the_class_and_of_the_others_are_drawn_together():
    labels = torch.tensor([0, 1] * 20)
    own, others = members(labels, 1, items=10, seed=0)
    assert len(own) + len(others) == 10
    assert set(labels[own].tolist()) == {1}
    assert set(labels[others].tolist()) == {0}
    assert members(labels, 1, items=100, seed=0)[0].tolist() == list(range(1, 40, 2))


def test_a_half_is_half_and_every_head_of_every_class_has_its_own():
    halves = [half(9, 0, k, head) for k in range(2) for head in range(3)]
    assert [int(one.sum()) for one in halves] == [4] * 6
    assert len({tuple(one.tolist()) for one in halves}) > 3
    assert torch.equal(half(9, 0, 1, 2), halves[5])


def test_the_margins_divergence_is_the_mean_over_items_from_unlearned_to_oracle():
    unlearned, oracle = torch.zeros(4, 2), torch.tensor([[0.0, 0.0]] * 3 + [[1.0, 0.0]])
    # On the first item three of four oracles lie where all unlearned heads do, on the second all.
    assert measured(unlearned, oracle)["klom"] == pytest.approx(np.log(4 / 3) / 2, abs=1e-3)


def test_how_sure_a_head_is_of_the_likeliest_other_class_does_not_depend_on_the_class_s_own_logit():
    logits = torch.tensor([[3.0, 9.0, 1.0, 0.0], [0.0, -torch.inf, 0.0, 2.0]])
    expected = [3 - float(torch.tensor([1.0, 0.0]).logsumexp(0)), 2 - float(torch.tensor([0.0, 0.0]).logsumexp(0))]
    assert among_others(logits, 1).tolist() == pytest.approx(expected)


def drawn(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(16, 5)))


def rows(*, interval: bool, **more: torch.Tensor) -> dict[str, dict[str, Any]]:
    found = attack_rows(
        {"class": 1, "attack": "u-lira"}, {**more, "retrain": drawn(0)}, interval=interval, paired=False
    )
    by_method: dict[str, dict[str, Any]] = {}
    for row in found:
        by_method.setdefault(row["method"], {})[row["measure"]] = row
    return by_method


def test_an_auc_has_an_interval_where_it_is_asked_for_also_that_of_oracles_against_oracles():
    plain, with_bounds = (rows(interval=interval, none=drawn(1) + 20, exact=drawn(2)) for interval in (False, True))
    assert {*with_bounds["none"]} - {*plain["none"]} == {"auc low", "auc high"}
    for method in with_bounds:
        measures = {measure: row["value"] for measure, row in with_bounds[method].items()}
        assert measures["auc low"] <= measures["auc"] <= measures["auc high"]
        assert {m: row["value"] for m, row in plain[method].items()}.items() <= measures.items()
    expected = auc_interval(drawn(2), drawn(0), paired=False)
    assert with_bounds["exact"]["auc low"]["value"] == expected.low
    assert with_bounds["none"]["auc low"]["value"] == 1, "a leak that was planted is not found"
    assert with_bounds["exact"]["auc low"]["value"] <= 0.5 <= with_bounds["exact"]["auc high"]["value"]
