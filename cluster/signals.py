"""Signals while a session is open: Ctrl-C and SIGTERM end workers and cluster in order, whenever they come."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold back a Ctrl-C in the main thread until the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def termination_in_order() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Turn SIGTERM into an exit, so that workers and cluster end in order; Ray would dump and die on the spot.

    yields: a context in which a SIGTERM raises SystemExit at once; outside of it, that waits until the block ends.
    """
    code = 128 + signal.SIGTERM
    received: list[int] = []
    may_leave = False

    def leave(number: int, _frame: object) -> None:
        received.append(number)
        if may_leave and len(received) == 1:
            sys.exit(code)

    @contextmanager
    def open_to_it() -> Iterator[None]:
        nonlocal may_leave
        signal.signal(signal.SIGTERM, leave)  # Ray's native part has taken it meanwhile
        if received:
            sys.exit(code)
        may_leave = True
        try:
            yield
        finally:
            may_leave = False

    if threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield open_to_it
    finally:
        signal.signal(signal.SIGTERM, before)
        if received:  # a call into Ray passes the exit on, but not its code
            raise SystemExit(code) from None
