"""What a spec may say of how heads are made, and how mistakes are told."""

import pytest

from dkvb.lda import LdaSettings
from dkvb.training import TrainSettings
from jobs.memory import PROCESS
from jobs.plan.cost import cost, look_ahead, plans_text
from jobs.plan.plan import make_plan
from jobs.spec.reading import load_specs
from tests.jobs.spec.refusal import refusal

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}


def spec_of(path):
    (spec,) = load_specs(str(path))
    return spec


def test_a_head_is_trained_unless_the_spec_says_lda(spec_file):
    for changes in ({}, {"values.method": "trained", "linear.method": "trained"}):
        spec = spec_of(spec_file(changes))
        assert spec.values.settings == spec.linear.settings == TrainSettings(epochs=7)
        assert (spec.values.lda, spec.linear.lda, spec.linear.whole) == (None, None, None)
    spec = spec_of(spec_file(LDA))
    assert (spec.values.settings, spec.linear.settings) == (None, None)
    assert spec.values.lda == spec.linear.lda == LdaSettings(shrinkage=0.3)
    assert spec.linear.whole == 10
    asked = {"values": {"method": "lda", "shrinkage": 0.1}, "linear": {"method": "lda", "bits": 7, "shrinkage": 1}}
    spec = spec_of(spec_file(asked))
    assert spec.values.lda == LdaSettings(shrinkage=0.1)
    assert (spec.linear.lda, spec.linear.whole) == (LdaSettings(shrinkage=1.0), 7)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"values.method": "lds"}, "values.method: found 'lds', expected \"trained\" or \"lda\"; did you mean 'lda'?"),
        ({"values.method": "lda"}, "values.epochs: found 7, but lda trains nothing: leave it out"),
        ({"linear": {"method": "lda", "lr": 0.5}}, "linear.lr: found 0.5, but lda trains nothing: leave it out"),
        ({"values.shrinkage": 0.3}, 'values.shrinkage: found 0.3, but it belongs to method = "lda": leave it out'),
        ({"linear.bits": 9}, 'linear.bits: found 9, but it belongs to method = "lda": leave it out'),
        ({"values": {"method": "lda", "bits": 9}}, "values: unknown key 'bits'"),
        ({"values": {"method": "lda", "shrinkage": 0}}, "values.shrinkage: found 0.0, expected a number above 0"),
        ({"linear": {"method": "lda", "bits": 25}}, "linear.bits: found 25, expected a whole number from 0 to 24"),
        ({"values.decay": 0.6}, "values.decay: found 0.6, expected a number in [0, 0.5]"),
        ({"values": {"method": "lda", "decay": 0.1}}, "values.decay: found 0.1, but lda trains nothing: leave it out"),
        ({"linear.decay": 0.1}, "linear.decay: found 0.1, but it belongs to [values]: leave it out"),
        ({**LDA, "compare": {}}, 'values.method: found "lda", but [compare] trains its heads again'),
        ({"linear": {"method": "lda"}, "compare": {}}, 'linear.method: found "lda", but [compare]'),
    ],
)
def test_a_mistake_says_where_what_was_found_and_what_was_expected(changes, text, spec_file):
    assert text in refusal(spec_file(changes))


@pytest.fixture
def digests(make_spec, images):
    return lambda changes=None: make_plan(make_spec(changes), str(images)).digests()


def test_saying_that_heads_are_trained_changes_no_digest(digests):
    assert digests({"values.method": "trained", "linear.method": "trained"}) == digests()


def test_decay_enters_digests_where_it_is_set_and_changes_what_follows_from_values(digests):
    assert digests({"values.decay": 0}) == digests()
    plain, decayed = digests(), digests({"values.decay": 0.1})
    assert {label for label in plain if plain[label] != decayed[label]} == {"values", "sweep"}


def test_lda_adds_sums_and_changes_what_follows_from_the_heads(digests):
    plain, solved = digests(), digests(LDA)
    assert solved.keys() - plain.keys() == {"sums"}
    assert {label for label in plain if plain[label] != solved[label]} == {"values", "linear", "sweep"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"values.shrinkage": 0.1}, {"values", "sweep"}),
        ({"values.shrinkage": 0.3}, set()),
        ({"linear.shrinkage": 0.1}, {"linear"}),
        ({"linear.bits": 9}, {"linear"}),
        ({"linear.bits": 10}, set()),
    ],
)
def test_a_change_of_lda_changes_what_follows_from_it(changes, expected, digests):
    before, after = digests(LDA), digests({**LDA, **changes})
    assert {label for label in before if before[label] != after[label]} == expected


def test_the_plan_says_what_sums_take_of_disk_and_memory(make_spec):
    changes = {**LDA, "images.expect": {"train": 41, "test": 15, "classes": 3}, "bottleneck.c": 256}
    found = cost(make_spec(changes), {"train": 41, "test": 15, "classes": 3})
    assert found["sums_bytes"] == 8 * 768 * (768 + 3) + 2 * 256 * 13 * 3
    planned = look_ahead(make_spec(changes), None, None)
    assert "5 MiB of sums" in plans_text([planned])
    (values,) = [one for one in planned.to_json()["needs"] if one["step"] == "values"]
    codes, parts, table = 2 * 41 * 256, 4 * 256 * 3 * (13 + 1280), 4 * 256 * 13 * 3
    assert values["memory"] == PROCESS + codes + 32 * 768**2 + 2 * parts + 2 * table
    assert (values["scratch"], values["core_s"]) == (0, pytest.approx(768**3 / 40e9))
