"""Parts of tables: what people get unless they ask, and what they ask for."""

import polars as pl
import pytest

from jobs.errors import BadRequest
from jobs.results import names, parts
from jobs.results.compare_notes import few_seeds, notes
from jobs.results.compare_tables import TABLES as COMPARE
from jobs.results.compare_tables import class_widths
from jobs.results.headline import by_class
from jobs.results.parts import FEW
from jobs.results.sets_tables import TABLES as SETS
from jobs.results.sweep_tables import TABLES as SWEEP
from jobs.results.sweep_tables import half_interval, single_items
from store import columns
from tests.jobs.results.sweeps import class_rows, frame

TABLE = pl.DataFrame(
    {"method": ["uva", "uve"], "class": [0, 1], "retain change worst": [0.5, -1.0], "retain change": [1.0, 2.0]}
)


def test_the_few_columns_are_of_tables_that_there_are(finished):
    assert {*FEW} <= {*SWEEP, *SETS, *COMPARE}
    for name in ("summary", "classes", "sweep"):
        whole = SWEEP[name](finished)
        few = parts.few(whole, name)
        assert {*few.columns} <= {*FEW[name]} < {*whole.columns}
        assert len(few.columns) <= 16
        assert len(few) == len(whole)


def test_counts_of_nothing_empty_columns_and_a_single_seed_are_left_out(finished):
    whole = SWEEP["summary"](finished).with_columns(pl.lit(0).alias("never known"), pl.lit(2).alias("not forgotten"))
    few = parts.few(whole, "summary")
    assert "never known" not in few.columns
    assert "not forgotten" in few.columns
    classes = SWEEP["classes"](finished)
    assert "seed" in parts.few(classes, "classes").columns
    one = parts.few(classes.filter(pl.col("seed") == 0), "classes")
    assert "seed" not in one.columns


def test_columns_are_named_by_machine_and_by_head_even_where_a_head_has_a_comma():
    named = ["retain change, method", "others change, worst"]
    assert parts.columns(TABLE, named) == ["retain change", "method", "retain change worst"]
    assert parts.columns(TABLE, ["method,others change, worst,class"]) == ["method", "retain change worst", "class"]
    with pytest.raises(BadRequest, match=r"--columns: no column 'metod'; did you mean 'method'\? \(there: method, "):
        parts.columns(TABLE, ["class,metod"])


def test_rows_are_of_some_classes_and_methods():
    assert parts.rows(TABLE, "classes", classes=[1])["method"].to_list() == ["uve"]
    assert parts.rows(TABLE, "classes", methods=["uva"])["class"].to_list() == [0]
    with pytest.raises(BadRequest, match=r"no rows of 'uvae'; did you mean 'uv[ae]'\? \(there: uva, uve\)"):
        parts.rows(TABLE, "classes", methods=["uvae"])
    with pytest.raises(BadRequest, match="the table 'compare' has no rows of single classes; `classes`"):
        parts.rows(TABLE.drop("class"), "compare", classes=[0])
    with pytest.raises(BadRequest, match="the table 'selection' has no rows of single methods"):
        parts.rows(TABLE.drop("method"), "selection", methods=["uva"])


def test_a_legend_explains_what_is_shown_and_nothing_else(finished):
    few = parts.legend("summary", finished, parts.few(SWEEP["summary"](finished), "summary").columns)
    whole = parts.legend("summary", finished, SWEEP["summary"](finished).columns)
    assert "membership AUC:" in whole
    assert "membership AUC:" not in few
    assert len(few.splitlines()) <= 7 < len(whole.splitlines())
    assert parts.legend("beside_rows", finished, ["ece"]) == ""


def test_one_image_left_of_few_is_told_from_many_left():
    one = class_rows("a", train=(1.0, 1 / 80), train_items=80, test_items=20)
    many = class_rows("b", train=(1.0, 0.5), train_items=80, test_items=20)
    large = class_rows("c", train=(1.0, 0.01), train_items=1000)
    assert single_items(by_class(frame([*many, *large]))) == []
    (line,) = single_items(by_class(frame([*one, *many])))
    assert line.startswith("of 80 training items 0.5 % is none: one image counts as not forgotten")
    assert "--share 1" in line
    test = class_rows("a", test=(0.8, 0.05), train=(1.0, 0.0), train_items=80, test_items=20)
    assert single_items(by_class(frame(test)))[0].startswith("of 20 test items")


def compared(seeds, experiment, classes=None):
    spec = {**experiment.spec, "compare": {"seeds": seeds, "heads": ["linear", "values"], "classes": classes}}
    return type(experiment)(experiment.root, experiment.name, spec, experiment.steps)


def test_a_note_tells_the_number_of_seeds_there_are(finished):
    assert few_seeds(compared([0], finished)).endswith("of one seed: other seeds are not in them.")
    assert "with 2 seeds they are too narrow" in few_seeds(compared([0, 1], finished))
    assert few_seeds(compared([0, 1, 2], finished)).endswith("crossed; with 3 they cover 85 to 92 %.")
    assert few_seeds(compared(range(9), finished)).endswith("crossed.")
    assert few_seeds(compared([0], finished, ["ant"])).startswith("One class on one seed has no 95 % interval")
    assert few_seeds(compared([0, 1], finished, ["ant"])).startswith("95 % intervals resample the seeds of one class")
    assert "with 2 seeds" in " ".join(map(str, notes(compared([4, 9], finished))["compare"]))
    assert notes(finished) == {}


def test_the_interval_of_a_change_is_over_classes_and_not_over_runs():
    rows = pl.DataFrame(
        [
            {"head": "values", "method": method, "class": k, "seed": seed, "change": change + by}
            for method, by in (("uva", 0.0), ("uve", 5.0))
            for k, change in enumerate([1.0, 2.0, 4.0])
            for seed in range(2)
        ]
    )
    widths = class_widths(rows)
    assert widths["method"].to_list() == ["uva", "uve"]
    assert widths["retain change ± 95 % over classes"].to_list() == pytest.approx(
        [half_interval(pl.Series([1.0, 2.0, 4.0]))] * 2
    )
    assert class_widths(rows.filter(pl.col("class") == 0))["retain change ± 95 % over classes"].to_list() == [None] * 2


def test_a_table_without_rows_of_classes_names_none_that_has_none_either():
    rows = pl.DataFrame({"set": [0], "method": ["uva"]})
    with pytest.raises(
        BadRequest, match="`classes`, `sweep` and the comparison's tables in _rows have; or leave it out"
    ):
        parts.rows(rows, "sets_rows", classes=[3])
    stored = [name.removesuffix("_rows") for name in names.COMPARE_TABLES if name.endswith("_rows")]
    assert all("class" in columns.TABLES[name].columns for name in stored)
    assert "class" not in columns.TABLES["sets"].columns
