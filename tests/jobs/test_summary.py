"""Result tables against small frames worked out by hand, in every format, odd class names included."""

import io
import json
import math
import re

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jobs.summary import FORMATS, TABLES, by_class, by_method, heads, sweep_table
from store.layout import SWEEP

ODD = ["a|b", "50%_x", r"back\slash", "~{^}", "new\nline", 'say "hi", it said', "&#$", "naïve ±"]


T = 12.706204736174698
"""Student's t for 97.5 % and two classes: tan(0.475 pi)."""


def row(name, method, budget, forget, retain, **more):
    """A row of the sweep with accuracies on the test split, the rest filled in."""
    plain = dict.fromkeys(SWEEP, 0.0)
    plain |= {"class": "ab".index(name), "name": name, "method": method, "seed": 0, "budget": budget}
    plain |= {"share": budget / 10, "pairs_masked": 2 * budget, "pairs_masked_share": budget / 200}
    plain |= {"worst_neighbour": 0, "digest": "d", "forget_hit_share": budget / 20}
    plain |= {"test_forget": forget, "test_retain": retain, "test_retain_among_retain": retain + 0.01}
    return plain | more


def frame(rows, seconds=0.25):
    return pl.DataFrame(rows, schema=SWEEP).with_columns(seconds=pl.lit(seconds))


FORGOTTEN_IN_THE_MIDDLE = [
    row("a", "uva", 0, 0.8, 0.7),
    row("a", "uva", 2, 0.3, 0.68),
    row("a", "uva", 5, 0.005, 0.65, neighbour_damage=0.125),
    row("a", "uva", 7, 0.0, 0.6),
]
NEVER_QUITE = [
    row("b", "uva", 0, 0.9, 0.7),
    row("b", "uva", 2, 0.2, 0.71),
    row("b", "uva", 5, 0.1, 0.72),
    row("b", "uva", 7, 0.1, 0.5),
]


def test_a_class_is_shown_at_the_smallest_budget_that_forgets_it():
    (found,) = by_class(frame(FORGOTTEN_IN_THE_MIDDLE)).to_dicts()
    assert found == pytest.approx(
        {
            "method": "uva",
            "class": 0,
            "name": "a",
            "seed": 0,
            "budget": 5,
            "share %": 50.0,
            "masked %": 2.5,
            "hits %": 25.0,
            "forget before": 80.0,
            "forget after": 0.5,
            "retain before": 70.0,
            "retain after": 65.0,
            "retain change": -5.0,
            "among retain change": -5.0,
            "neighbour damage": 12.5,
            "seconds": 0.25,
        }
    )


def test_a_class_that_is_never_forgotten_is_shown_where_it_is_lowest_first():
    (found,) = by_class(frame(NEVER_QUITE)).to_dicts()
    assert found["budget"] == 5
    assert found["forget after"] == pytest.approx(10.0)
    assert found["retain change"] == pytest.approx(2.0)


def test_just_above_the_threshold_is_not_forgotten():
    rows = [row("a", "uva", 0, 0.8, 0.7), row("a", "uva", 2, 0.0051, 0.69), row("a", "uva", 5, 0.0049, 0.6)]
    assert by_class(frame(rows))["budget"].to_list() == [5]


def test_the_order_of_the_rows_does_not_matter():
    rows = frame(FORGOTTEN_IN_THE_MIDDLE + NEVER_QUITE)
    assert_frame_equal(by_class(rows), by_class(rows.reverse()))


def test_methods_and_seeds_are_kept_apart():
    uve = [{**one, "method": "uve", "seed": seed} for one in FORGOTTEN_IN_THE_MIDDLE for seed in (0, 3)]
    found = by_class(frame(FORGOTTEN_IN_THE_MIDDLE + uve))
    assert found.select("method", "seed").rows() == [("uva", 0), ("uve", 0), ("uve", 3)]


def test_a_method_is_the_mean_and_the_worst_of_its_classes():
    table = by_method(by_class(frame(FORGOTTEN_IN_THE_MIDDLE + NEVER_QUITE)))
    (found,) = table.to_dicts()
    # Retain changes of -5 and +2 points: mean -1.5, deviation sqrt(2 * 3.5^2), interval T of it over sqrt(2).
    assert found == pytest.approx(
        {
            "method": "uva",
            "sweeps": 2,
            "forgotten": 1,
            "forget before": 85.0,
            "forget after": 5.25,
            "forget after worst": 10.0,
            "N share %": 50.0,
            "pairs masked": 2.5,
            "retain before": 70.0,
            "retain change": -1.5,
            "retain change worst": -5.0,
            "retain change sd": math.sqrt(24.5),
            "retain change ± 95 %": T * 3.5,
            "among retain change": -1.5,
            "neighbour damage worst": 12.5,
        }
    )


def test_the_interval_is_over_classes_with_seeds_averaged_first():
    def runs(name, changes):
        for seed, change in enumerate(changes):
            yield {**row(name, "uve", 0, 0.8, 0.7), "seed": seed}
            yield {**row(name, "uve", 5, 0.0, 0.7 + change), "seed": seed}

    rows = [*runs("a", [-0.01, -0.03]), *runs("b", [0.01, 0.05])]
    (found,) = by_method(by_class(frame(rows))).to_dicts()
    # Classes change by -2 and +3 points on average: their deviation is sqrt(12.5).
    assert found["sweeps"] == 4
    assert found["retain change"] == pytest.approx(0.5)
    assert found["retain change sd"] == pytest.approx(math.sqrt(12.5))
    assert found["retain change ± 95 %"] == pytest.approx(T * math.sqrt(12.5) / math.sqrt(2))


def test_one_class_alone_has_no_interval():
    (found,) = by_method(by_class(frame(FORGOTTEN_IN_THE_MIDDLE))).to_dicts()
    assert found["retain change ± 95 %"] is None
    assert found["retain change sd"] is None


def test_the_tables_of_an_experiment_come_from_its_sweep(finished):
    rows = sweep_table(finished)
    assert rows.height == 3 * 4 + 3 * 2 * 4
    assert rows["seconds"].null_count() == 0
    classes = TABLES["classes"](finished)
    assert classes.select("method", "class", "seed").rows() == [
        *(("uva", k, 0) for k in range(3)),
        *(("uve", k, seed) for k in range(3) for seed in (0, 3)),
    ]
    assert_frame_equal(TABLES["summary"](finished), by_method(classes))
    assert TABLES["summary"](finished)["sweeps"].to_list() == [3, 6]


def test_both_heads_are_shown_in_percent(finished):
    found = heads(finished)
    assert found["linear"] == pytest.approx(100 * finished.facts("linear")["accuracy"]["test"])
    assert found["dkvb"] == pytest.approx(100 * finished.facts("sweep")["accuracy"]["test"])


@pytest.fixture
def odd():
    return pl.DataFrame({"name": ODD, "n": list(range(len(ODD))), "share %": [1 / (3 + n) for n in range(len(ODD))]})


def cells(line):
    """The cells of a Markdown line, split at bars that are not escaped."""
    inner = line.removeprefix("| ").removesuffix(" |")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\) \| ", inner)]


def test_markdown_keeps_its_columns_whatever_a_name_holds(odd):
    text = FORMATS["md"](odd.filter(pl.col("name") != r"back\slash"))
    head, rule, *lines = text.splitlines()
    assert cells(head) == ["name", "n", "share %"]
    assert re.fullmatch(r"\|-+\|-+:\|-+:\|", rule)
    names = [name.replace("\n", " ") for name in ODD if name != r"back\slash"]
    assert [cells(line)[0] for line in lines] == names
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert cells(lines[0])[2] == "0.33"


def test_markdown_keeps_a_backslash_before_a_bar_apart():
    (line,) = FORMATS["md"](pl.DataFrame({"name": [r"a\|b"], "n": [1]})).splitlines()[2:]
    # The escapes are read from the left: an escaped backslash, then an escaped bar.
    assert line == r"| a\\\|b | 1 |"


TEX = {
    "a|b": "a|b",
    "50%_x": r"50\%\_x",
    r"back\slash": r"back\textbackslash{}slash",
    "~{^}": r"\~{}\{\^{}\}",
    'say "hi", it said': 'say "hi", it said',
    "&#$": r"\&\#\$",
    "naïve ±": r"naïve $\pm$",
}


@pytest.mark.parametrize("name", TEX)
def test_latex_escapes_what_it_would_take_for_a_command(name):
    text = FORMATS["latex"](pl.DataFrame({"share %": [0.5], "name": [name]}))
    assert text.splitlines() == [
        r"\begin{tabular}{rl}",
        r"\toprule",
        r"share \% & name \\",
        r"\midrule",
        rf"0.50 & {TEX[name]} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_reads_back_at_full_precision(odd):
    assert_frame_equal(pl.read_csv(io.StringIO(FORMATS["csv"](odd))), odd)


def test_parquet_reads_back_as_it_was(odd):
    assert_frame_equal(pl.read_parquet(io.BytesIO(FORMATS["parquet"](odd))), odd)


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def test_json_reads_back_as_it_was(odd):
    assert json.loads(FORMATS["json"](odd), parse_constant=refuse) == odd.to_dicts()


def test_json_has_no_word_for_not_a_number_and_says_null():
    table = pl.DataFrame({"share": [math.nan, None, 0.5]})
    assert json.loads(FORMATS["json"](table), parse_constant=refuse) == [
        {"share": None},
        {"share": None},
        {"share": 0.5},
    ]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_written_in_every_format(form, table, finished):
    assert len(FORMATS[form](TABLES[table](finished))) > 100


def test_an_empty_cell_stands_for_nothing():
    line = FORMATS["md"](pl.DataFrame({"a": [None, 1.5], "b": ["x", "y"]})).splitlines()[2]
    assert cells(line) == ["", "x"]
