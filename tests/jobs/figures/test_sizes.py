"""Figures of made tables, of few and of many classes with names of any script: nothing warns, nothing is cut off."""

import pytest

from jobs.figures import comparison, store, sweep
from jobs.figures.style import COLUMN, drawing, saved
from jobs.results.headline import by_class
from tests.jobs.figures import made

SIZES = (3, 200)


def figures(v):
    names = made.names(v)
    rows = made.swept(v)
    return {
        "curves": lambda: sweep.draw_curves(rows, "made"),
        "along": lambda: sweep.draw_along(rows, "made"),
        "along of classes": lambda: sweep.draw_classes(rows, "made", [0, 1]),
        "misses": lambda: sweep.draw_misses(by_class(rows), "made"),
        "confusion": lambda: store.draw_confusion(made.confused(v), names, [1], "made"),
        "overlap": lambda: store.draw_overlap(made.overlapping(v), names, "made"),
        "sharers": lambda: store.draw_sharers(made.overlapping(v), 0, "made"),
        "collateral": lambda: store.draw_collateral(made.taken(v), [1], "made"),
    }


OF_ANY_SIZE = {
    "load": lambda: store.draw_load(made.loaded(), "made", keys=4096),
    "compare": lambda: comparison.draw_compare(made.compared(), "made", unknown=1),
    "attacks": lambda: comparison.draw_attacks(made.attacked(), "made"),
    "costs": lambda: comparison.draw_costs(made.paid(), "made"),
}


def within(figure):
    """Whether all text of a drawn figure lies on its page, and is of 7 points or more."""
    from matplotlib.text import Text

    page = figure.bbox
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            if text.axes is not None and box.width == 0:
                continue
            assert text.get_fontsize() >= 7
            assert box.x0 >= page.x0 - 1, text
            assert box.x1 <= page.x1 + 1, text
            assert box.y0 >= page.y0 - 1, text
            assert box.y1 <= page.y1 + 1, text


@pytest.mark.parametrize("v", SIZES)
@pytest.mark.parametrize("kind", figures(3))
def test_a_figure_of_any_number_of_classes_fits_its_column(kind, v):
    with drawing(made.names(v)):
        figure = figures(v)[kind]()
        assert saved(figure, "png").startswith(b"\x89PNG")
        assert figure.get_figwidth() == COLUMN
        within(figure)


@pytest.mark.parametrize("kind", OF_ANY_SIZE)
def test_a_figure_of_methods_and_codebooks_fits_its_column(kind):
    with drawing([]):
        figure = OF_ANY_SIZE[kind]()
        assert saved(figure, "png").startswith(b"\x89PNG")
        within(figure)


@pytest.mark.parametrize("kind", OF_ANY_SIZE)
def test_equal_tables_give_equal_bytes(kind):
    files = []
    for _ in range(2):
        with drawing([]):
            files.append(saved(OF_ANY_SIZE[kind](), "svg"))
    assert files[0] == files[1]


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


def test_the_five_classes_that_cost_most_are_named():
    rows = made.swept(200)
    with drawing([]):
        named = [text for text in texts(sweep.draw_curves(rows, "made")) if text.startswith("n0")]
    ruled = sweep.at_rule(sweep.changes(rows))
    costly = ruled.group_by("class", "name").agg(sweep.pl.col("change").min()).sort("change").head(5)["name"]
    assert sorted(set(named)) == sorted(name for name in costly if name.startswith("n0"))


def test_a_matrix_of_many_classes_holds_all_items():
    cells = made.confused(200)
    with drawing([]):
        figure = store.draw_confusion(cells, made.names(200), [1], "made")
    before = figure.axes[0].collections[0].get_array()
    assert before.shape == (store.CELLS, store.CELLS)
    assert before.sum() == pytest.approx(100 * store.CELLS)
