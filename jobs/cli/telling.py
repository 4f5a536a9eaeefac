"""What a command tells beside its answer, and where: `-q`, `-v`, `--log-file`; and errors, as text or as JSON.

The answer goes to standard output, an error to standard error, whatever is asked. Between them are notes, progress, and
what libraries say. All of that is standard error, which `-q` replaces until the command has ended.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from jobs.errors import BadRequest
from jobs.printable import HEARD, say

if TYPE_CHECKING:
    import logging

    from jobs.run.progress import LogLine, Reporter
    from store.places import Place

OURS = ("cluster", "dkvb", "jobs", "store")
"""Whose log messages are told."""


@dataclass(slots=True)
class Told:
    """What the words of the command that runs say of telling."""

    loud: TextIO | None = None
    """Standard error, where `-q` took its place."""
    verbose: int = 0
    """How often `-v` was given."""
    handler: "logging.Handler | None" = None
    """Who tells log messages, unless it is left to Python."""
    end: ExitStack = field(default_factory=ExitStack)
    """What ends with the command."""


TOLD = Told()


@contextmanager
def telling() -> Iterator[None]:
    """The time of one command; afterwards all is as it was before, for another one in the same process."""
    try:
        with TOLD.end:
            yield
    finally:
        TOLD.verbose = 0


def be_loud() -> None:
    """End what `-q` began: an error is always told."""
    if TOLD.loud is not None:
        sys.stderr, TOLD.loud = TOLD.loud, None


def wants_json() -> bool:
    """Whether the words of this command ask for JSON."""
    words = sys.argv[1:]
    return "--json" in words[: words.index("--") if "--" in words else None]


def error_text(message: str, *, kind: str, code: int) -> str:
    """How an error is told: in a line of JSON where JSON was asked for."""
    if not wants_json():
        return f"dkvb: {message}"
    return json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}})


def tell_error(message: str, *, kind: str, code: int) -> None:
    """Tell an error that ends the command; with `-v` also where in the code it came from."""
    be_loud()
    if TOLD.verbose and sys.exc_info()[0] is not None:
        import traceback

        say(traceback.format_exc().rstrip(), err=True)
    say(error_text(message, kind=kind, code=code), err=True)


def reporter(root: "Place") -> "Reporter":
    """Who watches a run: standard error, and the log file where there is one."""
    from jobs.run.progress import Reporter

    def hear(line: "LogLine") -> None:
        words = [f"{key}={value}" for key, value in line.to_json().items() if key != "event"]
        for keep in HEARD:
            keep(" ".join([line.event, *words]))

    return Reporter(root=root, log=hear)


def telling_options(command: click.Command) -> None:
    """Give a command, and the commands in it, the options of telling."""
    about = (
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            is_eager=True,
            callback=_be_verbose,
            help="Tell more, and where an error came from; -vv for everything.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_be_quiet,
            help="No notes, no progress: the answer and errors alone.",
        ),
        click.Option(
            ["--log-file"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            expose_value=False,
            is_eager=True,
            callback=_keep_log,
            help="Append what is told to a file, with times, also what -q leaves out.",
        ),
    )
    command.params.extend(about)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            telling_options(inner)


def _be_quiet(context: click.Context, _option: click.Parameter, quiet: bool) -> None:  # noqa: FBT001 - click's
    if quiet and TOLD.loud is None and not context.resilient_parsing:
        nowhere = Path(os.devnull)
        TOLD.loud, sys.stderr = sys.stderr, TOLD.end.enter_context(nowhere.open("w", encoding="utf-8"))
        TOLD.end.callback(be_loud)


def _be_verbose(context: click.Context, _option: click.Parameter, verbose: int) -> None:
    if verbose and not context.resilient_parsing:
        TOLD.verbose += verbose
        _hear_log()


def _keep_log(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is None or context.resilient_parsing:
        return
    import time

    try:
        file = TOLD.end.enter_context(path.open("a", encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"--log-file {path}: cannot be written: {error.strerror}") from error

    def keep(text: str) -> None:
        file.write("".join(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n" for line in text.splitlines()))
        file.flush()

    HEARD.append(keep)
    TOLD.end.callback(HEARD.remove, keep)
    keep(f"dkvb {shlex.join(sys.argv[1:])}")
    _hear_log()


def _hear_log() -> None:
    """Tell the log messages of our packages, from the level on that was asked for."""
    import logging

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(TOLD.verbose, 2)]
    if TOLD.handler is None:

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                say(self.format(record), err=True)

        TOLD.handler = Handler()
        TOLD.end.callback(_hear_no_log, TOLD.handler)
        for name in OURS:
            logging.getLogger(name).addHandler(TOLD.handler)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def _hear_no_log(handler: "logging.Handler") -> None:
    import logging

    for name in OURS:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(logging.NOTSET)
    TOLD.handler = None
