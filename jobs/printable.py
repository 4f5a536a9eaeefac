"""What people read: text from data, made fit to be shown (a terminal would obey some of it), and shares in per cent."""

import sys
from collections.abc import Callable, Mapping
from shutil import get_terminal_size

import click

HEARD: list[Callable[[str], None]] = []
"""Who is given every message beside the answers of this command: its log file, where it keeps one."""


WIPE = "\r\x1b[K"
"""What a terminal takes as: begin this line anew, and empty."""

DRAWN: list[str] = []
"""The line that is drawn on the terminal and will be drawn anew, where there is one."""


def draw(text: str) -> None:
    """Draw a line on the terminal that is standard error, over the one that was drawn before."""
    DRAWN[:] = [text]
    print(f"{WIPE}{text}", end="", file=sys.stderr, flush=True)


def wipe() -> None:
    """Take the line away that was drawn, before anything else is printed."""
    if DRAWN:
        DRAWN.clear()
        print(WIPE, end="", file=sys.stderr, flush=True)


def room(elsewhere: int) -> int:
    """Columns of the terminal that the output goes to; so many where it goes elsewhere."""
    return get_terminal_size((elsewhere, 24)).columns if sys.stdout.isatty() else elsewhere


def shown(text: str) -> str:
    """A name on one line: whatever is not printable (control characters, escapes, bidirectional marks) as its code."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def lines(text: str) -> str:
    """A message of several lines, each as `shown` makes it."""
    return "\n".join(map(shown, text.split("\n")))


def in_one_line(text: str) -> str:
    """A message of several lines as one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def per_cent(share: float | None, digits: int = 2) -> str:
    """A share in [0, 1] in per cent; "none" where there is none."""
    return "none" if share is None else f"{100 * share:.{digits}f} %"


def number(count: int, one: str, many: str) -> str:
    """How many there are of something, with its word for one or for many."""
    return f"{count:,} {one if count == 1 else many}"


def kinds(counts: Mapping[str, int]) -> str:
    """How many there are of each kind of what is no data: "2 .csv, 1 hidden folders"."""
    return ", ".join(f"{count} {shown(kind)}" for kind, count in counts.items())


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a message; commands print in no other way."""
    for keep in HEARD if err else ():
        keep(lines(text))
    wipe()
    click.echo(lines(text), err=err, nl=nl)
