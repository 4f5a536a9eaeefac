"""What a question does not import: a library that takes longer to load than the answer takes to find."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from dkvb.checkpoint import MASK_FORMAT
from jobs.query.stored import Stored
from tests.paths import REPOSITORY

HEAVY = ("PIL", "fsspec", "jobs.spec.schema", "jobs.steps", "numba", "ray", "timm", "torch", "zarr")

PROGRAM = """
import sys
from jobs.cli.main import cli
cli(sys.argv[2:], standalone_mode=False)
print("loaded", *(set(sys.argv[1].split(",")) & set(sys.modules)), file=sys.stderr)
"""


def loaded(*words):
    """Which of the heavy ones a command imports."""
    line = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), *map(str, words)]
    ended = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split("loaded")[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "cat"),
        ("classes", "3", "5"),
        ("overlap", "cat", "ant"),
        ("why", "ant", "--forgot", "bee"),
        ("item", "test:cat/1000.png"),
    ],
)
def test_a_question_imports_nothing_heavy(words, finished):
    assert loaded("query", finished.root, *words) <= {"numba"}  # kernels, for many items or where a list ends


def test_a_finished_run_imports_nothing_that_computes(own, images, spec_file):
    words = ("run", spec_file(), "--root", own.root, "--images", images)
    assert loaded(*words) <= {"PIL", "fsspec", "jobs.spec.schema"}


def test_a_check_of_an_entrypoint_imports_nothing_that_computes(tmp_path, dkvb):
    file = tmp_path / "run.yaml"
    assert dkvb("cluster", "render", "--provider", "kuberay", "--for", "imagenet1k-clip", "-o", file).code == 0
    assert loaded("cluster", "check", file) <= {"PIL", "fsspec", "jobs.spec.schema"}


def test_help_imports_nothing_heavy():
    assert loaded("query", "--help") == set()


def test_a_list_of_specs_imports_nothing_heavy():
    assert loaded("spec") == set()
    assert loaded("spec", "cifar10") == set()


def test_a_measurement_imports_no_torch(finished, tmp_path):
    stored = Stored(finished)
    mask = np.random.default_rng(0).random(stored.size) < 0.95
    header = f'{{"format": "{MASK_FORMAT}", "model": "{finished.model}", "classes": ["cat"]}}'
    save_file({"mask": mask}, tmp_path / "mask.safetensors", {"dkvb": header})
    assert loaded("measure", finished.root, "--mask", tmp_path / "mask.safetensors") <= {"numba"}


def test_an_exact_request_imports_no_steps_that_it_does_not_run(solved, tmp_path):
    own = shutil.copytree(solved.root, tmp_path / "root")
    assert not {"jobs.spec.schema", "jobs.steps", "ray", "timm"} & loaded(
        "unlearn", own, "--method", "exact", "--class", "bee"
    )
