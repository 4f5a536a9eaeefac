"""Laws of the comparison on heads that are solved for: each beside the oracle of its own kind."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dkvb.lda import NOBODY, LdaSettings
from jobs import inputs
from jobs.comparison.attacks import Attacked
from jobs.comparison.halves import half
from jobs.comparison.solved import read_solved
from jobs.kinds.solved import Asks, Halves
from jobs.spec.heads import SolvedHeads
from jobs.steps import solved
from jobs.steps.solved import Shared, compared, forgotten, halves
from store import arrays
from tests.jobs.comparison import small

ASKED = SolvedHeads(values=LdaSettings(), linear=LdaSettings(), bits=6)
ASKS = Asks(classes=None, heads=ASKED, seed=0, lira=Halves(heads=4, items=100, first=1))


@pytest.fixture
def shared(swept, monkeypatch):
    """The small bottleneck's keys and codes; its classes are 0, 1, 2 and 0."""
    there = {f"codes_{split}": torch.tensor(rows, dtype=torch.int16) for split, rows in small.CODES.items()}
    there["keys"] = small.bottleneck().keys
    monkeypatch.setattr(inputs, "tensor", lambda task, name, array: there[name])
    monkeypatch.setattr(inputs, "read_manifest", lambda task: SimpleNamespace(classes=("ant", "bee", "cat")))
    task = small.task(asks=ASKS, output=SimpleNamespace(digest="d"), inputs={})
    return Shared(task=task, heads=read_solved(task, ASKED), items=swept, recounted=True, names=("ant", "bee", "cat"))


def test_units_are_the_classes_and_then_the_heads_of_some(monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [0, 2])
    assert solved.prepare(small.task(asks=ASKS)) == ["00000", "00002", "00000-linear-lda", "00000-values-lda"]
    plain = Asks(classes=None, heads=SolvedHeads(values=LdaSettings()), seed=0, lira=None)
    assert solved.prepare(small.task(asks=plain)) == ["00000", "00002"]


@pytest.mark.parametrize("name", ASKED.names)
@pytest.mark.parametrize("k", range(3))
def test_what_left_the_sums_equals_the_oracle_of_its_own_kind_to_the_last_bit(name, k, shared):
    judge, models = forgotten(shared, shared.heads[name], k)
    masks = ["uve all"] if name == "values-lda" else []
    assert [one.method for one in models] == ["none", "column", "logit", *masks, "exact", "retrain"]
    assert {one.head.name for one in models} == {name}
    exact, oracle = models[-2:]
    for split in small.OWN:
        assert torch.equal(exact.logits[split], oracle.logits[split])
        assert (exact.logits[split][:, k] <= NOBODY).all()  # of so few items others can fall that low too
    verdict = judge.verdict(exact)
    assert (verdict.tow, verdict.js_forget) == (1, 0)
    assert judge.oracle is oracle
    assert judge.forget["train"].tolist() == (small.OWN["train"] == k).tolist()


def test_pairs_that_the_class_alone_used_are_not_selectable_once_it_has_left(shared):
    _, models = forgotten(shared, shared.heads["values-lda"], 0)
    by_method = {one.method: one for one in models}
    # The others select keys 1 and 2 of both codebooks, so items of key 0 take the next-nearest, which is key 1.
    left = [[1, 1], [1, 2], [2, 1], [1, 2]]
    assert by_method["exact"].features["train"].codes.tolist() == left
    assert by_method["retrain"].features["train"].codes.tolist() == left
    assert by_method["none"].features["train"].codes.tolist() == [[0, 1], [1, 2], [2, 1], [0, 2]]
    everything = Shared(task=shared.task, heads=shared.heads, items=shared.items, recounted=False, names=shared.names)
    _, models = forgotten(everything, shared.heads["values-lda"], 0)
    assert models[-1].features["train"].codes.tolist() == [[0, 1], [1, 2], [2, 1], [0, 2]]


def test_a_mask_of_all_pairs_of_the_class_leaves_the_values_as_they_are(shared):
    _, models = forgotten(shared, shared.heads["values-lda"], 0)
    masked = next(one for one in models if one.method == "uve all")
    assert torch.equal(masked.weights, shared.heads["values-lda"].head.weights)
    # Keys 0 of the first codebook and 1 and 2 of the second are gone.
    assert masked.features["train"].codes.tolist() == [[1, 0], [1, 0], [2, 0], [1, 0]]
    assert masked.setting == {"pairs": 3}


def test_tables_hold_every_head_and_method_with_their_digest(shared, monkeypatch):
    told = Attacked("values-lda", "exact", "population loss", "auc", 0.5, 0.5)
    monkeypatch.setattr(solved, "attacks", lambda judge, models, k, *, seed: [told])  # it needs two items of each side
    tables = compared(shared, 1)
    found = [(row["head"], row["method"]) for row in tables["compare"]]
    controls = ["none", "column", "logit"]
    expected = {"linear-lda": [*controls, "exact", "retrain"], "values-lda": [*controls, "uve all", "exact", "retrain"]}
    assert found == [(head, method) for head, names in expected.items() for method in names]
    assert [(row["head"], row["method"]) for row in tables["beside"]] == found
    assert {row["attack"] for row in tables["attacks"]} == {"row sums", "population loss"}
    for rows in tables.values():
        assert {(row["class"], row["name"], row["seed"], row["digest"]) for row in rows} == {(1, "bee", 0, "d")}


def test_values_have_an_oracle_whose_keys_never_saw_the_class_where_there_is_one(shared, monkeypatch):
    there = {split: np.stack([np.zeros((len(own), 3)), np.eye(3)[own]]) for split, own in small.OWN.items()}
    read = arrays.open_array

    def open_array(path, name):
        split = name.removeprefix("oracle_lda_logits_")
        return there[split] if split in there else read(path, name)

    monkeypatch.setattr(arrays, "open_array", open_array)
    monkeypatch.setattr(inputs, "oracle_classes", lambda task: [2, 0])
    for name, expected in (("values-lda", there["train"][1].tolist()), ("linear-lda", None)):
        judge, models = forgotten(shared, shared.heads[name], 0)
        assert (judge.never and judge.never["train"].tolist()) == expected
        assert (judge.verdict(models[-1]).tow_kv is None) == (expected is None)
    judge, _ = forgotten(shared, shared.heads["values-lda"], 1)
    assert judge.never is None


def test_heads_of_halves_tell_the_class_before_and_nothing_once_it_has_left(shared, monkeypatch):
    asked = []

    def noted(n, seed, k, head):
        asked.append(head)
        return half(n, seed, k, head)

    monkeypatch.setattr(solved, "half", noted)
    rows = halves(shared, 0, "values-lda")
    assert sorted(asked) == list(range(8)), "an oracle learnt from the half of a head that it is compared with"
    by_method = {row["method"] for row in rows}
    assert by_method == {"none", "uve all", "column", "logit", "exact", "retrain"}
    value = {(row["attack"], row["method"], row["measure"]): row["value"] for row in rows}
    assert {row["head"] for row in rows} == {"values-lda"}
    assert value["u-lira", "none", "auc"] > 0.8
    for attack in ("u-lira", "u-lira among others"):
        for method in by_method:
            assert (value[attack, method, "auc low"], value[attack, method, "auc high"]) == (0, 1), "one head a fold"
    assert value["u-lira among others", "logit", "auc"] == value["u-lira among others", "none", "auc"]


def test_an_exact_head_of_the_oracle_s_own_half_equals_it(shared, monkeypatch):
    monkeypatch.setattr(solved, "half", lambda n, seed, k, head: half(n, seed, k, head % 4))
    for name in ASKED.names:
        rows = [row for row in halves(shared, 0, name) if row["method"] == "exact"]
        assert {row["value"] for row in rows if row["measure"] == "auc"} == {0.5}
        assert {row["value"] for row in rows if row["measure"] == "klom"} == {0}
        assert len({row["attack"] for row in rows}) == 2
