"""Codes: the blocked kernel against distances by einsum over 64-item batches, as published code computes them.

Read `ratio` as how many times faster than the reference, `of limit` as the share of the matrix-product rate that the
2 d_k FLOP of every distance would reach.
"""

import torch
from timing import clustered, matmul_rate, median, report, size

from dkvb.codes import encode
from dkvb.projection import random_projection

D_K = 14


def einsum_codes(z: torch.Tensor, projection: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Distances to all keys of all codebooks at once, batch by batch."""
    found = []
    for batch in z.split(64):
        x = torch.einsum("nz,czk->nck", batch, projection)
        cross = torch.einsum("nck,cmk->ncm", x, keys)
        distance = x.square().sum(2, keepdim=True) - 2 * cross + keys.square().sum(2)
        found.append(distance.argmin(2))
    return torch.cat(found)


def main() -> None:
    """Time both on the same items."""
    s = size(__doc__ or "")
    n, c, m = s["n"], s["c"], s["m"]
    z, _ = clustered(n, s["d_z"], s["v"])
    projection = random_projection(range(c), s["d_z"], D_K, seed=0)
    keys = torch.randn(c, m, D_K)
    few = z[: min(n, 256)]
    agree = (encode(few, projection, keys) == einsum_codes(few, projection, keys)).double().mean().item()
    taken = median(lambda: encode(z, projection, keys))
    reference = median(lambda: einsum_codes(few, projection, keys)) * n / len(few)
    limit = 2 * D_K * n * c * m / matmul_rate()
    row = {
        "G distances/s": n * c * m / taken / 1e9,
        "reference": n * c * m / reference / 1e9,
        "ratio": reference / taken,
        "of limit": limit / taken,
        "equal codes": agree,
    }
    report("codes", [row], **s)


if __name__ == "__main__":
    main()
