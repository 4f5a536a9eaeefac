"""The sweep of one class over 20 budgets, against 20 masked forward passes with the same codes kernel.

Read `ratio` as how many times faster; `entries` is the share of item-codebook entries whose key is ever masked, the
only ones the sweep looks at; `of limit` compares with one distance pass over just these at the matrix-product rate.
"""

import torch
from timing import clustered, matmul_rate, median, report, size

from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.counts import class_counts
from dkvb.masks import activation_positions, budgets, steps_of
from dkvb.projection import project, random_projection
from dkvb.sweep import sweep, watch

D_K = 14


def main() -> None:
    """Time both on the same model."""
    s = size(__doc__ or "")
    n, c, m, v = s["n"], s["c"], s["m"], s["v"]
    z, labels = clustered(n, s["d_z"], v)
    projection = random_projection(range(c), s["d_z"], D_K, seed=0)
    seed_items = torch.randint(n, (c, m))
    keys = torch.stack([project(z, projection[j])[seed_items[j]] for j in range(c)])
    codes = encode(z, projection, keys)
    model = Bottleneck(projection, keys, torch.randn(c, m, v), torch.ones(c, m, dtype=torch.bool), {})
    counts = class_counts(codes, labels, classes=v, m=m)
    position = torch.from_numpy(activation_positions(counts[0].numpy()))
    grid = budgets([k / 20 for k in range(1, 21)], int((counts[0] > 0).sum()), shares=True, what="pairs")
    step = torch.from_numpy(steps_of(position.numpy(), grid))
    items = watch(model, z, codes)

    def swept() -> list[torch.Tensor]:
        return [predicted.clone() for predicted, _ in sweep(model, items, step, steps=len(grid), forget=[0])]

    last = model.masked(position < grid[-1])
    agree = (swept()[-1] == last.logits(z).argmax(1)).double().mean().item()
    taken, one = median(swept), median(lambda: last.logits(z), runs=1)
    entries = torch.stack([step[j][codes[:, j].long()] < len(grid) for j in range(c)]).double().mean().item()
    limit = 2 * D_K * n * c * m * entries / matmul_rate()
    row = {
        "seconds": taken,
        "20 forward passes": 20 * one,
        "ratio": 20 * one / taken,
        "entries": entries,
        "of limit": limit / taken,
        "equal predictions": agree,
    }
    report("sweep", [row], **s)


if __name__ == "__main__":
    main()
