"""Lines of a TOML text: each key is found where a reader would look for it."""

import tomllib

import pytest

from jobs.spec.lines import MOST, line_of, lines_of

TEXT = '''# A comment.
name = "mine" # and more

[images] # a head
kind = "folder"
"odd key" = 3
expect = { train = 5,  test = 3 }

[sweep.uva]
shares = [
    0.5,  # [not.a.head]
    1.0,
]
[sweep]
sets = [["a"], ["b"]]
uve.seeds = [0]

[compare]
weights = """
[keys]
epochs = 3
"""

[[experiments]]
name = "one"
keys.epochs = 5
[[experiments]]
name = "two"
[experiments.sweep]
classes = ["cat"]
'''


def line(*keys, experiment=0):
    return line_of(lines_of(TEXT), keys, experiment)


def test_the_text_is_toml():
    assert tomllib.loads(TEXT)["experiments"][1]["sweep"] == {"classes": ["cat"]}


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n")])
def test_every_key_has_the_line_on_which_it_is_set(text):
    lines, numbered = lines_of(text), TEXT.split("\n")
    for keys, begins in {
        ("name",): "name =",
        ("images",): "[images]",
        ("images", "kind"): "kind =",
        ("images", "odd key"): '"odd key"',
        ("images", "expect", "test"): "expect =",
        ("sweep", "uva"): "[sweep.uva]",
        ("sweep", "uva", "shares"): "shares =",
        ("sweep", "uva", "shares", 1): "shares =",
        ("sweep", "sets", 1): "sets =",
        ("sweep", "uve", "seeds"): "uve.seeds",
        ("compare", "weights"): "weights =",
        ("experiments", 0, "keys", "epochs"): "keys.epochs",
        ("experiments", 1): "[[experiments]]",
        ("experiments", 1, "sweep", "classes"): "classes =",
    }.items():
        assert numbered[lines[keys] - 1].startswith(begins), keys
    assert lines["experiments", 0] < lines["experiments", 1]
    assert ("keys",) not in lines, "what stands in a text is no head"


def test_what_is_missing_is_looked_for_below_the_head_of_its_table():
    assert line("images", "train") == 4
    assert line("backbone") is None
    assert line("sweep", "uva", "shares", 1, "x") == 10


def test_an_experiment_s_own_key_comes_before_that_of_all_of_them():
    assert line("name") == 25
    assert line("name", experiment=1) == 28
    assert line("sweep", "uva", "shares", experiment=1) == 10
    assert line("sweep", "classes", experiment=1) == 30
    assert line("backbone", experiment=1) is None


def test_a_very_long_text_is_told_without_lines():
    assert lines_of("a = 1\n" * 1) == {("a",): 1}
    assert lines_of("#\n" * MOST + "a = 1") == {}
