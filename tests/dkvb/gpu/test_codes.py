"""Codes on a GPU are those of the CPU, to the last bit."""

from dataclasses import replace

import pytest
import torch

from dkvb.codes import encode as encode_on_the_cpu
from dkvb.codes import nearest as nearest_on_the_cpu
from dkvb.counts import class_counts
from dkvb.decoding import NO_VOTE
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.gpu import scores
from dkvb.gpu.codes import COLUMNS, ROWS, encode, nearest
from tests.dkvb.gpu.drawn import drawn, moved

pytestmark = pytest.mark.gpu


def both(model, z, device, *, selectable):
    there = moved(model, device)
    chosen = there.selectable if selectable else None
    found = encode(z.to(device), there.projection, there.keys, selectable=chosen)
    assert found.device.type == device.type
    expected = encode_on_the_cpu(z, model.projection, model.keys, selectable=model.selectable if selectable else None)
    return found.cpu(), expected


@pytest.mark.parametrize("n", [0, 1, ROWS, ROWS + 1])
@pytest.mark.parametrize("m", [1, COLUMNS, COLUMNS + 1, 2 * COLUMNS])  # of the last, copies stand in one column
def test_codes_are_those_of_the_cpu(device, n, m):
    model, z = drawn(n, n, c=2, m=m)
    for selectable in (True, False):
        found, expected = both(model, z, device, selectable=selectable)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@pytest.mark.parametrize("d_k", [1, 8, 14, 33])
def test_keys_may_be_of_any_width(device, d_k):
    model, z = drawn(3, 40, c=2, d_k=d_k)
    assert torch.equal(*both(model, z, device, selectable=True))


def test_items_pass_in_blocks(device, monkeypatch):
    model, z = drawn(4, 2 * scores.ROWS + 3)
    monkeypatch.setattr(scores, "PROJECTED", 1)
    assert torch.equal(*both(model, z, device, selectable=True))


def test_where_nothing_is_selectable_there_is_no_vote(device):
    model, z = drawn(5, 9)
    model.selectable[1] = False
    found, expected = both(model, z, device, selectable=True)
    assert (found[:, 1] == NO_VOTE).all()
    assert (found[:, 0] >= 0).all()
    assert torch.equal(found, expected)


def test_an_embedding_that_is_no_number_has_no_vote(device):
    model, z = drawn(6, 9)
    z[4] = torch.nan
    found, expected = both(model, z, device, selectable=False)
    assert (found[4] == NO_VOTE).all()
    assert torch.equal(found, expected)


def test_the_nearest_key_of_one_codebook(device):
    model, _ = drawn(7, 1, c=1, m=50, d_k=6)
    x = torch.randn(37, 6, generator=torch.Generator().manual_seed(7))
    keys, selectable = model.keys[0], model.selectable[0]
    for some in (selectable, None):
        found = nearest(x.to(device), keys.to(device), selectable=None if some is None else some.to(device))
        assert torch.equal(found.cpu(), nearest_on_the_cpu(x, keys, selectable=some))


def test_an_exact_tie_goes_to_the_lowest_selectable_index(device):
    x, keys = torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert nearest(x.to(device), keys.to(device)).tolist() == [0]
    assert nearest(x.to(device), keys.to(device), selectable=torch.tensor([False, True, True]).to(device)).tolist() == [
        1
    ]


def test_counts_of_codes_on_a_gpu_are_those_of_the_cpu(device):
    codes = torch.randint(-1, 11, (200, 3), generator=torch.Generator().manual_seed(8)).short()
    labels = torch.arange(200) % 4 - 1
    found = class_counts(codes.to(device), labels.to(device), classes=3, m=11)
    assert torch.equal(found.cpu(), class_counts(codes, labels, classes=3, m=11))


def test_misfits_are_refused_as_on_the_cpu(device):
    model, z = drawn(9, 4)
    with pytest.raises(ShapeMismatch, match="selectable"):
        encode(z, model.projection, model.keys, selectable=model.selectable[:, 1:])
    with pytest.raises(ShapeMismatch, match=r"x \(n, d_k\)"):
        nearest(torch.zeros(2, 3), torch.zeros(4, 5))
    wide = replace(model, projection=torch.zeros(3, 21, 65), keys=torch.zeros(3, 70, 65))
    with pytest.raises(BadSetting, match="65, expected at most 64 on a GPU"):
        encode(z, wide.projection, wide.keys)
    with pytest.raises(BadSetting, match="at most 64"):
        nearest(torch.zeros(2, 65), torch.zeros(4, 65))
