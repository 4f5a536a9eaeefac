"""What docs/format.md says of columns: every one of a table that programs get."""

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/format.md"


def undocumented(columns: Sequence[str]) -> list[str]:
    """The columns that the page does not name, neither in code in a line nor in a table that is made of the schemas."""
    page = PAGE.read_text()
    return [
        name for name in columns if f"`{name}`" not in page and not re.search(rf"^\| {re.escape(name)} \|", page, re.M)
    ]
