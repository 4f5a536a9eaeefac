"""Codes: the nearest selectable key."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.codes import BLOCK, NO_VOTE, encode, nearest
from dkvb.errors import ShapeMismatch
from tests.dkvb.naive import assert_same_codes, distances, random_bottleneck, random_items
from tests.dkvb.naive import nearest as naive_nearest


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


GOOD = {"z": (5, 7), "projection": (3, 7, 2), "keys": (3, 11, 2), "selectable": (3, 11)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("z", (5, 6)),
        ("z", (7,)),
        ("projection", (2, 7, 2)),
        ("projection", (3, 7, 5)),
        ("keys", (2, 11, 2)),
        ("keys", (3, 11, 5)),
        ("selectable", (3, 13)),
        ("selectable", (2, 11)),
        ("selectable", (5, 11)),
        ("selectable", (3, 1)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name, shape):
    tensors = {key: torch.ones(shape if key == name else good) for key, good in GOOD.items()}
    with pytest.raises(ShapeMismatch, match=r"\("):
        encode(tensors["z"], tensors["projection"], tensors["keys"], selectable=tensors["selectable"].bool())


@pytest.mark.parametrize(("x", "keys"), [((5, 3), (7, 2)), ((3,), (7, 3)), ((5, 3), (3,))])
def test_projected_items_and_keys_of_different_width_are_refused(x, keys):
    with pytest.raises(ShapeMismatch):
        nearest(torch.zeros(x), torch.zeros(keys))
