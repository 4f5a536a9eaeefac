"""Codes under a mask, read off lists and searched past their ends, are those of the masked model."""

import numpy as np
import pytest
import torch

from dkvb import redirection, remaining
from dkvb.bottleneck import Bottleneck
from dkvb.decoding import NO_VOTE, add_votes
from dkvb.neighbours import neighbours
from dkvb.redirection import BEYOND
from dkvb.remaining import RemainingKeys

C, M, R = 5, 37, 3


@pytest.fixture
def model():
    """A model of which some keys are not selectable, and embeddings."""
    gen = torch.Generator().manual_seed(0)
    projection, keys, values = (torch.randn(shape, generator=gen) for shape in ((C, 11, 3), (C, M, 3), (C, M, 7)))
    selectable = torch.rand(C, M, generator=gen) < 0.9
    return Bottleneck(projection, keys, values, selectable, {}), torch.randn(2053, 11, generator=gen).half()


def naive(codes, lists, mask):
    """One entry after the other."""
    after = codes.copy()
    for i, j in np.ndindex(*codes.shape):
        if codes[i, j] < 0 or not mask[j, codes[i, j]]:
            continue
        left = [int(key) for key in lists[i, j] if key < 0 or not mask[j, key]]
        after[i, j] = left[0] if left else BEYOND
    return after


@pytest.mark.parametrize("redirected", [redirection.redirected, remaining.redirected])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_lists_are_walked_to_the_first_key_that_is_left(redirected, share):
    gen = np.random.default_rng(0)
    n = 23
    mask = gen.random((C, M)) < share
    lists = np.stack([gen.permutation(M)[:R] for _ in range(n * C)]).reshape(n, C, R).astype(np.int16)
    lists[gen.random((n, C)) < 0.2, 1:] = NO_VOTE  # the list holds all selectable keys
    lists[gen.random((n, C)) < 0.1] = NO_VOTE
    codes, expected = lists[:, :, 0].copy(), naive(lists[:, :, 0], lists, mask)
    found = redirected(codes, lists, mask)
    assert found.dtype == np.int16
    assert np.array_equal(found, expected)
    assert np.array_equal(codes, lists[:, :, 0]), "what was given is left as it was"
    if share == 0.9:
        assert {BEYOND, NO_VOTE} <= set(found.ravel().tolist())


@pytest.mark.parametrize("share", [0.2, 0.8, 0.97, 1.0])
def test_what_lies_past_a_list_is_found_as_the_masked_model_finds_it(share, model):
    bottleneck, z = model
    codes = bottleneck.codes(z).numpy()
    lists = neighbours(z, bottleneck.projection, bottleneck.keys, selectable=bottleneck.selectable, r=R).numpy()
    mask = np.random.default_rng(1).random((C, M)) < share
    mask[3] = True  # nothing is left there
    found = redirection.redirected(codes, lists, mask)
    assert (found == BEYOND).any()
    free = bottleneck.selectable.numpy() & ~mask
    RemainingKeys.of(bottleneck.projection.numpy(), bottleneck.keys.numpy(), free).search(z.numpy(), found)
    assert np.array_equal(found, bottleneck.masked(torch.from_numpy(mask)).codes(z).numpy())


def test_an_array_and_a_tensor_are_decoded_alike():
    gen = np.random.default_rng(2)
    values = gen.standard_normal((C, M, 7), np.float32)
    codes = gen.integers(-1, M, (11, C))
    codes[4] = NO_VOTE
    array, tensor = np.zeros((11, 7), np.float32), torch.zeros(11, 7)
    add_votes(array, codes.T, values)
    add_votes(tensor, iter(torch.from_numpy(codes.T)), torch.from_numpy(values))
    assert np.array_equal(array, tensor.numpy())
    assert not array[4].any()
    votes = [values[j, codes[0, j]] for j in range(C) if codes[0, j] >= 0]
    assert array[0] == pytest.approx(np.mean(votes, 0), abs=1e-6)
