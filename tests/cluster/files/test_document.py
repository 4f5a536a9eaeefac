"""YAML with its lines: every value has one, and what cannot be read says where."""

import pytest

from cluster.errors import UnreadableYaml
from cluster.files.document import read_documents


def test_lines_are_kept_for_every_value_and_asked_for_missing_ones():
    (document,) = read_documents("a:\n  - x: 1\n    y: 2\n  - z\n")
    assert [document.line(keys) for keys in [("a", 0, "y"), ("a", 1), ("a", 0, "none", 3), ("none",)]] == [3, 4, 2, 1]


def test_unreadable_yaml_says_its_line():
    with pytest.raises(UnreadableYaml, match="line 4") as error:
        read_documents("a: 1\nb: 2\nc: [\n")
    assert isinstance(error.value, ValueError)
