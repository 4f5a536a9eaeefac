"""What [compare] may say of heads, and what follows from it."""

from typing import Any

import pytest

from dkvb.lda import LdaSettings
from jobs.plan.plan import make_plan
from jobs.spec.heads import SOLVED, TRAINED, SolvedHeads
from tests.jobs.spec.refusal import refusal

EVERY = [*TRAINED, *SOLVED]
LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}
TRAINS = {"tuning", "oracles", "compare", "lira", "costs", "scope"}


@pytest.fixture
def steps(make_spec, images):
    return lambda changes=None: {one.label: one for one in make_plan(make_spec(changes), str(images)).steps}


def kinds(plan):
    return {step.kind for step in plan.values()}


def test_without_heads_the_trained_ones_are_compared_as_they_always_were(steps):
    plain = steps({"compare": {}})
    assert "solved" not in kinds(plain)
    said = steps({"compare.heads": [*TRAINED]})
    assert plain.keys() == said.keys()
    differing = {label for label in plain if plain[label].digest != said[label].digest}
    assert differing == {"compare", "compare[@1]", "compare[@2]", "lira", "costs", "scope"}


def test_heads_that_are_solved_for_are_a_step_of_each_model_beside_the_trained_ones(steps):
    trained, every = steps({"compare.heads": [*TRAINED]}), steps({"compare.heads": EVERY})
    assert every.keys() - trained.keys() == {"solved", "solved[@1]", "solved[@2]"}
    again = {one for one in every if one.partition("[")[0] in ("oracles", "compare")}  # oracles have solved values too
    assert {label for label in trained if trained[label].digest != every[label].digest} == {"costs", *again}
    assert every["solved"].asks.heads == SolvedHeads(values=LdaSettings(), linear=LdaSettings(), bits=10)
    assert every["solved"].asks.lira.heads == 64
    assert every["solved[@1]"].asks.lira is None
    (few,) = [steps({"compare.heads": [*TRAINED, "values-lda"]})["solved"].asks.heads]
    assert few == SolvedHeads(values=LdaSettings())
    assert few.names == ["values-lda"]


@pytest.mark.parametrize(
    ("classes", "alone"), [(["ant"], True), (["ant", "bee"], False), (None, False)], ids=["one", "two", "all"]
)
def test_one_class_that_is_compared_alone_is_tuned_for_on_others(classes, alone, steps):
    assert steps({"compare": {"classes": classes} if classes else {}})["tuning"].asks.alone is alone
    if classes:
        assert steps({"compare": {}, "sweep.classes": classes})["tuning"].asks.alone is alone


def test_solved_for_alone_nothing_is_trained_and_the_spec_s_own_settings_hold(steps):
    alone = {"compare.heads": [*SOLVED], "compare.seeds": [0]}
    plain = steps(alone)
    assert not (TRAINS - {"oracles"}) & kinds(plain)
    assert not plain["oracles"].asks.trained
    assert plain["solved"].inputs["oracles"] is plain["oracles"]
    assert "oracles" not in kinds(steps({"compare.heads": ["linear-lda"]}))
    assert "oracles" not in kinds(steps({**alone, "compare.oracle_kv": []}))
    own = steps({**LDA, "values.shrinkage": 0.1, "linear.bits": 7, **alone})
    assert not (TRAINS - {"oracles"}) & kinds(own)
    heads = own["solved"].asks.heads
    assert heads == SolvedHeads(values=LdaSettings(shrinkage=0.1), linear=LdaSettings(), bits=7)
    assert own["solved"].inputs["values"] is own["values"]


def test_on_keys_of_another_data_set_they_are_compared_too(steps, own_images, painted, make_spec):
    painted(own_images / "elsewhere", {"wasp": 3}, first=500)
    changes = {"compare.heads": EVERY, "compare.tuning_classes": 2}
    changes["other"] = {"kind": "folder", "train": "elsewhere", "test": "test"}
    plan = {one.label: one for one in make_plan(make_spec(changes), str(own_images)).steps}
    asks: Any = plan["solved[@other keys]"].asks
    assert (asks.first, asks.lira) == (2, None)
    assert plan["solved[@other keys]"].inputs["keys"] is plan["keys[@other keys]"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"compare.heads": []}, "compare.heads: found [], expected one or more different heads"),
        ({"compare.heads": ["values-lda", "values-lda"]}, "compare.heads: found ['values-lda', 'values-lda']"),
        ({"compare.heads": ["lda"]}, 'compare.heads[0]: found \'lda\', expected "linear", "values", "linear-lda" or'),
        ({"compare.heads": ["values"]}, 'expected "linear" and "values" both or neither'),
        ({**LDA, "compare.heads": EVERY}, 'compare.heads = ["linear-lda", "values-lda"] alone'),
        (
            {"compare.heads": [*SOLVED], "other": {"kind": "folder", "train": "a", "test": "b"}},
            "other: found another data set and nothing to do with it",
        ),
        ({"keys.method": "random"}, 'keys.method: found \'random\', expected "ema" or "items"'),
        ({"keys": {"method": "items", "epochs": 3}}, 'keys.epochs: found 3, but method = "items" fits nothing'),
    ],
)
def test_a_mistake_says_where_what_was_found_and_what_was_expected(changes, text, spec_file):
    assert text in refusal(spec_file(changes))


def test_random_items_as_keys_are_a_choice_that_changes_what_follows_from_keys_alone(steps, make_spec):
    plain, items = steps(), steps({"keys": {"method": "items"}})
    assert items["keys"].asks.items
    assert {label for label in plain if plain[label].digest == items[label].digest} == {
        *("manifest[train]", "manifest[test]", "embeddings[train]", "embeddings[test]", "linear")
    }
    compared = {"compare": {}, "keys": {"method": "items"}}
    assert steps(compared)["oracles"].asks.items
    assert steps({"keys": {"method": "ema"}})["keys"].digest == steps({"keys": {}})["keys"].digest
