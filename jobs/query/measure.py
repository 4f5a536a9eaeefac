"""What a mask did: every class before and after on training and test items, and what still tells members apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.roc import auc
from dkvb.statistics import clopper_pearson
from jobs.errors import BadRequest
from jobs.printable import per_cent, shown
from jobs.query.oracle import Oracle, oracles
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored
from jobs.results.headline import GONE
from jobs.step import SPLITS

WORDS = {"train": "training items", "test": "test items", "images": "images"}
"""What the items of a split are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Items that are still recognised."""

    right: int
    items: int

    @property
    def accuracy(self) -> float | None:
        """In [0, 1]; None over no items."""
        return self.right / self.items if self.items else None

    def to_json(self) -> dict[str, Any]:
        """Count, accuracy, and its Clopper-Pearson 95 % bounds; nulls over no items."""
        if not self.items:
            return {"right": None, "items": 0, "accuracy": None, "low": None, "high": None}
        low, high = (float(bound[0]) for bound in clopper_pearson(np.array([self.right]), np.array([self.items])))
        return {"right": self.right, "items": self.items, "accuracy": self.accuracy, "low": low, "high": high}

    def text(self) -> str:
        """For people: counts beside per cent."""
        if self.accuracy is None:
            return "none of 0"
        said = self.to_json()
        bounds = f"95 % interval {100 * said['low']:.2f} to {100 * said['high']:.2f}"
        return f"{self.right} of {self.items} ({per_cent(self.accuracy)}, {bounds})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Items that are recognised before a mask and under it."""

    before: Known
    after: Known

    def to_json(self) -> dict[str, Any]:
        """Both."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a mask did to one model."""

    forgotten: list[str]
    """Names of the forget classes."""
    forget: Mapping[str, Change]
    """Split -> the items of the forget classes. "train" and "test", or "images" where other images were given."""
    retain: Mapping[str, Change]
    """Split -> all other items."""
    among_retain: Mapping[str, Change]
    """The same, predicted among the retain classes alone."""
    membership: Mapping[str, float | None]
    """ "before", "after": probability that a training item of the forget classes has a lower loss than a test item of
    theirs; 0.5 tells nothing. None where either has no items; empty where other images were given."""
    classes: pl.DataFrame
    """class, name, forget (whether it is one of these), and for each split items, before and after (right)."""
    oracles: Sequence[Oracle] = ()
    """Models that never saw the class, where the root has any."""

    @property
    def judged_on(self) -> str:
        """The split by which classes are compared."""
        return "test" if "test" in self.forget else next(iter(self.forget))

    @property
    def gone(self) -> bool:
        """Whether the classes count as forgotten: at most `GONE` still known, on training and on test items."""
        return all((self.forget[split].after.accuracy or 0) <= GONE for split in self.forget)

    @property
    def worst(self) -> dict[str, Any] | None:
        """The retain class that lost most accuracy, on test items if there are; None where none lost any."""
        items, before, after = (pl.col(f"{self.judged_on}_{name}") for name in ("items", "before", "after"))
        lost = (
            self.classes.filter(~pl.col("forget"), items > 0)
            .with_columns(((before - after) / items).alias("lost"))
            .filter(pl.col("lost") > 0)
            .sort("lost", descending=True, maintain_order=True)
        )
        return None if lost.is_empty() else lost.row(0, named=True)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        sides = {"forget": self.forget, "retain": self.retain, "retain_among_retain": self.among_retain}
        return {
            "forgotten": self.forgotten,
            "gone": self.gone,
            **{name: {split: side[split].to_json() for split in side} for name, side in sides.items()},
            "membership_auc": dict(self.membership),
            "worst_neighbour": self.worst,
            "oracles": [oracle.to_json() for oracle in self.oracles],
            "classes": self.classes.to_dicts(),
        }

    def lines(self) -> list[str]:
        """For people, a line each."""
        lines: list[str] = []
        for split, change in self.forget.items():
            start = "                " if lines else "  still known   "
            lines.append(f"{start}{change.after.text()} {WORDS[split]}; before {counted(change.before)}")
        if not self.gone:
            lines.append(
                f"  NOT forgotten: more than {100 * GONE:g} % still known; mask more, up to `dkvb unlearn --share 1`"
            )
        retain, among = self.retain[self.judged_on], self.among_retain[self.judged_on]
        on = "test accuracy" if self.judged_on == "test" else f"accuracy on their {retain.after.items} images"
        lines.append(f"  the others    {on} {counted(retain.after)}, before {counted(retain.before)}")
        lines.append(f"                among them alone {counted(among.after)}, before {counted(among.before)}")
        if (worst := self.worst) is not None:
            lines.append(
                f"  lost most     {shown(worst['name'])}: {worst[f'{self.judged_on}_after']} of "
                f"{worst[f'{self.judged_on}_items']} {WORDS[self.judged_on]} right, before "
                f"{worst[f'{self.judged_on}_before']}"
            )
        lines += [oracle.text() for oracle in self.oracles]
        if self.membership and None not in self.membership.values():
            lines.append(
                f"  membership    AUC by loss {self.membership['after']:.3f}, before {self.membership['before']:.3f} "
                "(the class's training against its test items; 0.5: they cannot be told apart)"
            )
        return lines


def counted(known: Known) -> str:
    """An accuracy in per cent, and the counts behind it."""
    return "none of 0" if known.accuracy is None else f"{per_cent(known.accuracy)} ({known.right} of {known.items})"


def measure(
    stored: Stored,
    mask: NDArray[np.bool_],
    forget: Sequence[int],
    *,
    retrained: NDArray[np.float32] | None = None,
) -> Measured:
    """What a mask did, from stored codes.

    mask: (c, m) bool; forget: indexes of the classes that it is to forget, one or more.
    retrained: (c, m, v) values that take the place of the model's under the mask.
    raises: BadRequest without a class.
    """
    if not len(forget):
        raise BadRequest("measure: the mask does not say which class it forgets; give --class NAME")
    outcomes = {split: Outcome.both(stored, split, mask, forget=forget, retrained=retrained) for split in SPLITS}
    gone = {split: np.isin(before.labels, list(forget)) for split, (before, _) in outcomes.items()}
    membership = {
        name: told_apart(*(outcomes[split][i].score[gone[split]] for split in SPLITS))
        for i, name in enumerate(("before", "after"))
    }
    return measured(stored, outcomes, forget, membership)


def measured(
    stored: Stored,
    outcomes: Mapping[str, tuple[Outcome, Outcome]],
    forget: Sequence[int],
    membership: Mapping[str, float | None],
) -> Measured:
    """What was measured, by the outcomes of each split before and after; the other arguments are as in `Measured`."""
    v = len(stored.classes)
    gone = {split: np.isin(before.labels, list(forget)) for split, (before, _) in outcomes.items()}
    columns: dict[str, Any] = {"class": np.arange(v), "name": stored.classes, "forget": np.isin(np.arange(v), forget)}
    for split, (before, after) in outcomes.items():
        columns[f"{split}_items"] = np.bincount(before.labels, minlength=v)
        for name, outcome in (("before", before), ("after", after)):
            columns[f"{split}_{name}"] = np.bincount(outcome.labels[outcome.right], minlength=v)
    return Measured(
        forgotten=[stored.classes[k] for k in forget],
        forget={split: changed(*(each.right[gone[split]] for each in both)) for split, both in outcomes.items()},
        retain={split: changed(*(each.right[~gone[split]] for each in both)) for split, both in outcomes.items()},
        among_retain={
            split: changed(*(each.right_among[~gone[split]] for each in both)) for split, both in outcomes.items()
        },
        membership=membership,
        classes=pl.DataFrame(columns),
        oracles=oracles(stored.experiment, forget),
    )


def changed(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Change:
    """Counts of items (n,) that are right before and after."""
    return Change(
        before=Known(right=int(before.sum()), items=len(before)), after=Known(right=int(after.sum()), items=len(after))
    )


def told_apart(members: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    """AUC of scores of members against others; None where either has none."""
    return auc(members, others) if len(members) and len(others) else None
