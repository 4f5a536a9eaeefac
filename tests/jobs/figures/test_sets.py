"""The figure of sets of classes: what it draws, and where there is nothing to draw."""

import re

import numpy as np
import polars as pl
import pytest

from jobs.errors import BadRequest
from jobs.figures import FORMATS, draw
from jobs.figures.sets import compared, draw_sets
from jobs.figures.style import caption, drawing
from jobs.report.page import content, report
from jobs.report.records import Table
from tests.jobs.figures.test_sizes import looks, texts

NONE = pl.DataFrame(
    schema={"size": pl.Int64, "method": pl.String} | dict.fromkeys(("test after", "retain after", "change"), pl.Float64)
)


def made(sizes=(1, 2, 5), draws=20, named=(), methods=("uva", "uve")):
    """Sets at the N of the rule."""
    rng = np.random.default_rng(0)
    sets = [*((size, None) for size in named), *((size, draw) for draw in range(draws) for size in sizes)]
    rows = [
        {"method": method, "set": number, "seed": 0, "size": size, "draw": draw, "known": True, "members": str(number)}
        | {"test before": 80 + rng.normal(), "test after": abs(rng.normal()), "retain before": 75 + rng.normal()}
        | {"retain after": 75 + size * rng.normal(), "retain change": size * rng.normal(), "among retain change": -1.0}
        for method in methods
        for number, (size, draw) in enumerate(sets)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def beside(sizes):
    rows = [
        {"size": size, "method": method, "test after": 1.0, "retain after": 60.0, "change": -15.0}
        for size in sizes
        for method in ("scrub", "retrain")
    ]
    return pl.DataFrame(rows, schema=NONE.schema)


@pytest.mark.parametrize(
    ("rows", "other"),
    [
        (made(), NONE),
        (made(sizes=(1, 2, 5, 10, 100), named=(2, 3)), beside([1, 2, 5, 500])),
        (made(draws=0, named=(2, 3), methods=("uve",)), NONE),
        (made(sizes=(4,), draws=1), NONE),
    ],
)
def test_the_figure_fits_its_column(rows, other):
    with drawing([]):
        looks(draw_sets(rows, "made", other))


def test_what_is_drawn_is_explained_and_nothing_else():
    with drawing([]):
        plain, full = (
            {*texts(draw_sets(rows, "made", other))}
            for rows, other in ((made(), NONE), (made(named=(2,)), beside([1, 500])))
        )
    more = {"SCRUB", "retrained without the set", "a set that the spec names"}
    assert not more & plain
    assert more < full
    assert {"via Activations", "via Examples", "1", "2", "5"} < full
    assert "500" not in full  # no set of that size was forgotten


def test_the_caption_says_that_methods_beside_forgot_another_set():
    with drawing([]):
        plain, with_them = (caption(draw_sets(made(), "made", other)) for other in (NONE, beside([1, 500])))
    assert "scope" not in plain
    assert "SCRUB and retrained without the set: the comparison's own set of each size, another than" in with_them


def test_a_set_that_is_drawn_again_is_told_in_the_caption():
    again = made().with_columns(
        pl.when(pl.col("size") == 2).then(pl.lit("[0, 1]")).otherwise("members").alias("members")
    )
    with drawing([]):
        captions = [caption(draw_sets(rows, "made", NONE)) for rows in (made(), again)]
    assert ["different sets" in text for text in captions] == [False, True]
    assert "of 20 draws, thick: their middle 80 %; different sets: 1 of size 2" in captions[1]


def test_bars_reach_from_the_lowest_to_the_highest_draw_and_the_line_runs_through_the_means():
    rows = made(methods=("uva",))
    with drawing([]):
        _, lower = draw_sets(rows, "made", NONE).axes
    lines = [np.asarray(line.get_ydata()) for line in lower.lines]
    for size in (1, 2, 5):
        values = rows.filter(pl.col("size") == size)["retain change"]
        assert any(np.allclose(line, [values.min(), values.max()]) for line in lines if len(line) == 2)
    means = rows.group_by("size").agg(pl.col("retain change").mean()).sort("size")["retain change"]
    assert any(len(line) == 3 and np.allclose(line, means) for line in lines)


@pytest.fixture(scope="module")
def done(run_tiny, images, tmp_path_factory):
    changes = {"sweep.sizes": [1, 2], "sweep.draws": 3, "sweep.sets": [["ant", "cat"]]}
    return run_tiny(tmp_path_factory.mktemp("drawn") / "root", images, changes)


@pytest.mark.parametrize("form", FORMATS)
def test_the_figure_of_a_root_is_drawn_the_same_each_time(form, done):
    once = draw(done, "sets", form=form)
    assert len(once.data) > 5000
    assert draw(done, "sets", form=form) == once
    assert compared(done).is_empty()


def test_a_root_without_sets_says_what_makes_some(finished):
    with pytest.raises(BadRequest, match=re.escape("give its spec sweep.sizes or sweep.sets") + ".*`dkvb run SPEC"):
        draw(finished, "sets", form="svg")


def test_the_page_has_the_sets_where_there_are_some(done, finished):
    sections = {section.id: section for section in content(done)[0]}
    assert "sets" not in [section.id for section in content(finished)[0]]
    kinds = [block.kind for block in sections["sets"].blocks]
    assert kinds == ["paragraph", "figures", "heading", "table", "heading", "table"]
    tables = [block for block in sections["sets"].blocks if isinstance(block, Table)]
    assert [row[0].text for row in tables[0].rows] == ["3 draws", "3 draws (2 sets)", "ant, cat"]
    assert "random sets of 1, 2 classes forgotten together, 3 of each size; 1 sets by name" in report(done).decode()


def test_the_tables_of_sets_are_named_where_there_are_some(done, finished):
    from jobs.opened import OpenExperiment

    assert {"sets", "sets_rows"} < {*OpenExperiment(done).tables}
    assert not {"sets", "sets_rows"} & {*OpenExperiment(finished).tables}
    table = OpenExperiment(done).tables["sets"]
    assert table["size"].to_list() == [1, 2, 2] * 2
