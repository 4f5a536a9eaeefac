"""The one order in which scores are added up, on either device: the bias, then the products along the width."""

import numba
import numpy as np
import pytest
import torch
import triton.language as tl

from dkvb.gpu.launch import kernel, launch
from dkvb.gpu.scores import held, key_bias, pack, project, scores
from dkvb.nearest import key_bias as key_bias_on_the_cpu
from dkvb.projection import project as project_on_the_cpu
from dkvb.tiles import LANES, scores_of_tile
from dkvb.tiles import pack as pack_on_the_cpu
from tests.dkvb.gpu.drawn import drawn
from tests.gpu.exact_fma import fma

pytestmark = pytest.mark.gpu


def chain(z: torch.Tensor, directions: torch.Tensor, bias: float | np.ndarray = 0.0) -> np.ndarray:
    """The order in words, as a loop: from the bias, one fused multiply-add after the other along the width."""
    total = np.zeros((len(z), directions.shape[1]), np.float32) + np.float32(bias)
    for d in range(z.shape[1]):
        total = fma(z[:, d, None].numpy(), directions[d].numpy(), total)
    return total


@pytest.mark.parametrize(("n", "d_z", "d_k"), [(1, 1, 1), (65, 40, 14), (3, 129, 70)])
def test_both_devices_add_in_the_order_that_is_stated(device, n, d_z, d_k):
    model, z = drawn(1, n, c=1, m=2, d_z=d_z, d_k=d_k)
    expected = torch.from_numpy(chain(z.float(), model.projection[0]))
    assert torch.equal(project_on_the_cpu(z, model.projection[0]), expected)
    assert torch.equal(project(z.to(device), model.projection[0].to(device)).T.cpu(), expected)


@kernel
def _all_scores(
    x: tl.tensor, keys: tl.tensor, bias: tl.tensor, out: tl.tensor, n: tl.tensor, m: tl.tensor, D_K: tl.constexpr
) -> None:
    """Fill out (16, 64) with the scores of x (d_k, n) and packed keys."""
    rows, which = tl.arange(0, 16), tl.arange(0, 64)[None, :]
    tl.store(out + rows[:, None] * 64 + which, scores(held(x, n, rows, D_K), keys, bias, m, which, D_K))


def test_scores_of_both_devices_begin_with_the_bias_and_go_along_the_key(device):
    x, keys = (torch.randn(16, 14, generator=torch.Generator().manual_seed(k)) for k in (4, 5))
    bias = key_bias(keys)
    expected = chain(x, keys.T, bias.numpy())
    here, there = np.empty((LANES, LANES), np.float32), torch.empty(16, 64, device=device)
    score_tile(np.ascontiguousarray(x.numpy().T), pack_on_the_cpu(keys.numpy()), bias.numpy()[None], here)
    parts = (part.to(device) for part in (pack(keys[None]), bias, there))
    launch(_all_scores, (1,), x.T.contiguous().to(device), *parts, 16, 16, D_K=14)
    assert np.array_equal(here.T, expected)
    assert torch.equal(there[:, :16].cpu(), torch.from_numpy(expected))
    assert (there[:, 16:] == -torch.inf).all()


@numba.njit
def score_tile(x, table, bias, out):
    scores_of_tile(x, table, bias, out)


def test_another_order_gives_other_bits():
    model, z = drawn(1, 65, c=1, m=2, d_z=40, d_k=14)
    backwards = chain(z.float().flip(1), model.projection[0].flip(0))
    assert not np.array_equal(backwards, chain(z.float(), model.projection[0]))


def test_a_bias_has_the_bits_of_the_cpu(device):
    model, _ = drawn(2, 1, m=33, d_k=14)
    for keys in model.keys:
        table = pack_on_the_cpu(keys.numpy())
        bias = np.empty((len(table), LANES), np.float32)
        key_bias_on_the_cpu(table, len(keys), bias)
        assert torch.equal(key_bias(keys.to(device)).cpu(), torch.from_numpy(bias).flatten()[: len(keys)])
