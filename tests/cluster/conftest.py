"""Executors that tests share."""

from collections.abc import Iterator

import pytest

from cluster.session import session
from cluster.unit_map import Executor, SerialExecutor


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[Executor]:
    with session(workers=2) as executor:
        yield executor


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "serial":
        return SerialExecutor()
    return request.getfixturevalue("ray_executor")
