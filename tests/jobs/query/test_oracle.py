"""The oracle's figures beside what a mask did."""

from dataclasses import replace

import polars as pl
import pytest

from jobs.query import oracle
from jobs.query.measure import measure
from jobs.query.oracle import oracles
from jobs.query.stored import Stored

ROWS = {
    "compare": pl.DataFrame(
        {
            "class": [2, 2, 2, 1, 2],
            "head": ["values", "values", "values", "values", "linear"],
            "method": ["retrain", "retrain", "none", "retrain", "retrain"],
            "train_forget": [0.0, 0.1, 1.0, 0.9, 0.9],
            "test_forget": [None, None, 0.7, 0.9, 0.9],
            "train_retain": [0.8, 0.9, 1.0, 0.2, 0.2],
            "test_retain": [0.6, 0.7, 0.9, 0.2, 0.2],
        }
    ),
    "oracle_gap": pl.DataFrame(
        {
            "class": [1, 2],
            "train_forget_kv": [0.5, 0.0],
            "test_forget_kv": [0.5, 0.25],
            "train_retain_kv": [0.5, 0.75],
            "test_retain_kv": [0.5, 0.5],
        }
    ),
}


@pytest.fixture
def compared(finished, monkeypatch):
    """An experiment whose comparison says what is written above."""
    monkeypatch.setattr(oracle, "rows_of", lambda experiment, table: ROWS[table])
    return replace(finished, steps={**finished.steps, "compare[0]": "0" * 16})


def test_both_oracles_of_the_class_are_told_means_over_seeds(compared):
    shared, own = oracles(compared, [2])
    assert (shared.name, shared.seeds, own.name, own.seeds) == ("Oracle-V", 2, "Oracle-KV", 1)
    assert shared.forget == {"train": pytest.approx(0.05), "test": None}
    assert shared.retain == {"train": pytest.approx(0.85), "test": pytest.approx(0.65)}
    assert (own.forget, own.retain) == ({"train": 0.0, "test": 0.25}, {"train": 0.75, "test": 0.5})
    assert "knows 5.00 % of its training and none of its test items, the others 65.00 %" in shared.text()
    assert "mean of 2 seeds" in shared.text()


def test_without_an_oracle_of_that_one_class_nothing_is_told(compared, finished):
    assert oracles(finished, [2]) == []
    assert oracles(compared, [1, 2]) == []
    assert oracles(compared, [0]) == []


def test_a_measurement_shows_them(compared):
    stored = Stored(compared)
    done = measure(stored, stored.rule_mask([2]), [2])
    assert [each["name"] for each in done.to_json()["oracles"]] == ["Oracle-V", "Oracle-KV"]
    assert any(line.startswith("  Oracle-KV     knows 0.00 %") for line in done.lines())


def test_a_comparison_that_is_not_finished_tells_nothing(finished):
    planned = replace(finished, steps={**finished.steps, "compare[0]": "0" * 16})
    assert oracles(planned, [2]) == []
