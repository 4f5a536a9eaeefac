"""Text that comes from data, made fit to be shown: what a terminal would obey, or a table would take for its own."""

import click


def shown(text: str) -> str:
    """A name on one line: whatever is not printable (control characters, escapes, bidirectional marks) as its code."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def lines(text: str) -> str:
    """The same for a message of several lines."""
    return "\n".join(map(shown, text.split("\n")))


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a message: the only way in which a command does."""
    click.echo(lines(text), err=err, nl=nl)
