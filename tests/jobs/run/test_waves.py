"""Several experiments run as one: what they share is done once, a failure stops nothing beside it, others can watch."""

import json
import shutil
import time

import pytest

from cluster.unit_map import SerialExecutor
from cluster.units import here
from dkvb.errors import BadBudget
from jobs.errors import StepFailed
from jobs.plan.plan import make_plan, waves
from jobs.results.experiment import find
from jobs.run.progress import LogLine, Reporter
from jobs.run.run import run
from store.artefacts import Artefact, read_json, write_json


@pytest.fixture
def run_both(make_spec, watched):
    """Run the tiny experiment and a changed one on one root."""

    def do(root, images, changes):
        plans = [make_plan(make_spec(one), str(images)) for one in ({}, {"name": "other", **changes})]
        run(plans, root, SerialExecutor(), watched)
        return plans

    return do


def test_two_experiments_on_a_root_share_steps_and_have_the_bytes_of_two_runs(
    run_both, run_tiny, images, finished, tmp_path, unlike, watched
):
    changes = {"values.epochs": 3, "sweep.uve.seeds": [5]}
    plans = run_both(tmp_path / "both", images, changes)
    shared = set(plans[0].digests().values()) & set(plans[1].digests().values())
    assert len(shared) == 11
    assert len(watched.steps) == 11 + 2 * 2
    assert {label for label in watched.steps if " " in label} == {
        f"{name} {step}" for name in ("tiny", "other") for step in ("values", "sweep")
    }
    assert set(watched.ended) == set(watched.steps)
    apart = shutil.copytree(finished.root, tmp_path / "apart")
    run_tiny(apart, images, {"name": "other", **changes})
    assert unlike(tmp_path / "both", apart) == []
    assert find(tmp_path / "both", "other").steps == plans[1].digests()


def test_a_step_that_fails_does_not_stop_those_beside_it(run_both, own_images, tmp_path, watched):
    picture = own_images / "train" / "bee" / "0003.png"
    picture.write_bytes(b"\0" * picture.stat().st_size)
    with pytest.raises(StepFailed, match=r"embeddings\[train\]: 1 of 4 units failed") as caught:
        run_both(tmp_path / "root", own_images, {"embeddings.batch": 5})
    assert "other embeddings[train]: 1 of 4 units failed" in str(caught.value)
    beside = {"tiny embeddings[test]", "other embeddings[test]"}
    assert beside <= set(watched.ended)
    assert len(watched.units) == 2 + 2 * (4 + 2)
    assert not any("keys" in label for label in watched.steps)


def test_an_experiment_that_asks_for_too_much_does_not_stop_the_one_beside_it(own, run_both, images, watched):
    shutil.rmtree(own.artefact("sweep").path)
    with pytest.raises(BadBudget, match="N = 12 is larger than the 11 training items"):
        run_both(own.root, images, {"sweep.uve.examples": [5, 12]})
    assert watched.ended["sweep"] > 0
    assert own.artefact("sweep").done


def test_units_of_a_wave_come_out_in_the_log_of_their_own_step(finished):
    for label in ("codes[test]", "neighbours[train]", "values", "counts"):
        artefact = finished.artefact(label)
        done = [event["unit"] for event in artefact.events() if event["kind"] == "done"]
        assert sorted(done) == sorted(artefact.units())


def test_others_can_watch_a_run(make_spec, images, tmp_path, capfd):
    lines: list[LogLine] = []
    plan = make_plan(make_spec(), str(images))
    first = type(plan)(plan.spec, tuple(waves([plan])[0].values()))
    reporter = Reporter(root=tmp_path, terminal=False, log=lines.append)
    (tmp_path / "dkvb-root.json").write_text(json.dumps({"format": "dkvb-root/1"}))
    run([first], tmp_path, SerialExecutor(), reporter)
    now = read_json(tmp_path / "progress.json")
    assert now["time"] > 0
    assert now["failed"] == 0
    assert [line.event for line in lines] == ["step", "step", "unit", "step done", "unit", "step done"]
    assert "manifest[test]: 1 of 1 units" in capfd.readouterr().err
    assert all(Artefact(tmp_path, step.kind, step.digest).done for step in first.steps)


@pytest.mark.parametrize(("age", "driver", "apart"), [(1, "other:1", True), (3600, "other:1", False), (1, None, False)])
def test_beside_another_driver_one_begins_elsewhere(
    age, driver, apart, run_tiny, images, finished, tmp_path, watched, monkeypatch
):
    root = shutil.copytree(finished.root, tmp_path / "root")
    shutil.rmtree(str(find(root, None).artefact("embeddings[train]").path))
    about = {"time": time.time() - age, "driver": driver or here(), "step": "embeddings"}
    write_json(root / "progress.json", about)
    monkeypatch.setattr("secrets.randbelow", lambda below: below - 1)
    run_tiny(root, images, progress=watched)
    done = [outcome.unit for outcome in watched.units]
    assert [note for note in watched.notes if "another run" in note] == (
        ["another run (other:1) is at work on this root; both go on, and share what either has done"] * apart
    )
    assert done == (["00003", "00000", "00001", "00002"] if apart else ["00000", "00001", "00002", "00003"])
