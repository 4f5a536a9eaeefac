"""Tables for people: as many decimals in a column as its smallest number needs, and LaTeX for a paper."""

import polars as pl
import pytest

from jobs.results.formats import cells, latex, markdown, note


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.28, 0.01, 1.0], ["0.28", "0.01", "1.00"]),
        ([0.01, 0.0017, -0.00096, None], ["0.010", "0.002", "-0.001", ""]),
        ([0.28, 0.00039], ["0.2800", "0.0004"]),
        ([3.0, 0.00002], ["3.0000", "2e-05"]),
        ([1e-15, -1e-16, 2.0], ["0.00", "0.00", "2.00"]),
        ([3, None], ["3", ""]),
        ([True, False, None], ["yes", "no", ""]),
    ],
)
def test_the_numbers_of_a_column_have_as_many_decimals_each(values, shown):
    assert cells(values) == shown


def test_a_note_says_what_is_shown():
    said = ("Always.", ("Of a.", ("a",)), ("Of b or c.", ("b", "c")))
    assert note(*said, columns=["c"]) == "Always. Of b or c."
    assert note(*said) == "Always."


def test_latex_says_what_it_needs_and_what_its_columns_mean_and_breaks_long_heads():
    table = pl.DataFrame({"name": ["a_b"], "others change ± 95 % over test items": [0.5]})
    assert latex(table, "first line\nsecond & last").splitlines() == [
        r"% \usepackage{booktabs}",
        "% first line",
        "% second & last",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r" & others change \\",
        r" & $\pm$ 95~\% over \\",
        r"name & test items \\",
        r"\midrule",
        r"a\_b & 0.50 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_truth_is_told_in_words():
    assert markdown(pl.DataFrame({"among the best": [True]})).splitlines()[-1] == "| yes            |"
