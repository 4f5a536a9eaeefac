"""The method by plain loops in float64: the oracle of the tests, slow and right by inspection.

Arrays are NumPy arrays (tensors are accepted too); nothing of the product is called but the `Bottleneck` container.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from dkvb.bottleneck import Bottleneck


def f64(values: Any) -> np.ndarray:
    return values.double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=np.float64)


# --- codes and logits ---


def distances(z: Any, projection: Any, keys: Any) -> np.ndarray:
    """Squared L2 distance of every item to every key: (n, c, m)."""
    z, projection, keys = f64(z), f64(projection), f64(keys)
    n, (c, m, _) = len(z), keys.shape
    found = np.empty((n, c, m))
    for i in range(n):
        for j in range(c):
            x = z[i] @ projection[j]
            for k in range(m):
                found[i, j, k] = ((x - keys[j, k]) ** 2).sum()
    return found


def nearest(distance: np.ndarray, selectable: Any = None) -> np.ndarray:
    """The first of the nearest selectable keys: (n, c); -1 where nothing is selectable."""
    n, c, m = distance.shape
    allowed = np.ones((c, m), bool) if selectable is None else np.asarray(selectable)
    codes = np.full((n, c), -1)
    for i in range(n):
        for j in range(c):
            for k in range(m):
                best = codes[i, j]
                if allowed[j, k] and (best < 0 or distance[i, j, k] < distance[i, j, best]):
                    codes[i, j] = k
    return codes


def decode(codes: Any, values: Any) -> np.ndarray:
    """The mean of the fetched values over the codebooks that vote; zeros without a vote: (n, v)."""
    codes, values = np.asarray(codes), f64(values)
    logits = np.zeros((len(codes), values.shape[2]))
    for i, row in enumerate(codes):
        fetched = [values[j, code] for j, code in enumerate(row) if code >= 0]
        if fetched:
            logits[i] = sum(fetched) / len(fetched)
    return logits


def assert_same_codes(found: Any, expected: np.ndarray, distance: np.ndarray, *, tolerance: float = 1e-5) -> None:
    """Codes may differ only where two keys are equally far, up to float32; tolerance 0 forgives nothing."""
    found = np.asarray(found)
    assert found.shape == expected.shape
    for i, j in np.argwhere(found != expected):
        one, other = found[i, j], expected[i, j]
        assert one >= 0, f"item {i}, codebook {j}: no vote, expected key {other}"
        assert other >= 0, f"item {i}, codebook {j}: key {one}, expected no vote"
        gap = abs(distance[i, j, one] - distance[i, j, other])
        assert gap < tolerance * (1 + distance[i, j].max()), f"item {i}, codebook {j}: {one}, expected {other}"


def assert_argmax(predicted: Any, logits: np.ndarray, allowed: list[int], *, tolerance: float = 1e-5) -> None:
    """Every prediction is an allowed class whose logit is the largest allowed one, up to float32."""
    for i, (k, row) in enumerate(zip(np.asarray(predicted), logits, strict=True)):
        assert k in allowed
        gap = row[allowed].max() - row[k]
        assert gap <= tolerance * (1 + abs(row).max()), f"item {i}: predicted {k} from logits {row}"


# --- counts and masks ---


def class_counts(codes: Any, labels: Any, classes: int, m: int) -> np.ndarray:
    """Hits of every class on every pair: (classes, c, m)."""
    codes, labels = np.asarray(codes), np.asarray(labels)
    counts = np.zeros((classes, codes.shape[1], m), np.int64)
    for row, label in zip(codes, labels, strict=True):
        for j, code in enumerate(row):
            if label >= 0 and code >= 0:
                counts[label, j, code] += 1
    return counts


def removal_order(counts: Any) -> list[tuple[int, int]]:
    """Activated pairs, most activated first, ties to the lower codebook, then to the lower key."""
    counts = np.asarray(counts)
    activated = [(int(j), int(k)) for j, k in np.argwhere(counts > 0)]
    return sorted(activated, key=lambda pair: (-counts[pair], *pair))


def activation_mask(counts: Any, budget: int, scope: str) -> np.ndarray:
    """UvA: (c, m) bool."""
    counts = np.asarray(counts)
    mask = np.zeros(counts.shape, bool)
    if scope == "global":
        for pair in removal_order(counts)[:budget]:
            mask[pair] = True
    else:
        for j, row in enumerate(counts):
            for _, k in removal_order(row[None])[:budget]:
                mask[j, k] = True
    return mask


def example_mask(codes: Any, m: int) -> np.ndarray:
    """UvE: every pair that one of these items selects: (c, m) bool."""
    codes = np.asarray(codes)
    mask = np.zeros((codes.shape[1], m), bool)
    for row in codes:
        for j, code in enumerate(row):
            if code >= 0:
                mask[j, code] = True
    return mask


# --- keys ---


def ema_step(
    keys: np.ndarray, count: np.ndarray, total: np.ndarray, x: np.ndarray, *, decay: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of EMA vector quantisation without replacement: keys, count, total."""
    m = len(keys)
    hits, sums = np.zeros(m), np.zeros_like(keys)
    for row in x:
        k = min(range(m), key=lambda k: ((row - keys[k]) ** 2).sum())
        hits[k] += 1
        sums[k] += row
    count = decay * count + (1 - decay) * hits
    total = decay * total + (1 - decay) * sums
    n = count.sum()
    smoothed = (count + smoothing) / (n + m * smoothing) * n
    return total / smoothed[:, None], count, total


# --- random cases ---


def random_bottleneck(
    seed: int, *, c: int, m: int, v: int, d_z: int = 7, d_k: int = 5, integer: bool = False
) -> Bottleneck:
    """A model with every key selectable. Integer: small whole numbers, so distances are exact and often tie."""
    gen = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(-2, 3, shape, generator=gen).float() if integer else torch.randn(shape, generator=gen)

    return Bottleneck(
        projection=draw(c, d_z, d_k),
        keys=draw(c, m, d_k),
        values=draw(c, m, v),
        selectable=torch.ones(c, m, dtype=torch.bool),
        header={},
    )


def random_items(seed: int, n: int, *, d_z: int = 7, integer: bool = False) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed + 1)
    if integer:
        return torch.randint(-1, 2, (n, d_z), generator=gen).float()
    return torch.randn(n, d_z, generator=gen)


def is_nested(masks: list[Any]) -> bool:
    return all(bool((~np.asarray(small) | np.asarray(large)).all()) for small, large in pairwise(masks))
