"""Tests of kernels run where there is a GPU, and by Triton's interpreter: `test_interpreted.py` starts them there."""

import os
from importlib.util import find_spec

import pytest
import torch

from tests.gpu.exact_fma import use_exact_fma

collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    if os.environ.get("TRITON_INTERPRET") == "1":
        use_exact_fma()
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device; test_interpreted.py runs this by Triton's interpreter")
    return torch.device("cuda")
