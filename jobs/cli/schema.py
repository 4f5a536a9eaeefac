"""The JSON Schema of specs, for editors."""

from pathlib import Path

import click

from jobs.cli.options import JSON, OUTPUT
from jobs.cli.output import put


@click.command(short_help="Print the JSON Schema of specs, for editors.")
@OUTPUT
@JSON
def schema(output: Path | None, *, as_json: bool) -> None:
    """Print the JSON Schema of specs: editors complete keys by it, show what each means, and mark mistakes.

    Begin a spec with the line `#:schema ./dkvb.schema.json` (docs/spec.md).

    Example: dkvb schema -o dkvb.schema.json
    """
    from jobs.spec.mistakes import SCHEMA

    put(SCHEMA.read_bytes(), output)
    if as_json and output is not None:
        put(SCHEMA.read_bytes(), None)
