"""`dkvb root`: roots as a whole."""

import click

from jobs.cli.options import JSON, ROOT
from jobs.cli.output import Lines
from store.places import Place


@click.group()
def root() -> None:
    """Roots of older versions.

    Example: dkvb root upgrade roots/cifar10
    """


@root.command()
@ROOT
@JSON
def upgrade(root: Place, *, as_json: bool) -> None:
    """Bring a root of an older version up to date in place: names of classes and items beside its arrays.

    Every file is checked first; numbers, digests and tables stay as they are. Killed, the same command goes on.

    Example: dkvb root upgrade roots/cifar10
    """
    from jobs.upgrade import upgrade as bring_up_to_date

    with Lines(as_json=as_json) as lines:
        bring_up_to_date(root, lines.tell)
