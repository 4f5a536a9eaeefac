"""Names of experiments on a root: another spec takes none from results."""

import shutil

import pytest

from jobs.results.experiment import find


@pytest.fixture
def run_again(own, images, spec_file, dkvb):
    def again(changes, *words):
        return dkvb("run", spec_file(changes), "--root", own.root, "--images", images, "--serial", *words)

    return again


def test_another_spec_cannot_take_the_name_of_an_experiment_with_results(own, run_again):
    ended = run_again({"values.epochs": 3, "linear.epochs": 2})
    assert ended.code == 2
    assert "tiny ran here before with another spec (linear.epochs, values.epochs), and its results" in ended.err
    assert "(values, sweep) go by that name" in ended.err
    assert find(own.root, None) == own
    assert run_again({"values.epochs": 3}, "--set", "name=tiny-2").code == 0
    assert find(own.root, "tiny") == own
    assert "--set name=tiny-3" in run_again({"values.epochs": 4}).err


def test_a_spec_that_asks_for_more_keeps_its_name(own, run_again):
    assert run_again({"sweep.sizes": [1, 2], "sweep.draws": 1}).code == 0
    assert {*own.steps.items()} < {*find(own.root, None).steps.items()}


def test_a_spec_whose_run_was_never_finished_may_change(own, run_again):
    for label in ("values", "sweep"):
        shutil.rmtree(own.artefact(label).path)
    assert run_again({"values.epochs": 3}).code == 0
    assert find(own.root, None).steps["values"] != own.steps["values"]
