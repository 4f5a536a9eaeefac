"""Fitting of keys on GPUs, all codebooks at once: the bits of `dkvb.keys` where dead keys are replaced.

A batch is added item after item, as on the CPU. The sum of all counts of a codebook is the CPU's too, as double
precision holds it exactly: no count falls far below the threshold of a dead key. Where none is replaced (``dead`` is 0)
counts fade without end, that sum is rounded, and keys agree within rounding.

b: items of a batch; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton.language as tl
from torch import Tensor

from dkvb.gpu.codes import nearest_of_each
from dkvb.gpu.launch import kernel, launch, power_of_two
from dkvb.gpu.scores import check_width, key_bias, pack, project
from dkvb.keys import KeySettings, start
from dkvb.projection import random_projection
from dkvb.seeds import generator


@dataclass(slots=True)
class _State:
    """The moving averages of all codebooks; see `dkvb.keys.KeyState`."""

    keys: Tensor
    """(c, d_k, m) float32."""
    count: Tensor
    """(c, m) float32."""
    total: Tensor
    """(c, d_k, m) float32."""


def fit_codebooks(
    z: Tensor, codebooks: Sequence[int], size: tuple[int, int], *, seed: int, settings: KeySettings
) -> tuple[Tensor, Tensor]:
    """Draw the projections of some codebooks and fit their keys, as `dkvb.keys.fit_codebooks`.

    z: (n, d_z) float, embeddings of the init data.
    size: m keys a codebook, and their width d_k.
    returns: projection (codebooks, d_z, d_k) and keys (codebooks, m, d_k), float32, on the device of z.
    memory: 4 n d_k bytes a codebook for projected items, and 16 m d_k.
    raises: BadSetting.
    """
    (m, d_k), device = size, z.device
    check_width(d_k)
    projection = random_projection(codebooks, z.shape[1], d_k, seed=seed).to(device)
    x = project(z, projection.permute(1, 0, 2).reshape(z.shape[1], -1).contiguous()).view(len(codebooks), d_k, -1)
    generators = [generator(seed, "keys", codebook) for codebook in codebooks]
    begun = [start(m, d_k, settings, gen=gen) for gen in generators]
    state = _State(
        torch.stack([each.keys.T for each in begun]).contiguous().to(device),
        torch.stack([each.count for each in begun]).to(device),
        torch.stack([each.total.T for each in begun]).contiguous().to(device),
    )
    for epoch in range(settings.epochs):
        order = torch.randperm(len(z), generator=generator(seed, "key order", epoch)).to(device)
        for rows in order.split(settings.batch):
            _step(state, x.index_select(2, rows), settings, generators)
    return projection, state.keys.transpose(1, 2).contiguous()


def _step(state: _State, x: Tensor, settings: KeySettings, generators: Sequence[torch.Generator]) -> None:
    """Move keys and averages by one batch x (c, d_k, b), as `dkvb.keys.ema_step` does codebook by codebook."""
    (c, d_k, b), m = x.shape, state.keys.shape[2]
    keys = state.keys.transpose(1, 2)
    codes = nearest_of_each(x, pack(keys), key_bias(keys))
    state.count.mul_(settings.decay)
    state.total.mul_(settings.decay)
    tables = (codes, x, state.count, state.total)
    launch(_add, (c,), *tables, 1 - settings.decay, b, c, m, D_K=d_k, WIDTH=power_of_two(d_k), num_warps=1)
    n = state.count.double().sum(1, keepdim=True)
    rescale = n / (n + m * settings.smoothing)
    smoothed = ((state.count.double() + settings.smoothing) * rescale).float()
    torch.div(state.total, smoothed[:, None], out=state.keys)
    threshold = settings.dead * settings.batch / m
    book, dead = (state.count < threshold).nonzero(as_tuple=True)
    if len(book):
        counts = torch.bincount(book, minlength=c).tolist()
        drawn = [torch.randint(b, (k,), generator=gen) for k, gen in zip(counts, generators, strict=True) if k]
        chosen = x[book, :, torch.cat(drawn).to(x.device)]
        state.keys[book, :, dead], state.count[book, dead] = chosen, threshold
        state.total[book, :, dead] = chosen * threshold


@kernel
def _add(
    codes: tl.tensor,
    x: tl.tensor,
    count: tl.tensor,
    total: tl.tensor,
    new: tl.tensor,
    b: tl.tensor,
    c: tl.tensor,
    m: tl.tensor,
    D_K: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Add a batch x (c, d_k, b) to count (c, m) and total (c, d_k, m) of one codebook, item after item."""
    j = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, WIDTH)
    inside = d < D_K
    items, sums = x + (j * D_K + d) * b, total + (j * D_K + d) * m
    for i in range(b):
        code = tl.load(codes + i * c + j).to(tl.int32)
        if code >= 0:  # an embedding that is no number has no nearest key
            number = tl.load(count + j * m + code) + new
            here = tl.load(sums + code, inside, other=0.0) + new * tl.load(items + i, inside, other=0.0)
            tl.debug_barrier()  # read by all threads before one writes
            tl.store(count + j * m + code, number)
            tl.store(sums + code, here, inside)
        tl.debug_barrier()  # written before the next item reads it
