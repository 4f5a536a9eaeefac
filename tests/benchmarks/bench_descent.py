"""One epoch of fine-tuning the values in batches of 256, against torch.optim.SGD on an embedding_bag.

Read `ratio` as how many times faster; the reference takes some steps and is scaled up. Momentum and decay move
every row at every step there; here a row takes the steps it missed when it is selected again. `of limit` is the time
to copy the bytes an epoch must touch (for each item and codebook a row and its velocity, read forward and read and
written back) over the time taken. One core: a unit of the comparison holds one.
"""

import torch
from synthetic import some_labels
from timing import copy_rate, median, peak_bytes, report, size
from torch import Tensor

from dkvb.baselines import FineTune, ForgetTask, cross_entropy_error
from dkvb.descent import descent as begin_descent
from dkvb.values import CodeFeatures

ITEMS = {"quick": 5_000, "cifar": 50_000, "imagenet1k": 20_000}
STEPS = 3


def reference(codes: Tensor, m: int, labels: Tensor, v: int, settings: FineTune) -> float:
    """Seconds of one step by torch."""
    weights = torch.zeros(codes.shape[1] * m, v, requires_grad=True)
    optimiser = torch.optim.SGD([weights], lr=settings.lr, momentum=settings.momentum, weight_decay=settings.decay)
    pairs = codes.long() + m * torch.arange(codes.shape[1])

    def step() -> None:
        rows = torch.randint(len(labels), (settings.batch,))
        logits = torch.nn.functional.embedding_bag(pairs[rows], weights, mode="mean")
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
        optimiser.step()

    step()
    return median(step, runs=STEPS)


def main() -> None:
    """Time both on the same items."""
    s = size(__doc__ or "")
    torch.set_num_threads(1)
    n, c, m, v = ITEMS[s["name"]], s["c"], s["m"], s["v"]
    codes = torch.randint(m, (n, c), dtype=torch.int16, generator=torch.Generator().manual_seed(5))
    labels, features, settings = some_labels(n, v, seed=3), CodeFeatures.of(codes, m), FineTune(epochs=1, lr=0.01 * c)
    task = ForgetTask(features, labels, features.weights(v), torch.arange(1))
    copying = copy_rate()
    descent = begin_descent(features, task.weights, lr=0.1, momentum=0.9, decay=5e-4)  # compiles
    descent.step(torch.arange(8), cross_entropy_error(descent.logits(torch.arange(8)), labels[:8]))
    taken = median(lambda: list(settings.unlearn(task, seed=0)), runs=3 if v <= 10 else 1)
    plain = reference(codes, m, labels, v, settings) * -(-n // settings.batch)
    touched = n * c * v * 4 * (2 + 4)
    rows = [
        {
            "what": "one epoch",
            "seconds": taken,
            "torch": plain,
            "ratio": plain / taken,
            "of limit": touched / copying / taken,
        }
    ]
    report("descent", rows, peak_GB=round(peak_bytes() / 2**30, 2), **{**s, "n": n})


if __name__ == "__main__":
    main()
