"""What stands beside the oracle, from tables made by hand."""

import polars as pl

from jobs.report.beside import attack_table, compared, limits, probe_rows
from jobs.report.page import render
from jobs.report.records import Section
from tests.jobs.report.made import Read


def attacks(*rows):
    columns = ("head", "method", "attack", "measure", "value", "oracle", "difference", "low", "high")
    return pl.DataFrame(
        [dict(zip(columns, row, strict=True)) for row in rows],
        schema={name: pl.String if place < 4 else pl.Float64 for place, name in enumerate(columns)},
    )


ATTACKS = attacks(
    ("values", "none", "probe z", "balanced accuracy", 0.95, 0.94, 0.01, 0.0, 0.02),
    ("values", "uva by tau", "probe z", "balanced accuracy", 0.95, 0.94, 0.01, 0.0, 0.02),
    ("values", "uva", "probe values", "balanced accuracy", 0.7, 0.9, -0.2, -0.3, -0.1),
    ("linear", "scrub", "loss", "auc", 0.4, 0.5, None, None, None),
)


def test_a_probe_stands_beside_the_limits():
    first, second = probe_rows(ATTACKS)
    assert [cell.text for cell in first] == ["output of the backbone", "95.0", "95.0", "94.0"]
    assert [cell.text for cell in second] == ["fetched values", "–", "70.0", "90.0"]
    assert second[2].detail == "uva"
    assert probe_rows(ATTACKS.clear()) == []


def test_without_a_probe_the_limits_say_how_to_make_one(finished):
    kinds = [block.kind for block in limits(finished, None).blocks]
    assert kinds == ["bullets", "missing"]
    assert [block.kind for block in limits(finished, ATTACKS).blocks] == ["bullets", "paragraph", "table"]


def test_attacks_come_furthest_from_the_oracle_first():
    table = attack_table("a", "Attacks", ATTACKS, folded=False)
    assert [row[5].text for row in table.rows] == ["−0.200", "+0.010", "+0.010", "–"]
    folded = Read(render("t", [Section("s", "S", [attack_table("a", "Attacks", ATTACKS, folded=True)])], None))
    assert folded.faults == []
    assert len(folded.of("table")) == len(folded.of("details")) == 1


def test_methods_come_nearest_to_the_oracle_first():
    names = ("train forget", "train forget worst", "forget", "forget worst", "retain", "retain change")
    rows = [
        {"head": "values", "method": method, **dict.fromkeys(names, 1.0), "ToW": tow, "ToW low": low, "ToW high": low}
        for method, tow, low in (("scrub", 0.5, 0.25), ("retrain", 1.0, None), ("uva", None, None))
    ]
    shown = compared(pl.DataFrame(rows)).rows
    assert [row[0].text for row in shown] == ["retrained without the class", "scrub", "uva"]
    assert [row[2].detail for row in shown] == ["", "0.250 to 0.250", ""]
