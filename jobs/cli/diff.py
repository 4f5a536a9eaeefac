"""Two experiments beside each other."""

import json
from typing import Any

import click

from jobs.cli.options import JSON, place
from jobs.printable import say


@click.command(short_help="Compare two experiments.")
@click.argument("first", metavar="A", type=place)
@click.argument("second", metavar="B", type=place)
@click.option("--a", "name_a", metavar="NAME", help="Which experiment of A, where it holds several.")
@click.option("--b", "name_b", metavar="NAME", help="Which experiment of B, where it holds several.")
@JSON
def diff(first: Any, second: Any, name_a: str | None, name_b: str | None, *, as_json: bool) -> None:
    """Compare two experiments: specs, accuracy, what forgetting costs, and methods and attacks where both have them.

    Differences are B - A, paired over test items, over classes, and over classes and seeds, with 95 % intervals.

    A and B are roots, or one root twice. They must have the same classes and the same test items.

    Example: dkvb diff roots/cifar10 roots/cifar10 --a seed0 --b seed1
    """
    from jobs.diff import choose
    from jobs.diff import diff as compare

    made = compare(choose(first, name_a, "--a"), choose(second, name_b, "--b"))
    say(json.dumps(made.to_json(), indent=2) if as_json else made.text())
