"""Step: settings of the gradient baselines, tried on some classes; class, head and method a unit.

What is best for one class is used on others only: `jobs.comparison.methods.chosen` leaves out the class to forget.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from dkvb import stopping
from jobs import inputs
from jobs.comparison.extended import Extended
from jobs.comparison.heads import HEADS, Head
from jobs.comparison.methods import GRADIENT, SSD, GradientMethod
from jobs.kinds.tuning import Asks
from jobs.step import Facts, Task, Work
from jobs.worker import use_one_core


def prepare(task: Task[Asks]) -> list[str]:
    """The first classes that are compared, on both heads, with every method that is tuned."""
    classes = inputs.wanted_classes(task)
    if task.asks.alone:
        every = replace(task, asks=replace(task.asks, classes=None))
        classes += [k for k in inputs.wanted_classes(every) if k not in classes][: task.asks.first - 1]
    count = len(tried(task.asks))
    return [f"{k:05d}-{head}-{i}" for k in classes for head in HEADS for i in range(count)]


def tried(asks: Asks) -> Sequence[GradientMethod]:
    """The baselines that are tuned, in the order of units."""
    return GRADIENT if asks.extensions is None else Extended.of(asks.extensions).gradient


def open_work(task: Task[Asks]) -> Work:
    """Hold a head at a time; try all settings of a method on one class."""
    use_one_core()
    seed, baselines = task.asks.seed, tried(task.asks)
    held: dict[str, Head[Any]] = {}

    def try_all(unit: str) -> Facts:
        k, name, place = unit.split("-")
        method = baselines[int(place)]
        if name not in held:
            held.clear()
            held[name] = HEADS[name].read(task)
        head = held[name]
        request = head.forget_task((head.labels["train"] == int(k)).nonzero().flatten())
        important = head.importance() if method is SSD else None
        trials = []
        for baseline in method.trials(head, task.asks.trials):
            passes = method.unlearn(baseline, request, seed=seed, important=important)
            kept = stopping.best_epoch(request, passes)
            trials.append({"settings": asdict(baseline), "score": kept.score, "history": list(kept.history)})
        return {"class": int(k), "head": name, "method": method.name, "trials": trials}

    return try_all


def finish(task: Task[Asks]) -> Facts:
    """All trials."""
    return {"trials": list(task.output.marks().values())}
