"""Tables of the comparison: ranks and intervals that can be worked out by hand."""

import json

import numpy as np
import polars as pl
import pytest

from jobs.results.compare_tables import crossed, edges, from_oracle, known_rows, ranked

SCORES = {"none": 0.0, "retrain": 1.0, "good": 0.9, "near": 0.9, "bad": 0.5}


def rows(scores, noise=0.0, seeds=3):
    drawn = np.random.default_rng(0)
    return pl.DataFrame(
        [
            {"class": k, "seed": seed, "head": "values", "method": m, "tow": score + 0.01 * k + noise * drawn.normal()}
            for k in range(5)
            for seed in range(seeds)
            for m, score in scores.items()
        ]
    )


def test_scores_are_laid_out_by_class_and_seed():
    table = rows({"good": 0.9}).sample(fraction=1, shuffle=True, seed=1)
    expected = 0.9 + 0.01 * np.arange(5)[:, None] + np.zeros(3)
    np.testing.assert_allclose(crossed(table, "tow"), expected)


def test_the_best_is_told_from_the_others_and_never_from_its_equal():
    found = {row["method"]: row for row in ranked(rows(SCORES), "tow").iter_rows(named=True)}
    assert [found[m]["best"] for m in SCORES] == [None, None, True, True, False]
    assert found["bad"]["behind"] == pytest.approx(0.4)
    assert found["bad"]["at least"] == pytest.approx(0.4)
    assert found["near"]["behind"] == 0.0


def test_a_difference_within_the_noise_is_no_difference():
    found = ranked(rows({"one": 0.9, "other": 0.895}, noise=0.05), "tow")
    assert found["best"].to_list() == [True, True]
    clear = ranked(rows({"one": 0.9, "other": 0.7}, noise=0.05), "tow")
    assert sorted(clear["best"].to_list()) == [False, True]


def test_neither_the_model_before_nor_the_oracle_is_ranked():
    found = ranked(rows({"none": 0.99, "retrain": 1.0, "only": 0.2}), "tow")
    assert found.filter(pl.col("method") == "only")["best"].to_list() == [True]


def test_every_head_has_a_best_of_its_own():
    both = pl.concat([rows({"a": 0.9}), rows({"a": 0.2}).with_columns(pl.lit("linear").alias("head"))])
    assert ranked(both, "tow")["best"].to_list() == [True, True]


def test_a_class_that_some_model_never_knew_is_left_out_for_all_and_counted():
    rows = pl.DataFrame(
        [
            {"class": k, "seed": seed, "head": "values", "method": method, "test_forget": forget}
            for k, before in enumerate([(0.9, 0.8), (0.0, 0.7), (None, None)])
            for seed in (0, 1)
            for method, forget in (("none", before[seed]), ("uva", 0.0))
        ]
    )
    kept, left_out = known_rows(rows)
    assert left_out == 2
    assert kept["class"].to_list() == [0] * 4


def test_one_class_on_one_seed_has_no_interval_and_is_told_from_nothing():
    several, one = rows(SCORES), rows(SCORES, seeds=1).filter(pl.col("class") == 0)
    for table, empty in ((several, False), (one, True)):
        found = ranked(table, "tow").filter(pl.col("method") == "bad")
        assert [found[name].item() is None for name in ("low", "high", "at least", "best")] == [empty] * 4
        assert found["behind"].item() == pytest.approx(0.4)


def test_the_difference_from_the_oracle_says_how_many_runs_are_behind_it_and_one_has_no_interval():
    keys = ["head", "method"]
    attacked = rows({"uva": 0.9}).rename({"tow": "value"}).with_columns(pl.lit(0.5).alias("oracle"))
    alone = attacked.filter(pl.col("class") == 0, pl.col("seed") == 0).with_columns(pl.lit("u-lira").alias("method"))
    of_15, of_1 = from_oracle(pl.concat([attacked, alone]), keys).iter_rows(named=True)
    assert (of_15["runs"], of_1["runs"]) == (15, 1)
    assert of_15["low"] < of_15["difference"] < of_15["high"]
    assert (of_1["difference"], of_1["low"], of_1["high"]) == (pytest.approx(0.4), None, None)
    only = from_oracle(alone, keys)
    assert only.schema["low"] == pl.Float64
    assert (
        from_oracle(attacked.with_columns(pl.lit(None, pl.Float64).alias("oracle")), keys)["difference"].item() is None
    )


def test_baselines_whose_setting_lies_at_an_end_of_what_was_tried_are_named():
    chosen = [
        ("linear", "scrub", True),
        ("linear", "scrub", False),
        ("values", "ssd", True),
        ("values", "neggrad+", False),
    ]
    settings = [json.dumps({"lr": 0.1, "epoch": 2, "edge": edge}) for *_, edge in chosen] + ["{}"]
    table = pl.DataFrame(
        {
            "head": [*(head for head, *_ in chosen), "values"],
            "method": [*(method for _, method, _ in chosen), "uva"],
            "setting": settings,
        }
    )
    (line,) = edges(table, 2)
    assert "an end of the 2 settings that were tried, in one run or more: scrub on linear; ssd on values. " in line
    assert "give more compare.trials" in line
    assert edges(table.filter(pl.col("method") != "ssd").tail(2), 8) == []
    assert edges(table, 1)[0].startswith("Baselines were tried with one setting each")
