"""The line of `dkvb query`."""

import pytest

QUESTION = ("sql", "select count(*) as classes from names")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("words", [("--experiment", "{}"), ("--experiment={}",)])
def test_the_experiment_may_stand_anywhere(place, words, dkvb, finished):
    line = [finished.root, *QUESTION]
    shown = {}
    for name in (finished.name, "other"):
        told = dkvb("query", *line[:place], *(word.format(name) for word in words), *line[place:])
        shown[told.code] = told.out if told.code == 0 else told.err
    assert f"| {len(finished.classes)}" in " ".join(shown[0].split())
    assert "no experiment 'other'" in shown[2]


def test_an_experiment_without_a_name_is_told(dkvb, finished):
    told = dkvb("query", finished.root, *QUESTION, "--experiment")
    assert told.code == 2
    assert "Option '--experiment' requires an argument" in told.err
