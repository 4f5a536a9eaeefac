"""The sweep of every class over 20 budgets, up to all pairs it activates, against as many masked forward passes.

A pass finds all codes anew with the same kernel and decodes them; three are timed, on up to 10,000 items, and
multiplied. `with lists` counts the time in which the ordered neighbours are found, `lists standing` does not. Read
`ratio` as how many times faster; `of limit` compares with reading, at copy speed, one row of values a change of a code.
`touched` is the share of item-codebook entries whose key ever falls, `searched` the share whose whole list does; both
of the first classes. `not equal`: predictions other than the masked pass gives, of three classes at three budgets.
"""

import numpy as np
import torch
from synthetic import Scene, scene
from timing import copy_rate, median, once, peak_bytes, report, size

from dkvb.codes import encode
from dkvb.neighbours import neighbours
from dkvb.orders import RemovalOrder, by_activation
from dkvb.sweep import Items, budget_table, sweep

GRID = [k / 20 for k in range(1, 21)]
CLASSES = 62
"""Classes swept together, as the step does."""
BLOCK = 8192
FEW = 10_000


def grid_of(order: RemovalOrder) -> list[int]:
    """The budgets of one class."""
    return order.budgets(GRID, shares=True, what="pairs")


def table_of(built: Scene, classes: range) -> np.ndarray:
    """When each class loses which pair."""
    orders = [by_activation(built.counts[k]) for k in classes]
    parts = [budget_table([order.position], [grid_of(order)]) for order in orders]
    return np.concatenate(parts, axis=2)


def differences(built: Scene, items: Items, classes: list[int]) -> float:
    """Share of predictions that are not those of the masked pass."""
    few = items.take(slice(0, 1000))
    wrong = []
    for k in classes:
        predicted, _ = sweep(built.model, few, table_of(built, range(k, k + 1)), budgets=len(GRID), forget=[[k]])
        order = by_activation(built.counts[k])
        for g in (4, 11, 19):
            mask = torch.from_numpy(order.mask(grid_of(order)[g]))
            wrong.append((built.model.masked(mask).logits(few.z).argmax(1) != predicted[0, g]).double().mean().item())
    return sum(wrong) / len(wrong)


def main() -> None:
    """Time both on the same model."""
    s = size(__doc__ or "")
    n, v = s["n"], s["v"]
    built = scene(s)
    model, z = built.model, built.z
    codes = encode(z, model.projection, model.keys, selectable=model.selectable)
    some = neighbours(z[:64], model.projection, model.keys, selectable=model.selectable)  # compiles
    lists = torch.empty(n, s["c"], some.shape[2], dtype=torch.int16)

    def find_lists() -> None:
        for rows in torch.arange(n).split(BLOCK):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            lists[part] = neighbours(z[part], model.projection, model.keys, selectable=model.selectable)

    items = Items(z, codes, lists)

    def sweep_all() -> None:
        for begin in range(0, v, CLASSES):
            classes = range(begin, min(begin + CLASSES, v))
            table, forget = table_of(built, classes), [[k] for k in classes]
            for lo in range(0, n, BLOCK):
                sweep(model, items.take(slice(lo, lo + BLOCK)), table, budgets=len(GRID), forget=forget)

    listing = once(find_lists)
    sweep(model, items.take(slice(0, 64)), table_of(built, range(1)), budgets=len(GRID), forget=[[0]])  # compiles
    sweeping = median(sweep_all) if v <= 10 else once(sweep_all)
    few = z[: min(n, FEW)]
    passes = len(GRID) * v * median(lambda: model.logits(few))
    passes *= n / len(few)
    tables = table_of(built, range(min(v, 3)))
    index, rows = np.arange(s["c"])[None, :], slice(0, 1000)
    touched = np.mean(tables[index, codes[rows].numpy()] < len(GRID))
    searched = np.mean((tables[index[:, :, None], lists[rows].numpy()] < len(GRID)).all(axis=2))
    limit = touched * n * s["c"] * v * 4 * v / copy_rate()
    shared = {
        "touched": touched,
        "searched": searched,
        "not equal": differences(built, items, [0, v // 2, v - 1]),
    }
    report(
        "sweep",
        [
            {"what": what, "seconds": taken, "passes s": passes, "ratio": passes / taken, "of limit": limit / taken}
            | shared
            for what, taken in (("with lists", listing + sweeping), ("lists standing", sweeping))
        ],
        peak_GB=round(peak_bytes() / 2**30, 2),
        **s,
    )


if __name__ == "__main__":
    main()
