"""Specs that are refused."""

from pathlib import Path

import pytest

from jobs.errors import BadSpec
from jobs.spec.reading import load_specs


def refusal(path: Path | str) -> str:
    """The message with which a spec file is refused, which names the file first."""
    with pytest.raises(BadSpec) as caught:
        load_specs(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert ": :" not in text
    return text.removeprefix(f"{path}: ")
