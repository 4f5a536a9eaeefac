"""Parts of the pages that are made of the code are as the code is now."""

import pytest

from tests.pages import PARTS, with_part
from tests.paths import REPOSITORY


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_page_is_what_the_code_says(name):
    page, make = PARTS[name]
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert text == with_part(text, name, make()), "write it anew: python -m tests.pages"


def test_a_page_without_its_comments_is_told():
    with pytest.raises(ValueError, match="<!-- tree -->"):
        with_part("text\n", "tree", "part\n")
