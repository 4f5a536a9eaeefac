"""Whether a spec can still be run on the training items that are left: what its steps would refuse, told beforehand.

How many pairs a class activates is known when keys are fitted; told here are numbers of pairs that no keys could give.
"""

from collections.abc import Iterator, Sequence

from dkvb import orders
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.forget_sets import forget_sets
from jobs.printable import shown
from jobs.spec.schema import Spec, UvaGrid
from jobs.sweeping import available_in_words


def check_left(spec: Spec, names: Sequence[str], items: Sequence[int]) -> None:
    """Check that a spec asks for nothing that is not left.

    names: (v,) of the classes; items: (v,) training items that are left of each.
    raises: BadRequest, BadBudget.
    """
    for where, wanted in named(spec):
        for k in class_indexes(names, wanted):
            if not items[k]:
                raise BadRequest(f"{where}: class {shown(names[k])!r} has no training items to forget; leave it out")
    asked = class_indexes(names, spec.sweep.classes or names) if spec.sweep.each else []
    alone = [(k,) for k in asked if items[k]]
    sets = spec.sweep.set_asks(spec.seed)
    together = [] if sets is None else [one.classes for one in forget_sets(sets, names, items)]
    for classes in (*alone, *together):
        of = [names[k] for k in classes]
        for grid in spec.sweep.grids:
            if isinstance(grid, UvaGrid):
                books = spec.bottleneck.c if grid.scope == "global" else 1
                most = books * min(spec.bottleneck.m, sum(items[k] for k in classes))
            else:
                most = max(items[k] for k in classes)
            orders.budgets(grid.grid, most, shares=grid.unit == "shares", what=available_in_words(grid, of))


def named(spec: Spec) -> Iterator[tuple[str, list[str]]]:
    """The lists of classes in a spec that must have training items, and where they stand."""
    if spec.sweep.classes is not None:
        yield "sweep.classes", spec.sweep.classes
    if spec.compare is not None:
        for name in ("classes", "oracle_kv"):
            if (wanted := getattr(spec.compare, name)) is not None:
                yield f"compare.{name}", wanted
