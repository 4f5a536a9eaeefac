"""All heads that are functions of sums forget together, whichever of the two an experiment has."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from jobs.exact import ExactRequest, forget_exactly
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from tests.jobs.exactly import ANT, BEE, anew, check, keys_of, rows_of
from tests.jobs.forgotten import SOLVED

VALUES = {"values": None, "values.method": "lda"}
LINEAR = {"linear": None, "linear.method": "lda"}


@pytest.fixture(scope="module")
def linear_alone(run_tiny, images, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("linear") / "root", images, LINEAR)


def copied(experiment, folder):
    return find(Path(shutil.copytree(experiment.root, folder)), experiment.name)


def forget(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items))


def test_one_request_takes_items_out_of_both_heads(solved, tmp_path):
    own = copied(solved, tmp_path / "root")
    step = own.artefact("linear").path
    fresh = anew(own)
    assert (step / "sums.safetensors").read_bytes() == fresh.linear_sums
    assert load_file(step / "linear.safetensors").keys() == {"weight", "bias"}
    assert (step / "linear.safetensors").read_bytes() == fresh.linear
    check(forget(own, "bee"), anew(own, rows_of(own, BEE)))
    done = forget(own, items=keys_of(own)[:2])
    check(done, anew(own, [0, 1, *rows_of(own, BEE)]))
    assert done.trained == []


def test_the_linear_head_alone_forgets_and_what_stays_is_said(linear_alone, tmp_path, dkvb):
    own = copied(linear_alone, tmp_path / "root")
    done = forget(own, "bee")
    assert (done.sums, done.checkpoint, done.trained) == (None, None, ["values"])
    assert done.spec.sums is None
    check(done, anew(own, rows_of(own, BEE)))
    check(forget(own, items=keys_of(own)[:1]), anew(own, [0, *rows_of(own, BEE)]))
    text = dkvb("unlearn", own.root, "--method", "exact", "--class", "cat").out
    assert "not changed   the values: trained, no function of sums, and made of the items" in text
    said = json.loads(Path(done.certificate).read_text())["certificate"]
    assert said["request"]["trained"] == ["values"]
    assert any("the values: trained" in limit for limit in said["limits"])
    assert dkvb("verify", Path(done.linear).parent / "certificate.json").code == 0
    assert unlearn(own, Request(classes=["bee"])).spec.method == "uva"  # its values can be masked


def test_values_alone_forget_and_the_trained_linear_head_is_named(run_tiny, images, tmp_path):
    own = run_tiny(tmp_path / "root", images, VALUES)
    done = forget(own, "ant")
    assert (done.linear, done.trained) == (None, ["linear"])
    assert not (Path(done.sums).parent / "linear_sums.safetensors").exists()
    assert "the linear head: trained" in done.text()


def test_heads_of_experiments_that_share_their_values_forget_what_either_forgot(solved, run_tiny, images, tmp_path):
    own = copied(solved, tmp_path / "root")
    other = run_tiny(own.root, images, {**SOLVED, "name": "other", "linear.bits": 8})
    assert other.steps["values"] == own.steps["values"]
    assert other.steps["linear"] != own.steps["linear"]
    bees = rows_of(own, BEE)
    forget(own, "bee")
    check(forget(other, "ant"), anew(other, [*bees, *rows_of(own, ANT)], bits=8))
    check(forget(own, items=[keys_of(own)[40]]), anew(own, [*bees, *rows_of(own, ANT), 40]))
