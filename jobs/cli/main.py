"""The command line: parse, call one function, print."""

import signal
import sys
from typing import NoReturn

import click

from cluster.errors import ClusterError
from dkvb.errors import DkvbError
from jobs.cli.cluster import cluster
from jobs.cli.data import data
from jobs.cli.diff import diff
from jobs.cli.ending import end_at_once
from jobs.cli.figure import figure
from jobs.cli.query import measure, query
from jobs.cli.queue import jobs, submit
from jobs.cli.report import report
from jobs.cli.root import log, repair, status, table, unlearn, verify
from jobs.cli.run import demo, plan, run
from jobs.cli.upgrade import root
from jobs.errors import JobsError
from jobs.printable import say
from store.errors import StoreError


def main() -> NoReturn:
    """Run the command line; a user's mistake ends in one message, never in a traceback."""
    # Until a session is open there is nothing to close, and an interrupt inside an import would not surface as one.
    signal.signal(signal.SIGINT, lambda *_: end_at_once("interrupted; what was finished is kept", 130))
    signal.signal(signal.SIGTERM, lambda *_: end_at_once("told to end (SIGTERM); what was finished is kept", 143))
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; what was finished is kept, and the same command goes on from there", 130)
    except (ClusterError, DkvbError, JobsError, StoreError) as error:
        _fail(str(error), error.exit_code)
    except MemoryError as error:
        _fail(f"not enough memory{f': {error}' if str(error) else ''}; what was finished is kept", 1)
    except BrokenPipeError:
        sys.stdout = None  # Who read us has gone; say nothing more.
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}; what was finished is kept", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    say(f"dkvb: {message}", err=True)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dkvb-unlearning", prog_name="dkvb")
def cli() -> None:
    """Make image classifiers forget classes: without retraining, at cluster scale, with proof.

    Begin with `dkvb demo`.
    """


for command in (
    *(demo, plan, run, status, repair, table, figure, report, query, diff),
    *(unlearn, measure, verify, log),
    *(submit, jobs, cluster, data, root),
):
    cli.add_command(command)
