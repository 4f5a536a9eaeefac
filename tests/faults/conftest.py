"""One stage for all faults."""

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage, stage


@pytest.fixture(scope="session")
def held() -> Iterator[Stage]:
    with stage() as one:
        yield one
