"""Sets of classes that are forgotten together: those that a spec names, and random ones. No torch.

A draw is one random order of all classes that have training items; its first k are its set of size k, so within a draw
larger sets hold the smaller.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from dkvb.seeds import numpy_generator
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.spec.schema import HALF, SetAsks

SETS = 64
"""Forget sets of a unit at most: rows of values are read from memory once for all of them; their tables take c * m
bytes each."""

UNITS = 16
"""Units at least, where there are as many forget sets: work for as many workers."""


def block_size(sets: int) -> int:
    """Forget sets of a unit."""
    return max(1, min(SETS, sets // UNITS))


@dataclass(frozen=True, slots=True)
class ForgetSet:
    """Classes that are forgotten together."""

    classes: tuple[int, ...]
    """Indexes, increasing."""
    draw: int | None
    """Of which random order it is the beginning; None for a set that the spec names."""


def forget_sets(asks: SetAsks, names: Sequence[str], items: Sequence[int]) -> list[ForgetSet]:
    """Those that the spec names, in its order; then the random ones by draw and size.

    names: (v,) of the classes; items: (v,) training items of each.
    raises: BadRequest for a class that is not there, has no training items, or is named twice, and for a set that
        leaves no class with training items.
    """
    there = [k for k, count in enumerate(items) if count]
    named = [named_set(asks, i, names, items) for i in range(len(asks.sets))]
    return [*(ForgetSet(classes, None) for classes in named), *drawn_sets(asks, there)]


def named_set(asks: SetAsks, i: int, names: Sequence[str], items: Sequence[int]) -> tuple[int, ...]:
    """The classes of a set that the spec names; arguments and errors as of `forget_sets`."""
    where, wanted = f"sweep.sets[{i}]", asks.sets[i]
    try:
        classes = class_indexes(names, wanted)
    except BadRequest as error:
        raise BadRequest(f"{where}: {error}") from error
    if len(classes) < len(wanted):
        raise BadRequest(f"{where}: found {len(wanted)} names of {len(classes)} classes, expected each class once")
    if empty := [names[k] for k in classes if not items[k]]:
        raise BadRequest(f"{where}: class {shown(empty[0])!r} has no training items to forget; take it out")
    there = sum(1 for count in items if count)
    if len(classes) == there:
        raise BadRequest(
            f"{where}: found all {there} classes that have training items, expected fewer: what is lost is measured on "
            "the others; take one out"
        )
    return tuple(classes)


def drawn_sets(asks: SetAsks, there: Sequence[int]) -> Iterator[ForgetSet]:
    """The random sets; there: the classes that have training items. raises: BadRequest for sizes of all or more."""
    sizes = sizes_of(asks, len(there))
    if sizes and sizes[-1] >= len(there):
        raise BadRequest(
            f"sweep.sizes: found {sizes[-1]}, expected less than the {len(there)} classes that have training items: "
            "what is lost is measured on the others"
        )
    for draw in range(asks.draws):
        order = np.argsort(numpy_generator(asks.seed, "forget sets", draw).random_raw(len(there)), kind="stable")
        for size in sizes:
            yield ForgetSet(tuple(sorted(there[place] for place in order[:size].tolist())), draw)


def sizes_of(asks: SetAsks, there: int) -> list[int]:
    """Sizes of the random sets, increasing; there: how many classes have training items."""
    return sorted({max(1, there // 2) if size == HALF else int(size) for size in asks.sizes})


def repeated(asks: SetAsks, there: int) -> list[str]:
    """What is to be known of sizes with fewer sets than draws: some sets come up again; there: as of `sizes_of`."""
    return [
        f"sweep.draws: found {asks.draws:,}, but of {there} classes there are only {sets:,} different sets of {size}: "
        "some are drawn again, and more draws tell little more"
        for size in sizes_of(asks, there)
        if size < there and (sets := comb(there, size)) < asks.draws
    ]
