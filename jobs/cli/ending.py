"""How a command ends that waits for nothing."""

import os
import signal
from typing import NoReturn

from jobs.cli.telling import error_text
from jobs.printable import DRAWN


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
