"""Counts: hits of classes on pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb import counts
from dkvb.errors import ShapeMismatch
from tests.dkvb import naive


def random_codes(seed: int, n: int, c: int, m: int) -> torch.Tensor:
    """Some codebooks cast no vote (-1)."""
    return torch.randint(-1, m, (n, c), generator=torch.Generator().manual_seed(seed)).to(torch.int16)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([0, 1, 17, 101]), sizes=st.permutations([2, 3, 5]))
def test_counts_equal_the_naive_loop_and_sum_to_the_votes(seed, n, sizes):
    c, m, classes = sizes
    codes = random_codes(seed, n, c, m)
    labels = torch.randint(-1, classes, (n,), generator=torch.Generator().manual_seed(seed + 1))
    found = counts.class_counts(codes, labels, classes=classes, m=m)
    assert not found.dtype.is_floating_point
    np.testing.assert_array_equal(found, naive.class_counts(codes, labels, classes, m))
    assert found.sum() == (codes[labels >= 0] >= 0).sum()
    for k in range(classes):
        assert found[k].sum() == (codes[labels == k] >= 0).sum()


def test_the_counts_of_all_items_are_the_sum_over_classes():
    codes = random_codes(1, 101, 3, 7)
    labels = torch.arange(101) % 5
    by_class = counts.class_counts(codes, labels, classes=5, m=7)
    assert torch.equal(counts.count_codes(codes, 7), by_class.sum(0))


def test_every_class_counts_its_items_times_the_codebooks_when_all_vote():
    codes = random_codes(2, 101, 3, 7).clamp(min=0)
    labels = torch.arange(101) % 5
    sums = counts.class_counts(codes, labels, classes=5, m=7).sum((1, 2))
    assert sums.tolist() == [3 * 21, 3 * 20, 3 * 20, 3 * 20, 3 * 20]


def test_items_with_a_negative_label_are_left_out():
    codes = torch.tensor([[0, 1], [2, 1], [2, 2]], dtype=torch.int16)
    found = counts.class_counts(codes, torch.tensor([1, -1, 1]), classes=2, m=3)
    assert found.tolist() == [[[0, 0, 0], [0, 0, 0]], [[1, 0, 1], [0, 1, 1]]]


def test_no_vote_is_counted_nowhere():
    found = counts.count_codes(torch.tensor([[-1, 0], [-1, 2]], dtype=torch.int16), 3)
    assert found.tolist() == [[0, 0, 0], [1, 0, 1]]


def test_many_codebooks_of_int16_codes_do_not_overflow():
    codes = torch.full((3, 257), 4098, dtype=torch.int16)
    found = counts.count_codes(codes, 4099)
    assert (found[:, 4098] == 3).all()
    assert found.sum() == 3 * 257


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_narrow_labels_do_not_overflow(dtype):
    codes = torch.full((7, 3), 4098, dtype=torch.int16)
    labels = torch.tensor([0, 96, 96, 1, 96, 0, 96])
    found = counts.class_counts(codes, labels.to(dtype), classes=97, m=4099)
    assert torch.equal(found, counts.class_counts(codes, labels, classes=97, m=4099))
    assert found[:, :, 4098].sum(1).nonzero()[:, 0].tolist() == [0, 1, 96]
    assert found[96, 2, 4098] == 4


def test_labels_of_another_number_of_items_are_refused():
    with pytest.raises(ShapeMismatch, match="labels"):
        counts.class_counts(random_codes(1, 5, 3, 7), torch.zeros(4, dtype=torch.int64), classes=2, m=7)
