"""Texts of a page, against what people read."""

from dataclasses import asdict

import pytest

from jobs.report.records import LONGEST, MARKS, clip, few_marks, name, number, width
from jobs.report.toml import toml
from jobs.spec.library import shipped
from jobs.spec.reading import as_table, load_specs
from tests.jobs.report.made import ODD


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (None, 2, False, "–"),
        (1234.5, 1, False, "1,234.5"),
        (-0.5, 2, True, "−0.50"),
        (0.5, 2, True, "+0.50"),
        (-0.001, 2, True, "0.00"),
        (0.0, 1, True, "0.0"),
        (-2, 0, False, "−2"),
    ],
)
def test_a_number(value, digits, sign, text):
    assert number(value, digits, sign=sign) == text


@pytest.mark.parametrize("odd", ODD)
def test_a_name_is_printable_and_short(odd):
    shown = name(odd, 7)
    assert shown.isprintable()
    assert sum(map(width, shown)) <= LONGEST + len(" (#7)")
    assert len(shown) <= (1 + MARKS) * LONGEST + len(" (#7)")


def test_a_text_that_just_fits_is_whole():
    assert clip("abcde", 5) == "abcde"
    assert clip("abcdef", 5) == "abcd…"
    assert clip("猫猫", 4) == "猫猫"
    assert clip("猫猫猫", 5) == "猫猫…"


def test_letters_keep_the_marks_that_scripts_need():
    for word in ("naïve", "e\u0301", "ผู้ใหญ่", "בְּרֵאשִׁית", "བསྒྲུབས", "हिन्दी"):
        assert few_marks(word) == word
    assert few_marks("e" + 9 * "\u0301" + "x") == "e" + MARKS * "\u0301" + "x"


@pytest.mark.parametrize("spec", shipped())
def test_a_spec_reads_back(spec, tmp_path):
    for one in load_specs(spec):
        path = tmp_path / f"{one.name}.toml"
        path.write_text(toml(as_table(one)), encoding="utf-8")
        assert load_specs(str(path)) == [one]


def test_odd_texts_in_a_spec_read_back(make_spec, tmp_path):
    odd = [*dict.fromkeys(["\x7f", *ODD])]
    spec = make_spec({"sweep.classes": odd})
    path = tmp_path / "odd.toml"
    written = toml(as_table(spec))
    assert written.replace("\n", "").isprintable()
    path.write_text(written, encoding="utf-8")
    assert [asdict(one) for one in load_specs(str(path))] == [asdict(spec)]
