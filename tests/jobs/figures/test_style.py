"""Names on figures, and where they are put."""

import numpy as np
import pytest

from jobs.figures import style
from tests.jobs.figures import made


@pytest.fixture(autouse=True)
def _drawing():
    with style.drawing(made.ODD):
        yield


def test_a_name_that_no_font_holds_is_shown_by_its_code(monkeypatch):
    monkeypatch.setattr(style, "glyphs", lambda _: frozenset(map(ord, "abc ")))
    assert style.legible("ab猫") == "ab\\u732b"
    assert style.legible("a\nb\u202e") == "a\\nb\\u202e"


def test_a_font_is_taken_that_holds_what_the_first_does_not(monkeypatch):
    from matplotlib import font_manager

    held = {"DejaVu Sans": "ab", "Few": "猫", "Many": "猫犬"}
    monkeypatch.setattr(style, "glyphs", lambda name: frozenset(map(ord, held.get(name, ""))))
    fonts = [font_manager.FontEntry(name=name, weight=400) for name in held]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    assert style.families("ab") == ["DejaVu Sans"]
    assert style.families("a猫犬") == ["DejaVu Sans", "Many"]


def test_the_font_that_comes_with_matplotlib_shows_many_scripts():
    assert style.legible("кошка Ωμέγα été") == "кошка Ωμέγα été"


def test_a_long_name_is_cut_to_its_width():
    cut = style.label("a" * 300, 50)
    assert cut.endswith("…")
    assert 40 < style.width(cut) <= 50
    assert style.label("cat") == "cat"


def test_lines_are_broken_between_words():
    lines = style.wrapped("what the other classes lose while each class goes", 100)
    assert len(lines) > 1
    assert " ".join(lines) == "what the other classes lose while each class goes"
    assert max(map(style.width, lines)) <= 100


@pytest.mark.parametrize("places", [[0.5, 0.5, 0.5], [0.0, 0.01, 1.0, 0.99], [1.0, 1.0], [0.2], []])
def test_names_are_moved_apart_and_keep_their_order(places):
    moved = style.spread(places, 0.1)
    assert np.diff(sorted(moved)).min(initial=1) >= 0.1 - 1e-9
    assert max(moved, default=0) <= 1
    for i, a in enumerate(places):
        assert all(moved[i] < moved[j] for j, b in enumerate(places) if a < b)


def test_names_that_lie_apart_stay_where_they_are():
    assert style.spread([0.9, 0.1], 0.2) == [0.9, 0.1]
