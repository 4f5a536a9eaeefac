"""How a command ends that waits for nothing."""

import os
from typing import NoReturn

from jobs.cli.telling import error_text


def end_at_once(message: str, code: int) -> NoReturn:
    """Print why, and end this process at once."""
    os.write(
        2, f"{error_text(message, kind='Interrupted', code=code)}\n".encode()
    )  # a print could be what was interrupted
    os._exit(code)
