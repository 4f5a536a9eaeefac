"""Values that lie on a scratch file (`dkvb.spilled`): the same sums in the same order, some codebooks at a time.

In memory are the errors of all items, 4 n v bytes; their codes, 2 n c; and of the tables one GROUP.

n: items; c: codebooks; m: keys of a codebook; v: classes.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.sizes import GROUP as GROUP
from dkvb.spilled import let_go
from dkvb.tiles import Floats, each, threads
from dkvb.training import TrainSettings, errors_
from dkvb.value_kernels import add_rows, move_rows, transpose

MOVED = 1 << 27
"""Bytes of values that are moved at a time."""


def forward(
    codes: Tensor, m: int, weights: Tensor, velocity: Tensor | None = None, *, block: int, momentum: float = 0.0
) -> Tensor:
    """Logits (n, v): the mean of the fetched values, where momentum leads them if there is a velocity.

    codes: (n, c) int16; weights and velocity: (c * m, v) float32, left as they are.
    block: items whose logits stay in a core's cache.
    """
    (n, c), v = codes.shape, weights.shape[1]
    logits = torch.zeros(n, v)
    taken, out = codes.numpy(), logits.numpy()
    for group in groups(c, m, v, GROUP):
        rows = slice(group.start * m, group.stop * m)
        table = weights[rows] if velocity is None else ahead(weights[rows], velocity[rows], momentum, m)
        which, share = slice(group.start, group.stop), c if group.stop == c else 0
        fetch = partial(_fetch, taken[:, which], table.numpy(), out, block, share)
        each(fetch, range(0, n, block))
        let_go(weights[rows])
        del table, fetch  # before the next group's
    return logits


def update(
    codes: Tensor, m: int, tables: tuple[Tensor, Tensor], labels: Tensor, settings: TrainSettings, *, block: int
) -> None:
    """One epoch of Nesterov's descent, in place: `dkvb.training.update` to the last bit.

    codes: (n, c) int16; tables: weights and velocity, (c * m, v) float32 each; labels: (n,) int64.
    """
    weights, velocity = tables
    (n, c), v = codes.shape, weights.shape[1]
    logits = forward(codes, m, weights, velocity, block=block, momentum=settings.momentum)
    error, columns = errors_(logits, labels, settings.label_smoothing).numpy(), codes.numpy()
    for group in groups(c, m, v, MOVED):
        rows = slice(group.start * m, group.stop * m)
        led = ahead(weights[rows], velocity[rows], settings.momentum, m)
        w, u = led.view(-1, m, v).numpy(), velocity[rows].view(-1, m, v).numpy()

        def move(i: int, w: Floats = w, u: Floats = u, first: int = group.start) -> None:
            items, begins = np.empty(n, np.int32), np.empty(m + 1, np.int32)
            transpose(columns[:, first + i], begins, items)
            share = shares(np.diff(begins)[:, None])
            how = settings.step, settings.momentum, settings.decay
            move_rows(items, begins, share, error, w[i], u[i], *how)

        each(move, range(len(group)))
        let_go(velocity[rows])
        weights[rows] = led
        let_go(weights[rows])
        del led, w, u, move


def ahead(weights: Tensor, velocity: Tensor, momentum: float, m: int) -> Tensor:
    """Where momentum leads the rows of some codebooks: a new tensor; the tables are let go."""
    led = torch.empty(weights.shape)
    for w, u, out in zip(weights.split(m), velocity.split(m), led.split(m), strict=True):
        torch.add(w, u, alpha=momentum, out=out)
        let_go(w)
        let_go(u)
    return led


def groups(c: int, m: int, v: int, most: int) -> Iterator[range]:
    """Codebooks in groups of so many bytes of values, or of one for each thread."""
    size = max(threads(), most // (4 * m * v))
    for first in range(0, c, size):
        yield range(first, min(first + size, c))


def _fetch(codes: NDArray[np.int16], table: Floats, logits: Floats, block: int, share: int, begin: int) -> None:
    """Add up the votes of one block of items."""
    add_rows(codes[begin : begin + block], table, logits[begin : begin + block], share)


def shares(counts: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.float32]:
    """One over counts of items, in float32; 0 where there are none."""
    return np.divide(1, counts, where=counts > 0, out=np.zeros(counts.shape, np.float32), casting="unsafe")
