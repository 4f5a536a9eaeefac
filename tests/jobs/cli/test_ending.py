"""An interrupt ends a run, wherever it arrives."""

import ctypes
import os
import signal
import sys
import time
from threading import Timer
from typing import Any

import pytest

from jobs.cli.ending import second_interrupt_ends


def interrupted(times, number=signal.SIGINT):
    """A signal arrives in callbacks from C, so many times, where nothing that is raised gets out."""
    callback = ctypes.CFUNCTYPE(None)(lambda: time.sleep(30))
    with second_interrupt_ends():
        Timer(0.2, os.kill, [os.getpid(), number]).start()
        for _ in range(times):
            callback()
        time.sleep(30)
    raise AssertionError("the interrupt was lost")


def test_an_interrupt_that_a_callback_drops_comes_again():
    with pytest.raises(KeyboardInterrupt):
        interrupted(3)


def test_so_does_an_exit():
    def leave(*_):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit) as ended:
            interrupted(3, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143


def test_other_errors_in_callbacks_are_told_as_before_and_all_handlers_are_put_back(capsys):
    before = sys.unraisablehook, signal.getsignal(signal.SIGINT)
    told: list[Any] = []
    sys.unraisablehook = told.append
    try:
        with second_interrupt_ends():
            ctypes.CFUNCTYPE(None)(lambda: 1 / 0)()
    finally:
        sys.unraisablehook = before[0]
    assert [one.exc_type for one in told] == [ZeroDivisionError]
    assert (sys.unraisablehook, signal.getsignal(signal.SIGINT)) == before
