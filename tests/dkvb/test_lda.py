"""Heads made of sums: what is taken out of the sums is forgotten to the last bit."""

from itertools import permutations

import numpy as np
import pytest
import torch

from dkvb import lda, sizes, spilled
from dkvb.bottleneck import decode
from dkvb.errors import BadSetting, BadSums, ShapeMismatch
from dkvb.lda import NOBODY, LdaSettings, discriminants, lda_linear, lda_values
from dkvb.linear import linear_logits
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings, WholeFeatures, whole_keys
from tests.dkvb import naive

N, C, M, D_K, V, D_Z, BITS = 701, 7, 29, 5, 6, 11, 9
SETTINGS = LdaSettings()


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


KEYS, KEY_BITS = whole_keys(torch.randn(C, M, D_K, generator=gen(1)))
LABELS = torch.randint(V, (N,), generator=gen(3))
CODES = ((torch.randint(9, (N, C), generator=gen(2)) + 4 * LABELS[:, None]) % M).short()
Z = (torch.randn(N, D_Z, generator=gen(4)) + torch.randn(V, D_Z, generator=gen(5))[LABELS]).half()


class Head:
    """A head on some items: their features, and what is made of their sums."""

    def __init__(self, name: str) -> None:
        self.name = name

    def features(self, rows: torch.Tensor) -> WholeFeatures:
        return SelectedKeys.of(CODES[rows], KEYS) if self.name == "values" else WholeEmbeddings.of(Z[rows], BITS)

    def sums(self, rows: torch.Tensor) -> Sums:
        return Sums.of(self.features(rows), LABELS[rows], v=V)

    def made(self, sums: Sums) -> torch.Tensor:
        found = discriminants(sums, SETTINGS)
        return lda_values(found, KEYS) if self.name == "values" else lda_linear(found, BITS)


@pytest.fixture(params=["values", "linear"])
def head(request) -> Head:
    return Head(request.param)


EVERY = torch.arange(N)


def drawn(rows: torch.Tensor, share: float) -> torch.Tensor:
    return rows[torch.randperm(len(rows), generator=gen(6))[: max(1, int(share * len(rows)))]]


FORGET = {
    "one item": EVERY[17:18],
    "ten percent of a class": drawn(EVERY[LABELS == 2], 0.1),
    "a class": EVERY[LABELS == 2],
    "two classes": EVERY[(LABELS == 2) | (LABELS == 5)],
    "five classes": EVERY[LABELS != 0],
    "a random tenth": drawn(EVERY, 0.1),
    "all but one item": EVERY[EVERY != 23],
    "nothing": EVERY[:0],
}


def without(*gone: torch.Tensor) -> torch.Tensor:
    return EVERY[~torch.isin(EVERY, torch.cat(gone))]


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
def test_forgetting_gives_the_bits_of_never_having_seen(head, forget):
    left = head.sums(EVERY) - head.sums(forget)
    fresh = head.sums(without(forget))
    assert left.to_bytes() == fresh.to_bytes()
    assert torch.equal(head.made(left), head.made(fresh))


def test_the_order_of_requests_does_not_matter(head):
    requests = [FORGET["a class"], EVERY[LABELS == 4], EVERY[(LABELS == 1)][:9]]
    fresh = head.made(head.sums(without(*requests)))
    for order in permutations(requests):
        state = head.sums(EVERY)
        for request in order:
            state = state - head.sums(request)
        assert torch.equal(head.made(state), fresh)


def test_learn_then_forget_gives_the_values_back(head):
    few = head.sums(EVERY[:500])
    more = few + head.sums(EVERY[500:])
    assert torch.equal(head.made(more), head.made(head.sums(EVERY)))
    assert not torch.equal(head.made(more), head.made(few))
    assert torch.equal(head.made(more - head.sums(EVERY[500:])), head.made(few))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads(head, threads, monkeypatch):
    monkeypatch.setattr(lda, "CLASSES", 4)
    monkeypatch.setattr(lda, "ROWS", 8)
    monkeypatch.setattr(lda, "PANEL", 4)  # so that there are several parts
    expected, before = head.made(head.sums(EVERY)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(head.made(head.sums(EVERY)), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def naive_logits(x: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    """Linear discriminant analysis as books have it, on features x (n, d)."""
    n, d = x.shape
    means = [x[labels == k].mean(0) for k in range(V)]
    within = sum((x[labels == k] - means[k]).T @ (x[labels == k] - means[k]) for k in range(V)) / n
    solved = [np.linalg.solve(within + shrinkage * np.trace(within) / d * np.eye(d), mean) for mean in means]
    columns = [
        x @ b - mean @ b / 2 + np.log((labels == k).mean())
        for k, (mean, b) in enumerate(zip(means, solved, strict=True))
    ]
    return np.stack(columns, 1)


@pytest.mark.parametrize("shrinkage", [0.03, 0.3, 1.0])
def test_values_give_the_discriminants_of_books(shrinkage):
    head = Head("values")
    values = lda_values(discriminants(head.sums(EVERY), LdaSettings(shrinkage=shrinkage)), KEYS)
    assert values.shape == (C, M, V)
    assert values.dtype == torch.float32
    x = np.concatenate([naive.f64(KEYS[j][CODES[:, j].long()]) for j in range(C)], 1)
    expected = naive_logits(x, LABELS.numpy(), shrinkage)
    np.testing.assert_allclose(decode(CODES, values), expected, rtol=1e-4, atol=1e-4)
    assert (expected.argmax(1) == LABELS.numpy()).mean() > 0.6


def test_the_linear_head_gives_the_discriminants_of_books():
    weights = Head("linear").made(Head("linear").sums(EVERY))
    expected = naive_logits(naive.f64(Z), LABELS.numpy(), 0.3)
    np.testing.assert_allclose(linear_logits(Z, weights), expected, atol=0.02)  # Z was rounded to 2^-9


def test_a_class_without_items_never_wins(head):
    found = discriminants(head.sums(without(FORGET["two classes"])), SETTINGS)
    assert found.bias[[2, 5]].tolist() == [NOBODY, NOBODY]
    assert not found.weights[[2, 5]].any()
    assert found.bias[[0, 1, 3, 4]].isfinite().all()
    made = head.made(head.sums(without(FORGET["two classes"])))
    nobody = made[..., [2, 5]] if head.name == "values" else made[-1, [2, 5]]
    assert (nobody == NOBODY).all(), "the bits of heads of enough items are as they were"


@pytest.mark.parametrize("left", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_class_without_items_never_wins_however_few_are_left(head, left, classes):
    rows = EVERY[classes > LABELS][:left]
    made = head.made(head.sums(rows))
    if head.name == "values":
        worst = made[..., LABELS[rows].unique()].amax(2).argmin(1)  # of each codebook the key that is worst for all
        others = torch.randint(M, (5000, C), generator=gen(8))
        logits = decode(torch.cat([CODES, others.short(), worst[None].short()]), made)
    else:
        logits = linear_logits(torch.cat([Z, -Z, torch.randn(5000, D_Z, generator=gen(8)).half()]), made)
    assert torch.isin(logits.argmax(1), LABELS[rows]).all()
    assert logits.isfinite().all()


def test_items_that_are_all_alike_are_told_apart_by_their_classes():
    q = torch.tensor([[3, 0], [3, 0], [0, 3]], dtype=torch.int16)
    labels = torch.tensor([0, 0, 1])
    found = discriminants(Sums.of(WholeEmbeddings(q), labels, v=2), SETTINGS)
    logits = q.double() @ found.weights.T + found.bias
    assert logits.argmax(1).tolist() == [0, 0, 1]


def test_no_items_make_no_values(head):
    with pytest.raises(BadSums, match="no items"):
        head.made(head.sums(EVERY) - head.sums(EVERY))


@pytest.mark.parametrize("shrinkage", [0.0, -1.0, float("inf"), float("nan")])
def test_a_shrinkage_that_is_none_is_refused(shrinkage):
    with pytest.raises(BadSetting, match="shrinkage"):
        LdaSettings(shrinkage=shrinkage)


def test_a_shrinkage_too_small_for_a_solution_is_refused():
    head = Head("values")
    few = head.sums(EVERY[:12])
    with pytest.raises(BadSetting, match="too small"):
        discriminants(few, LdaSettings(shrinkage=1e-300))


@pytest.mark.parametrize(("d", "panel", "rows"), [(1, 1, 1), (7, 3, 2), (40, 8, 16), (40, 64, 64), (301, 32, 50)])
def test_a_factor_made_in_parts_is_the_factor(d, panel, rows, monkeypatch):
    monkeypatch.setattr(lda, "PANEL", panel)
    monkeypatch.setattr(lda, "ROWS", rows)
    x = torch.randn(d, d + 3, generator=gen(7), dtype=torch.float64)
    matrix = x @ x.T
    expected = torch.linalg.cholesky(matrix)
    assert lda.cholesky_(matrix)
    torch.testing.assert_close(matrix.tril(), expected)
    matrix[:] = -torch.eye(d, dtype=torch.float64)
    assert not lda.cholesky_(matrix)


def test_a_large_table_lies_on_a_scratch_file_with_the_same_bits(monkeypatch):
    found = discriminants(Head("values").sums(EVERY), SETTINGS)
    expected = lda_values(found, KEYS)
    monkeypatch.setattr(sizes, "LARGE", 0)
    assert spilled.is_spilled(table := lda_values(found, KEYS))
    assert torch.equal(table, expected)


def test_keys_of_another_model_are_refused():
    with pytest.raises(ShapeMismatch):
        lda_values(discriminants(Head("values").sums(EVERY), SETTINGS), KEYS[1:])
