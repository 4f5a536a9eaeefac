"""What a spec may say of sets of classes, and how mistakes are told."""

import pytest

from jobs.errors import BadSpec
from jobs.spec.reading import load_specs
from jobs.spec.schema import SetAsks
from tests.jobs.spec.refusal import refusal


def sweep_of(path):
    (spec,) = load_specs(str(path))
    return spec.sweep


def test_sets_and_sizes_are_read_with_their_defaults(spec_file):
    sweep = sweep_of(spec_file({"sweep.sets": [["ant", "bee"], ["cat"]], "sweep.sizes": [1, "half", 2]}))
    assert sweep.each
    asked = sweep.set_asks(7)
    assert asked == SetAsks(sets=[["ant", "bee"], ["cat"]], sizes=[1, "half", 2], draws=20, seed=7)
    sweep = sweep_of(spec_file({"sweep.sizes": [2], "sweep.draws": 3, "sweep.set_seed": 5, "sweep.each": False}))
    assert not sweep.each
    assert sweep.set_asks(7) == SetAsks(sets=[], sizes=[2], draws=3, seed=5)


def test_a_spec_without_sets_asks_for_none_and_one_without_sizes_for_no_seed(spec_file):
    assert sweep_of(spec_file()).set_asks(7) is None
    assert sweep_of(spec_file({"sweep.sets": [["ant"]]})).set_asks(7) == SetAsks(
        sets=[["ant"]], sizes=[], draws=0, seed=0
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sweep.sets": []}, "sweep.sets: found no set, expected one or more lists of class names"),
        ({"sweep.sets": [["ant"], []]}, "sweep.sets[1]: found [], expected one or more different names"),
        ({"sweep.sets": [["ant", "ant"]]}, "sweep.sets[0]: found ['ant', 'ant'], expected one or more different"),
        ({"sweep.sets": [["ant", "bee"], ["bee", "ant"]]}, "sweep.sets[1]: found ['bee', 'ant'], the classes of sweep"),
        ({"sweep.sets": ["ant"]}, "sweep.sets[0]: found 'ant', expected a list, each a text"),
        ({"sweep.sets": "ant"}, "sweep.sets: found 'ant', expected a list, each a list, each a text"),
        (
            {"sweep.sets": "mysets.json"},
            'one or more different names (write the list here, such as [["a"]]; no file is read)',
        ),
        (
            {"sweep.sizes": "sizes.txt"},
            'or "half"; one or more sizes, all different (write the list here, such as [1]; no',
        ),
        ({"sweep.sets": [[3]]}, "sweep.sets[0][0]: found 3, expected a text"),
        ({"sweep.sizes": []}, "sweep.sizes: found [], expected one or more sizes, all different"),
        ({"sweep.sizes": [1, 1]}, "sweep.sizes: found [1, 1], expected one or more sizes, all different"),
        ({"sweep.sizes": [0]}, "sweep.sizes[0]: found 0, expected 1 or more"),
        ({"sweep.sizes": [1, "all"]}, "sweep.sizes[1]: found 'all', expected a whole number or \"half\""),
        ({"sweep.sizes": [1.5]}, 'sweep.sizes[0]: found 1.5, expected a whole number or "half"'),
        ({"sweep.sizes": [True]}, 'sweep.sizes[0]: found True, expected a whole number or "half"'),
        ({"sweep.sizes": 3}, 'sweep.sizes: found 3, expected a list, each a whole number or "half"'),
        ({"sweep.draws": 5}, "sweep.draws: found 5 and no sweep.sizes, expected both"),
        ({"sweep.set_seed": 0}, "sweep.set_seed: found 0 and no sweep.sizes, expected both"),
        ({"sweep.sizes": [1], "sweep.draws": 0}, "sweep.draws: found 0, expected a whole number from 1 to 100000"),
        ({"sweep.each": False}, "sweep.each: found false and neither sweep.sets nor sweep.sizes"),
        ({"sweep.each": 1}, "sweep.each: found 1, expected true or false"),
        ({"sweep.set": [["ant"]]}, "sweep: unknown key 'set'; did you mean"),
    ],
)
def test_a_mistake_says_where_what_was_found_and_what_was_expected(changes, text, spec_file):
    path = spec_file(changes)
    with pytest.raises(BadSpec):
        load_specs(str(path))
    assert text in refusal(path)
