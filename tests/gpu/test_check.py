"""The check of a GPU runs by Triton's interpreter, without what clusters and stores need, and sees what is wrong."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.paths import REPOSITORY

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not here")

WITHOUT = """
import os, runpy, sys
for name in ("ray", "zarr", "polars", "pyarrow", "open_clip", "click", "fsspec", "sklearn", "scipy"):
    sys.modules[name] = None  # its import fails
os.environ["TRITON_INTERPRET"] = os.environ.get("ASKED", "0")
{before}
sys.argv[0] = "check"
runpy.run_module("tests.gpu.check", run_name="__main__")
"""


def check(*arguments, before="", **variables):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(before=before), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_every_part_runs_and_is_equal(tmp_path):
    done = check("--tiny", "--json", str(tmp_path / "check.json"), ASKED="1")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "check.json").read_text())
    assert "interpreter" in found["machine"]["device"]
    assert found["machine"]["flops"] > 0
    assert [row["differ"] for row in found["results"]] == [0] * 16
    parts = [row["part"] for row in found["results"] if row["size"] == "tiny"]
    assert parts == ["codes", "counts", "neighbours", "sweep", "values", "a step of values", "keys"]
    assert done.stdout.endswith("all that is promised to be equal is equal\n")


def test_a_kernel_that_is_wrong_is_named_and_ends_with_1():
    wrong = "import dkvb.gpu.scores\ndkvb.gpu.scores.key_bias = lambda keys: keys[..., 0] * 0"
    done = check("--tiny", "--only", "codes, tiny", before=wrong, ASKED="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "not equal, failed or not run: codes, codes" in done.stdout
    assert "differ: 60 codes" in done.stdout


def test_a_part_that_fails_is_a_row_and_the_next_one_runs():
    broken = "import dkvb.gpu.codes\ndkvb.gpu.codes.encode = None"
    done = check("--tiny", "--only", "s, tiny", "--minutes", "9", before=broken, ASKED="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TypeError: 'NoneType' object is not callable" in done.stdout
    assert "equal: 72 neighbours" in done.stdout


def test_parts_for_which_no_time_is_left_are_said_not_to_be_run():
    done = check("--tiny", "--minutes", "0", ASKED="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("not run: no time left") == 2 * 16


def test_without_a_gpu_there_is_nothing_to_check():
    done = check(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout.startswith("no GPU: torch finds no CUDA device here")
