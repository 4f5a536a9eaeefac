"""Laws of the model whose keys and values never saw a class."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dkvb.bottleneck import decode
from dkvb.keys import KeySettings
from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.sums import SelectedKeys, Sums, whole_keys
from jobs import inputs
from jobs.kinds.oracles import Asks
from jobs.steps import oracles
from store import arrays
from tests.jobs.comparison import small

# Class 2 alone is at 3 in the first number; the last item is skipped.
LABELS = {"train": torch.tensor([0, 1, 2, 0, -1]), "test": torch.tensor([-1, 2, 0])}
Z = {
    "train": torch.tensor([[0.0, 1.0], [1.0, 3.0], [3.0, 1.0], [0.0, 3.0], [9.0, 9.0]]),
    "test": torch.tensor([[9.0, 9.0], [3.0, 1.0], [0.0, 1.0]]),
}


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr(inputs, "labels", lambda task, split: LABELS[split])
    monkeypatch.setattr(inputs, "embeddings", lambda task, split: Z[split])
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 2])
    monkeypatch.setattr(inputs, "read_manifest", lambda task: SimpleNamespace(classes=["ant", "bee", "cat"]))
    monkeypatch.setattr(inputs, "settings_of", lambda task, name: small.SETTINGS)
    monkeypatch.setattr(oracles, "use_cores", lambda: None)
    asks = Asks(c=2, m=3, d_k=1, sample=None, settings=KeySettings(), seed=0, classes=None, selectable="used")
    return small.task(asks=asks, output=SimpleNamespace(data=None))


def test_every_class_has_a_place_and_logits_for_the_items_kept(task, monkeypatch):
    made = {}
    monkeypatch.setattr(arrays, "create", lambda path, name, shape: made.update({name: shape}))
    assert oracles.prepare(task) == ["00000", "00001"]
    assert made == {"oracle_logits_train": (2, 4, 3), "oracle_logits_test": (2, 2, 3)}
    assert oracles.finish(task) == {"classes": [0, 2]}


@pytest.mark.parametrize("selectable", ["used", "all"])
def test_neither_keys_nor_values_see_the_class_and_all_items_are_judged(selectable, task, monkeypatch):
    seen: dict[str, Any] = {}
    written = {}
    bottleneck = small.bottleneck()

    def fit_keys(z, books, size, *, seed, settings):
        seen.update(keys=z.tolist(), books=list(books), size=size)
        return bottleneck.projection, bottleneck.keys

    def fit_values(codes, labels, settings, *, m, v, seed):
        seen.update(codes=codes.tolist(), labels=labels.tolist())
        return small.VALUES, None

    monkeypatch.setattr(oracles, "fit_codebooks", fit_keys)
    monkeypatch.setattr(oracles, "fit_values", fit_values)
    monkeypatch.setattr(arrays, "write", lambda path, name, found, *, start: written.update({name: (found, start)}))
    task.asks = replace(task.asks, selectable=selectable)
    assert oracles.open_work(task)("00001") == {"class": 2, "items": 3}
    assert seen["keys"] == [[0, 1], [1, 3], [0, 3]]
    assert (seen["codes"], seen["labels"]) == ([[0, 1], [1, 2], [0, 2]], [0, 1, 0])
    assert (seen["books"], seen["size"]) == ([0, 1], (3, 1))
    (train, place), (test, _) = written["oracle_logits_train"], written["oracle_logits_test"]
    assert (place, train.shape, test.shape) == (1, (1, 4, 3), (1, 2, 3))
    # No item that was left selects key 2 of the first codebook: where keys must be used, its item falls to key 1.
    expected = [0, 2, 0] if selectable == "used" else [0, 0.5, 1.5]
    assert train[0, 2].tolist() == test[0, 0].tolist() == expected
    assert test[0, 1].tolist() == [1.5, 0.5, 0]


def test_values_are_solved_for_on_the_same_keys_where_they_are_compared(task, monkeypatch):
    made, written = {}, {}
    bottleneck = small.bottleneck()
    monkeypatch.setattr(arrays, "create", lambda path, name, shape: made.update({name: shape}))
    monkeypatch.setattr(arrays, "write", lambda path, name, found, *, start: written.update({name: found}))
    monkeypatch.setattr(
        oracles, "fit_codebooks", lambda z, *_, seed, settings: (bottleneck.projection, bottleneck.keys)
    )
    monkeypatch.setattr(oracles, "fit_values", lambda *_, **__: pytest.fail("values were trained"))
    monkeypatch.setattr(inputs, "settings_of", lambda task, name: pytest.fail("there is no recipe"))
    task.asks = replace(task.asks, trained=False, lda=LdaSettings())
    oracles.prepare(task)
    assert made == {"oracle_lda_logits_train": (2, 4, 3), "oracle_lda_logits_test": (2, 2, 3)}
    oracles.open_work(task)("00001")
    assert {*written} == {*made}
    keys, _ = whole_keys(bottleneck.keys)
    codes = torch.tensor([[0, 1], [1, 2], [0, 2]], dtype=torch.int16)
    found = discriminants(Sums.of(SelectedKeys.of(codes, keys), torch.tensor([0, 1, 0]), v=3), LdaSettings())
    expected = decode(codes, lda_values(found, keys))
    assert torch.equal(torch.from_numpy(written["oracle_lda_logits_train"][0][[0, 1, 3]]), expected)
    assert (expected[:, 2] < -1000).all(), "the class never wins"


def test_keys_of_random_items_never_saw_the_class_either(task, monkeypatch):
    seen = []

    def items(z, books, size, *, seed):
        seen.append(z.tolist())
        return small.bottleneck().projection, small.bottleneck().keys

    monkeypatch.setattr(oracles, "item_codebooks", items)
    monkeypatch.setattr(oracles, "fit_values", lambda *_, **__: (small.VALUES, None))
    monkeypatch.setattr(arrays, "write", lambda *_, **__: None)
    task.asks = replace(task.asks, items=True)
    oracles.open_work(task)("00001")
    assert seen == [[[0, 1], [1, 3], [0, 3]]]
