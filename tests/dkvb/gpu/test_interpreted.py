"""Triton's interpreter runs the tests of this folder where there is no GPU, in a process of their own.

The variable that asks for it is read when Triton is imported, and would change what other tests see.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kernels_give_the_bits_of_the_cpu_by_the_interpreter():
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(here)]
    ran = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=here.parents[2], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) > 40, ran.stdout
    assert "skipped" not in ran.stdout
