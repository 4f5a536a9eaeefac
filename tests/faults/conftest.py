"""One stage for all faults; what a fault that failed has left at work is ended before the next."""

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage, stage


@pytest.fixture(scope="session")
def one_stage() -> Iterator[Stage]:
    with stage() as one:
        yield one


@pytest.fixture
def held(one_stage: Stage) -> Iterator[Stage]:
    yield one_stage
    one_stage.end()
