"""Parts of the pages that are made of the code are as the code is now."""

import polars as pl
import pytest

from store.columns import TABLES
from tests.pages import PARTS, with_part
from tests.paths import REPOSITORY


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_page_is_what_the_code_says(name):
    page, make = PARTS[name]
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert text == with_part(text, name, make()), "write it anew: python -m tests.pages"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_of_a_result_table_has_a_meaning_and_every_number_a_unit(table):
    assert table.files
    assert table.row
    for name, about in table.columns.items():
        assert about.meaning, name
        assert about.unit or about.dtype != pl.Float64, name


def test_a_page_without_its_comments_is_refused():
    with pytest.raises(ValueError, match="<!-- tree -->"):
        with_part("text\n", "tree", "part\n")
