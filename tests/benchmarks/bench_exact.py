"""Values that forget exactly: fitted to all items, and anew without a class and without one item.

A fit is sums over all items, a solve, and the table of values; a request subtracts the sums of what is forgotten, and
ends alike. Read `ratio` as how many times a request fits into a fit; a fit itself stands against the plain float64
product of all features with themselves, which knows nothing of symmetry. `of limit` is the time of the multiply-adds,
each product counted once, at the machine's rate of float64 matrix products, over the time taken. The values without the
class are compared bit for bit with those of a fit that never saw it.
At size imagenet1k the table of 4.2 GB lies on a scratch file (TMPDIR says where).
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from synthetic import D_K, some_labels
from timing import median, peak_bytes, report, size
from torch import Tensor

from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.spilled import parts
from dkvb.sums import ITEMS, SelectedKeys, Sums, whole_keys

ALL = {"quick": 5_000, "cifar": 50_000, "imagenet1k": 1_281_167}


def rate() -> float:
    """Multiply-adds a second of float64 matrix products of the shape that sums are made of."""
    x = torch.randn(ITEMS, 2048, dtype=torch.float64)
    return ITEMS * 2048**2 / median(lambda: x.T @ x)


def fitted(summed: Callable[[], Sums], keys: Tensor) -> tuple[Sums, Tensor, dict[str, float]]:
    """Sums, values, and the seconds of each step."""
    moments = [time.perf_counter()]
    sums = summed()
    moments.append(time.perf_counter())
    found = discriminants(sums, LdaSettings())
    moments.append(time.perf_counter())
    values = lda_values(found, keys)
    moments.append(time.perf_counter())
    names = ("sums", "solve", "table")
    steps = {name: after - before for name, (before, after) in zip(names, pairwise(moments), strict=True)}
    return sums, values, {**steps, "seconds": moments[-1] - moments[0]}


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tables have the same bits, read part by part."""
    return all(torch.equal(a, b) for a, b in zip(parts(one), parts(other), strict=True))


def main() -> None:
    """Fit, forget a class, forget an item."""
    s = size(__doc__ or "", number="items")
    n, c, m, v = s["items"] or ALL[s["name"]], s["c"], s["m"], s["v"]
    gen = torch.Generator().manual_seed(5)
    keys, _ = whole_keys(torch.randn(c, m, D_K, generator=gen))
    codes = torch.randint(m, (n, c), dtype=torch.int16, generator=gen)
    labels = some_labels(n, v, seed=3)
    d, speed = c * D_K, rate()
    solving = d**3 / 3 + d * d * v + c * m * D_K * v

    def summed(kept: Tensor) -> Sums:
        features = SelectedKeys.of(codes if kept.all() else codes[kept], keys)
        return Sums.of(features, labels[kept], v=v)

    def without(own: SelectedKeys, labels: Tensor) -> Sums:
        return sums - Sums.of(own, labels, v=v)

    some = SelectedKeys.of(codes[:ITEMS], keys)

    def plain() -> None:
        x = some.read(slice(None), 0)
        x.T @ x

    def row(what: str, items: int, steps: dict[str, float], reference: float) -> dict[str, Any]:
        seconds, limit = steps["seconds"], (items * d * (d + 1) / 2 + solving) / speed
        return {"what": what, "items": items, **steps, "ratio": reference / seconds, "of limit": limit / seconds}

    sums, values, steps = fitted(partial(summed, torch.ones(n, dtype=torch.bool)), keys)
    del values
    rows = [row("fit", n, steps, median(plain) * n / ITEMS)]
    fit_peak = peak_bytes()
    for what, gone in (("a class", labels == 3), ("an item", torch.arange(n) == 11)):
        own = SelectedKeys.of(codes[gone], keys)
        _, values, steps = fitted(partial(without, own, labels[gone]), keys)
        rows.append(row(what, len(own), steps, rows[0]["seconds"]))
        if len(own) > 1:
            _, anew, _ = fitted(partial(summed, ~gone), keys)
            assert equal(values, anew), f"{what}: other values than without it"
            del anew
        del values
    report("exact", rows, peak_GB_of_fit=round(fit_peak / 2**30, 2), d=d, gflops64=round(2e-9 * speed, 1), **s)


if __name__ == "__main__":
    main()
