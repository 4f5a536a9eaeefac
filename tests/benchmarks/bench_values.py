"""One epoch of value training on cached codes, against training through the embeddings (codes found again each epoch).

Read `ratio` as how many times faster; `of limit` is the time to copy the bytes an epoch must touch (one row of values
an item and codebook forward, one row of errors each backward, values and velocity once) over the time taken. `16 heads`
trains as many heads at once, each on its own half of the items: read its `ratio` against 16 epochs of one head.
At size imagenet1k the epoch has all 1,281,167 items and its tables of 8.4 GB lie on a scratch file: about 7 GB of
memory, as much on the disk as the tables take (TMPDIR says where), and some minutes. `--in-memory` holds them in memory
(16 GB), which gives the same bits; `--items` takes fewer items.
"""

import torch
from synthetic import codebooks, items, some_labels
from timing import copy_rate, median, once, peak_bytes, report, size
from torch import Tensor

from dkvb import sizes
from dkvb.codes import encode
from dkvb.training import TrainSettings, errors_
from dkvb.values import CodeFeatures

ITEMS = {"quick": 5_000, "cifar": 50_000, "imagenet1k": 1_281_167}
HEADS = 16


def epoch(features: CodeFeatures, labels: Tensor, weights: Tensor, velocity: Tensor, heads: int = 1) -> None:
    """One epoch of full-batch Nesterov descent."""
    if heads == 1:
        features.update(weights, velocity, labels, TrainSettings())
        return
    n, v = len(labels), weights.shape[1] // heads
    weights.add_(velocity, alpha=0.9)
    error = errors_(features.forward(weights).view(n * heads, v), labels.repeat_interleave(heads), 0.1)
    features.accelerate(weights, velocity, error.view(n, -1), lr=1.0, momentum=0.9)


def main() -> None:
    """Time both on the same items."""
    s = size(__doc__ or "", flag="in-memory", number="items")
    n, c, m, v = s["items"] or ITEMS[s["name"]], s["c"], s["m"], s["v"]
    if s["in_memory"]:
        sizes.LARGE = 1 << 60
    labels = some_labels(n, v, seed=3)
    projection, keys = codebooks(s)
    some = items(labels[:10_000], s, seed=4)
    encode(some[:64], projection, keys)
    finding = median(lambda: encode(some, projection, keys), runs=1) * n / len(some)
    codes = torch.randint(m, (n, c), dtype=torch.int16, generator=torch.Generator().manual_seed(5))
    copying = copy_rate()
    features = CodeFeatures.of(codes, m)
    weights, velocity = features.weights(v), features.weights(v)
    epoch(features, labels, weights, velocity)
    taken = (
        median(lambda: epoch(features, labels, weights, velocity))
        if v <= 10
        else once(lambda: epoch(features, labels, weights, velocity))
    )
    touched = 2 * n * c * v * 4 + 4 * weights.nbytes
    rows = [
        {
            "what": "one epoch",
            "seconds": taken,
            "through embeddings": taken + finding,
            "ratio": (taken + finding) / taken,
            "of limit": touched / copying / taken,
        }
    ]
    if v <= 10:
        members = torch.rand(n, HEADS, generator=torch.Generator().manual_seed(6)) < 0.5
        many = CodeFeatures.of(codes, m, members)
        weights, velocity = many.weights(HEADS * v), many.weights(HEADS * v)
        together = median(lambda: epoch(many, labels, weights, velocity, HEADS))
        touched = 2 * n * c * HEADS * v * 4 + 4 * weights.nbytes
        rows.append(
            {
                "what": f"{HEADS} heads",
                "seconds": together,
                "through embeddings": together + finding,
                "ratio": HEADS * taken / together,
                "of limit": touched / copying / together,
            }
        )
    report("values", rows, peak_GB=round(peak_bytes() / 2**30, 2), **{**s, "n": n})


if __name__ == "__main__":
    main()
