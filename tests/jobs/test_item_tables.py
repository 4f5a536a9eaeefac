"""Items named in tables and in Python: which column is meant is plain, or asked for; nothing is dropped or guessed."""

import numpy as np
import polars as pl
import pytest

from jobs.errors import BadRequest
from jobs.item_files import read_names
from jobs.item_tables import item_names

KEYS = ["ant/0001.png", "bee/0 2.png", "cat/ü.png"]


@pytest.mark.parametrize(
    "columns",
    [
        {"item_key": KEYS},
        {"name": KEYS},
        {"name": KEYS, "score": [0.1, 0.2, 0.3]},  # the only one of texts
        {"class": ["ant", "bee", "cat"], "item_key": KEYS},
        {"split": ["train"] * 3, "row": [7, 5, 1], "class": ["a", "b", "c"], "item_key": KEYS},
    ],
)
def test_the_column_is_found_where_it_is_plain(columns, tmp_path):
    frame = pl.DataFrame(columns)
    frame.write_parquet(tmp_path / "gone.parquet")
    (tmp_path / "gone").write_bytes((tmp_path / "gone.parquet").read_bytes())
    assert item_names(frame) == KEYS
    assert read_names(tmp_path / "gone.parquet") == KEYS
    assert read_names(tmp_path / "gone") == KEYS  # by its first bytes
    assert item_names(tmp_path / "gone.parquet") == KEYS


def test_rows_are_numbers_and_keys_may_be_categories():
    assert item_names(pl.DataFrame({"split": ["train"] * 2, "row": [17, 3]})) == ["17", "3"]
    assert item_names(pl.Series(KEYS, dtype=pl.Categorical)) == KEYS
    assert item_names([5, "a"]) == ["5", "a"]
    assert item_names(np.array([5, 7])) == ["5", "7"]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ({"name": KEYS, "path": KEYS}, r"which of its columns .* Found 'name', 'path'; call it 'item_key'"),
        ({"row": [1], "number": [2]}, "which of its columns"),
        ({"a": [], "b": [], "c": [], "d": [], "e": [], "f": []}, "'e' and 1 more; call it"),
        ({"item_key": ["a", None]}, "column 'item_key': 1 of 2 rows name no item"),
        ({"item_key": [0.5]}, "column 'item_key': found Float64, expected keys"),
        ({"item_key": ["a", "b", "a"]}, "'a' is named more than once"),
        ({"split": ["train", "test"], "item_key": ["a", "b"]}, "column 'split' says 'test', expected 'train' in every"),
        ({"split": ["train", None], "item_key": ["a", "b"]}, "column 'split' says None"),
        ({"item_key": []}, "found Null|found none"),
    ],
)
def test_a_table_that_may_mean_something_else_is_refused(items, text):
    with pytest.raises(BadRequest, match=text):
        item_names(pl.DataFrame(items))


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], "found none"),
        (["a", "b", "a"], "'a' is named more than once"),
        ([None], "found None, expected keys"),
        ([True], "found True"),
        (7, "found int, expected a list"),
        (pl.Series([], dtype=pl.String), "found none"),
        (pl.Series([0.5]), "items: found Float64"),
    ],
)
def test_what_python_gives_is_checked(items, text):
    with pytest.raises(BadRequest, match=text):
        item_names(items)


def test_a_csv_names_its_column_in_the_first_line_or_would_lose_an_item(tmp_path):
    path = tmp_path / "gone.csv"
    path.write_text("class,item_key\nant,0007\nbee,b\n")
    assert read_names(path) == ["0007", "b"]
    path.write_text("ant/1.png\nant/2.png\n")
    with pytest.raises(BadRequest, match=r"first line names no column 'item_key' \(found 'ant/1.png'\)"):
        read_names(path)
    path.write_bytes(b"item_key\n\xff\n")
    with pytest.raises(BadRequest, match="cannot be read as CSV"):
        read_names(path)
    path.write_bytes(b"")
    with pytest.raises(BadRequest, match="cannot be read as CSV"):
        read_names(path)
    path.write_text("item_key\n")
    with pytest.raises(BadRequest, match="found no item"):
        read_names(path)


@pytest.mark.parametrize("content", [b"PAR1 and no more", b"nothing of the kind", b""])
def test_a_file_that_is_no_parquet_is_told(content, tmp_path):
    path = tmp_path / "gone.parquet"
    path.write_bytes(content)
    with pytest.raises(BadRequest, match="cannot be read as Parquet"):
        read_names(path)
