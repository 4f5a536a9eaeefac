"""Items spread over threads: each is worked on once, side by side, and what goes wrong is told."""

import threading

import pytest

from dkvb.tiles import each
from tests.dkvb.threads import threads


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("items", [[], [5], [3, 1, 4, 1, 5], range(0, 211, 2)])
def test_every_item_is_worked_on_once(count, items):
    done: list[int] = []
    with threads(count):
        each(done.append, iter(items))
    assert sorted(done) == sorted(items)


def test_two_threads_work_side_by_side():
    # Neither gets past the barrier alone.
    barrier = threading.Barrier(2, timeout=30)
    with threads(2):
        each(lambda _: barrier.wait(), range(2))


@pytest.mark.parametrize("count", [1, 2])
def test_what_goes_wrong_with_an_item_reaches_the_caller(count):
    def work(item: int) -> None:
        if item == 3:
            raise ZeroDivisionError("item 3")

    with threads(count), pytest.raises(ZeroDivisionError, match="item 3"):
        each(work, range(7))
