"""Specs that are refused."""

import re
from pathlib import Path

import pytest

from jobs.errors import BadSpec
from jobs.spec.reading import load_specs


def refusal(path: Path | str) -> str:
    """The message with which a spec file is refused, which names the file first, and the line where there is one."""
    with pytest.raises(BadSpec) as caught:
        load_specs(str(path))
    text = str(caught.value)
    named = re.match(rf"{re.escape(str(path))}: (line \d+: )?", text)
    assert named is not None
    assert ": :" not in text
    return text[named.end() :]
