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
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\) \| ", inner)]


def test_markdown_keeps_its_columns_whatever_a_name_holds(odd):
    text = FORMATS["md"](odd)
    head, rule, *lines = text.splitlines()
    assert cells(head) == ["name", "n", "share %"]
    assert re.fullmatch(r"\|-+\|-+:\|-+:\|", rule)
    assert [cells(line)[0] for line in lines] == [name.replace("\n", "\\n") for name in ODD]
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
    there = odd.with_columns(pl.col("name").str.replace("\n", "\\n", literal=True))
    assert_frame_equal(pl.read_csv(io.StringIO(FORMATS["csv"](odd))), there)


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_csv_keeps_a_name_from_being_taken_for_a_formula(name):
    table = pl.DataFrame({"name": [name, "cat", None], "change": [-1.5, 2.0, 3.0]})
    read = pl.read_csv(io.StringIO(FORMATS["csv"](table)))
    assert read["name"][0].startswith("'")
    assert read["name"][1:].to_list() == ["cat", None]
    assert read["change"].to_list() == [-1.5, 2.0, 3.0]
    assert json.loads(FORMATS["json"](table))[0]["name"] == name, "other programs get the name itself"


EVIL = "\x1b]0;owned\x07\x1b[2Jcat\u202e\n\rdog\x00\x9b31m"
"""A title, a cleared screen, text from right to left, a line of its own, a colour by C1."""


@pytest.mark.parametrize("form", ["md", "csv", "latex", "json"])
def test_no_table_holds_what_a_terminal_would_obey(form):
    text = FORMATS[form](pl.DataFrame({"name": [EVIL], "n": [1]}))
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    assert "dog" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](//e/)", "`a`", "*b*"])
def test_markdown_shows_markup_in_a_name_as_text(name):
    (line,) = FORMATS["md"](pl.DataFrame({"name": [name]})).splitlines()[2:]
    assert not re.search(r"(?<!\\)[<`*\[]", line)
    assert cells(line) == [name]


def test_a_figure_takes_every_name_for_plain_text(tmp_path):
    from jobs.report import figure

    names = [r"$\undefined{$", "_cat", "$a$"]
    rows = [row("a", "uva", n, 0.5, 0.5) | {"class": k, "name": names[k]} for k in range(3) for n in (0, 2)]
    figure(frame(rows), tmp_path / "figure.png", title="odd")
    assert (tmp_path / "figure.png").stat().st_size > 10000


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
