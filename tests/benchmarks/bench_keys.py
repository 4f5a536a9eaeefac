"""Key fitting: an epoch of EMA vector quantisation against the same with one-hot matrices, all codebooks at once.

Read `ratio` as how many times faster per item; `of limit` as the share of the matrix-product rate that the distances
alone would reach. The reference is timed on one batch: it needs 4 c m bytes an item.
"""

import torch
from synthetic import D_K, codebooks, items, some_labels
from timing import matmul_rate, median, once, report, size
from torch import Tensor

from dkvb.keys import KeySettings, fit_codebooks
from dkvb.projection import random_projection
from store.layout import CODEBOOKS

BATCH = 256


def one_hot_step(x: Tensor, keys: Tensor, count: Tensor, total: Tensor) -> None:
    """One EMA step on x (b, c, d_k), as published code takes it."""
    cross = torch.einsum("nck,cmk->ncm", x, keys)
    distance = x.square().sum(2, keepdim=True) - 2 * cross + keys.square().sum(2)
    one_hot = torch.nn.functional.one_hot(distance.argmin(2), keys.shape[1]).to(x.dtype)
    count.mul_(0.95).add_(one_hot.sum(0), alpha=0.05)
    total.mul_(0.95).add_(torch.einsum("ncm,nck->cmk", one_hot, x), alpha=0.05)
    n = count.sum(1, keepdim=True)
    keys.copy_(total / ((count + 1e-5) * n / (n + keys.shape[1] * 1e-5))[:, :, None])


def main() -> None:
    """Time both on the same items."""
    s = size(__doc__ or "")
    n, c, m = min(s["n"], 40 * BATCH), s["c"], s["m"]
    z = items(some_labels(n, s["v"], seed=3), s, seed=4)
    projection, settings = random_projection(range(c), s["d_z"], D_K, seed=0), KeySettings(batch=BATCH, epochs=1)

    def epoch() -> None:
        for start in range(0, c, CODEBOOKS):
            some = range(start, min(start + CODEBOOKS, c))
            fit_codebooks(z, some, (m, D_K), seed=0, settings=settings)

    taken = median(epoch, runs=1)
    keys = codebooks(s)[1]
    count, total = torch.ones(c, m), keys.clone()
    x = torch.einsum("nz,czk->nck", z[:32].float(), projection)
    reference = once(lambda: one_hot_step(x, keys, count, total)) / len(x)
    row = {
        "items/s": n / taken,
        "one-hot items/s": 1 / reference,
        "ratio": reference * n / taken,
        "of limit": 2 * D_K * n * c * m / matmul_rate() / taken,
    }
    report("keys", [row], **{**s, "n": n})


if __name__ == "__main__":
    main()
