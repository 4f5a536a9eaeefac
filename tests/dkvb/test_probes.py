"""Linear probes: what is there is found, what is not there is not, and codes become columns."""

import math

import numpy as np
import pytest
from scipy import sparse

from dkvb.errors import BadSetting, DkvbError, ShapeMismatch
from dkvb.probes import one_hot, probe


def items(seed: int, n: int, *, d: int = 13, gap: float = 0, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Random features, the forget class shifted by a gap in the first column."""
    gen = np.random.default_rng(seed)
    is_forget = gen.random(n) < share
    x = gen.standard_normal((n, d)).astype(np.float32)
    x[is_forget, 0] += gap
    return x, is_forget


def codes(seed: int, n: int, *, moved: int, c: int = 17, m: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Random codes, which the forget class takes from the first keys only in some of the codebooks."""
    gen = np.random.default_rng(seed)
    is_forget = gen.random(n) < 0.2
    found = gen.integers(0, m, (n, c)).astype(np.int16)
    found[np.ix_(is_forget, np.arange(moved))] %= 5
    return found, is_forget


def test_a_class_apart_is_found_and_a_class_alike_is_not():
    assert probe(*items(1, 400, gap=9), *items(2, 300, gap=9), seed=1) > 0.99
    assert probe(*items(1, 2000), *items(2, 2000), seed=1) == pytest.approx(0.5, abs=0.05)


def test_a_class_that_overlaps_is_found_as_often_as_can_be():
    best = (1 + math.erf(1 / math.sqrt(2))) / 2  # halfway between two Gaussians, one deviation from each
    for share in (0.5, 0.05):
        train, test = (items(seed, 6000, gap=2, share=share) for seed in (1, 2))
        assert probe(*train, *test, seed=1) == pytest.approx(best, abs=0.03)


def test_units_and_origins_of_the_columns_do_not_matter():
    (x, kinds), (y, test_kinds) = items(1, 400, gap=2), items(2, 300, gap=2)
    unit, origin = np.float32(2.0) ** np.arange(-6, 7), np.arange(13, dtype=np.float32)
    plain = probe(x, kinds, y, test_kinds, seed=1)
    assert probe(x * unit + origin, kinds, y * unit + origin, test_kinds, seed=1) == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize("value", [0, 0.1, 1e9])
def test_constant_features_say_nothing(value):
    x, kinds = items(1, 100)
    y, test_kinds = items(2, 70)
    constant, same = np.full_like(x, value), np.full_like(y, value)
    assert probe(constant, kinds, same, test_kinds, seed=1) == 0.5
    x[:, 5] = value
    assert 0.3 < probe(x, kinds, y, test_kinds, seed=1) < 0.7  # and shake nothing


def test_half_precision_is_taken():
    (x, kinds), (y, test_kinds) = items(1, 400, gap=9), items(2, 300, gap=9)
    assert probe(x.astype(np.float16), kinds, y.astype(np.float16), test_kinds, seed=1) > 0.99


def test_codes_are_probed_through_their_columns():
    found = {}
    for moved in (0, 17):
        (train, kinds), (test, test_kinds) = (codes(seed, 700, moved=moved) for seed in (1, 2))
        found[moved] = probe(one_hot(train, 31), kinds, one_hot(test, 31), test_kinds, seed=1)
    assert found[0] == pytest.approx(0.5, abs=0.06)
    assert found[17] > 0.95


def test_sparse_features_are_those_of_a_dense_table_of_zeros_and_ones():
    found, _ = codes(1, 11, moved=3)
    found[2, 5] = found[7] = -1
    columns = one_hot(found, 31)
    dense = np.zeros((11, 17 * 31), np.float32)
    for i, row in enumerate(found):
        for codebook, code in enumerate(row):
            if code >= 0:
                dense[i, codebook * 31 + code] = 1
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(columns.toarray(), dense)
    assert columns.nnz == dense.sum()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_columns_beyond_the_codes_own_type_are_reached(dtype):
    columns = one_hot(np.full((2, 23), 4095, dtype), 4096)
    assert columns.shape == (2, 23 * 4096)
    assert columns.indices[-1] == 23 * 4096 - 1


def test_codes_that_are_no_keys_are_refused():
    with pytest.raises(BadSetting, match="found 31, expected less than m, 31"):
        one_hot(np.array([[31]]), 31)
    with pytest.raises(ShapeMismatch, match=r"expected \(n, c\)"):
        one_hot(np.array([3]), 31)


def test_a_probe_changes_nothing_and_gives_the_same_again():
    (x, kinds), (y, test_kinds) = items(1, 200, gap=1), items(2, 100, gap=1)
    before = x.copy(), y.copy()
    one = probe(x, kinds, y, test_kinds, seed=1)
    assert probe(x, kinds, y, test_kinds, seed=1) == one
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    columns = sparse.csr_array(np.abs(x))
    probe(columns, kinds, sparse.csr_array(np.abs(y)), test_kinds, seed=1)
    np.testing.assert_array_equal(columns.toarray(), np.abs(x))


def test_items_that_do_not_fit_are_refused():
    (x, kinds), (y, test_kinds) = items(1, 23), items(2, 19)
    cases = {
        r"test features: found shape \(19, 11\), expected \(n, 13\)": (x, kinds, y[:, :11], test_kinds),
        r"train features: found shape \(23,\)": (x[:, 0], kinds, y, test_kinds),
        r"train is_forget: found bool of shape \(22,\)": (x, kinds[:-1], y, test_kinds),
        r"test is_forget: found int64": (x, kinds, y, test_kinds.astype(np.int64)),
    }
    for message, wrong in cases.items():
        with pytest.raises(ShapeMismatch, match=message) as caught:
            probe(*wrong, seed=1)
        assert isinstance(caught.value, DkvbError)


def test_one_kind_only_and_features_that_are_not_finite_are_refused():
    (x, kinds), (y, test_kinds) = items(1, 23), items(2, 19)
    for one in (True, False):
        with pytest.raises(BadSetting, match=r"test is_forget: .*one kind only"):
            probe(x, kinds, y, np.full(19, one), seed=1)
    y[3, 5] = -math.inf
    with pytest.raises(BadSetting, match=r"test features: .*not finite"):
        probe(x, kinds, y, test_kinds, seed=1)
