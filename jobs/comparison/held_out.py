"""Single items are forgotten where a model knows them no better than items of their class that it never saw.

Half of the class's test items choose N by that; the other half judges, so that no item is reported on that chose.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dkvb.seeds import drawn
from jobs.comparison.judge import Judge, Model
from jobs.comparison.masks import Budgeted, Mask, SweptBottleneck

Masked = Callable[[str, NDArray[np.bool_], Mapping[str, Any]], Model[Any]]
"""A bottleneck under a mask (c, m), by the name of its method and with its setting."""


def half_of_class(labels: torch.Tensor, k: int, *, seed: int) -> NDArray[np.bool_]:
    """Half of the test items of a class, one at least where it has two or more; labels (n,) -> (n,) bool."""
    own = (labels == k).nonzero().flatten()
    chosen = np.zeros(len(labels), bool)
    chosen[own[drawn(len(own), len(own) // 2, seed, "held-out items")].numpy()] = True
    return chosen


def stop(forgotten: list[float], held_out: list[float]) -> int:
    """Index of the model whose accuracy on forgotten items is nearest to that on held-out ones; ties to the first."""
    gaps = [abs(one - other) for one, other in zip(forgotten, held_out, strict=True)]
    return gaps.index(min(gaps))


def stopped_at_held_out(
    judge: Judge, items: SweptBottleneck, *, orders: Mapping[str, Budgeted], masked: Masked, k: int, seed: int
) -> tuple[Judge, list[Model[Any]]]:
    """Masks for some training items of a class, each at the N where these are known as held-out items are.

    judge: of the values, told which training items are forgotten; orders: ways to choose pairs, by name of the method.
    returns: a judge without the items that chose N, and the models; none where the class has fewer than two test items.
    """
    chooses = half_of_class(judge.labels["test"], k, seed=seed)
    if not chooses.any():
        return judge, []
    models = []
    for name, budgeted in orders.items():
        predictions = items.predictions([budgeted], [[]])
        like = replace(judge, forget={**judge.forget, "test": chooses})
        reached = predictions.accuracies(0, len(budgeted.grid), like.labels, like.forget)
        budget = budgeted.grid[stop([one.train_forget for one in reached], [one.test_forget for one in reached])]
        mask = Mask(budget, budgeted.order.mask(budget))
        models.append(masked(f"{name} to held-out", mask.pairs, mask.setting))
    return unseen(judge, chooses), [_cut(one, chooses) for one in models]


def unseen(judge: Judge, chooses: NDArray[np.bool_]) -> Judge:
    """A judge that does without some test items; chooses: (n,) bool."""
    kept = ~chooses
    return replace(
        judge,
        labels={**judge.labels, "test": judge.labels["test"][torch.from_numpy(kept)]},
        forget={**judge.forget, "test": judge.forget["test"][kept]},
        before=_cut(judge.before, chooses),
        oracle=_cut(judge.oracle, chooses),
        retain=None if judge.retain is None else {**judge.retain, "test": judge.retain["test"][kept]},
    )


def _cut(model: Model[Any], chooses: NDArray[np.bool_]) -> Model[Any]:
    """What a model says of the items but those."""
    return replace(model, logits={**model.logits, "test": model.logits["test"][torch.from_numpy(~chooses)]})
