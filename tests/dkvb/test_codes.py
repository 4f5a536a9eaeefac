"""Codes: the nearest selectable key."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.codes import BLOCK, Codebooks, block_size, encode, nearest, pack_keys
from dkvb.decoding import NO_VOTE
from dkvb.errors import ShapeMismatch
from dkvb.plain import PLAIN_BLOCK, nearest_plain
from dkvb.projection import project
from tests.dkvb.misfits import each_misfit, tensors_with
from tests.dkvb.naive import assert_same_codes, distances, random_bottleneck, random_items
from tests.dkvb.naive import nearest as naive_nearest
from tests.dkvb.threads import threads


def random_selectable(c: int, m: int, seed: int) -> torch.Tensor:
    return torch.rand(c, m, generator=torch.Generator().manual_seed(seed)) < 0.6


def test_codes_equal_the_naive_loop_over_several_blocks():
    model, z = random_bottleneck(1, c=3, m=13, v=2), random_items(1, 2 * BLOCK + 11)
    distance = distances(z, model.projection, model.keys)
    found = encode(z, model.projection, model.keys)
    assert found.dtype == torch.int16
    expected = naive_nearest(distance)
    assert_same_codes(found, expected, distance)
    assert (found.numpy() == expected).mean() > 0.99


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_any_number_of_items_fits_the_blocks(n):
    model, z = random_bottleneck(2, c=2, m=11, v=2), random_items(2, n)
    distance = distances(z, model.projection, model.keys)
    assert_same_codes(encode(z, model.projection, model.keys), naive_nearest(distance), distance)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.permutations([2, 3, 5, 7]), integer=st.booleans())
def test_only_selectable_keys_are_selected(seed, sizes, integer):
    c, m, d_k, d_z = sizes
    model = random_bottleneck(seed, c=c, m=m, v=2, d_z=d_z, d_k=d_k, integer=integer)
    z, selectable = random_items(seed, 13, d_z=d_z, integer=integer), random_selectable(c, m, seed)
    distance = distances(z, model.projection, model.keys)
    found = encode(z, model.projection, model.keys, selectable=selectable)
    expected = naive_nearest(distance, selectable)
    assert_same_codes(found, expected, distance, tolerance=0 if integer else 1e-5)
    for j in range(c):
        voted = found[:, j][found[:, j] >= 0].long()
        assert selectable[j][voted].all()


def test_an_exact_tie_goes_to_the_lowest_index():
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -3.0]])
    keys = torch.tensor([[5.0, 5.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    assert nearest(x, keys).tolist() == [1, 1, 5]


def test_a_tie_goes_to_the_lowest_selectable_index():
    x, keys = torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert nearest(x, keys, selectable=torch.tensor([False, True, True])).tolist() == [1]
    assert nearest(x, keys, selectable=torch.tensor([False, False, True])).tolist() == [2]


@pytest.mark.parametrize("m", [31, 4099])
@pytest.mark.parametrize("integer", [True, False])
def test_duplicate_keys_lose_to_their_first_copy_at_any_width(m, integer):
    # Dead keys that one item replaces are such duplicates.
    gen = torch.Generator().manual_seed(3)
    distinct = torch.randint(-3, 4, (7, 5), generator=gen).float().unique(dim=0)
    x = torch.randint(-3, 4, (BLOCK + 13, 5), generator=gen).float()
    if not integer:
        distinct, x = torch.randn(m // 2, 5, generator=gen), torch.randn(BLOCK + 13, 5, generator=gen)
    source = torch.randint(len(distinct), (m,), generator=gen)
    for code in nearest(x, distinct[source]).unique().tolist():
        assert code == (source == source[code]).nonzero()[0].item()


def test_the_distance_is_squared_l2_and_not_the_inner_product():
    x = torch.tensor([[1.0, 1.0]])
    keys = torch.tensor([[100.0, 100.0], [1.5, 1.0]])
    assert nearest(x, keys).tolist() == [1]


def test_a_codebook_without_a_selectable_key_casts_no_vote_and_leaves_the_others_alone():
    model, z = random_bottleneck(4, c=3, m=7, v=2), random_items(4, 13)
    selectable = torch.ones(3, 7, dtype=torch.bool)
    selectable[1] = False
    found = encode(z, model.projection, model.keys, selectable=selectable)
    free = encode(z, model.projection, model.keys)
    assert (found[:, 1] == NO_VOTE).all()
    assert NO_VOTE == -1
    assert torch.equal(found[:, [0, 2]], free[:, [0, 2]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_widened_before_anything_else(dtype):
    model, z = random_bottleneck(5, c=3, m=13, v=2), random_items(5, 101).to(dtype)
    found = encode(z, model.projection, model.keys)
    assert torch.equal(found, encode(z.float(), model.projection, model.keys))
    distance = distances(z, model.projection, model.keys)
    assert_same_codes(found, naive_nearest(distance), distance)


def test_embeddings_need_not_be_contiguous():
    model, z = random_bottleneck(6, c=2, m=11, v=2), random_items(6, 37)
    strided = z.T.contiguous().T
    assert not strided.is_contiguous()
    assert torch.equal(encode(strided, model.projection, model.keys), encode(z, model.projection, model.keys))


def test_the_inputs_are_left_as_they_were():
    model, z = random_bottleneck(7, c=2, m=11, v=2), random_items(7, 37)
    selectable = random_selectable(2, 11, 7)
    kept = [tensor.clone() for tensor in (z, model.projection, model.keys, selectable)]
    encode(z, model.projection, model.keys, selectable=selectable)
    for tensor, copy in zip((z, model.projection, model.keys, selectable), kept, strict=True):
        assert torch.equal(tensor, copy)


def test_the_last_code_that_int16_holds_is_reached():
    keys = torch.ones(1, 32768, 1)
    keys[0, -1] = 0
    assert encode(torch.zeros(1, 1), torch.ones(1, 1, 1), keys).tolist() == [[32767]]


def test_more_pairs_than_int16_holds_are_refused():
    with pytest.raises(ShapeMismatch, match=r"32769.*32768"):
        encode(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1, 32769, 1))


@each_misfit
def test_tensors_that_do_not_fit_are_refused(name, shape):
    with pytest.raises(ShapeMismatch, match=r"\("):
        encode(**tensors_with(name, shape))


@pytest.mark.parametrize(("x", "keys"), [((5, 3), (7, 2)), ((3,), (7, 3)), ((5, 3), (3,))])
def test_projected_items_and_keys_of_different_width_are_refused(x, keys):
    with pytest.raises(ShapeMismatch):
        nearest(torch.zeros(x), torch.zeros(keys))


# --- the compiled path and the plain one ---


def draw(seed: int, *shape: int, integer: bool = False) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=gen).float() if integer else torch.randn(shape, generator=gen)


SIZES = pytest.mark.parametrize(
    ("n", "m", "d_k"),
    [(0, 7, 3), (1, 1, 1), (43, 1, 5), (PLAIN_BLOCK + 13, 31, 14), (101, 257, 19), (37, 1031, 2), (13, 48, 33)],
)


@SIZES
@pytest.mark.parametrize("share", [None, 0.6, 0.01])
def test_the_compiled_path_equals_plain_torch_on_whole_numbers_exactly(n, m, d_k, share):
    x, keys = draw(1, n, d_k, integer=True), draw(2, m, d_k, integer=True)
    selectable = None if share is None else random_selectable(1, m, 3)[0] & (torch.arange(m) % round(1 / share) == 0)
    found = nearest(x, keys, selectable=selectable)
    assert found.dtype == torch.int64
    assert torch.equal(found, nearest_plain(x, keys, selectable=selectable))


@SIZES
def test_the_compiled_path_differs_from_plain_torch_in_near_ties_only(n, m, d_k):
    x, keys = draw(4, n, d_k), draw(5, m, d_k)
    distance = distances(x, np.eye(d_k)[None], keys[None])
    plain = nearest_plain(x, keys)[:, None].numpy()
    assert_same_codes(nearest(x, keys)[:, None], plain, distance, tolerance=1e-6)
    assert_same_codes(nearest(x, keys)[:, None], naive_nearest(distance), distance, tolerance=1e-6)


@pytest.mark.parametrize("m", [1, 7, 16, 31])
@pytest.mark.parametrize("path", [nearest, nearest_plain])
def test_neither_path_finds_a_key_where_none_is_selectable(path, m):
    found = path(draw(6, 37, 5), draw(7, m, 5), selectable=torch.zeros(m, dtype=torch.bool))
    assert found.tolist() == [NO_VOTE] * 37


@pytest.mark.parametrize("m", [1, 5, 16, 17, 257])
@pytest.mark.parametrize("d_k", [1, 16, 19, 33])
@pytest.mark.parametrize("integer", [True, False])
def test_codes_are_right_for_keys_of_any_width_and_number(m, d_k, integer):
    model = random_bottleneck(8, c=2, m=m, v=2, d_z=11, d_k=d_k, integer=integer)
    z, selectable = random_items(8, 19, d_z=11, integer=integer), random_selectable(2, m, m)
    distance = distances(z, model.projection, model.keys)
    for allowed in (None, selectable):
        found = encode(z, model.projection, model.keys, selectable=allowed)
        assert_same_codes(found, naive_nearest(distance, allowed), distance, tolerance=0 if integer else 1e-5)


@pytest.mark.parametrize("shift", [0, 1, 15, 16, 20, 31])
def test_the_nearest_key_is_found_in_every_place_of_every_group(shift):
    keys = torch.full((37, 2), 5.0)
    keys[shift] = 0
    assert nearest(torch.zeros(19, 2), keys).tolist() == [shift] * 19
    keys[36] = 0  # a later copy, in the group that is not full
    assert nearest(torch.zeros(19, 2), keys).tolist() == [shift] * 19


# --- a code is its item's alone ---


@pytest.mark.parametrize("d_k", [14, 19])
def test_codes_do_not_depend_on_the_number_of_items_nor_on_blocks_and_threads(monkeypatch, d_k):
    # Keys that differ in their last bits: near ties are many, so that another order of summation would show.
    model, z = random_bottleneck(9, c=3, m=61, v=2, d_z=23, d_k=d_k), random_items(9, 1031, d_z=23)
    keys = model.keys[:, torch.arange(1031) % 61] + 1e-7 * draw(10, 3, 1031, d_k)
    with threads(1):
        whole = encode(z, model.projection, keys)
        alone = torch.cat([encode(item, model.projection, keys) for item in z[:43].split(1)])
    assert torch.equal(alone, whole[:43])
    for block in (16, 48, 512):
        monkeypatch.setattr("dkvb.codes.BLOCK", block)
        for count in (1, 2):
            with threads(count):
                assert torch.equal(encode(z, model.projection, keys), whole)
                assert torch.equal(encode(z[5:678], model.projection, keys), whole[5:678])


@pytest.mark.parametrize("n", [0, 1, 17, BLOCK, BLOCK + 1])
def test_threads_that_share_the_codebooks_of_few_items_leave_none_out(n):
    model, z = random_bottleneck(14, c=5, m=61, v=2), random_items(14, BLOCK + 1)
    with threads(1):
        whole = encode(z, model.projection, model.keys)
    for count in (2, 3, 8):
        with threads(count):
            assert torch.equal(encode(z[:n], model.projection, model.keys), whole[:n])


def test_codes_are_the_nearest_keys_of_the_projected_items_bit_for_bit():
    model, z = random_bottleneck(11, c=3, m=1031, v=2, d_z=23, d_k=14), random_items(11, 211, d_z=23)
    keys = model.keys[:, torch.arange(1031) % 61] + 1e-7 * draw(12, 3, 1031, 14)
    found = encode(z, model.projection, keys)
    for j in range(3):
        assert torch.equal(found[:, j].long(), nearest(project(z, model.projection[j]), keys[j]))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 5000), count=st.sampled_from([1, 2]))
def test_a_block_is_whole_tiles_within_its_bound_and_leaves_no_thread_idle(n, count):
    with threads(count):
        size = block_size(n)
    assert size % 16 == 0
    assert 16 <= size <= BLOCK
    assert size == 16 or -(-n // size) >= min(count, -(-n // BLOCK))


# --- what is no number ---


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize(("m", "d_k"), [(1, 3), (16, 14), (61, 19)])
def test_an_embedding_that_is_no_number_names_no_key_that_there_is_not_and_leaves_the_others_alone(value, m, d_k):
    model, z = random_bottleneck(13, c=3, m=m, v=2, d_k=d_k), random_items(13, 37)
    plain, broken = encode(z, model.projection, model.keys), z.clone()
    broken[5, 2] = broken[17] = value
    found = encode(broken, model.projection, model.keys)
    assert ((found >= NO_VOTE) & (found < m)).all()
    others = [i for i in range(37) if i not in (5, 17)]
    assert torch.equal(found[others], plain[others])
    if value != value:
        assert (found[[5, 17]] == NO_VOTE).all()


# --- the codebooks as they are packed ---


def test_packed_codebooks_hold_directions_keys_and_half_squares_and_bar_what_is_not_selectable():
    projection, keys, selectable = draw(14, 3, 7, 5), draw(15, 3, 37, 5), random_selectable(3, 37, 16)
    for count in (1, 2):
        with threads(count):
            books = Codebooks.of(projection, keys, selectable)
        assert (books.directions.shape, books.keys.shape, books.bias.shape) == (
            (3, 1, 7, 16),
            (3, 3, 5, 16),
            (3, 3, 16),
        )
        for j in range(3):
            table, bias = pack_keys(keys[j], selectable[j])
            assert (table == books.keys[j]).all()
            assert (bias == books.bias[j]).all()
            for k in range(16):
                column = projection[j, :, k].tolist() if k < 5 else [0.0] * 7
                assert books.directions[j, 0, :, k].tolist() == column
            for k in range(48):
                assert table[k // 16, :, k % 16].tolist() == (keys[j, k].tolist() if k < 37 else [0.0] * 5)
                expected = -0.5 * sum(x * x for x in keys[j, k].tolist()) if k < 37 and selectable[j, k] else -np.inf
                assert bias[k // 16, k % 16] == pytest.approx(expected, rel=1e-6)
