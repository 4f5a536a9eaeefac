"""Names of experiments on a root: another spec takes none from results."""

import json
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


@pytest.fixture
def planned(own, images, spec_file, dkvb):
    def plan(changes, *words):
        return dkvb("plan", spec_file(changes), "--root", own.root, "--images", images, *words)

    return plan


def test_a_plan_says_what_a_run_would_be_refused_for(own, planned, run_again):
    ended = planned({"values.epochs": 3})
    assert ended.code == 0
    refused = run_again({"values.epochs": 3}).err.removeprefix("dkvb: ").strip()
    assert f"  a run would stop: {refused}\n" in ended.out
    (about,) = json.loads(planned({"values.epochs": 3}, "--json").out)
    assert about["notes"] == [f"a run would stop: {refused}"]
    assert find(own.root, None) == own, "a plan writes nothing"


def test_a_plan_says_that_it_takes_a_name_over_which_no_results_go_by(own, planned):
    for label in ("values", "sweep"):
        shutil.rmtree(own.artefact(label).path)
    (about,) = json.loads(planned({"values.epochs": 3}, "--json").out)
    assert about["notes"] == ["tiny ran here before with another spec or other images: values.epochs"]


@pytest.mark.parametrize("changes", [{}, {"values.epochs": 3, "name": "other"}], ids=["the same spec", "another name"])
def test_a_plan_whose_name_is_its_own_has_no_note(changes, planned):
    (about,) = json.loads(planned(changes, "--json").out)
    assert about["notes"] == []
