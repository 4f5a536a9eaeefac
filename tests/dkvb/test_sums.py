"""Sums over items: exact, whatever the order, and only of the items that are in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dkvb.errors import BadSums, ShapeMismatch
from dkvb.sums import (
    EXACT,
    SelectedKeys,
    Sums,
    WholeEmbeddings,
    block_sums,
    check_items,
    most_items,
    whole_keys,
)
from tests.dkvb import naive

N, C, M, D_K, V = 601, 7, 29, 5, 6


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(n: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, whole keys and labels."""
    keys, _ = whole_keys(torch.randn(C, M, D_K, generator=gen(1)))
    codes = torch.randint(M, (n, C), generator=gen(2)).short()
    return codes, keys, torch.randint(V, (n,), generator=gen(3))


def sums_of(rows: torch.Tensor, n: int = N) -> Sums:
    codes, keys, labels = made(n)
    return Sums.of(SelectedKeys.of(codes[rows], keys), labels[rows], v=V)


EVERY = torch.arange(N)


def test_they_are_those_of_python_s_whole_numbers():
    codes, keys, labels = made()
    found = sums_of(EVERY)
    phi = [[int(q) for j in range(C) for q in keys[j, codes[i, j]]] for i in range(N)]
    for k in range(V):
        own = [row for row, label in zip(phi, labels.tolist(), strict=True) if label == k]
        assert found.items[k] == len(own)
        assert found.classes[k].tolist() == [sum(column) for column in zip(*own, strict=True)]
    columns = list(zip(*phi, strict=True))
    for a in (0, 4, 5, 33, 34):
        products = [sum(x * y for x, y in zip(columns[a], other, strict=True)) for other in columns]
        assert found.moments[a].tolist() == products
    assert torch.equal(found.moments, found.moments.T)


def test_sums_at_the_edge_of_the_range_are_not_rounded():
    q = torch.full((1, 1, 2), (1 << 15) - 1, dtype=torch.int16)
    q[0, 0, 1] = 32766
    n = 5_003
    sums = Sums.of(SelectedKeys.of(torch.zeros(n, 1, dtype=torch.int16), q), torch.zeros(n, dtype=torch.int64), v=1)
    assert sums.moments.tolist() == [[n * 32767**2, n * 32767 * 32766], [n * 32767 * 32766, n * 32766**2]]


@pytest.mark.parametrize("shards", [1, 2, 7, 60])
def test_merged_in_any_order_they_are_equal(shards):
    whole = sums_of(EVERY).to_bytes()
    parts = [sums_of(rows) for rows in EVERY.tensor_split(shards)]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(shards)
        total = parts[order[0]]
        for i in order[1:]:
            total = parts[i] + total
        assert total.to_bytes() == whole


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_codebooks_are_joined_in_any_order(threads):
    codes, keys, labels = made()
    features, before = SelectedKeys.of(codes, keys), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        blocks = [
            block_sums(features, labels, v=V, start=start, stop=min(start + 2 * D_K, C * D_K))
            for start in range(0, C * D_K, 2 * D_K)
        ]
    finally:
        torch.set_num_threads(before)
    items = torch.bincount(labels, minlength=V)
    joined = Sums.joined(items, blocks[::-1], width=C * D_K, largest=features.largest)
    assert joined.to_bytes() == sums_of(EVERY).to_bytes()
    for wrong in (blocks[1:], [*blocks, blocks[1]]):
        with pytest.raises(ShapeMismatch, match="missing or there twice"):
            Sums.joined(items, wrong, width=C * D_K, largest=features.largest)


def test_learn_then_forget_gives_the_state_back():
    state, more = sums_of(EVERY[:400]), sums_of(EVERY[400:])
    assert (state + more - more).to_bytes() == state.to_bytes() != (state + more).to_bytes()


def test_what_is_not_there_cannot_be_taken_away():
    state, gone = sums_of(EVERY[:100]), sums_of(EVERY[50:100])
    with pytest.raises(BadSums, match="taken away before"):
        state - gone - gone
    with pytest.raises(BadSums, match="never added"):
        state - sums_of(EVERY[100:])


def test_sums_of_other_features_or_classes_are_refused():
    state = sums_of(EVERY)
    with pytest.raises(BadSums, match="other features"):
        state + replace(state, largest=3)
    with pytest.raises(ShapeMismatch):
        state + replace(state, classes=state.classes[:, 1:])


def test_overflow_is_refused_before_it_happens_with_the_largest_n_that_fits():
    most = most_items(2047)
    assert most * 2047**2 < EXACT <= (most + 1) * 2047**2
    check_items(most, 2047)
    with pytest.raises(BadSums, match=f"at most {most:,} items"):
        check_items(most + 1, 2047)


def test_a_merge_that_would_overflow_is_refused():
    state = sums_of(EVERY)
    many = state.items.clone()
    many[0] += most_items(state.largest) - state.n
    full = replace(state, items=many)
    with pytest.raises(BadSums, match=f"over {full.n + 1:,} items"):
        full + sums_of(EVERY[:1])


class Large(WholeEmbeddings):
    """Embeddings that claim to reach further than any do."""

    largest = 1 << 26


def test_a_sum_that_would_overflow_is_refused():
    q = torch.ones(3, 2, dtype=torch.int16)
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(BadSums, match="at most 1 items"):
        block_sums(Large(q), labels, v=1, start=0, stop=2)
    block_sums(Large(q[:1]), labels[:1], v=1, start=0, stop=2)


def test_a_file_of_sums_is_read_as_it_was_written(tmp_path):
    state, path = sums_of(EVERY), tmp_path / "sums.safetensors"
    path.write_bytes(state.to_bytes())
    assert Sums.load(path).to_bytes() == state.to_bytes()


def test_a_wrong_checksum_is_refused(tmp_path):
    data, path = bytearray(sums_of(EVERY).to_bytes()), tmp_path / "sums.safetensors"
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadSums, match="damaged"):
        Sums.load(path)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"no sums at all"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "sums.safetensors").write_bytes(content)
    with pytest.raises(BadSums, match=r"sums\.safetensors"):
        Sums.load(tmp_path / "sums.safetensors")


@pytest.mark.parametrize("scale", [1e-6, 0.9995, 1.0, 2047.4, 3e5])
def test_whole_keys_use_the_eleven_bits(scale):
    keys = torch.linspace(-1, 1, 3 * 4 * 2).view(3, 4, 2) * scale
    q, bits = whole_keys(keys)
    assert q.dtype == torch.int16
    assert 1023 <= q.abs().max() <= 2047
    assert (q - keys.double() * 2.0**bits).abs().max() <= 0.5


def test_keys_of_zeros_are_zeros_and_others_must_be_numbers():
    assert not whole_keys(torch.zeros(2, 3, 4))[0].any()
    with pytest.raises(BadSums, match="no finite number"):
        whole_keys(torch.tensor([[[1.0, float("nan")]]]))


def test_embeddings_are_rounded_with_bits_that_do_not_depend_on_them():
    z = naive.random_items(1, N).half()
    q = WholeEmbeddings.of(z, 8).q
    assert torch.equal(q, (z.double() * 256).round().short())
    assert torch.equal(WholeEmbeddings.of(z[:3], 8).q, q[:3])


def test_embeddings_past_the_range_are_refused_with_the_bits_that_fit():
    z = torch.tensor([[40.0, -1.0]])
    with pytest.raises(BadSums, match="at most 9 "):
        WholeEmbeddings.of(z, 10)
    assert WholeEmbeddings.of(z, 9).q.tolist() == [[20480, -512]]
    with pytest.raises(BadSums, match="finite"):
        WholeEmbeddings.of(z / 0, 1)


def test_labels_and_codes_that_do_not_fit_are_refused():
    codes, keys, labels = made()
    features = SelectedKeys.of(codes, keys)
    with pytest.raises(ShapeMismatch, match="labels"):
        Sums.of(features, labels[1:], v=V)
    with pytest.raises(ShapeMismatch, match="expected 0 to 2"):
        block_sums(features, labels, v=3, start=0, stop=D_K)
    with pytest.raises(ShapeMismatch, match="codes"):
        SelectedKeys.of(codes - 1, keys)
    with pytest.raises(ShapeMismatch, match="codes"):
        SelectedKeys.of(codes[:, 1:], keys)


def test_sums_take_in_classes_that_were_not_there_before():
    codes, keys, labels = made()
    features = SelectedKeys.of(codes, keys)
    grown = Sums.of(features, labels, v=V).with_classes(V + 2)
    assert grown.to_bytes() == Sums.of(features, labels, v=V + 2).to_bytes()
    new = SelectedKeys.of(codes[:11], keys), torch.full((11,), V + 1)
    both = Sums.of(SelectedKeys.of(torch.cat([codes, codes[:11]]), keys), torch.cat([labels, new[1]]), v=V + 2)
    assert (grown + Sums.of(*new, v=V + 2)).to_bytes() == both.to_bytes()
    with pytest.raises(ShapeMismatch, match=f"found {V} classes, expected at most {V - 1}"):
        Sums.of(features, labels, v=V).with_classes(V - 1)
