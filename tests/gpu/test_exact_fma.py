"""The stand-in for fused multiply-adds rounds once: held against exact fractions."""

from fractions import Fraction

import numpy as np

from tests.gpu.exact_fma import fma


def test_a_sum_is_the_float32_nearest_to_the_exact_one():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 4000)).astype(np.float32)
    near = -(a * b) * (1 + rng.integers(-3, 4, 4000) * np.float32(2**-24))  # what nearly cancels rounds worst
    c = np.concatenate([near[:2000], rng.standard_normal(2000) * 2.0 ** rng.integers(-40, 40, 2000)]).astype(np.float32)
    found = fma(a, b, c)
    for x, y, z, one in zip(a, b, c, found, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        away = abs(Fraction(float(one)) - exact)
        for other in (np.nextafter(one, np.float32(np.inf)), np.nextafter(one, np.float32(-np.inf))):
            assert away <= abs(Fraction(float(other)) - exact)


def test_it_rounds_where_two_roundings_go_astray():
    # 1 + 2^-24 + 2^-54 lies above the middle of two floats; in float64 it is that middle, which goes to even.
    a, b, c = (np.array([number], np.float32) for number in (2.0**-24 * (1 + 2**-23), 1 - 2**-24, 1.0))
    exact = Fraction(float(a[0])) * Fraction(float(b[0])) + 1
    twice = np.float32(np.float64(a[0]) * np.float64(b[0]) + np.float64(c[0]))
    assert exact > 1 + Fraction(1, 2**24)
    assert fma(a, b, c)[0] == np.float32(1 + 2**-23)
    assert twice in (np.float32(1), np.float32(1 + 2**-23))


def test_infinities_and_numbers_that_are_none_pass_through():
    numbers = np.array([np.inf, -np.inf, np.nan, 0], np.float32)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(fma(numbers, np.ones_like(numbers), numbers), numbers * 2, equal_nan=True)
