"""Result tables: rows in, parquet out, units put together in order."""

import math

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from store.columns import SWEEP
from store.errors import ArtefactMissing
from store.tables import compact, read_table, write_rows, write_table

SCHEMA = {"name": pl.String, "n": pl.Int32, "share": pl.Float64}


def rows(*numbers):
    return [{"name": f"odd | name {n}", "n": n, "share": n / 7} for n in numbers]


def test_rows_come_back_with_the_types_of_the_schema(tmp_path):
    write_rows(tmp_path / "deep" / "a.parquet", rows(2, 3), SCHEMA)
    found = read_table(tmp_path / "deep" / "a.parquet")
    assert dict(found.schema) == SCHEMA
    assert found.to_dicts() == rows(2, 3)


def test_nan_and_an_empty_text_come_back_too(tmp_path):
    write_rows(tmp_path / "a.parquet", [{"name": "", "n": 0, "share": math.nan}], SCHEMA)
    ((name, n, share),) = read_table(tmp_path / "a.parquet").iter_rows()
    assert (name, n) == ("", 0)
    assert math.isnan(share)


def test_no_rows_keep_the_columns(tmp_path):
    write_rows(tmp_path / "a.parquet", [], SWEEP)
    found = read_table(tmp_path / "a.parquet")
    assert found.height == 0
    assert dict(found.schema) == SWEEP


def test_a_value_of_another_type_is_refused(tmp_path):
    with pytest.raises((TypeError, pl.exceptions.PolarsError), match="many"):
        write_rows(tmp_path / "a.parquet", [{"name": "a", "n": "many", "share": 0.5}], SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtefactMissing, match=r"gone\.parquet"):
        read_table(tmp_path / "gone.parquet")


def test_compacting_keeps_every_row_in_the_order_given(tmp_path):
    parts = [tmp_path / f"{name}.parquet" for name in "cab"]
    for part, numbers in zip(parts, [(5, 7), (), (2, 3, 11)], strict=True):
        write_rows(part, rows(*numbers), SCHEMA)
    compact(parts, tmp_path / "all.parquet")
    assert read_table(tmp_path / "all.parquet").to_dicts() == rows(5, 7, 2, 3, 11)


def test_compacting_names_a_part_that_is_missing_and_writes_nothing(tmp_path):
    write_rows(tmp_path / "a.parquet", rows(2), SCHEMA)
    with pytest.raises(ArtefactMissing, match=r"b\.parquet"):
        compact([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in "ab":
        write_rows(tmp_path / name, rows(2, 3, 5), SCHEMA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_is_replaced_whole(tmp_path):
    frame = pl.DataFrame({"n": [2, 3]})
    write_table(tmp_path / "a.parquet", pl.DataFrame({"other": ["x"] * 97}))
    write_table(tmp_path / "a.parquet", frame)
    assert_frame_equal(read_table(tmp_path / "a.parquet"), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
