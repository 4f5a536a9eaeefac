"""Neighbours: the nearest selectable keys in order."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.decoding import NO_VOTE
from dkvb.errors import ShapeMismatch
from dkvb.neighbours import NEIGHBOURS, neighbours
from tests.dkvb import naive
from tests.dkvb.misfits import each_misfit, tensors_with
from tests.dkvb.threads import threads

C, N, D_Z = 2, 19, 7


def all_keys(c: int, m: int) -> torch.Tensor:
    return torch.ones(c, m, dtype=torch.bool)


def some_keys(c: int, m: int, seed: int, *, share: float = 0.6) -> torch.Tensor:
    return torch.rand(c, m, generator=torch.Generator().manual_seed(seed)) < share


def naive_lists(distance: np.ndarray, selectable: torch.Tensor, r: int) -> np.ndarray:
    """The first r selectable keys by distance, then by index: (n, c, r); -1 past the last."""
    n, c, _ = distance.shape
    lists = np.full((n, c, r), -1)
    for i in range(n):
        for j in range(c):
            able = [k for k, allowed in enumerate(selectable[j].tolist()) if allowed]
            order = sorted(able, key=lambda k: (distance[i, j, k], k))
            lists[i, j, : len(order[:r])] = order[:r]
    return lists


def assert_same_lists(found: torch.Tensor, expected: np.ndarray, distance: np.ndarray, *, exact: bool) -> None:
    """Lists may differ only where two keys are equally far, up to float32; no key comes twice."""
    assert found.dtype == torch.int16
    assert found.shape == expected.shape
    if exact:
        np.testing.assert_array_equal(found, expected)
    for place in range(expected.shape[2]):
        naive.assert_same_codes(found[:, :, place], expected[:, :, place], distance, tolerance=1e-5)
    for keys in found.flatten(0, 1).tolist():
        kept = [key for key in keys if key != NO_VOTE]
        assert len(set(kept)) == len(kept)


def listed(model: Bottleneck, z: torch.Tensor, *, r: int) -> torch.Tensor:
    return neighbours(z, model.projection, model.keys, selectable=model.selectable, r=r)


def on_a_line(positions: list[float]) -> dict[str, Any]:
    """One codebook whose keys are numbers, which items look at as they are."""
    keys = torch.tensor(positions)[None, :, None]
    return {"projection": torch.ones(1, 1, 1), "keys": keys, "selectable": all_keys(1, len(positions))}


@cache
def scene(m: int, integer: bool, d_k: int = 3) -> tuple[Bottleneck, torch.Tensor, np.ndarray]:
    """A model, items and their distances; whole numbers: few distinct keys, so many come twice and many tie."""
    model = naive.random_bottleneck(m, c=C, m=m, v=2, d_z=D_Z, d_k=d_k, integer=integer)
    z = naive.random_items(m, N, d_z=D_Z, integer=integer)
    return model, z, naive.distances(z, model.projection, model.keys)


# --- against the naive sort ---


@pytest.mark.parametrize("r", [1, 3, 16, 19])
@pytest.mark.parametrize("m", [5, 31, 257, 1031])
@pytest.mark.parametrize("integer", [True, False])
def test_lists_are_the_keys_sorted_by_distance_and_index(m, r, integer):
    model, z, distance = scene(m, integer)
    for selectable in (all_keys(C, m), some_keys(C, m, r), some_keys(C, m, r, share=0.02)):
        found = neighbours(z, model.projection, model.keys, selectable=selectable, r=r)
        assert_same_lists(found, naive_lists(distance, selectable, r), distance, exact=integer)


@pytest.mark.parametrize("d_k", [1, 17, 33])
@pytest.mark.parametrize("integer", [True, False])
def test_lists_are_right_for_keys_of_any_width(d_k, integer):
    model, z, distance = scene(61, integer, d_k)
    expected = naive_lists(distance, model.selectable, 5)
    assert_same_lists(listed(model, z, r=5), expected, distance, exact=integer)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.permutations([2, 3, 5, 43]),
    r=st.integers(1, 50),
    share=st.sampled_from([0.05, 0.6, 1.0]),
    integer=st.booleans(),
)
def test_any_sizes_are_sorted_like_the_naive_loop_sorts_them(seed, sizes, r, share, integer):
    c, m, d_k, d_z = sizes
    model = naive.random_bottleneck(seed, c=c, m=m, v=2, d_z=d_z, d_k=d_k, integer=integer)
    z, selectable = naive.random_items(seed, 3, d_z=d_z, integer=integer), some_keys(c, m, seed, share=share)
    distance = naive.distances(z, model.projection, model.keys)
    found = neighbours(z, model.projection, model.keys, selectable=selectable, r=r)
    # With 43 dimensions whole numbers stay far below 2**24, so distances are exact there as well.
    assert_same_lists(found, naive_lists(distance, selectable, r), distance, exact=integer)


# --- fewer keys than places ---


def test_places_past_the_last_selectable_key_have_no_vote():
    model, z, _ = scene(257, False)
    selectable = torch.zeros(C, 257, dtype=torch.bool)
    selectable[0, [3, 255, 256]] = True
    selectable[1, 17] = True
    found = neighbours(z, model.projection, model.keys, selectable=selectable, r=5)
    assert (found[:, 0, :3].sort().values == torch.tensor([3, 255, 256])).all()
    assert (found[:, 0, 3:] == NO_VOTE).all()
    assert (found[:, 1, 0] == 17).all()
    assert (found[:, 1, 1:] == NO_VOTE).all()


def test_a_codebook_without_a_selectable_key_lists_none_and_leaves_the_others_alone():
    model, z, _ = scene(31, False)
    selectable = all_keys(C, 31)
    selectable[0] = False
    found = neighbours(z, model.projection, model.keys, selectable=selectable, r=3)
    assert (found[:, 0] == NO_VOTE).all()
    assert torch.equal(found[:, 1], listed(model, z, r=3)[:, 1])


@pytest.mark.parametrize("r", [1, 3])
def test_a_single_key_is_the_first_of_every_list(r):
    lists = neighbours(torch.randn(5, 1), **on_a_line([2.0]), r=r)
    assert lists.tolist() == [[[0] + [NO_VOTE] * (r - 1)]] * 5


def test_the_last_key_that_int16_holds_is_listed():
    line = on_a_line([1.0] * 32766 + [0.0, 0.0])
    assert neighbours(torch.zeros(1, 1), **line, r=3).tolist() == [[[32766, 32767, 0]]]


# --- agreement with the codes ---


@pytest.mark.parametrize(("n", "m", "d_k"), [(1031, 257, 14), (101, 31, 19), (101, 4099, 5)])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_first_neighbour_is_the_code_bit_for_bit(n, m, d_k, share):
    model = naive.random_bottleneck(7, c=3, m=m, v=2, d_z=23, d_k=d_k)
    z, selectable = naive.random_items(7, n, d_z=23), some_keys(3, m, 7, share=share)
    codes = encode(z, model.projection, model.keys, selectable=selectable)
    for r in (1, 3, NEIGHBOURS):
        found = neighbours(z, model.projection, model.keys, selectable=selectable, r=r)
        assert torch.equal(found[:, :, 0], codes)


def test_each_neighbour_is_the_code_once_those_before_it_are_gone():
    model = naive.random_bottleneck(8, c=3, m=257, v=2, d_z=23, d_k=14)
    z = naive.random_items(8, 5, d_z=23)
    for i, item in enumerate(z.split(1)):
        selectable = all_keys(3, 257)
        for place in range(NEIGHBOURS):
            codes = encode(item, model.projection, model.keys, selectable=selectable)
            assert torch.equal(listed(model, z, r=NEIGHBOURS)[i, :, place], codes[0])
            selectable[torch.arange(3), codes[0].long()] = False


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    m=st.sampled_from([13, 131, 521]),
    lengths=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    integer=st.booleans(),
)
def test_short_lists_are_the_beginning_of_long_ones(seed, m, lengths, integer):
    model = naive.random_bottleneck(seed, c=2, m=m, v=2, integer=integer)
    z, selectable = naive.random_items(seed, 17, integer=integer), some_keys(2, m, seed)
    longest = neighbours(z, model.projection, model.keys, selectable=selectable, r=max(lengths))
    for r in lengths:
        found = neighbours(z, model.projection, model.keys, selectable=selectable, r=r)
        assert torch.equal(found, longest[:, :, :r])


# --- ties, and more candidates than there is room for ---


@pytest.mark.parametrize("r", [1, 3, 16, 19])
@pytest.mark.parametrize("m", [5, 31, 257, 1031])
def test_keys_that_are_all_equal_are_listed_by_their_index(m, r):
    keys = torch.full((C, m, 3), 0.3)
    model, z, _ = scene(m, False)
    selectable = some_keys(C, m, m)
    found = neighbours(z, model.projection, keys, selectable=selectable, r=r)
    for j in range(C):
        able = selectable[j].nonzero()[:, 0].tolist()[:r]
        assert (found[:, j] == torch.tensor(able + [NO_VOTE] * (r - len(able)))).all()


@pytest.mark.parametrize("r", [1, 3, 16, 19])
@pytest.mark.parametrize("integer", [True, False])
def test_items_that_are_all_zero_are_sorted_by_the_length_of_the_keys(r, integer):
    model, z, _ = scene(1031, integer)
    z = torch.zeros_like(z)
    distance = naive.distances(z, model.projection, model.keys)
    expected = naive_lists(distance, model.selectable, r)
    assert_same_lists(listed(model, z, r=r), expected, distance, exact=integer)


@pytest.mark.parametrize("r", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("closer", ["first", "last", "nowhere"])
def test_near_keys_that_crowd_in_a_few_groups_are_all_compared(r, closer):
    # The bound is taken from 2 r shares of the groups: near keys all in one share leave it low, and far more keys
    # reach it than there is room for.
    m = 4099
    crowd = [k for k in range(m) if k // 16 % (2 * r) == 1]
    assert len(crowd) > 4 * r + 16
    positions = [9000.0] * m
    for rank, k in enumerate(crowd):
        positions[k] = {"first": 1.0 + rank, "last": 1.0 + len(crowd) - rank, "nowhere": 1.0}[closer]
    crowd = crowd[::-1] if closer == "last" else crowd
    z = torch.zeros(17, 1)
    z[3] = 9000.0  # its list is another one, in the same tile
    found = neighbours(z, **on_a_line(positions), r=r)
    far = [k for k in range(m) if positions[k] == 9000.0][:r]
    for i in range(17):
        assert found[i, 0].tolist() == (far if i == 3 else crowd[:r])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), r=st.integers(1, 12), distinct=st.sampled_from([1, 2, 5, 400]))
def test_any_crowd_of_near_keys_is_sorted_like_the_naive_loop_sorts_it(seed, r, distinct):
    rng = np.random.default_rng(seed)
    near = np.repeat(rng.random(-(-521 // 16)) < 0.3, 16)[:521]
    positions = np.where(near, rng.integers(distinct, size=521), 500 + rng.integers(distinct, size=521))
    line = on_a_line([float(x) for x in positions])
    line["selectable"] = some_keys(1, 521, seed, share=0.9)
    z = torch.tensor([[0.0], [-3.0], [501.0], [2000.0]])
    distance = naive.distances(z, line["projection"], line["keys"])
    expected = naive_lists(distance, line["selectable"], r)
    assert_same_lists(neighbours(z, **line, r=r), expected, distance, exact=True)


# --- blocks and threads ---


@pytest.mark.parametrize("block", [16, 48, 512])
@pytest.mark.parametrize("count", [1, 2])
def test_lists_do_not_depend_on_blocks_and_threads(monkeypatch, block, count):
    model = naive.random_bottleneck(9, c=3, m=61, v=2, d_z=23, d_k=14)
    z = naive.random_items(9, 1031, d_z=23)
    with threads(1):
        whole = listed(model, z, r=5)
        alone = torch.cat([listed(model, item, r=5) for item in z[:37].split(1)])
    monkeypatch.setattr("dkvb.codes.BLOCK", block)
    with threads(count):
        assert torch.equal(listed(model, z, r=5), whole)
    assert torch.equal(alone, whole[:37])


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17])
def test_any_number_of_items_fits_the_tiles(n):
    model, z, distance = scene(31, True)
    found = listed(model, z[:n], r=3)
    assert found.shape == (n, C, 3)
    np.testing.assert_array_equal(found, naive_lists(distance[:n], model.selectable, 3))


# --- what comes in ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_listed_in_single_precision(dtype):
    model, z, _ = scene(257, False)
    z = z.to(dtype)
    assert torch.equal(listed(model, z, r=5), listed(model, z.float(), r=5))


def test_embeddings_need_not_be_contiguous():
    model, z, _ = scene(257, False)
    strided = z.T.contiguous().T
    assert not strided.is_contiguous()
    assert torch.equal(listed(model, strided, r=5), listed(model, z, r=5))


def test_sixteen_are_kept_unless_another_number_is_given():
    model, z, _ = scene(257, False)
    found = neighbours(z, model.projection, model.keys, selectable=model.selectable)
    assert torch.equal(found, listed(model, z, r=16))


def test_an_item_that_is_not_a_number_has_no_neighbours_and_leaves_the_others_alone():
    model, z, _ = scene(257, False)
    broken = z.clone()
    broken[3, 2] = torch.nan
    found, plain = listed(model, broken, r=5), listed(model, z, r=5)
    others = torch.arange(N) != 3
    assert (found[3] == NO_VOTE).all()
    assert torch.equal(found[others], plain[others])


def test_the_inputs_are_left_as_they_were():
    model, z, _ = scene(31, False)
    tensors = (z, model.projection, model.keys, model.selectable)
    kept = [tensor.clone() for tensor in tensors]
    listed(model, z, r=5)
    assert all(map(torch.equal, tensors, kept))


@each_misfit
def test_tensors_that_do_not_fit_are_refused(name, shape):
    with pytest.raises(ShapeMismatch, match=r"\("):
        neighbours(**tensors_with(name, shape))


def test_more_pairs_than_int16_holds_are_refused():
    with pytest.raises(ShapeMismatch, match=r"32769.*32768"):
        neighbours(torch.zeros(1, 1), **on_a_line([0.0] * 32769))


@pytest.mark.parametrize("r", [1, 3])
def test_an_item_far_beyond_float32_lists_valid_keys_only(r):
    model, z, _ = scene(61, False, 17)
    for value in (torch.inf, -torch.inf, 3e38):
        broken = z.clone()
        broken[:, 4] = value
        found = listed(model, broken, r=r)
        assert ((found >= NO_VOTE) & (found < 61)).all()
