"""Starts of kernels, and what is said where there is no Triton."""

import subprocess
import sys

import pytest
import torch

from dkvb.gpu.launch import launch, places, power_of_two

WITHOUT = """
import sys
sys.modules["triton"] = None
from dkvb.errors import NoTriton
try:
    import dkvb.gpu.codes
except NoTriton as error:
    print(error)
"""


def test_a_start_of_nothing_starts_nothing():
    launch(None, (0, 3), torch.zeros(0))


def test_without_triton_it_is_said_where_triton_comes_from():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("computing on a GPU needs Triton, which comes with torch for Linux and CUDA")


@pytest.mark.parametrize(("length", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2)])
def test_blocks_hold_a_length(length, blocks):
    assert places(length, 16) == blocks


@pytest.mark.parametrize(("number", "power"), [(1, 1), (2, 2), (3, 4), (1000, 1024), (1024, 1024)])
def test_a_power_of_two_is_not_smaller(number, power):
    assert power_of_two(number) == power
