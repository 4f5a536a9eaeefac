"""Things made ahead: in order, a bounded number of them, by threads that never outlive whoever takes them."""

import signal
import subprocess
import sys
import threading
from contextlib import closing
from itertools import count, islice

import pytest
import torch

from jobs.images.ahead import ahead, batches
from tests.paths import REPOSITORY


class Broken(Exception):
    pass


def same(item):
    return item


@pytest.mark.parametrize("length", [0, 1, 2, 3, 19])
@pytest.mark.parametrize(("makers", "most"), [(1, 1), (1, 2), (2, 5), (5, 2)])
def test_what_is_made_comes_out_in_the_order_of_its_items(length, makers, most, threads):
    made = ahead(iter(range(length)), lambda number: number * 10, threads=makers, most=most)
    assert list(made) == list(range(0, 10 * length, 10))
    assert threads() == []


def test_an_item_that_takes_longer_is_waited_for_while_others_are_made():
    last = threading.Event()

    def make(number):
        if number == 0:
            assert last.wait(10)
        elif number == 2:
            last.set()
        return number

    assert list(ahead(iter(range(7)), make, threads=2, most=3)) == list(range(7))


def test_false_and_empty_items_come_out_too():
    items: list[object] = [0, None, [], "", False]
    assert list(ahead(iter(items), same, threads=2, most=2)) == items


def test_items_are_taken_by_one_thread_and_made_by_as_many_others_as_asked():
    together = threading.Barrier(3)

    def make(taker):
        together.wait(10)
        return taker, threading.current_thread().name

    seen = list(ahead((threading.current_thread().name for _ in range(6)), make, threads=3, most=3))
    takers, makers = ({each[place] for each in seen} for place in (0, 1))
    assert (len(takers), len(makers)) == (1, 3)
    assert threading.current_thread().name not in takers | makers


def test_each_maker_computes_on_one_core():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set(ahead(iter(range(5)), lambda _: torch.get_num_threads(), threads=2, most=3)) == {1}
    finally:
        torch.set_num_threads(before)


def test_at_most_that_many_items_are_taken_ahead():
    taken = []
    tried = threading.Event()

    def items():
        for number in range(19):
            taken.append(number)
            if number == 3:
                tried.set()
            yield number

    with closing(ahead(items(), same, threads=2, most=3)) as stream:
        assert next(stream) == 0
        assert tried.wait(10)
        assert taken == [0, 1, 2, 3]


def test_an_error_of_the_items_comes_after_those_before_it_with_its_type_and_text(threads):
    def items():
        yield 2
        yield 3
        raise Broken("at the third")

    stream = ahead(items(), same, threads=2, most=2)
    assert [next(stream), next(stream)] == [2, 3]
    with pytest.raises(Broken, match=r"^at the third$"):
        next(stream)
    assert threads() == []


def test_of_two_errors_the_first_in_order_comes_though_the_second_was_sooner(threads):
    second = threading.Event()

    def make(number):
        if number == 1:
            assert second.wait(10)
        if number == 2:
            second.set()
        if number:
            raise Broken(f"at {number}")
        return number

    stream = ahead(iter(range(5)), make, threads=2, most=4)
    assert next(stream) == 0
    with pytest.raises(Broken, match=r"^at 1$"):
        next(stream)
    assert threads() == []


def test_leaving_early_ends_the_threads(threads):
    stream = ahead(count(), same, threads=2, most=2)
    assert list(islice(stream, 3)) == [0, 1, 2]
    assert threads() != []
    stream.close()
    assert threads() == []


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_an_error_of_the_consumer_ends_the_threads(error, threads):
    def fail(stream):
        with stream:
            raise error(next(stream.thing))

    with pytest.raises(error):
        fail(closing(ahead(count(), same, threads=2, most=2)))
    assert threads() == []


BUSY = """
import time
from itertools import count
from jobs.images.ahead import ahead
for number in ahead(count(), lambda number: time.sleep(0.3) or number, threads=3, most=5):
    print(number, flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_whose_threads_are_busy(sent):
    words = [sys.executable, "-c", BUSY]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        process.send_signal(sent)
        assert process.wait(60) == -sent


def test_a_stream_is_cut_into_lists():
    assert list(batches(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(iter(()), 3)) == []
