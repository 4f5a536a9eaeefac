"""The command line: parse, call one function, print."""

import sys
from typing import NoReturn

import click

from cluster.errors import ClusterError
from dkvb.errors import DkvbError
from jobs.cli.begin import init, show_spec
from jobs.cli.cluster import cluster
from jobs.cli.completion import completion
from jobs.cli.data import data
from jobs.cli.diff import diff
from jobs.cli.ending import end_on_signals
from jobs.cli.evidence import log, verify
from jobs.cli.figure import figure
from jobs.cli.learn import learn
from jobs.cli.models import export, push
from jobs.cli.query import measure, query
from jobs.cli.queue import jobs, submit
from jobs.cli.report import report
from jobs.cli.root import repair, status, table, unlearn
from jobs.cli.run import demo, plan, run
from jobs.cli.schema import schema
from jobs.cli.telling import be_loud, tell_error, telling, telling_options, wants_json
from jobs.cli.upgrade import root
from jobs.errors import JobsError
from store.errors import StoreError


def main() -> NoReturn:
    """Run the command line; a user's mistake ends in one message, never in a traceback."""
    # Until a session is open there is nothing to close, and an interrupt inside an import would not surface as one.
    end_on_signals("what was finished is kept")
    with telling():
        sys.exit(_run())


def _run() -> int:
    """Run the command that was asked for; returns its exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt):
        text = "interrupted; what was finished is kept, and the same command goes on from there"
        return _failed(text, kind="Interrupted", code=130)
    except (ClusterError, DkvbError, JobsError, StoreError) as error:
        return _failed(str(error), kind=type(error).__name__, code=error.exit_code)
    except MemoryError as error:
        about = f": {error}" if str(error) else ""
        return _failed(f"not enough memory{about}; what was finished is kept", kind="MemoryError", code=1)
    except BrokenPipeError:
        sys.stdout = None  # Who read us has gone; say nothing more.
        return 1
    except OSError as error:
        text = f"{error.filename or 'the system'}: {error.strerror or error}; what was finished is kept"
        return _failed(text, kind="OSError", code=1)
    return 0


def _failed(message: str, *, kind: str, code: int) -> int:
    tell_error(message, kind=kind, code=code)
    return code


def _usage(error: click.ClickException) -> int:
    """Tell of words that make no sense, as click does, or in JSON."""
    if wants_json():
        return _failed(error.format_message(), kind="UsageError", code=error.exit_code)
    be_loud()
    error.show()
    return error.exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dkvb-unlearning", prog_name="dkvb")
def cli() -> None:
    """Make image classifiers forget classes: without retraining, at cluster scale, with proof.

    Begin with `dkvb demo`, or with your own images: `dkvb run photos`.
    """


for command in (
    *(demo, init, show_spec, plan, run, status, repair, table, figure, report, query, diff),
    *(unlearn, learn, measure, verify, log),
    *(export, push),
    *(submit, jobs, cluster, data, root, schema, completion),
):
    cli.add_command(command)
telling_options(cli)
