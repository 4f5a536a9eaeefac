"""One stage for all faults; what a fault that failed has left at work is ended before the next."""

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage, stage
from tests.processes import kill_all


@pytest.fixture(scope="session")
def one_stage() -> Iterator[Stage]:
    with stage() as one:
        yield one


@pytest.fixture
def held(one_stage: Stage) -> Iterator[Stage]:
    yield one_stage
    kill_all(one_stage.session.marker)
