"""People read plain words and per cent; programs read names and shares."""

import polars as pl
import pytest

from jobs.results.formats import FORMATS, READ
from jobs.results.heads import WORDS, column_named, for_people
from jobs.results.sweep_tables import TABLES
from store import columns


def test_shares_are_shown_in_per_cent_and_digests_left_out():
    table = pl.DataFrame(
        {"test_forget": [0.25, None], "pairs_masked": [7, 11], "own": [0.5, 1.0], "digest": ["a", "b"]}
    )
    assert for_people(table).to_dict(as_series=False) == {
        "test %": [25.0, None],
        "pairs masked": [7, 11],
        "own": [0.5, 1.0],
    }


def test_a_share_beside_a_budget_is_that_of_n():
    assert for_people(pl.DataFrame({"budget": [3], "share": [0.5]})).columns == ["N", "N as %"]
    assert for_people(pl.DataFrame({"count": [3], "share": [0.5]})).columns == ["hits", "share %"]


def test_values_of_attacks_are_no_values_of_pairs():
    table = pl.DataFrame({"attack": ["probe"], "measure": ["auc"], "value": [0.6], "low": [0.1]})
    assert for_people(table).columns == ["attack", "measure", "after", "difference, 95 % low"]
    assert column_named(table, "after") == "value"
    assert for_people(table.select("value"), table.columns).columns == ["after"]


def test_the_worst_neighbour_is_shown_by_its_name():
    table = pl.DataFrame({"worst_neighbour": [1], "neighbour_damage": [0.125], "worst_neighbour_name": ["dog"]})
    assert for_people(table).to_dicts() == [{"worst other": "dog", "worst other's loss, points": 12.5}]


@pytest.mark.parametrize("name", TABLES)
def test_a_column_is_pairs_or_a_share_and_its_head_says_which(name, finished):
    shown = for_people(TABLES[name](finished))
    assert len({*shown.columns}) == len(shown.columns)
    assert [head for head in shown.columns if "_" in head] == []
    masked = [head for head in shown.columns if head.startswith("pairs masked")]
    assert {head: shown[head].dtype.is_integer() for head in masked} == {
        head: head == "pairs masked" for head in masked
    }


def test_stored_tables_have_heads_without_underscores():
    for name in ("compare", "beside", "oracle_gap", "attacks", "metrics", "selection", "costs", "scope", "sets"):
        table = pl.DataFrame(schema=columns.TABLES[name].schema)
        shown = for_people(table).columns
        assert [head for head in shown if "_" in head] == []
        assert len({*shown}) == len(shown)


def test_every_share_of_the_stored_tables_is_shown_in_per_cent():
    for name in ("sweep", "compare", "oracle_gap", "scope"):
        for column, about in columns.TABLES[name].columns.items():
            if about.unit == "share" and column not in ("share", "jaccard", "test"):
                assert WORDS[column].times == 100, f"{name}: {column}"


def test_a_column_is_found_by_its_name_and_by_what_is_shown():
    table = pl.DataFrame({"hit_share": [0.5], "lost": [1], "digest": ["a"]})
    assert column_named(table, "hit_share") == column_named(table, "activations held %") == "hit_share"
    assert column_named(table, "digest") == "digest"
    assert column_named(table, "hits") is None


def test_what_programs_read_keeps_its_names(finished):
    assert READ == ("md", "latex")
    table = TABLES["sweep"](finished)
    assert {"share", "pairs_masked_share", "test_forget"} <= {*table.columns}
    assert "test_forget" in str(FORMATS["csv"](table)).splitlines()[0]
