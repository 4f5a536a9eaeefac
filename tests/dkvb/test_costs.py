"""What a request costs in seconds: medians, and from which number of requests it pays."""

import math
import os
import time

import numpy as np
import pytest
import torch

from dkvb.costs import Timing, break_even, measure
from dkvb.errors import BadSetting

MB = 1 << 20

where_memory_is_told = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells a process the most memory it has held"
)


def test_the_median_lies_between_the_least_and_the_most():
    timing = measure(lambda: time.sleep(0.001), repeats=7)
    assert 0.001 <= timing.least <= timing.median <= timing.most


def test_work_runs_once_to_warm_up_then_as_often_as_asked_then_once_for_its_memory():
    calls = []
    measure(lambda: calls.append(time.perf_counter()), repeats=3)
    assert len(calls) == 5


def test_neither_the_warm_up_nor_the_look_at_the_memory_is_timed(monkeypatch):
    clock, taken = [0.0], iter([97.0, 5.0, 2.0, 11.0, 89.0])
    monkeypatch.setattr("dkvb.costs.perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += next(taken)

    timing = measure(work, repeats=3)
    assert (timing.least, timing.median, timing.most) == (2.0, 5.0, 11.0)


def peak_bytes(work, **settings) -> int:
    peak = measure(work, **settings).peak_bytes
    assert peak is not None
    return peak


@where_memory_is_told
@pytest.mark.parametrize("hold", [True, False])
def test_memory_is_seen_whether_the_result_holds_it_or_not(hold):
    def work() -> torch.Tensor | None:
        ones = torch.ones(64 * MB // 4)
        return ones if hold else None

    assert 60 * MB < peak_bytes(work, repeats=1) < 80 * MB


@where_memory_is_told
def test_memory_that_an_earlier_run_has_freed_is_seen_again():
    pins = []

    def work() -> None:
        pieces = [np.ones(1 << 13) for _ in range(1 << 10)]
        pins.append(np.ones(1 << 13))  # lies above the pieces, so that the C library keeps them when they are freed
        del pieces

    # Not all of 64 MB is seen: a page that a piece shares with what is still in use was resident before.
    assert peak_bytes(work, repeats=2) > 32 * MB


@where_memory_is_told
def test_work_without_memory_adds_next_to_none():
    assert peak_bytes(lambda: None) < 16 * MB


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr("dkvb.costs.PROC", tmp_path / "nowhere")
    timing = measure(lambda: None)
    assert isinstance(timing, Timing)
    assert timing.peak_bytes is None


def test_an_error_of_the_work_comes_through():
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)


@pytest.mark.parametrize("repeats", [0, -3])
def test_no_runs_are_refused(repeats):
    with pytest.raises(BadSetting, match=str(repeats)):
        measure(lambda: None, repeats=repeats)


def test_a_bottleneck_has_paid_off_when_what_requests_save_reaches_what_it_cost():
    requests = break_even(train_seconds=70, retrain_seconds=13, unlearn_seconds=3)
    assert requests == 7
    assert 70 + requests * 3 == requests * 13
    assert break_even(train_seconds=0, retrain_seconds=13, unlearn_seconds=3) == 0


@pytest.mark.parametrize("unlearn", [13, 17])
def test_a_bottleneck_never_pays_off_when_unlearning_is_no_faster(unlearn):
    assert break_even(train_seconds=70, retrain_seconds=13, unlearn_seconds=unlearn) == math.inf


@pytest.mark.parametrize("name", ["train_seconds", "retrain_seconds", "unlearn_seconds"])
@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_times_that_cannot_be_are_refused(name, seconds):
    times = {"train_seconds": 70, "retrain_seconds": 13, "unlearn_seconds": 3, name: seconds}
    with pytest.raises(BadSetting, match=name):
        break_even(**times)
