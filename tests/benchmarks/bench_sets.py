"""1,000 random sets of 10 classes, each forgotten together over 20 budgets, against 1,000 single classes.

The data are like CIFAR-100 at either size: 100 classes, 256 x 4096 pairs; budgets are 20 shares of the pairs that a set
activates, and the N of the rule. Timed are hits, orders and tables of 64 sets, and their sweep over all items (`quick`:
1,000, else 10,000); `seconds` are those of 1,000 sets. `singles`: how many times as long as sets of one class; `ratio`:
how many times faster than masked forward passes; `of limit` compares with reading, at copy speed, two rows of values a
change of a code. `changes`: of an item under a set. `not equal`: predictions other than the masked pass gives, of one
set at three budgets.
"""

from functools import partial

import numpy as np
import torch
from synthetic import Scene, scene
from timing import SIZES, copy_rate, median, once, peak_bytes, report, size

from dkvb.codes import encode
from dkvb.compilation import warm
from dkvb.neighbours import neighbours
from dkvb.orders import TAU, RemovalOrder, by_activation
from dkvb.sweep import Items, budget_table, codes_by_budget, sweep

GRID = [k / 20 for k in range(1, 21)]
V = 100
CIFAR100: dict[str, float] = {**SIZES["cifar"], "v": V, "d_z": 512, "per_class": 500, "strength": 0.7}
TOGETHER = 64
"""Sets swept together, as the step does."""
BLOCK = 8192
ALL = 1000


def random_sets(classes: int) -> list[list[int]]:
    """As many sets of so many classes as the step sweeps together."""
    rng = np.random.default_rng(classes)
    return [sorted(rng.permutation(V)[:classes].tolist()) for _ in range(TOGETHER)]


def order_of(built: Scene, classes: list[int]) -> tuple[RemovalOrder, list[int]]:
    """The order and the budgets of one set."""
    order = by_activation(built.counts[classes].sum(0, dtype=np.int64))
    return order, sorted({0, *order.budgets(GRID, shares=True, what="pairs"), order.smallest(TAU)})


def table_of(built: Scene, sets: list[list[int]]) -> tuple[np.ndarray, int]:
    """When each set loses which pair, and the budgets of the longest grid."""
    made = [order_of(built, classes) for classes in sets]
    table = budget_table([order.position for order, _ in made], [grid for _, grid in made])
    return table, max(len(grid) for _, grid in made)


def sweep_all(built: Scene, items: Items, sets: list[list[int]]) -> None:
    """All sets over all items."""
    table, budgets = table_of(built, sets)
    for lo in range(0, len(items.z), BLOCK):
        sweep(built.model, items.take(slice(lo, lo + BLOCK)), table, budgets=budgets, forget=sets)


def changes_of(built: Scene, items: Items, sets: list[list[int]]) -> float:
    """Changes of codes of an item under a set, on average over a few."""
    table, budgets = table_of(built, sets[:8])
    codes = codes_by_budget(built.model, items.take(slice(0, 200)), table, budgets=budgets)
    return float((codes[:, 1:] != codes[:, :-1]).sum()) / (8 * 200)


def not_equal(built: Scene, items: Items, classes: list[int]) -> float:
    """Share of predictions that are not those of the masked pass."""
    few = items.take(slice(0, 1000))
    (order, grid), (table, budgets) = order_of(built, classes), table_of(built, [classes])
    predicted, _ = sweep(built.model, few, table, budgets=budgets, forget=[classes])
    wrong = []
    for g in (5, 12, len(grid) - 1):
        masked = built.model.masked(torch.from_numpy(order.mask(grid[g])))
        wrong.append((masked.logits(few.z).argmax(1) != predicted[0, g]).double().mean().item())
    return sum(wrong) / len(wrong)


def main() -> None:
    """Time both on the same model, one after the other and again."""
    asked = size(__doc__ or "")
    s = CIFAR100 | {"n": 1000 if asked["name"] == "quick" else 10_000}
    built = scene(s)
    model, z = built.model, built.z
    codes = encode(z, model.projection, model.keys, selectable=model.selectable)
    items = Items(z, codes, neighbours(z, model.projection, model.keys, selectable=model.selectable))
    warm()
    sets = {classes: random_sets(classes) for classes in (1, 10)}
    taken: dict[int, list[float]] = {1: [], 10: []}
    for _ in range(3):  # by turns: the machine may be shared
        for classes in sets:
            taken[classes].append(once(partial(sweep_all, built, items, sets[classes])) * ALL / TOGETHER)
    seconds = {classes: float(np.median(times)) for classes, times in taken.items()}
    a_pass, rate = median(lambda: model.logits(z)), copy_rate()
    rows = []
    for classes, found in seconds.items():
        changes = changes_of(built, items, sets[classes])
        limit = 2 * 4 * V * changes * s["n"] * ALL / rate
        passes = a_pass * (len(GRID) + 1) * ALL
        rows.append(
            {"what": f"sets of {classes}", "seconds": found, "singles": found / seconds[1], "passes s": passes}
            | {"ratio": passes / found, "of limit": limit / found, "changes": changes}
            | {"not equal": not_equal(built, items, sets[classes][0])}
        )
    report("sets", rows, peak_GB=round(peak_bytes() / 2**30, 2), **s)


if __name__ == "__main__":
    main()
