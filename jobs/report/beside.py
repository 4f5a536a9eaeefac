"""What stands beside retraining: limits with the probe, costs, attacks, other methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from jobs.certificate import LIMITS
from jobs.report.records import (
    Block,
    Bullets,
    Cell,
    Column,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
    number,
    number_cell,
    text_cell,
)
from jobs.results.compare_notes import few_seeds
from jobs.results.compare_tables import attacks_table, compare_table, costs_table, edges_text, labels_of
from jobs.results.experiment import Experiment
from jobs.results.sweep_tables import percent
from store.artefacts import Artefact
from store.places import quoted

MASKS = ("uva by tau", "uva", "uve")
"""Methods of ours, the one by the rule first."""
PROBES = {"probe z": "output of the backbone", "probe values": "fetched values"}
"""What a linear probe reads the class from."""
METHODS = {"none": "none (the model before)", "retrain": "retrained without the class"}
"""Methods that are not called by their names."""


def done(experiment: Experiment, kind: str) -> bool:
    """Whether every step of a kind is in the plan and finished."""
    labels = labels_of(experiment, kind)
    return bool(labels) and all(Artefact(experiment.root, kind, experiment.steps[label]).done for label in labels)


def run_text(experiment: Experiment) -> str:
    """The command that makes, or finishes, all of it."""
    images = "" if experiment.spec["images"]["kind"] == "digits" else " --images DIR"
    return f"dkvb run {quoted(f'{experiment.name}.toml')} --root ROOT{images}"


def compare_text(experiment: Experiment) -> str:
    """The command that makes what compares."""
    asked = experiment.spec.get("compare") is not None
    return run_text(experiment) + ("" if asked else "   # with [compare] in the spec (docs/format.md)")


def limits(experiment: Experiment, attacks: pl.DataFrame | None) -> Section:
    """What nothing on the page shows; attacks: as in `attacks_table`, where there is one."""
    blocks: list[Block] = [Bullets([*LIMITS])]
    rows = [] if attacks is None else probe_rows(attacks)
    if rows:
        blocks += [
            Paragraph(
                "A linear probe tells the class from the rest by what a layer holds; balanced accuracy in per cent, 50 "
                "where nothing is found. On the output of the backbone it finds the class whatever was forgotten."
            ),
            Table(
                id="probes",
                caption="Linear probe for the class",
                columns=[
                    Column("Reads"),
                    Column("Before", numeric=True),
                    Column("Masked", numeric=True),
                    Column("Retrained without it", numeric=True),
                ],
                rows=rows,
            ),
        ]
    else:
        blocks.append(
            Missing(
                "How much of a class a probe still finds in the backbone was not measured:", compare_text(experiment)
            )
        )
    return Section("limits", "Limits", blocks)


def probe_rows(attacks: pl.DataFrame) -> list[list[Cell]]:
    """A row a layer: before, masked, and the oracle."""
    rows = []
    for attack, reads in PROBES.items():
        values = {row["method"]: row for row in attacks.filter(pl.col("attack") == attack).to_dicts()}
        # What the backbone puts out is probed on the linear head alone, and no mask changes it.
        masked = next((values[method] for method in (*MASKS, "none") if method in values), None)
        if masked is None:
            continue
        was = values.get("none", {}).get("value")
        by = "as before" if masked["method"] == "none" else masked["method"]
        rows.append(
            [
                text_cell(reads),
                number_cell(percent(was), 1),
                number_cell(percent(masked["value"]), 1, detail=by),
                number_cell(percent(masked["oracle"]), 1),
            ]
        )
    return rows


@dataclass(frozen=True, slots=True)
class Taken:
    """Something that was done once, and how long it took."""

    what: str
    seconds: float
    detail: str = ""


def cost(experiment: Experiment, taken: Sequence[Taken]) -> Section:
    """What one request costs, and what everything took."""
    blocks: list[Block] = [
        Paragraph("What was done once for all requests, and then what one request costs beside retraining."),
    ]
    if taken:
        rows = [[Cell(one.what, one.detail), number_cell(one.seconds, 1)] for one in taken]
        columns = [Column("Done once"), Column("Seconds", numeric=True)]
        blocks.append(Table(id="seconds", caption="Seconds, as busy as the machine was", columns=columns, rows=rows))
    blocks.append(Heading("One request"))
    if done(experiment, "costs"):
        table = costs_table(experiment)
        blocks.append(
            Table(
                id="costs",
                caption="To forget one class, on cached codes or embeddings",
                columns=[
                    Column("Method"),
                    Column("Head"),
                    Column("Milliseconds", numeric=True),
                    Column("Retraining takes, times", numeric=True),
                    Column("Its FLOPs, times", numeric=True),
                    Column("MiB read", numeric=True),
                ],
                rows=[
                    [
                        text_cell(METHODS.get(row["method"], row["method"])),
                        text_cell(row["head"]),
                        number_cell(
                            thousandfold(row["seconds"]),
                            detail=f"{number(thousandfold(row['seconds_least']))} to "
                            f"{number(thousandfold(row['seconds_most']))}",
                        ),
                        number_cell(row["retrain_ratio"], 1),
                        number_cell(row["flops_ratio"], 1),
                        number_cell(None if row["bytes_read"] is None else row["bytes_read"] / 2**20, 1),
                    ]
                    for row in sorted(table.to_dicts(), key=lambda row: (row["seconds"] is None, row["seconds"] or 0))
                ],
            )
        )
    else:
        blocks.append(Missing("One request beside retraining was not timed:", compare_text(experiment)))
    return Section("cost", "What it cost", blocks)


def thousandfold(seconds: float | None) -> float | None:
    """Seconds in milliseconds."""
    return None if seconds is None else 1000 * seconds


def beside(experiment: Experiment, attacks: pl.DataFrame | None) -> Section:
    """Attacks and other methods, each beside the model that never saw the class."""
    if attacks is None:
        missing = Missing("Nothing was compared with retraining, and nothing attacked:", compare_text(experiment))
        return Section("attacks", "Beside the oracle", [missing])
    shown = attacks.filter(pl.col("head") == "values", pl.col("method").is_in(MASKS))
    return Section(
        "attacks",
        "Beside the oracle",
        [
            Paragraph(f"The oracle is the same head, retrained without the class. {few_seeds(experiment)}"),
            compared(compare_table(experiment)),
            *map(Paragraph, edges_text(experiment)),
            Heading("Attacks"),
            Paragraph(
                "Each attack on the model that has forgotten, and the same attack on the oracle. A model that has "
                "forgotten answers as the oracle does, not with the lowest number."
            ),
            attack_table("attacks-masks", "Attacks on our masks, furthest from the oracle first", shown, folded=False),
            attack_table("attacks-all", "Attacks on every head and method", attacks, folded=True),
        ],
    )


def compared(table: pl.DataFrame) -> Table:
    """Every method on both heads, nearest to the oracle first."""
    rows = sorted(table.to_dicts(), key=lambda row: (row["ToW"] is None, -(row["ToW"] or 0)))
    return Table(
        id="compared",
        caption="Methods by their nearness to the oracle (ToW, 1: the same accuracies)",
        columns=[
            Column("Method"),
            Column("Head"),
            Column("ToW", numeric=True, sorted="descending"),
            Column("Class, training items %", numeric=True),
            Column("Class, test items %", numeric=True),
            Column("Others, %", numeric=True),
            Column("Their change, points", numeric=True),
        ],
        rows=[
            [
                text_cell(METHODS.get(row["method"], row["method"])),
                text_cell(row["head"]),
                number_cell(row["ToW"], 3, detail=between(row["ToW low"], row["ToW high"])),
                number_cell(row["train forget"], detail=f"worst {number(row['train forget worst'])}"),
                number_cell(row["forget"], detail=f"worst {number(row['forget worst'])}"),
                number_cell(row["retain"]),
                number_cell(row["retain change"], sign=True),
            ]
            for row in rows
        ],
    )


def attack_table(id: str, caption: str, attacks: pl.DataFrame, *, folded: bool) -> Table:
    """Attacks, the largest difference from the oracle first; folded: behind its head."""

    def far(row: dict[str, Any]) -> tuple[bool, float]:
        return (row["difference"] is None, -abs(row["difference"] or 0))

    return Table(
        id=id,
        caption=caption,
        columns=[
            Column("Attack"),
            Column("Method"),
            Column("Head"),
            Column("Here", numeric=True),
            Column("Oracle", numeric=True),
            Column("Difference", numeric=True),
        ],
        rows=[
            [
                Cell(row["attack"].replace("_", " "), row["measure"]),
                text_cell(METHODS.get(row["method"], row["method"])),
                text_cell(row["head"]),
                number_cell(row["value"], 3),
                number_cell(row["oracle"], 3),
                number_cell(
                    row["difference"],
                    3,
                    sign=True,
                    detail=between(row["low"], row["high"]),
                ),
            ]
            for row in sorted(attacks.to_dicts(), key=far)
        ],
        open=0 if folded else 20,
    )


def between(low: float | None, high: float | None) -> str:
    """An interval, for people; nothing where there is none."""
    return "" if low is None else f"{number(low, 3)} to {number(high, 3)}"


def read_attacks(experiment: Experiment) -> pl.DataFrame | None:
    """The table of attacks, where everything it is made of is finished."""
    kinds = [kind for kind in ("compare", "solved", "lira") if labels_of(experiment, kind)]
    return attacks_table(experiment) if kinds and all(done(experiment, kind) for kind in kinds) else None
