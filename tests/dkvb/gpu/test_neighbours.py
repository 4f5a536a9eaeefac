"""Neighbours on a GPU are those of the CPU, to the last bit."""

import pytest
import torch

from dkvb.errors import ShapeMismatch
from dkvb.gpu.neighbours import COLUMNS, ROWS, neighbours
from dkvb.neighbours import neighbours as neighbours_on_the_cpu
from tests.dkvb.gpu.drawn import drawn, moved

pytestmark = pytest.mark.gpu


def both(model, z, device, *, r):
    there = moved(model, device)
    found = neighbours(z.to(device), there.projection, there.keys, selectable=there.selectable, r=r)
    assert found.device.type == device.type
    return found.cpu(), neighbours_on_the_cpu(z, model.projection, model.keys, selectable=model.selectable, r=r)


@pytest.mark.parametrize("n", [0, 1, ROWS + 1])
@pytest.mark.parametrize("m", [1, COLUMNS, 2 * COLUMNS + 1])
@pytest.mark.parametrize("r", [1, 16])
def test_lists_are_those_of_the_cpu(device, n, m, r):
    model, z = drawn(n, n, c=2, m=m)
    found, expected = both(model, z, device, r=r)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_a_list_may_hold_every_key_and_then_none(device):
    model, z = drawn(1, 11, c=2, m=20)
    model.selectable[1] = False
    found, expected = both(model, z, device, r=25)
    assert (found[:, 1] == -1).all()
    assert ((found[:, 0] >= 0).sum(1) == model.selectable[0].sum()).all()
    assert torch.equal(found, expected)


def test_equal_keys_stand_in_order(device):
    model, z = drawn(2, 9, c=1, m=2 * COLUMNS)
    model.keys[:] = model.keys[:, :1]
    found, expected = both(model, z, device, r=12)
    assert torch.equal(found, expected)
    assert torch.equal(found[0, 0].long(), model.selectable[0].nonzero()[:12, 0])


def test_a_list_of_nothing_is_refused(device):
    model, z = drawn(3, 2)
    with pytest.raises(ShapeMismatch, match="r: found 0"):
        neighbours(z, model.projection, model.keys, selectable=model.selectable, r=0)
