"""One epoch of value training on cached codes, against training through the embeddings (codes found again each epoch).

Read `ratio` as how many times faster; `of limit` is the time to copy the bytes an epoch must touch (codes twice, one
value row a code forward, values and velocity twice) over the time taken.
"""

import torch
from timing import clustered, copy_rate, median, report, size

from dkvb.codes import encode
from dkvb.projection import random_projection
from dkvb.training import errors
from dkvb.values import CodeFeatures

D_K = 14


def main() -> None:
    """Time both on the same items."""
    s = size(__doc__ or "")
    n, c, m, v = s["n"], s["c"], s["m"], s["v"]
    z, labels = clustered(n, s["d_z"], v)
    projection = random_projection(range(c), s["d_z"], D_K, seed=0)
    keys = torch.randn(c, m, D_K)
    features = CodeFeatures.of(encode(z, projection, keys), m)
    weights = features.weights(v)

    def epoch() -> None:
        weights.sub_(features.direction(errors(features.forward(weights), labels, 0.1)))

    taken = median(epoch)
    through = median(lambda: encode(z, projection, keys), runs=1) + taken
    touched = 2 * n * c * 8 + n * c * v * 4 + 4 * weights.nbytes
    row = {
        "seconds": taken,
        "through embeddings": through,
        "ratio": through / taken,
        "of limit": touched / copy_rate() / taken,
    }
    report("values", [row], **s)


if __name__ == "__main__":
    main()
