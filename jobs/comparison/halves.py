"""What U-LiRA's heads learn from, a class and a random half of the other items, and how they are told from oracles."""

from typing import Any

import torch
from torch import Tensor

from dkvb import metrics, ulira
from dkvb.seeds import drawn
from jobs.comparison import methods
from jobs.rows import without_nan

U_LIRA = "u-lira"
"""Name of the attack, in the table of attacks."""


def members(labels: Tensor, k: int, *, items: int, seed: int) -> tuple[Tensor, Tensor]:
    """The items that heads are trained on: rows of the class, rows of the others; drawn by the seed."""
    rows = drawn(len(labels), items, seed, "lira items")
    of_class = labels[rows] == k
    return rows[of_class], rows[~of_class]


def half(n: int, seed: int, k: int, head: int) -> Tensor:
    """(n,) bool, a random half."""
    chosen_rows = torch.zeros(n, dtype=torch.bool)
    chosen_rows[drawn(n, n // 2, seed, "lira half", k, head)] = True
    return chosen_rows


def among_others(logits: Tensor, k: int) -> Tensor:
    """How sure a head is of the likeliest of all other classes: (n,) float64, its log odds among them.

    Where a class is ruled out its own log odds are the same for all heads, and tell nothing.
    logits: (n, v) float.
    """
    others = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
    return metrics.margins(others, others.argmax(1))


def measured(unlearned: Tensor, oracle: Tensor) -> dict[str, float]:
    """What tells unlearned heads from oracles, on margins (heads, items)."""
    attack = ulira.ulira(unlearned, oracle)
    return {
        "auc": attack.auc,
        "tpr at 0.1 % fpr": attack.tpr,
        "klom": float(metrics.klom(unlearned, oracle).mean()),
    }


def bounds(unlearned: Tensor, oracle: Tensor, *, paired: bool) -> dict[str, float]:
    """The interval of the AUC over heads; arguments as of `dkvb.ulira.auc_interval`."""
    found = ulira.auc_interval(unlearned, oracle, paired=paired)
    return {"auc low": found.low, "auc high": found.high}


def attack_rows(
    about: dict[str, Any], margins: dict[str, Tensor], *, interval: bool, paired: bool
) -> list[dict[str, Any]]:
    """Rows of the table of attacks: every method beside one half of the oracles against the other.

    about: the columns that all rows have alike, the name of the attack among them.
    margins: method -> (heads, items), the last of "retrain", the oracles.
    interval: whether the AUC has one; paired: whether a head shares its half with the oracle of the same row.
    """
    by_method = dict(margins)
    oracle = by_method.pop(methods.RETRAIN.name)
    one, other = oracle[0::2], oracle[1::2]
    beside = measured(one, other)
    scores = {method: measured(unlearned, oracle) for method, unlearned in by_method.items()}
    if interval:
        shorter = min(len(one), len(other))
        among = bounds(one[:shorter], other[:shorter], paired=False)
        beside |= among
        for method, unlearned in by_method.items():
            scores[method] |= bounds(unlearned, oracle, paired=paired)
    return [
        without_nan({**about, "method": method, "measure": measure, "value": value, "oracle": beside[measure]})
        for method, by_measure in {**scores, methods.RETRAIN.name: beside}.items()
        for measure, value in by_measure.items()
    ]
