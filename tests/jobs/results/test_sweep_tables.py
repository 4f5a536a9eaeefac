"""Result tables against small frames worked out by hand, in every format, odd class names included."""

import io
import json
import math
import re

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jobs.results.formats import FORMATS
from jobs.results.headline import (
    FORGOTTEN,
    KNOWN,
    NEVER_KNOWN,
    NO_ITEMS,
    NOT_REACHED,
    by_class,
    item_changes,
    sweep_table,
)
from jobs.results.sweep_tables import (
    NOTES,
    TABLES,
    by_method,
    headline,
    heads,
    left_out_text,
    over_items,
    summary_table,
)
from tests.documented import undocumented
from tests.jobs.results.sweeps import class_rows, frame, row

ODD = ["a|b", "50%_x", r"back\slash", "~{^}", "new\nline", 'say "hi", it said', "&#$", "naïve ±"]


T = 12.706204736174698
"""Student's t for 97.5 % and two classes: tan(0.475 pi)."""


def test_a_method_is_the_mean_and_the_worst_of_its_classes():
    # Retain changes of -5 and +2 points: mean -1.5, deviation sqrt(2 * 3.5^2), interval T of it over sqrt(2).
    rows = [
        *class_rows("a", test=(0.8, 0.004), train=(1.0, 0.0), retain=(0.7, 0.65), neighbour_damage=0.125),
        *class_rows("b", test=(0.9, 0.1), train=(0.9, 0.3), retain=(0.7, 0.72), neighbour_damage=0.05),
    ]
    (found,) = by_method(by_class(frame(rows))).to_dicts()
    bounds = {name: found.pop(f"{name} 95 % high worst") for name in ("train", "test")}
    assert 30 < bounds["train"] < 35
    assert 10 < bounds["test"] < 13
    assert found == pytest.approx(
        {
            "method": "uva",
            "runs": 2,
            FORGOTTEN: 1,
            KNOWN: 1,
            NEVER_KNOWN: 0,
            NO_ITEMS: 0,
            NOT_REACHED: 0,
            "train before": 95.0,
            "train after": 15.0,
            "train after worst": 30.0,
            "train right": 300,
            "train items": 2000,
            "test before": 85.0,
            "test after": 5.2,
            "test after worst": 10.0,
            "test right": 52,
            "test items": 1000,
            "N as %": 50.0,
            "pairs masked %": 2.5,
            "retain before": 70.0,
            "retain change": -1.5,
            "retain change worst": -5.0,
            "retain change sd": math.sqrt(24.5),
            "retain change ± 95 % over classes": T * 3.5,
            "retain change ± 95 % over test items": None,
            "among retain change": -1.5,
            "neighbour damage worst": 12.5,
        }
    )


def test_what_tells_nothing_of_forgetting_is_counted_and_left_out_of_every_mean():
    told = class_rows("a", test=(0.8, 0.0), train=(1.0, 0.0), retain=(0.7, 0.69))
    never = class_rows("b", test=(0.0, 0.0), train=(1.0, 0.9), retain=(0.1, 0.0))
    no_items = class_rows("c", test=(None, None), train=(1.0, 0.9), retain=(0.1, 0.0), test_items=0)
    unreached = [row("d", 0, 0.9, 0.1), row("d", 9, 0.5, 0.0, forget_hit_share=0.94)]
    alone = by_method(by_class(frame(told))).drop("runs")
    classes = by_class(frame([*told, *never, *no_items, *unreached]))
    (found,) = by_method(classes).to_dicts()
    assert [found[name] for name in (FORGOTTEN, KNOWN, NEVER_KNOWN, NO_ITEMS, NOT_REACHED)] == [1, 0, 1, 1, 1]
    for name, value in alone.drop(NEVER_KNOWN, NO_ITEMS, NOT_REACHED).to_dicts()[0].items():
        assert found[name] == value, name
    assert left_out_text(classes) == ["never known: b", "no test items: c", "rule not reached: d"]


def test_where_no_class_tells_anything_every_mean_is_null():
    (found,) = by_method(by_class(frame(class_rows("a", test=(0.0, 0.0), train=(1.0, 0.0))))).to_dicts()
    assert (found["runs"], found[NEVER_KNOWN]) == (1, 1)
    assert {found[name] for name in ("test after", "retain change", "retain change sd", "train right")} <= {None, 0}


def test_the_interval_is_over_classes_with_seeds_averaged_first():
    def runs(name, changes):
        for seed, change in enumerate(changes):
            yield from class_rows(name, retain=(0.7, 0.7 + change), method="uve", seed=seed)

    rows = [*runs("a", [-0.01, -0.03]), *runs("b", [0.01, 0.05])]
    (found,) = by_method(by_class(frame(rows))).to_dicts()
    # Classes change by -2 and +3 points on average: their deviation is sqrt(12.5).
    assert found["runs"] == 4
    assert found["retain change"] == pytest.approx(0.5)
    assert found["retain change sd"] == pytest.approx(math.sqrt(12.5))
    assert found["retain change ± 95 % over classes"] == pytest.approx(T * math.sqrt(12.5) / math.sqrt(2))


def test_one_class_alone_has_no_interval_over_classes():
    (found,) = by_method(by_class(frame(class_rows("a")))).to_dicts()
    assert found["retain change ± 95 % over classes"] is None
    assert found["retain change sd"] is None


def test_the_interval_over_test_items_adds_each_item_up_over_classes_first():
    classes = by_class(frame([*class_rows("a"), *class_rows("b")]))
    both = pl.DataFrame({"method": ["uva", "uva"], "seed": [0, 0], "item": [3, 3], "change": [0.1, 0.1]})
    apart = both.with_columns(pl.Series("item", [3, 4]))
    name = "retain change ± 95 % over test items"
    wide, narrow = (over_items(classes, one, 11)[name].item() for one in (both, apart))
    # One item of eleven moves the mean of two classes by 0.1: values 1.1 and ten zeros, in points 100 times that.
    mean, t = 0.1, 2.2281388519649385
    deviation = math.sqrt(((1.1 - mean) ** 2 + 10 * mean**2) / 10)
    assert wide == pytest.approx(100 * t * deviation / math.sqrt(11))
    assert narrow < wide


def test_the_tables_of_an_experiment_come_from_its_sweep(finished):
    rows = sweep_table(finished)
    assert rows["seconds"].null_count() == 0
    assert rows.filter(pl.col("budget") == 0).height == 3 + 3 * 2
    classes = TABLES["classes"](finished)
    assert classes.select("method", "class", "seed").rows() == [
        *(("uva", k, 0) for k in range(3)),
        *(("uve", k, seed) for k in range(3) for seed in (0, 3)),
    ]
    table = TABLES["summary"](finished)
    model = ["model train", "model test", "model membership AUC"]
    assert_frame_equal(table.drop(model), by_method(classes, item_changes(finished), test_items=15))
    assert table["runs"].to_list() == [3, 6]
    assert set(NOTES) <= set(TABLES)


def test_what_the_model_leaks_stands_before_what_is_forgotten(finished):
    facts = finished.facts("sweep")
    table = summary_table(finished)
    assert table.columns[1:4] == ["model train", "model test", "model membership AUC"]
    assert table["model train"][0] == pytest.approx(100 * facts["accuracy"]["train"])
    assert table["model membership AUC"].to_list() == [facts["membership_auc"]] * 2
    said = headline(finished)
    assert f"train accuracy {100 * facts['accuracy']['train']:.2f} %" in said
    assert f"membership AUC by loss {facts['membership_auc']:.3f}" in said


def test_both_heads_are_shown_in_percent(finished):
    found = heads(finished)
    assert found["linear"] == pytest.approx(100 * finished.facts("linear")["accuracy"]["test"])
    assert found["dkvb"] == pytest.approx(100 * finished.facts("sweep")["accuracy"]["test"])


@pytest.fixture
def odd():
    return pl.DataFrame({"name": ODD, "n": list(range(len(ODD))), "share %": [1 / (3 + n) for n in range(len(ODD))]})


def as_text(form, table):
    """A table in one of the formats that are text."""
    text = FORMATS[form](table)
    assert isinstance(text, str)
    return text


def cells(line):
    """The cells of a Markdown line, split at bars that are not escaped."""
    inner = line.removeprefix("| ").removesuffix(" |")
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\) \| ", inner)]


def test_markdown_keeps_its_columns_whatever_a_name_holds(odd):
    text = as_text("md", odd)
    head, rule, *lines = text.splitlines()
    assert cells(head) == ["name", "n", "share %"]
    assert re.fullmatch(r"\|-+\|-+:\|-+:\|", rule)
    assert [cells(line)[0] for line in lines] == [name.replace("\n", "\\n") for name in ODD]
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert cells(lines[0])[2] == "0.33"


def test_markdown_keeps_a_backslash_before_a_bar_apart():
    (line,) = as_text("md", pl.DataFrame({"name": [r"a\|b"], "n": [1]})).splitlines()[2:]
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
    text = as_text("latex", pl.DataFrame({"share %": [0.5], "name": [name]}))
    assert text.splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{rl}",
        r"\toprule",
        r"share~\% & name \\",
        r"\midrule",
        rf"0.50 & {TEX[name]} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_reads_back_at_full_precision(odd):
    there = odd.with_columns(pl.col("name").str.replace("\n", "\\n", literal=True))
    assert_frame_equal(pl.read_csv(io.StringIO(as_text("csv", odd))), there)


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_csv_keeps_a_name_from_being_taken_for_a_formula(name):
    table = pl.DataFrame({"name": [name, "cat", None], "change": [-1.5, 2.0, 3.0]})
    read = pl.read_csv(io.StringIO(as_text("csv", table)))
    assert read["name"][0].startswith("'")
    assert read["name"][1:].to_list() == ["cat", None]
    assert read["change"].to_list() == [-1.5, 2.0, 3.0]
    assert json.loads(FORMATS["json"](table))[0]["name"] == name, "other programs get the name itself"


EVIL = "\x1b]0;owned\x07\x1b[2Jcat\u202e\n\rdog\x00\x9b31m"
"""A title, a cleared screen, text from right to left, a line of its own, a colour by C1."""


@pytest.mark.parametrize("form", ["md", "csv", "latex", "json"])
def test_no_table_holds_what_a_terminal_would_obey(form):
    text = as_text(form, pl.DataFrame({"name": [EVIL], "n": [1]}))
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    assert "dog" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](//e/)", "`a`", "*b*"])
def test_markdown_shows_markup_in_a_name_as_text(name):
    (line,) = as_text("md", pl.DataFrame({"name": [name]})).splitlines()[2:]
    assert not re.search(r"(?<!\\)[<`*\[]", line)
    assert cells(line) == [name]


def test_a_figure_takes_every_name_for_plain_text(tmp_path):
    from jobs.results.figures import figure

    names = [r"$\undefined{$", "_cat", "$a$"]
    rows = [row("a", n, 0.5, 0.5) | {"class": k, "name": names[k]} for k in range(3) for n in (0, 2)]
    figure(frame(rows), tmp_path / "figure.png", title="odd")
    assert (tmp_path / "figure.png").stat().st_size > 10000


def test_of_many_classes_those_that_cost_most_have_a_name_in_the_figure():
    from jobs.results.figures import NAMED, named_classes

    def swept(count):
        return frame(
            [
                row("a", n, 0.0 if n else 0.8, 0.7 - (0.01 * k if n else 0)) | {"class": k, "name": f"n{k}"}
                for k in range(count)
                for n in (0, 5)
            ]
        )

    assert named_classes(swept(10)) == [*range(10)]
    assert named_classes(swept(25)) == [24, 23, 22, 21, 20]
    assert NAMED == 5


def test_a_figure_says_what_it_was_drawn_of(tmp_path):
    from jobs.results.figures import figure, shows

    path = tmp_path / "figure.png"
    assert not shows(path, "dkvb 1: sweep/abc")
    figure(frame([row("a", n, 0.5, 0.5) for n in (0, 2)]), path, title="a", made_of="dkvb 1: sweep/abc")
    assert shows(path, "dkvb 1: sweep/abc")
    assert not shows(path, "dkvb 1: sweep/abd")


def test_parquet_reads_back_as_it_was(odd):
    data = FORMATS["parquet"](odd)
    assert isinstance(data, bytes)
    assert_frame_equal(pl.read_parquet(io.BytesIO(data)), odd)


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
    line = as_text("md", pl.DataFrame({"a": [None, 1.5], "b": ["x", "y"]})).splitlines()[2]
    assert cells(line) == ["", "x"]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_that_programs_get_stands_in_the_page(name, finished):
    assert undocumented(TABLES[name](finished).columns) == []
    assert undocumented(["its lost item", "index"]) == ["its lost item", "index"]
