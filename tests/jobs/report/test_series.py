"""Series of the numbers of tables: which there are, what they are called, and that they say what the tables say."""

import polars as pl
import pytest

from jobs.report.series import SERIES, series, settings
from jobs.results import compare_tables, sets_tables, sweep_tables
from tests.jobs.report.test_beside import attacks
from tests.jobs.results.test_sets_tables import frame, made
from tests.tiny import TINY


def test_a_series_is_a_column_of_its_rows_in_order(finished):
    for name, tag, column, step, own in (
        ("summary", "summary/retain change/uva", "retain change", pl.lit(0), {}),
        ("classes", "classes/test after/uva/seed 0", "test after", pl.col("class"), {"seed": 0}),
        ("sweep", "sweep/test_forget/uve/bee/seed 3", "test_forget", pl.col("budget"), {"name": "bee", "seed": 3}),
    ):
        table = sweep_tables.TABLES[name](finished)
        rows = table.filter(method=tag.split("/")[2], **own).select(step.cast(pl.Int64).alias("step"), column)
        assert [(point.step, point.number) for point in series(name, table) if point.tag == tag] == rows.rows()
        assert len(rows) == {"summary": 1, "classes": len(finished.classes)}.get(name, rows["step"].n_unique()) > 0


def test_each_number_has_a_place_of_its_own(finished):
    for name, make in sweep_tables.TABLES.items():
        points = series(name, make(finished))
        assert len({(point.tag, point.step) for point in points}) == len(points)


def test_counts_of_nothing_are_zero_so_that_experiments_can_be_compared(finished):
    points = {point.tag: point.number for point in series("summary", sweep_tables.summary_table(finished))}
    assert points["summary/never known/uva"] == 0


def test_sets_run_along_their_size():
    sets = [made(number, [*range(number + 1)], draw=0, left=(0.0, 0.1), retain=0.6) for number in range(3)]
    points = series("sets", sets_tables.by_size(sets_tables.at_rule(frame(*sets))))
    found = {point.step: point.number for point in points if point.tag == "sets/test after/uva/1 random"}
    assert found == pytest.approx(dict.fromkeys((1, 2, 3), 10))


def test_attacks_and_metrics_have_a_value_and_a_difference_from_the_oracle():
    table = attacks(
        ("values", "uva", "probe z", "auc", 0.75, 0.5, 0.25, 0.0, 0.5), ("linear", "ssd", "loss", "auc", *[None] * 5)
    )
    assert [(point.tag, point.step, point.number) for point in series("attacks", table)] == [
        ("attacks/value/probe z/auc/values/uva", 0, 0.75),
        ("attacks/difference/probe z/auc/values/uva", 0, 0.25),
    ]
    metrics = table.select("head", "method", "value", "oracle", "difference", pl.col("attack").alias("metric"))
    assert series("metrics", metrics)[0] == ("metrics/value/probe z/values/uva", 0, 0.75)


def test_what_is_no_finite_number_is_left_out_and_names_are_shown():
    table = pl.DataFrame(
        {
            "method": ["uva"] * 4,
            "name": ["a/b\u202e", "a/b\u202e", "c", "c"],
            "seed": [0] * 4,
            "budget": [9, 5, 5, 9],
            **dict.fromkeys(("share", "pairs_masked_share", "train_forget", "test_retain"), [None] * 4),
            "test_retain_among_retain": [float("nan"), float("inf"), None, None],
            "test_forget": [0.25, 0.5, 0.75, None],
        },
        schema_overrides={"share": pl.Float64},
    )
    assert series("sweep", table) == [
        ("sweep/test_forget/uva/a/b\\u202e", 5, 0.5),
        ("sweep/test_forget/uva/c", 5, 0.75),
        ("sweep/test_forget/uva/a/b\\u202e", 9, 0.25),
    ]


def test_rules_are_told_apart_by_their_numbers():
    table = pl.DataFrame({"weight": [0.0, 0.5], "tau": [0.99, 0.9], "regret": [0.25, 0.125]})
    tags = [point.tag for point in series("selection", table)]
    assert tags == ["selection/regret/weight 0/tau 0.99", "selection/regret/weight 0.5/tau 0.9"]


def test_every_table_has_series_but_forget_sets_of_many_kinds_and_rows_as_they_are_stored():
    tables = {*sweep_tables.TABLES, *sets_tables.TABLES, *compare_tables.TABLES}
    assert tables - {*SERIES} == {"scope", *(name for name in tables if name.endswith("_rows"))}
    assert series("scope", pl.DataFrame({"tow": [1.0]})) == []


def test_settings_are_texts_and_numbers():
    found = settings(TINY | {"sweep": {"each": True, "sizes": [1, 2]}})
    assert {type(one) for one in found.values()} <= {str, int, float}
    assert (found["name"], found["bottleneck.m"]) == ("tiny", 13)
    assert (found["sweep.each"], found["sweep.sizes"]) == ("true", "[1, 2]")
