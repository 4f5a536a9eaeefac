"""Laws of heads that are solved for: what leaves the sums leaves the head, to the last bit."""

from types import SimpleNamespace

import pytest
import torch

from dkvb.errors import BadSums
from dkvb.lda import LdaSettings, discriminants, lda_linear, lda_values
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings, whole_keys
from jobs import inputs
from jobs.comparison.solved import read_solved
from jobs.spec.heads import SOLVED, SolvedHeads
from tests.jobs.comparison import small

BITS = 6
ASKED = SolvedHeads(values=LdaSettings(), linear=LdaSettings(shrinkage=0.1), bits=BITS)
N, M, D_K = 40, 5, 2


def generator():
    return torch.Generator().manual_seed(0)


LABELS = {"train": torch.arange(N + 3) % 3, "test": torch.arange(9) % 3}
LABELS["train"][::14] = -1
CODES = {f"codes_{s}": torch.randint(M, (len(own), 3), generator=generator()).short() for s, own in LABELS.items()}
KEYS = torch.randn(3, M, D_K, generator=generator())
Z = {split: torch.randn(len(own), 4, generator=generator()).half() for split, own in LABELS.items()}


@pytest.fixture
def heads(monkeypatch):
    monkeypatch.setattr(inputs, "labels", lambda task, split: LABELS[split])
    monkeypatch.setattr(inputs, "tensor", lambda task, name, array: {**CODES, "keys": KEYS}[name])
    monkeypatch.setattr(inputs, "embeddings", lambda task, split: Z[split])
    monkeypatch.setattr(inputs, "read_manifest", lambda task: SimpleNamespace(classes=("ant", "bee", "cat", "dog")))
    return read_solved(small.task(), ASKED)


def test_heads_are_those_that_are_asked_for(heads, monkeypatch):
    assert [*heads] == [*SOLVED] == [solved.head.name for solved in heads.values()]
    assert [*read_solved(small.task(), SolvedHeads(values=LdaSettings()))] == ["values-lda"]
    assert [*read_solved(small.task(), SolvedHeads(linear=LdaSettings()))] == ["linear-lda"]


def test_weights_are_those_of_all_training_items_that_are_not_skipped(heads):
    kept = LABELS["train"] >= 0
    labels = LABELS["train"][kept]
    keys, _ = whole_keys(KEYS)
    sums = Sums.of(SelectedKeys.of(CODES["codes_train"][kept], keys), labels, v=4)
    expected = lda_values(discriminants(sums, LdaSettings()), keys).view(3 * M, 4)
    assert torch.equal(heads["values-lda"].head.weights, expected)
    sums = Sums.of(WholeEmbeddings.of(Z["train"][kept], BITS), labels, v=4)
    expected = lda_linear(discriminants(sums, LdaSettings(shrinkage=0.1)), BITS)
    assert torch.equal(heads["linear-lda"].head.weights, expected)
    assert len(heads["linear-lda"].head.labels["train"]) == int(kept.sum())


@pytest.mark.parametrize("name", SOLVED)
def test_items_that_left_are_as_if_they_had_never_been_there(name, heads):
    solved = heads[name]
    labels = solved.head.labels["train"]
    for out in ((labels == 1).nonzero().flatten(), torch.tensor([0]), torch.arange(0, len(labels), 3)):
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[out] = False
        never = solved.anew(rest.nonzero().flatten())
        assert torch.equal(solved.without(out), never)
        assert not torch.equal(never, solved.head.weights)


@pytest.mark.parametrize("name", SOLVED)
def test_the_logits_of_a_head_are_the_discriminants_of_its_features(name, heads):
    solved = heads[name]
    features = solved.head.features["test"]
    found = discriminants(solved.sums, solved.lda)
    whole = (
        SelectedKeys.of(CODES["codes_test"], whole_keys(KEYS)[0])
        if name == "values-lda"
        else WholeEmbeddings.of(Z["test"], BITS)
    )
    expected = whole.read(slice(None), 0) @ found.weights.T + found.bias
    logits = solved.head.logits(features, solved.head.weights)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-2, atol=0.1)
    assert (logits.argmax(1) == expected.argmax(1)).double().mean() > 0.8
    assert (logits[:, 3] < -1000).all(), "a class without items never wins"


@pytest.mark.parametrize("name", SOLVED)
def test_all_items_cannot_leave(name, heads):
    with pytest.raises(BadSums):
        heads[name].without(torch.arange(len(heads[name].head.labels["train"])))
