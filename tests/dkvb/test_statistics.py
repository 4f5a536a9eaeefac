"""Intervals: every resample of small cases, the variance known in closed form, coverage on simulated tables."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.statistics import Interval, change_width, clopper_pearson, interval, paired_bootstrap

SEEDS = st.integers(0, 10**6)


def table(seed: int, classes: int, seeds: int, *, spread: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """What a class does, what a seed does and what neither explains, added: expectation 0."""
    gen = np.random.default_rng(seed)
    by_class, by_seed, rest = spread
    return (
        by_class * gen.standard_normal((classes, 1))
        + by_seed * gen.standard_normal((1, seeds))
        + rest * gen.standard_normal((classes, seeds))
    )


def every_resampled_mean(values: np.ndarray) -> np.ndarray:
    rows, columns = (list(itertools.product(range(size), repeat=size)) for size in values.shape)
    return np.array([np.mean([values[j, k] for j in r for k in c]) for r in rows for c in columns])


@pytest.mark.parametrize(("classes", "seeds"), [(2, 3), (3, 2), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_bounds_are_those_of_all_resamples_there_are(classes, seeds, level):
    values = table(7, classes, seeds)
    means = every_resampled_mean(values)
    found = interval(values, draws=20_000, seed=3, level=level)
    assert found.mean == pytest.approx(values.mean())
    tail, noise, same = (1 - level) / 2, 0.012, 1e-9
    assert (means < found.low - same).mean() <= tail + noise
    assert (means < found.low + same).mean() >= tail - noise
    assert (means > found.high + same).mean() <= tail + noise
    assert (means > found.high - same).mean() >= tail - noise


def test_the_width_is_that_of_the_variance_of_crossed_resamples():
    values = table(5, 31, 23)
    by_class, by_seed = values.mean(1), values.mean(0)
    rest = values - by_class[:, None] - by_seed + values.mean()
    # Of a draw's mean: both main effects, and their product, whose factors are drawn independently.
    variance = by_class.var() / 31 + by_seed.var() / 23 + rest.var() / values.size
    found = interval(values, seed=11)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(math.sqrt(variance), rel=0.05)


@pytest.mark.parametrize("spread", [(1, 0, 0.3), (1, 0.5, 0.5), (0, 1, 0.3), (1, 1, 1)])
def test_the_interval_covers_the_expectation_about_as_often_as_it_says(spread):
    covered = 0
    for simulation in range(300):
        found = interval(table(simulation, 23, 17, spread=spread), draws=400, seed=simulation, level=0.9)
        covered += found.low <= 0 <= found.high
    assert 0.83 <= covered / 300 <= 0.95


def test_values_drawn_one_by_one_would_promise_too_much():
    # The reason for resampling whole classes: a class is alike under every seed.
    covered = 0
    for simulation in range(200):
        values = table(simulation, 11, 13, spread=(1, 0, 0.2)).ravel()
        drawn = np.random.default_rng(simulation).choice(values, (400, values.size)).mean(1)
        covered += np.quantile(drawn, 0.05) <= 0 <= np.quantile(drawn, 0.95)
    assert covered / 200 < 0.5


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, difference=st.floats(-1, 1), sizes=st.permutations([1, 3, 5]))
def test_a_constant_has_no_width(seed, difference, sizes):
    constant = np.full(sizes[:2], difference)
    assert interval(constant, draws=101, seed=seed) == Interval(difference, difference, difference)
    grown = np.floor(1000 * table(seed, *sizes[:2]))
    found = paired_bootstrap(grown + 7, grown, draws=101, seed=seed)
    assert found == Interval(7, 7, 7)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 7]))
def test_swapping_the_methods_turns_the_interval_around(seed, sizes):
    a, b = table(seed, *sizes[:2]), table(seed + 1, *sizes[:2])
    one, other = (paired_bootstrap(*pair, draws=257, seed=seed) for pair in ((a, b), (b, a)))
    assert one == Interval(-other.mean, -other.high, -other.low)
    assert one == interval(a - b, draws=257, seed=seed)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 7]), shift=st.sampled_from([-3, 5]), scale=st.sampled_from([0.5, 4]))
def test_the_interval_moves_and_grows_with_the_values(seed, sizes, shift, scale):
    values = table(seed, *sizes[:2])
    found = interval(values, draws=257, seed=seed)
    moved = interval(scale * values + shift, draws=257, seed=seed)
    assert moved == pytest.approx([scale * bound + shift for bound in found])
    assert found.low <= found.high


def test_pairing_takes_away_what_both_methods_share():
    shared = 10 * table(1, 11, 5)
    a, b = shared + 0.1 * table(2, 11, 5) + 1, shared + 0.1 * table(3, 11, 5)
    paired = paired_bootstrap(a, b, draws=1000, seed=1)
    assert paired.low > 0.5
    assert interval(a, draws=1000, seed=1).low < interval(b, draws=1000, seed=1).high
    assert paired.high - paired.low < 1


def test_a_higher_level_holds_a_lower_one():
    values = table(4, 7, 5)
    inner, outer = (interval(values, draws=1000, seed=2, level=level) for level in (0.5, 0.99))
    assert outer.low < inner.low <= inner.mean <= inner.high < outer.high
    (least, most) = (interval(values, draws=10, seed=2, level=level) for level in (1e-9, 1 - 1e-9))
    assert most.low <= least.low <= least.high <= most.high


def test_the_seed_alone_draws_the_resamples():
    values = table(3, 5, 7)
    np.random.seed(1)
    one = interval(values, draws=300, seed=5)
    np.random.seed(2)
    assert interval(values, draws=300, seed=5) == one
    assert interval(values, draws=300, seed=6) != one


def test_the_draws_are_the_same_in_every_release():
    # Changing them silently redraws every interval of existing reports.
    found = interval(np.arange(15).reshape(5, 3) ** 2, draws=300, seed=5)
    assert [15 * bound for bound in found] == pytest.approx([1015, 230, 1818])


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 3, 5))])
def test_what_is_no_table_of_classes_and_seeds_is_refused(values):
    with pytest.raises(ShapeMismatch, match="classes, seeds") as caught:
        interval(values, seed=1)
    assert isinstance(caught.value, DkvbError)


def test_methods_measured_on_different_tables_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\(3, 1\).*\(3, 5\)"):
        paired_bootstrap(np.zeros((3, 5)), np.zeros((3, 1)), seed=1)


@pytest.mark.parametrize(("draws", "level"), [(0, 0.95), (100, 0), (100, 1), (100, math.nan)])
def test_draws_and_levels_that_cannot_be_are_refused(draws, level):
    with pytest.raises(BadSetting, match=f"{draws} and {level}"):
        interval(np.zeros((2, 3)), draws=draws, seed=1, level=level)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused(wrong):
    with pytest.raises(BadSetting, match="not finite"):
        paired_bootstrap(np.array([[1, wrong]]), np.zeros((1, 2)), seed=1)


@pytest.mark.parametrize(("right", "items"), [(0, 30), (3, 6000), (30, 30), (17, 31), (1, 1)])
def test_a_share_has_the_exact_binomial_interval(right, items):
    exact = binomtest(right, items).proportion_ci(0.9, method="exact")
    low, high = clopper_pearson(np.array([right]), np.array([items]), level=0.9)
    assert (low.item(), high.item()) == pytest.approx((exact.low, exact.high))


def test_none_of_thirty_is_compatible_with_eleven_percent():
    assert clopper_pearson(np.array([0]), np.array([30]))[1].item() == pytest.approx(0.116, abs=0.001)


def test_a_share_of_no_items_has_no_interval():
    assert np.isnan(clopper_pearson(np.array([0]), np.array([0]))).all()
    with pytest.raises(BadSetting, match="counts"):
        clopper_pearson(np.array([3]), np.array([2]))
    with pytest.raises(ShapeMismatch):
        clopper_pearson(np.array([3]), np.array([3, 3]))


def test_the_interval_of_a_paired_change_covers_what_it_says():
    rng, n, lose, gain, draws = np.random.default_rng(0), 500, 0.06, 0.03, 2000
    counts = rng.multinomial(n, [lose, gain, 1 - lose - gain], draws)
    width = change_width(counts[:, 0], counts[:, 1], np.full(draws, n))
    inside = np.abs((counts[:, 1] - counts[:, 0]) / n - (gain - lose)) <= width
    assert 0.93 < inside.mean() < 0.97
    assert change_width(np.array([0]), np.array([0]), np.array([7])).item() == 0
    assert np.isnan(change_width(np.array([0]), np.array([0]), np.array([0])).item())
