"""All overlaps at once are those of each two classes."""

import numpy as np
import pytest

from dkvb.overlap import exclusivity, jaccard, weighted_overlap
from dkvb.overlap_matrix import overlap_matrix


@pytest.fixture
def counts():
    """(v, c, m) hits of nine classes: sparse, a class without any, and two alike."""
    gen = np.random.default_rng(0)
    made = gen.integers(1, 9, (9, 4, 30)) * (gen.random((9, 4, 30)) < 0.3)
    made[3] = 0
    made[7] = 2 * made[6]
    return made.astype(np.uint16)


def test_each_two_classes_overlap_as_the_plain_functions_say(counts):
    found = overlap_matrix((counts[:, j] for j in range(counts.shape[1])), len(counts))
    for a in range(len(counts)):
        for b in range(len(counts)):
            assert found.shared[a, b] == ((counts[a] > 0) & (counts[b] > 0)).sum()
            assert found.weighted[a, b] == pytest.approx(weighted_overlap(counts[a], counts[b]), nan_ok=True)
            assert found.jaccard[a, b] == pytest.approx(jaccard(counts[a], counts[b]), nan_ok=True)
        alone = exclusivity(counts[a], counts.sum(0))
        assert found.exclusive[a] == pytest.approx(alone, nan_ok=True)
    assert found.weighted[6, 7] == 1


def test_the_number_of_threads_changes_nothing(counts, monkeypatch):
    import torch

    def made():
        return overlap_matrix((counts[:, j] for j in range(counts.shape[1])), len(counts))

    before, threads = made(), torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3 if threads != 3 else 2)
    after = made()
    assert np.array_equal(before.weighted, after.weighted, equal_nan=True)
    assert np.array_equal(before.shared, after.shared)


def test_without_codebooks_nothing_overlaps():
    found = overlap_matrix(iter(()), 2)
    assert np.isnan(found.weighted).all()
    assert not found.shared.any()
