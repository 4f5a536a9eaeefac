"""How a command ends that is interrupted."""

import os
import signal
import sys
from threading import Timer
from typing import NoReturn

from jobs.cli.telling import error_text
from jobs.printable import DRAWN

AGAIN_S = 0.05
"""Seconds until an interrupt that was dropped comes again."""


def end_at_once(message: str, code: int) -> NoReturn:
    """Print why, and end this process at once."""
    text = error_text(message, kind="Interrupted", code=code)
    line_end = "\n" if DRAWN else ""  # the last bar stays: it says how far the run was
    os.write(2, f"{line_end}{text}\n".encode())  # a print could be what was interrupted
    os._exit(code)


def end_on_signals(still: str) -> None:
    """End at once on an interrupt or SIGTERM (exit codes 130 and 143); still: what stays as it is, in words."""
    for number, word in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")):
        code = 128 + number
        signal.signal(number, lambda *_, word=word, code=code: end_at_once(f"{word}; {still}", code))


class second_interrupt_ends:
    """The first Ctrl-C closes the session in order; the second does not wait for that.

    An interrupt, or an exit by SIGTERM, that arrives in a callback from C, as numba's compiler makes them, is printed
    by Python and dropped: here it comes again, until it arrives where it can be caught.
    """

    def __enter__(self) -> None:
        self.before, self.hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        signal.signal(signal.SIGINT, self.first)
        sys.unraisablehook = self.dropped

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)
        sys.unraisablehook = self.hook

    def first(self, *_: object) -> None:
        """Close in order."""
        signal.signal(signal.SIGINT, self.second)
        raise KeyboardInterrupt

    def second(self, *_: object) -> None:
        """End at once."""
        end_at_once("interrupted twice; ended at once, what was finished is kept", 130)

    def dropped(self, what: "sys.UnraisableHookArgs") -> None:
        """See that an interrupt, or an exit, comes once more."""
        if not issubclass(what.exc_type, KeyboardInterrupt | SystemExit):
            self.hook(what)
            return
        number = signal.SIGINT if issubclass(what.exc_type, KeyboardInterrupt) else signal.SIGTERM
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self.first)
        Timer(AGAIN_S, os.kill, [os.getpid(), number]).start()
