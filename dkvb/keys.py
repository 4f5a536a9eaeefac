"""Keys: fitted once by vector quantisation with exponential moving averages (EMA), then frozen.

n: items; b: items of a batch; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb.codes import nearest
from dkvb.errors import BadSetting
from dkvb.projection import project_each, random_projection
from dkvb.seeds import drawn, generator
from dkvb.settings import KeySettings as KeySettings
from dkvb.tiles import each, kernel


@dataclass(slots=True)
class KeyState:
    """The moving averages of one codebook."""

    keys: Tensor
    """(m, d_k) float32."""
    count: Tensor
    """(m,) float32, average number of items of a batch that are nearest to a key."""
    total: Tensor
    """(m, d_k) float32, average sum of these items."""


def start(
    m: int, d_k: int, settings: KeySettings, *, gen: torch.Generator, device: torch.device | None = None
) -> KeyState:
    """Draw standard normal keys, each with the count of a key that was just replaced.

    A new key is thus treated alike at the start and after a replacement: it must win an item of the next batch, or is
    replaced (again).
    """
    keys = torch.randn(m, d_k, generator=gen).to(device)
    count = torch.full((m,), (settings.dead or 0.1) * settings.batch / m, device=device)
    return KeyState(keys, count, keys * count[:, None])


def ema_step(state: KeyState, x: Tensor, settings: KeySettings, *, gen: torch.Generator) -> None:
    """Update keys and averages by one batch of EMA vector quantisation, in place.

    x: (b, d_k) float32, projected items of the batch.
    gen: draws the items that replace dead keys.
    source: van den Oord et al., arXiv 1711.00937, appendix A.1; Träuble et al., arXiv 2207.11240, for the threshold
        below which a key is dead. There a replaced key keeps its running averages; here they begin anew with the key,
        as the next batch would otherwise draw it back to where it died.
    """
    m = len(state.keys)
    code = nearest(x, state.keys)
    if x.device.type == "cpu":
        average(state, x, code, settings)
    else:
        average_plain(state, x, code, settings)
    threshold = settings.dead * settings.batch / m
    dead = (state.count < threshold).nonzero()[:, 0]
    if len(dead):
        chosen = torch.randint(len(x), (len(dead),), generator=gen).to(x.device)
        if x.device.type == "cpu":
            arrays = (state.keys.numpy(), state.count.numpy(), state.total.numpy(), x.numpy())
            _replace(*arrays, dead.numpy(), chosen.numpy(), threshold)
        else:
            state.keys[dead], state.count[dead], state.total[dead] = x[chosen], threshold, x[chosen] * threshold


def average(state: KeyState, x: Tensor, code: Tensor, settings: KeySettings) -> None:
    """Move averages and keys by one batch, in place; on the CPU.

    x: (b, d_k) float32; code: (b,) int64, the nearest key of each.
    """
    arrays = (state.keys.numpy(), state.count.numpy(), state.total.numpy(), x.numpy(), code.numpy())
    _average(*arrays, settings.decay, settings.smoothing)


def average_plain(state: KeyState, x: Tensor, code: Tensor, settings: KeySettings) -> None:
    """`average` in plain torch: what runs on other devices, and what the kernel is tested against."""
    m, new = len(state.keys), 1 - settings.decay
    state.count.mul_(settings.decay).index_add_(0, code, torch.full_like(x[:, 0], new))
    state.total.mul_(settings.decay).index_add_(0, code, x, alpha=new)
    n = state.count.sum()
    smoothed = (state.count + settings.smoothing) * (n / (n + m * settings.smoothing))
    torch.div(state.total, smoothed[:, None], out=state.keys)


@kernel
def _average(keys: Any, count: Any, total: Any, x: Any, code: Any, decay: float, smoothing: float) -> None:
    """Move keys (m, d_k), count (m,) and total (m, d_k) by items x (b, d_k) whose nearest keys are code (b,)."""
    old, new = np.float32(decay), np.float32(1 - decay)
    for k in range(len(keys)):
        count[k] *= old
        for d in range(keys.shape[1]):
            total[k, d] *= old
    for i in range(len(x)):
        if code[i] < 0:
            continue  # an embedding that is no number has no nearest key
        count[code[i]] += new
        for d in range(keys.shape[1]):
            total[code[i], d] += new * x[i, d]
    n = 0.0
    for k in range(len(keys)):
        n += count[k]
    rescale = n / (n + len(keys) * smoothing)
    for k in range(len(keys)):
        smoothed = np.float32((count[k] + smoothing) * rescale)
        for d in range(keys.shape[1]):
            keys[k, d] = total[k, d] / smoothed


@kernel
def _replace(keys: Any, count: Any, total: Any, x: Any, dead: Any, chosen: Any, threshold: float) -> None:
    """Put the dead keys, by index, where the chosen items of x (b, d_k) are, with a count of the threshold."""
    for k in range(len(dead)):
        count[dead[k]] = threshold
        for d in range(keys.shape[1]):
            keys[dead[k], d] = x[chosen[k], d]
            total[dead[k], d] = x[chosen[k], d] * np.float32(threshold)


def fit_keys(x: Tensor, m: int, *, codebook: int, seed: int, settings: KeySettings) -> Tensor:
    """Fit the keys of one codebook.

    x: (n, d_k) float32, the init data as this codebook sees them (`dkvb.projection`).
    codebook: its index; with seed it names all random draws, so codebooks can be fitted in any order.
    returns: (m, d_k) float32.
    """
    gen = generator(seed, "keys", codebook)
    state = start(m, x.shape[1], settings, gen=gen, device=x.device)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(x), generator=generator(seed, "key order", epoch))
        for rows in order.split(settings.batch):
            ema_step(state, x[rows], settings, gen=gen)
    return state.keys


def fit_codebooks(
    z: Tensor, codebooks: Sequence[int], size: tuple[int, int], *, seed: int, settings: KeySettings
) -> tuple[Tensor, Tensor]:
    """Draw the projections of some codebooks and fit their keys, on as many threads as torch may use.

    z: (n, d_z) float, embeddings of the init data.
    size: m keys a codebook, and their width d_k.
    returns: projection (codebooks, d_z, d_k) and keys (codebooks, m, d_k), float32.
    memory: the init data as all of these codebooks see them, 4 d_k bytes an item and codebook.
    """
    m, d_k = size
    projection, keys = random_projection(codebooks, z.shape[1], d_k, seed=seed), torch.empty(len(codebooks), m, d_k)
    x = project_each(z, projection)

    def fit(i: int) -> None:
        keys[i] = fit_keys(x[i], m, codebook=codebooks[i], seed=seed, settings=settings)

    each(fit, range(len(codebooks)))
    return projection, keys


def item_codebooks(z: Tensor, codebooks: Sequence[int], size: tuple[int, int], *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the projections of some codebooks, and as keys projected items: nothing is fitted.

    z: (n, d_z) float, embeddings of the items, each of which is a key of a codebook once at most.
    size: m keys a codebook, and their width d_k; seed: with a codebook's index it names all draws.
    returns: as `fit_codebooks`.
    raises: BadSetting for fewer items than keys.
    """
    m, d_k = size
    if len(z) < m:
        raise BadSetting(f"keys: found {len(z)} items, expected {m} or more: one for each key of a codebook")
    projection = random_projection(codebooks, z.shape[1], d_k, seed=seed)
    x = project_each(z, projection)
    rows = [drawn(len(z), m, seed, "item keys", codebook) for codebook in codebooks]
    return projection, torch.stack([x[i][own] for i, own in enumerate(rows)])


def sampled(n: int, sample: int | None, *, seed: int) -> Tensor:
    """Which of n items the keys are fitted on: all of them, or a sample in order; (k,) int64."""
    if sample is None or sample >= n:
        return torch.arange(n)
    return drawn(n, sample, seed, "key sample")
