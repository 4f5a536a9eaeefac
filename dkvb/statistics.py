"""Statistics: intervals for shares of items, and for means over classes and seeds."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.seeds import numpy_generator

_BLOCK = 256
"""Draws made at once: bounds the memory, does not change the numbers."""


class Interval(NamedTuple):
    """A mean, and the bounds between which it lies at some level."""

    mean: float
    low: float
    high: float


def interval(values: NDArray[Any], *, draws: int = 10_000, seed: int, level: float = 0.95) -> Interval:
    """Bootstrap interval for a mean over classes and seeds, both seen as samples of more.

    A seed is a model, and every class is forgotten from it: the two are crossed, not nested. Values of one class are
    alike over the seeds and values of one seed over the classes, so no value can be drawn on its own. Each draw takes
    as many classes as there are, with replacement, and independently as many seeds, the same for each of its classes,
    and averages the values where they cross. Seeds drawn anew within each class would lose what a seed does to all
    classes at once. What neither class nor seed explains counts up to three times: there the interval is too wide. It
    is too narrow where classes or seeds are few and differ much: with three seeds a 95 % interval was seen to cover 85
    to 92 %, and a single seed adds no width.

    values: (classes, seeds) float, finite.
    draws: how many resamples; seed: of their generator.
    level: in (0, 1). The bounds leave (1 - level) / 2 of the draws outside on each side.
    raises: ShapeMismatch for no classes or no seeds; BadSetting for the rest.
    source: Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007.
    """
    if values.ndim != 2 or not values.size:
        raise ShapeMismatch(f"values: found shape {values.shape}, expected (classes, seeds), one or more of each")
    if draws < 1 or not 0 < level < 1:
        raise BadSetting(f"draws and level: found {draws} and {level}, expected 1 or more, and between 0 and 1")
    if not np.isfinite(values).all():
        raise BadSetting("values: found one that is not finite; leave out its class or its seed")
    # Around one of the values, sums of equal values are exact: values that do not differ give no width.
    centre = float(values[0, 0])
    around = np.asarray(values, np.float64) - centre
    means = np.sort(_resampled_means(around, draws, seed))
    outside = min(int(round(draws * (1 - level) / 2, 6)), (draws - 1) // 2)
    bounds = means[outside], means[draws - 1 - outside]
    return Interval(*(centre + float(bound) for bound in (around.mean(), *bounds)))


def paired_bootstrap(
    a: NDArray[Any], b: NDArray[Any], *, draws: int = 10_000, seed: int, level: float = 0.95
) -> Interval:
    """Bootstrap interval for the mean of a - b, of two methods measured on the same classes and seeds.

    a, b: (classes, seeds) float, finite; draws, seed, level, raises, source: as in `interval`.
    """
    if a.shape != b.shape:
        raise ShapeMismatch.between("b (classes, seeds)", b.shape, "a (classes, seeds)", a.shape)
    return interval(np.asarray(a, np.float64) - b, draws=draws, seed=seed, level=level)


def clopper_pearson(
    counts: NDArray[Any], items: NDArray[Any], *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact binomial intervals for shares of items: what a count says about other items like these.

    counts: (k,) integer, of items (k,) integer each, 0 <= counts <= items.
    level: in (0, 1).
    returns: the lower and the upper bounds (k,) in [0, 1]; NaN over no items.
    raises: ShapeMismatch; BadSetting.
    source: Clopper and Pearson, Biometrika 26(4), 1934.
    """
    from scipy.special import betaincinv

    counts, items = np.asarray(counts, np.int64), np.asarray(items, np.int64)
    if counts.shape != items.shape:
        raise ShapeMismatch.between("items (k,)", items.shape, "counts (k,)", counts.shape)
    if not 0 < level < 1 or (counts < 0).any() or (counts > items).any():
        raise BadSetting(f"level and counts: found {level} and {counts}, expected (0, 1), and 0 to {items}")
    tail, rest = (1 - level) / 2, items - counts
    # The beta distribution's quantiles; at either end its parameter would be 0, and the bound is the end itself.
    low = np.where(counts == 0, 0.0, betaincinv(np.maximum(counts, 1), rest + 1, tail))
    high = np.where(rest == 0, 1.0, betaincinv(counts + 1, np.maximum(rest, 1), 1 - tail))
    return np.where(items == 0, np.nan, low), np.where(items == 0, np.nan, high)


def change_width(
    lost: NDArray[Any], gained: NDArray[Any], items: NDArray[Any], *, level: float = 0.95
) -> NDArray[np.float64]:
    """Half the width of the interval for a change of accuracy on the same items: paired, as McNemar's test is.

    lost, gained: (k,) integer, items right before and wrong now, and wrong before and right now.
    items: (k,) integer, all items.
    level: in (0, 1).
    returns: (k,) float64, of (gained - lost) / items, by the normal distribution; NaN over no items.
    source: McNemar, Psychometrika 12(2), 1947 (Wald's interval of his difference).
    """
    from scipy.special import ndtri

    lost, gained = np.asarray(lost, np.float64), np.asarray(gained, np.float64)
    n = np.where(np.asarray(items) > 0, items, np.nan)
    variance = (lost + gained - (gained - lost) ** 2 / n) / n**2
    return np.asarray(ndtri((1 + level) / 2) * np.sqrt(np.maximum(variance, 0)), np.float64)


def _resampled_means(values: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Means of resampled rows crossed with resampled columns: (draws,)."""
    rows, columns = values.shape
    bits = numpy_generator(seed, "bootstrap")
    means = np.empty(draws)
    for start in range(0, draws, _BLOCK):
        block = means[start : start + _BLOCK]
        # Of raw numbers, not of a Generator's methods: the same in every NumPy release. A class's or a seed's
        # chance is off by less than one in 2^32 / rows.
        raw = bits.random_raw((len(block), rows + columns)) >> np.uint64(32)
        classes = (raw[:, :rows] * np.uint64(rows)) >> np.uint64(32)
        seeds = (raw[:, rows:] * np.uint64(columns)) >> np.uint64(32)
        block[:] = np.take_along_axis(values[classes].mean(1), seeds.astype(np.int64), 1).mean(1)
    return means
