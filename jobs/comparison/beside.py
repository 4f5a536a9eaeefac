"""What stands beside the scores of a model that has forgotten a class: test items alone, calibration, what it leaks."""

from dataclasses import dataclass
from typing import Any

import torch

from dkvb import membership, metrics
from dkvb.roc import auc
from jobs.comparison.attacks import LOWEST
from jobs.comparison.judge import Judge, Model
from jobs.step import SPLITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A row of the table of that name; columns as in `store.columns`."""

    head: str
    method: str
    tow_test: float
    """Values interpolate their training items, so that ToW mostly counts how far those are unlearnt."""
    ece: float
    member_auc: float
    """Also of what was not to be forgotten: before anything is, it says what the head leaks."""


def beside(judge: Judge, model: Model[Any]) -> Beside:
    """Measure one model of a judge's head."""
    reached, oracle = (judge.accuracies(each.logits) for each in (model, judge.oracle))
    stay = torch.from_numpy(~judge.forget["test"] if judge.retain is None else judge.retain["test"])
    on_test = [(each.test_forget, each.test_retain) for each in (reached, oracle)]
    return Beside(
        head=model.head.name,
        method=model.method,
        tow_test=metrics.tow(*on_test),
        ece=metrics.calibration_error(model.logits["test"][stay], judge.labels["test"][stay]),
        member_auc=member_auc(judge, model),
    )


def member_auc(judge: Judge, model: Model[Any]) -> float:
    """AUC of the loss of all training items against all test items; NaN where a split has none."""
    if any(not len(judge.labels[split]) for split in SPLITS):
        return float("nan")
    losses = [
        membership.membership_scores(model.logits[split].clamp(min=LOWEST), judge.labels[split])["loss"]
        for split in SPLITS
    ]
    return auc(*losses)
