"""Figures of made tables, of few and of many classes with names of any script: nothing warns, nothing is cut off."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from jobs.figures import comparison, store, sweep
from jobs.figures.style import COLUMN, caption, drawing, saved
from jobs.results.compare_tables import class_widths, ranked
from jobs.results.headline import at_rule, by_class
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


def looks(figure):
    """A figure as it is printed: nothing reaches its edge, where it would be cut off, and no text is below 7 points."""
    from matplotlib.text import Text

    picture = np.asarray(Image.open(io.BytesIO(saved(figure, "png"))).convert("L"))
    assert picture.shape[1] == round(COLUMN * 200)
    edges = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    assert min(edge.min() for edge in edges) == 255
    assert picture.min() < 50
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 7


@pytest.mark.parametrize("v", SIZES)
@pytest.mark.parametrize("kind", figures(3))
def test_a_figure_of_any_number_of_classes_fits_its_column(kind, v):
    with drawing(made.names(v)):
        looks(figures(v)[kind]())


@pytest.mark.parametrize("kind", OF_ANY_SIZE)
def test_a_figure_of_methods_and_codebooks_fits_its_column(kind):
    with drawing([]):
        looks(OF_ANY_SIZE[kind]())


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
    ruled = at_rule(sweep.changes(rows))
    costly = ruled.group_by("class", "name").agg(pl.col("change").min()).sort("change").head(5)["name"]
    assert sorted(set(named)) == sorted(name for name in costly if name.startswith("n0"))


def test_a_matrix_of_many_classes_holds_all_items():
    cells = made.confused(200)
    with drawing([]):
        figure = store.draw_confusion(cells, made.names(200), [1], "made")
    before = np.asarray(figure.axes[0].collections[0].get_array())
    assert before.shape == (store.CELLS, store.CELLS)
    assert before.sum() == pytest.approx(100 * store.CELLS)


def test_costs_that_nobody_counted_are_left_out():
    table = made.paid().with_columns(
        pl.when(pl.col("method") == "scrub").then(None).otherwise("flops_forward").alias("flops_forward"),
        pl.when(pl.col("method") == "scrub").then(None).otherwise("flops_uncached").alias("flops_uncached"),
    )
    with drawing([]):
        looks(comparison.draw_costs(table, "made"))


def test_the_methods_of_every_head_stand_in_one_order():
    def rows(figure):
        """Names of the rows of each head: each has three panels."""
        return [[tick.get_text() for tick in panel.get_yticklabels()] for panel in figure.axes[::3]]

    with drawing([]):
        for figure in (comparison.draw_compare(made.compared(), "made"), comparison.draw_costs(made.paid(), "made")):
            first, *others = rows(figure)
            assert others
            for each in others:
                assert len({*first} & {*each}) > 3
                assert [name for name in first if name in each] == [name for name in each if name in first]


@pytest.mark.parametrize(
    ("v", "seeds", "said", "unsaid"),
    [
        (
            10,
            2,
            "each of 10 classes forgotten by itself, on 2 models. bars of the change: 95 % of the mean over",
            "one",
        ),
        (10, 2, "seeds averaged). other bars: 95 % intervals resample classes and seeds, crossed; with 2 seeds", "one"),
        (10, 1, "on one model. ", "classes and seeds"),
        (10, 1, "other bars: 95 % intervals resample the classes of one seed: other seeds are not in them", "models"),
        (1, 1, "one class forgotten by itself, on one model. One class on one seed has no 95 % interval", "bars"),
    ],
)
def test_the_caption_of_the_comparison_says_what_its_bars_are(v, seeds, said, unsaid):
    with drawing([]):
        text = caption(comparison.draw_compare(made.compared(v, seeds), "made"))
    assert said in text
    assert unsaid not in text


def test_the_bar_of_a_change_is_that_of_the_table():
    rows = made.compared(10, 2).filter(pl.col("method") == "uva").with_columns(pl.col("test_retain").alias("change"))
    width = class_widths(rows)["retain change ± 95 % over classes"][0]
    found = comparison.bar(rows, "change")
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((width, width))
    ranks = ranked(rows, "tow").row(0, named=True)
    bar = comparison.bar(rows, "tow")
    assert (bar.low, bar.high) == (ranks["low"], ranks["high"])
