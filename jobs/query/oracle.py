"""The oracles of a class: models that were trained without it, as figures beside what a mask did."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from jobs.errors import BadRequest
from jobs.printable import per_cent
from jobs.results.compare_tables import rows_of
from jobs.results.experiment import Experiment
from jobs.step import SPLITS

MADE = {"Oracle-V": "values retrained without it", "Oracle-KV": "keys and values never saw it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Accuracies of a model that was trained without a class, in [0, 1]; means over seeds."""

    name: str
    seeds: int
    forget: Mapping[str, float | None]
    """Split -> on the items of the class; None where there are none."""
    retain: Mapping[str, float | None]
    """Split -> on all others."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def text(self) -> str:
        """For people, a line."""
        train, test, others = map(per_cent, (self.forget["train"], self.forget["test"], self.retain["test"]))
        seeds = "" if self.seeds == 1 else f", mean of {self.seeds} seeds"
        return (
            f"  {self.name:<14}knows {train} of its training and {test} of its test items, the others {others} on test "
            f"items ({MADE[self.name]}{seeds})"
        )


def oracles(experiment: Experiment, forget: Sequence[int]) -> list[Oracle]:
    """The oracles of a forget class; none of several classes together, or where nothing was compared.

    raises: ArtefactDamaged, NotARoot.
    """
    if len(forget) != 1 or not any(label.partition("[")[0] == "compare" for label in experiment.steps):
        return []
    try:
        shared = rows_of(experiment, "compare").filter(pl.col("class") == forget[0], head="values", method="retrain")
        own = rows_of(experiment, "oracle_gap").filter(pl.col("class") == forget[0])
    except BadRequest:  # the comparison is not finished
        return []
    found = [("Oracle-V", "", shared), ("Oracle-KV", "_kv", own)]
    return [of_rows(name, rows, suffix) for name, suffix, rows in found if len(rows)]


def of_rows(name: str, rows: pl.DataFrame, suffix: str) -> Oracle:
    """The means of one oracle's rows, one a seed; suffix: of their columns."""

    def means(what: str) -> dict[str, float | None]:
        columns = rows.select(pl.col(f"{split}_{what}{suffix}").mean().alias(split) for split in SPLITS)
        return columns.row(0, named=True)

    return Oracle(name=name, seeds=len(rows), forget=means("forget"), retain=means("retain"))
