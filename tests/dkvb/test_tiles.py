"""The compiled inner loops: a score is one item and one column, wherever the two lie."""

from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb import tiles
from dkvb.tiles import LANES, fill_tiles, kernel, pack, widened

WIDTHS = pytest.mark.parametrize("width", [1, 14, 37])
COLUMNS = pytest.mark.parametrize("columns", [1, 5, 16, 29, 67])
N = 43
FAR = -12345.0
"""What lies around an array that a kernel must stay inside of."""


@numba.njit
def run_tile(x, table, bias, out):
    tiles.scores_of_tile(x, table, bias, out)


@numba.njit
def run_maxima(x, table, bias, out):
    tiles.maxima_of_tile(x, table, bias, out)


@numba.njit
def run_item(x, lane, table, bias, g, out):
    tiles.scores_of_item(x, lane, table, bias, g, out)


@numba.njit
def run_rows(rows, chosen, table, out):
    tiles.scores_of_rows(rows, chosen, table, out)


@numba.njit
def run_reaching(numbers, row, bounds):
    return tiles.reaching(numbers, row, bounds)


@numba.njit
def run_exchange(sums, rows, new, old):
    tiles.exchange(sums, rows, new, old)


@numba.njit
def run_add_row(sums, rows, index):
    tiles.add_row(sums, rows, index)


@numba.njit
def run_lowest_bit(bits):
    return tiles.lowest_bit(bits)


def draw(seed: int, *shape: int, integer: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(-3, 4, shape) if integer else rng.standard_normal(shape)).astype(np.float32)


def tiled(rows: np.ndarray) -> np.ndarray:
    out = np.full((-(-len(rows) // LANES), rows.shape[1], LANES), FAR, np.float32)
    fill_tiles(rows, out)
    return out


def grouped(bias: np.ndarray) -> np.ndarray:
    """A number for each column, 16 side by side; -inf past the last."""
    out = np.full(-(-len(bias) // LANES) * LANES, -np.inf, np.float32)
    out[: len(bias)] = bias
    return out.reshape(-1, LANES)


def fenced(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """An array to write to, and the buffer in whose middle it lies."""
    size = int(np.prod(shape))
    buffer = np.full(size + 2 * 4 * LANES, FAR, np.float32)
    return buffer[4 * LANES : 4 * LANES + size].reshape(shape), buffer


def assert_fence_stands(buffer: np.ndarray) -> None:
    assert (buffer[: 4 * LANES] == FAR).all()
    assert (buffer[-4 * LANES :] == FAR).all()


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool((one.view(np.int32) == other.view(np.int32)).all())


def scores(items: np.ndarray, columns: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(n, k): tile by tile."""
    table, biases, found = pack(columns), grouped(bias), []
    for tile in tiled(items):
        out, buffer = fenced(len(table) * LANES, LANES)
        run_tile(tile, table, biases, out)
        assert_fence_stands(buffer)
        found.append(out.T)
    return np.concatenate(found)[: len(items), : len(columns)].copy()


def scores_item_by_item(items: np.ndarray, columns: np.ndarray, bias: np.ndarray) -> np.ndarray:
    table, biases, tiles_ = pack(columns), grouped(bias), tiled(items)
    found = np.empty((len(items), len(table) * LANES), np.float32)
    for i in range(len(items)):
        for g in range(len(table)):
            out, buffer = fenced(LANES)
            run_item(tiles_[i // LANES], i % LANES, table, biases, g, out)
            assert_fence_stands(buffer)
            found[i, g * LANES : (g + 1) * LANES] = out
    return found[:, : len(columns)].copy()


def scores_of_chosen(items: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(16, k): no bias."""
    table = pack(columns)
    out, buffer = fenced(LANES, len(table) * LANES)
    run_rows(items, chosen, table, out)
    assert_fence_stands(buffer)
    return out[:, : len(columns)].copy()


def naive_scores(items: np.ndarray, columns: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores in float64, and the sum of the sizes of all that is added up in each."""
    found, sizes = np.empty((len(items), len(columns))), np.empty((len(items), len(columns)))
    for i, item in enumerate(items.astype(np.float64)):
        for k, column in enumerate(columns.astype(np.float64)):
            products = [float(a * b) for a, b in zip(item, column, strict=True)]
            found[i, k] = float(bias[k]) + sum(products)
            sizes[i, k] = abs(float(bias[k])) + sum(map(abs, products))
    return found, sizes


# --- packing ---


@WIDTHS
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 43])
@pytest.mark.parametrize("strided", [False, True])
def test_rows_lie_side_by_side_and_zeros_fill_the_last_group(width, count, strided):
    rows = draw(1, width, count).T if strided else draw(1, count, width)
    table = pack(rows)
    assert table.dtype == np.float32
    assert table.shape == (-(-count // 16), width, 16)
    for k in range(len(table) * 16):
        for d in range(width):
            assert table[k // 16, d, k % 16] == (rows[k, d] if k < count else 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_widened_floats_are_a_float32_copy_of_the_same_numbers(dtype):
    z = torch.from_numpy(draw(2, 7, 5)).to(dtype)
    found = widened(z[::2])
    assert found.dtype == np.float32
    assert found.tolist() == z[::2].float().tolist()
    kept = z.clone()
    if dtype != torch.bfloat16:
        found[:] = 0
    assert torch.equal(z, kept)


# --- scores ---


@WIDTHS
@COLUMNS
def test_scores_equal_the_naive_loop_up_to_float32(width, columns):
    items, table, bias = draw(3, N, width), draw(4, columns, width), draw(5, columns)
    expected, sizes = naive_scores(items, table, bias)
    # Each of width + 1 roundings errs by half a unit in the last place of a partial sum, at most.
    error = abs(scores(items, table, bias) - expected)
    assert (error <= sizes * (width + 2) * 2.0**-24).all()


@WIDTHS
@COLUMNS
def test_scores_of_whole_numbers_are_exact_in_all_three_loops(width, columns):
    items, table = draw(6, N, width, integer=True), draw(7, columns, width, integer=True)
    bias, chosen = draw(8, columns, integer=True), np.arange(LANES) * 7 % N
    expected, _ = naive_scores(items, table, bias)
    assert (scores(items, table, bias) == expected).all()
    assert (scores_item_by_item(items, table, bias) == expected).all()
    assert (scores_of_chosen(items, table, chosen) == (expected - bias)[chosen]).all()


@WIDTHS
@COLUMNS
def test_the_scores_of_an_item_are_those_of_its_tile_bit_for_bit(width, columns):
    items, table, bias = draw(9, N, width), draw(10, columns, width), draw(11, columns)
    assert same_bits(scores(items, table, bias), scores_item_by_item(items, table, bias))


@WIDTHS
@COLUMNS
def test_the_scores_of_rows_anywhere_are_those_of_a_tile_without_a_bias_bit_for_bit(width, columns):
    items, table = draw(12, N, width), draw(13, columns, width)
    plain = scores(items, table, np.zeros(columns, np.float32))
    for chosen in (np.arange(16), np.arange(N - 16, N), np.full(16, N - 1), np.arange(16) * 29 % N):
        assert same_bits(scores_of_chosen(items, table, chosen), plain[chosen])


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.sampled_from([1, 2, 3, 14, 19, 37]),
    n=st.integers(1, 50),
    columns=st.integers(1, 70),
)
def test_a_score_depends_on_its_item_and_its_column_alone(seed, width, n, columns):
    items, table, bias = draw(seed, n, width), draw(seed + 1, columns, width), draw(seed + 2, columns)
    found = scores(items, table, bias)
    rng = np.random.default_rng(seed)
    rows, places = rng.integers(n, size=31), rng.integers(columns, size=37)
    moved = scores(items[rows], table[places], bias[places])
    assert same_bits(moved, found[rows][:, places])
    assert same_bits(scores_item_by_item(items[rows], table[places], bias[places]), moved)


def test_products_are_rounded_once_together_with_the_sum():
    # The square of 1 + 2**-12 is 1 + 2**-11 + 2**-24, whose last term a float32 beside 1 has no room for.
    near = np.float32(1 + 2.0**-12)
    items, columns = np.full((N, 1), near), np.full((5, 1), near)
    bias = np.full(5, -1 - 2.0**-11, np.float32)
    assert (scores(items, columns, bias) == 2.0**-24).all()
    assert (scores_item_by_item(items, columns, bias) == 2.0**-24).all()
    # Without a bias the first of two terms takes its place.
    items, columns = np.tile([np.float32(1), near], (N, 1)), np.tile([bias[0], near], (5, 1))
    assert (scores_of_chosen(items, columns, np.arange(LANES)) == 2.0**-24).all()


def test_an_item_that_is_not_a_number_leaves_the_other_lanes_alone():
    items, table, bias = draw(14, N, 14), draw(15, 29, 14), draw(16, 29)
    plain = scores(items, table, bias)
    items[3], items[17], items[18] = np.nan, np.inf, -np.inf
    found = scores(items, table, bias)
    others = np.setdiff1d(np.arange(N), [3, 17, 18])
    assert same_bits(found[others], plain[others])
    assert np.isnan(found[3]).all()


@WIDTHS
@COLUMNS
def test_a_bias_of_minus_infinity_stays_there_and_changes_no_other_column(width, columns):
    items, table, bias = draw(17, N, width), draw(18, columns, width), draw(19, columns)
    barred = bias.copy()
    barred[::3] = -np.inf
    plain, found = scores(items, table, bias), scores(items, table, barred)
    for k in range(columns):
        assert (found[:, k] == -np.inf).all() if k % 3 == 0 else same_bits(found[:, k], plain[:, k])
    assert same_bits(found, scores_item_by_item(items, table, barred))


# --- maxima ---


@WIDTHS
@COLUMNS
@pytest.mark.parametrize("integer", [True, False])
def test_maxima_are_the_largest_scores_of_each_group(width, columns, integer):
    items, table = draw(20, N, width, integer=integer), draw(21, columns, width, integer=integer)
    bias = draw(22, columns)
    bias[np.random.default_rng(1).random(columns) < 0.4] = -np.inf
    bias[16:32] = -np.inf  # where there are two groups, the second has nothing to select
    found = scores(items, table, bias)
    groups = -(-columns // LANES)
    for t, tile in enumerate(tiled(items)):
        out, buffer = fenced(groups, LANES)
        run_maxima(tile, pack(table), grouped(bias), out)
        assert_fence_stands(buffer)
        for i in range(t * LANES, min(N, (t + 1) * LANES)):
            for g in range(groups):
                assert out[g, i % LANES] == max(found[i, g * LANES : (g + 1) * LANES])


# --- bits ---


@settings(max_examples=50, deadline=None)
@given(
    numbers=st.lists(st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.5, np.inf, np.nan]), min_size=48, max_size=48),
    bounds=st.lists(st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.5, np.inf, np.nan]), min_size=16, max_size=16),
)
def test_a_bit_is_set_where_a_number_is_not_below_its_bound_and_both_are_numbers(numbers, bounds):
    rows, limits = np.array(numbers, np.float32).reshape(3, 16), np.array(bounds, np.float32)
    for row in range(3):
        bits = run_reaching(rows, row, limits)
        assert 0 <= bits < 1 << 16
        for lane in range(16):
            assert bits >> lane & 1 == (rows[row, lane] >= limits[lane])


@given(bits=st.integers(1, 2**63 - 1))
def test_the_lowest_bit_is_the_first_place_that_is_set(bits):
    place = 0
    while not bits >> place & 1:
        place += 1
    assert run_lowest_bit(bits) == place


# --- rows added up ---


ROWS = 7
ROW_WIDTHS = pytest.mark.parametrize("width", [1, 10, 16, 37])


def sums_and_rows(width: int, spare: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums whose places past a row hold -inf, the buffer they lie in, and rows between what is not a number."""
    blocks = -(-width // LANES) + spare
    sums, buffer = fenced(blocks, LANES)
    sums.reshape(-1)[:] = -np.inf
    sums.reshape(-1)[:width] = draw(23, width)
    ring = np.full((ROWS + 2 * LANES) * width + 2 * LANES, np.nan, np.float32)
    rows = ring[LANES : LANES + ROWS * width].reshape(ROWS, width)
    rows[:] = draw(24, ROWS, width)
    return sums, buffer, rows


@ROW_WIDTHS
@pytest.mark.parametrize("spare", [0, 2])
def test_an_added_row_moves_the_sums_of_its_width_and_nothing_past_it(width, spare):
    sums, buffer, rows = sums_and_rows(width, spare)
    expected, kept = sums.reshape(-1)[:width].copy(), rows.copy()
    for index in (0, 3, ROWS - 1, 3):
        run_add_row(sums, rows, index)
        for k in range(width):
            expected[k] += rows[index, k]
    assert same_bits(sums.reshape(-1)[:width].copy(), expected)
    assert (sums.reshape(-1)[width:] == -np.inf).all()
    assert_fence_stands(buffer)
    assert same_bits(rows, kept)


@ROW_WIDTHS
@pytest.mark.parametrize("spare", [0, 2])
def test_an_exchange_adds_the_difference_of_two_rows_and_nothing_past_them(width, spare):
    sums, buffer, rows = sums_and_rows(width, spare)
    expected, kept = sums.reshape(-1)[:width].copy(), rows.copy()
    for new, old in ((0, ROWS - 1), (ROWS - 1, 3), (2, 2), (3, 0)):
        run_exchange(sums, rows, new, old)
        for k in range(width):
            expected[k] += rows[new, k] - rows[old, k]
    assert same_bits(sums.reshape(-1)[:width].copy(), expected)
    assert (sums.reshape(-1)[width:] == -np.inf).all()
    assert_fence_stands(buffer)
    assert same_bits(rows, kept)


@ROW_WIDTHS
def test_padding_of_any_number_is_left_as_it_is(width):
    sums, _, rows = sums_and_rows(width, 1)
    sums.reshape(-1)[width:] = np.arange(sums.size - width)
    run_add_row(sums, rows, 1)
    run_exchange(sums, rows, 5, 2)
    assert sums.reshape(-1)[width:].tolist() == [*range(sums.size - width)]


def test_a_function_without_a_place_for_its_cache_is_compiled_all_the_same():
    scope: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", scope)
    compiled = kernel(scope["double"])
    assert isinstance(compiled, numba.core.dispatcher.Dispatcher)
    assert compiled(3) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_widened_floats_lie_row_after_row_whatever_lay_before(dtype):
    z = torch.from_numpy(draw(2, 7, 5)).to(dtype).T.contiguous().T
    assert widened(z).flags.c_contiguous
    assert (widened(z) == z.float().numpy()).all()
