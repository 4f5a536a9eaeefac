"""Kueue's quantities."""

import pytest

from cluster.files.kueue import quantity


@pytest.mark.parametrize(
    ("given", "number"), [("500m", 0.5), (2, 2), ("1.5", 1.5), ("2Gi", 2**31), ("1M", 1e6), ("x", None), (None, None)]
)
def test_a_quantity_is_a_number(given, number):
    assert quantity(given) == number
