"""What tests of jobs share."""

import threading

import pytest

from tests.jobs.exactly import DOG
from tests.jobs.forgotten import SOLVED
from tests.tiny import paint, picture


@pytest.fixture(scope="session")
def solved(run_tiny, images, tmp_path_factory):
    """The tiny experiment with heads that are solved for, run once in this process. Tests only read it."""
    return run_tiny(tmp_path_factory.mktemp("solved") / "root", images, SOLVED)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Class folders of images that no split has: two classes that are known, and a new one. Tests only read them."""
    folder = tmp_path_factory.mktemp("photos")
    paint(folder, {"ant": 2, "bee": 3}, first=2000)
    (folder / "dog").mkdir()
    for number in range(5):
        picture(DOG, number, 32).save(folder / "dog" / f"{number:04d}.png")
    return folder


@pytest.fixture
def threads():
    """Names of the threads that a test started and has not ended."""
    before = set(threading.enumerate())
    return lambda: [thread.name for thread in set(threading.enumerate()) - before]
