"""SQL reads the tables of a root, and nothing else."""

import pytest

from jobs.errors import BadRequest
from jobs.query import sql
from jobs.query.stored import Stored


@pytest.fixture
def stored(finished):
    return Stored(finished)


def test_tables_are_joined_and_counted(stored):
    found = sql.query(stored, "select name, sum(count) as hits from counts join names using (class) group by name")
    expected = {name: int(stored.activations.of_class(k).sum()) for k, name in enumerate(stored.classes)}
    assert dict(found.iter_rows()) == expected


def test_items_are_all_items(stored):
    found = sql.query(stored, "select split, count(*) as n from items group by split")
    assert dict(found.iter_rows()) == {split: len(stored.labels(split)) for split in ("train", "test")}


@pytest.mark.parametrize("text", ["show tables", " SHOW TABLES; "])
def test_the_names_of_the_tables_there_are_can_be_asked(stored, text):
    named = sql.query(stored, text)["table"].to_list()
    assert named == ["summary", "classes", "sweep", "names", "items", "counts", "load"]
    for name in named:
        sql.query(stored, f"select * from {name}")


@pytest.mark.parametrize(
    ("compare", "steps", "missing"),
    [
        ({}, {"compare": "0"}, {"metrics", "metrics_rows", "sets", "sets_rows"}),
        ({"metrics": ["m"]}, {"compare[@1]": "0", "sets": "0"}, set()),
        ({"metrics": ["m"]}, {"solved": "0", "sets": "0"}, {*sql.OF_TRAINED}),
    ],
)
def test_tables_that_a_spec_does_not_ask_for_are_not_there(compare, steps, missing, finished):
    spec = {**finished.spec, "compare": compare}
    asked = Stored(type(finished)(finished.root, finished.name, spec, finished.steps | steps))
    assert sql.tables().keys() - sql.there(asked).keys() == missing
    assert [*sql.query(asked, "show tables")["table"]] == [*sql.there(asked)]


def test_the_summary_is_there(stored):
    assert len(sql.query(stored, "select * from summary")) == 2


@pytest.mark.parametrize(
    "text",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/*')",
        "select * from 'https://example.com/x.parquet'",
        "copy names to '/tmp/names.csv'",
        "attach '/tmp/other.db'",
        "install httpfs",
        "load httpfs",
        "create table x as select 1",
        "drop table names",
        "set enable_external_access = true",
        "select 1; select 2",
        "pragma database_list",
        "",
        "select * from stored",
        "select * from missing",
        "selec 1",
    ],
)
def test_nothing_else_can_be_read_or_changed(stored, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest):
        sql.query(stored, text)
    assert not list(tmp_path.iterdir())


def test_a_query_without_end_is_given_up(stored):
    with pytest.raises(BadRequest, match=r"more than 0\.5 seconds"):
        sql.query(stored, "select count(*) from range(1000000000000) a", seconds=0.5)


def test_a_table_that_a_root_does_not_have_says_why(stored):
    with pytest.raises(BadRequest, match=r"compare is not there: .*\[compare\]"):
        sql.query(stored, "select * from compare")
