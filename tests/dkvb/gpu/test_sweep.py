"""A sweep on a GPU predicts what the CPU's does, for every item at every budget."""

import numpy as np
import pytest
import torch

from dkvb.codes import encode
from dkvb.errors import ShapeMismatch
from dkvb.gpu.sweep import sweep
from dkvb.neighbours import neighbours
from dkvb.sweep import Items, budget_table
from dkvb.sweep import sweep as sweep_on_the_cpu
from tests.dkvb.gpu.drawn import drawn, moved

pytestmark = pytest.mark.gpu


def case(seed, *, n=8, r=3, sets=2, budgets=5, **sizes):
    """A model, items with short lists, and orders of removal that end with every pair."""
    model, z = drawn(seed, n, **sizes)
    rng, (c, m) = np.random.default_rng(seed), model.selectable.shape
    positions = [rng.permutation(c * m).reshape(c, m) for _ in range(sets)]
    grids = [sorted(rng.choice(np.arange(1, c * m), budgets, replace=False).tolist()) for _ in range(sets)]
    grids[-1][-1] = c * m
    parts = (z, model.projection, model.keys)
    items = Items(z, encode(*parts, selectable=model.selectable), neighbours(*parts, selectable=model.selectable, r=r))
    return model, items, budget_table(positions, grids)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [{"c": 4, "m": 30, "r": 2}, {"c": 2, "m": 512, "v": 17, "r": 4, "budgets": 9}])
def test_predictions_are_those_of_the_cpu(device, seed, sizes):
    model, items, table = case(seed, **sizes)
    if seed == 1:
        model.selectable[0] = False
        items = Items(items.z, items.codes.clone(), items.neighbours.clone())
        items.codes[:, 0], items.neighbours[:, 0] = -1, -1
    forget, budgets = [[1], [0, 2]], sizes.get("budgets", 5)
    expected = sweep_on_the_cpu(model, items, table, budgets=budgets, forget=forget)
    there = Items(items.z.to(device), items.codes.to(device), items.neighbours.to(device))
    found = sweep(moved(model, device), there, table, budgets=budgets, forget=forget)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other)
    assert len(expected[0].unique()) > 1
    assert (expected[1][:, -1] != 0).any()


def test_a_table_of_other_sets_is_refused(device):
    model, items, table = case(5)
    with pytest.raises(ShapeMismatch, match="table"):
        sweep(model, items, table, budgets=5, forget=[[0]])
