"""Text that comes from data, made fit to be shown: a terminal would obey some of it."""

import click


def shown(text: str) -> str:
    """A name on one line: whatever is not printable (control characters, escapes, bidirectional marks) as its code."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def lines(text: str) -> str:
    """A message of several lines, each as `shown` makes it."""
    return "\n".join(map(shown, text.split("\n")))


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a message; commands print in no other way."""
    click.echo(lines(text), err=err, nl=nl)
