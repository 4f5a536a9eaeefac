"""`dkvb root`: roots as a whole."""

import click

from jobs.cli.options import ROOT
from jobs.printable import say
from store.places import Place


@click.group()
def root() -> None:
    """Roots of older versions.

    Example: dkvb root upgrade roots/cifar10
    """


@root.command()
@ROOT
def upgrade(root: Place) -> None:
    """Bring a root of an older version up to date in place: names of classes and items beside its arrays.

    Every file is checked first; numbers, digests and tables stay as they are. Killed, the same command goes on.

    Example: dkvb root upgrade roots/cifar10
    """
    from jobs.upgrade import upgrade as bring_up_to_date

    bring_up_to_date(root, say)
