"""Limits: written beside types, held to wherever settings are made, and told in words."""

import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from dkvb.errors import BadSetting
from dkvb.limits import (
    Limit,
    above,
    at_least,
    check_limits,
    different,
    from_below,
    from_to,
    one_of,
    shortened,
    whole,
)


@pytest.mark.parametrize(
    ("limit", "right", "wrong", "expected"),
    [
        (whole(3), (3, 10**9), (2, -3), "3 or more"),
        (whole(3, 7), (3, 7), (2, 8), "a whole number from 3 to 7"),
        (above(0), (1e-9, 5.0), (0.0, -1.0, math.inf, math.nan), "a number above 0"),
        (above(0, 1), (0.5, 1.0), (0.0, 1.01, math.nan), "a number above 0, at most 1"),
        (at_least(0), (0.0, 3.5), (-0.5, math.inf, math.nan), "0 or more"),
        (from_to(0, 0.5), (0.0, 0.5), (-0.1, 0.6, math.nan), "a number in [0, 0.5]"),
        (from_below(0, 1), (0.0, 0.99), (-0.1, 1.0, math.nan), "a number in [0, 1)"),
        (one_of("ant", "bee", "cat"), ("ant", "cat"), ("an", "", "dog"), '"ant", "bee" or "cat"'),
        (one_of("ant"), ("ant",), ("bee",), '"ant"'),
        (different("one or more"), ([1], [1, 2]), ([], [1, 1]), "one or more"),
    ],
)
def test_a_limit_takes_what_it_says_and_nothing_else(limit: Limit, right, wrong, expected):
    assert limit.expected == expected
    for value in right:
        assert limit.check(value) is value
    for value in wrong:
        with pytest.raises(ValueError, match="found ") as caught:
            limit.check(value)
        assert str(caught.value).startswith(f"found {value!r}, expected {expected}")


def test_the_nearest_choice_is_suggested_and_nothing_where_none_is_near():
    limit = one_of("folder", "parquet")
    assert limit.refusal("foldr") == "found 'foldr', expected \"folder\" or \"parquet\"; did you mean 'folder'?"
    assert "did you mean" not in limit.refusal("zzz")


def test_a_long_value_is_cut():
    assert shortened("x" * 20_000) == f"'{'x' * 116}..."
    assert shortened([1, 2]) == "[1, 2]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    first: Annotated[int, whole(1)] = 1
    second: Annotated[float, above(0)] | None = None
    free: int = -5


@dataclass(frozen=True, slots=True, kw_only=True)
class More(Settings):
    third: Annotated[str, one_of("a", "b")] = "a"


def test_every_field_of_a_class_and_of_its_bases_is_held_to_its_limit():
    for right in (Settings(), Settings(second=0.5, free=-7), More(third="b")):
        check_limits(right, BadSetting)
    for wrong, text in (
        (Settings(first=0), "first: found 0, expected 1 or more"),
        (Settings(second=0.0), "second: found 0.0, expected a number above 0"),
        (More(first=-1), "first: found -1, expected 1 or more"),
        (More(third="c"), 'third: found \'c\', expected "a" or "b"'),
    ):
        with pytest.raises(BadSetting) as caught:
            check_limits(wrong, BadSetting)
        assert str(caught.value) == text
