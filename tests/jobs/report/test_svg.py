"""Drawings, against coordinates worked out by hand."""

import numpy as np
import pytest

from jobs.report import svg


def shapes(drawing, tag, style=""):
    return [
        one.attributes for one in drawing.shapes if one.tag == tag and style in str(one.attributes.get("class", ""))
    ]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (-0.9, 0.2, [-0.5, 0]), (-3, 0, [-3, -2, -1, 0]), (5, 5, [5, 5.2, 5.4])],
)
def test_ticks_are_round_and_few(low, high, ticks):
    found = svg.Scale(low, high, 0, 10).ticks()
    assert len(found) <= 6
    assert found == pytest.approx(ticks, abs=1e-9) if low != high else found


def test_a_scale_keeps_what_is_outside_at_its_edge():
    scale = svg.Scale(0, 100, 40, 240)
    assert [scale(value) for value in (0, 50, 100, 130, -1)] == [40, 140, 240, 240, 40]


def test_rows_have_a_mark_where_the_value_is():
    drawing = svg.rows(
        id="a",
        title="t",
        description="d",
        rows=[svg.Row("ant", [[svg.Mark(value=50, low=40, high=60)]]), svg.Row("bee", [[svg.Mark(value=0)]])],
        x=(0, 100),
        label="%",
        legend=[],
    )
    middle = (svg.LABELS + svg.WIDTH - svg.EDGE) / 2
    assert [mark["cx"] for mark in shapes(drawing, "circle")] == [middle, svg.LABELS]
    (span,) = shapes(drawing, "line", "span")
    assert span["x1"] < middle < span["x2"]
    assert drawing.height > 2 * svg.ROW


def test_a_histogram_counts_everything_once():
    values = np.array([1.0, 1.1, 2.0, 3.0])
    drawing = svg.histogram(id="a", title="t", description="d", values=values, label="x", counted="books", bins=4)
    tips = [one.tip for one in drawing.shapes if one.tag == "rect"]
    assert sum(int(tip.split(": ")[1].split()[0]) for tip in tips) == 4
    same = svg.histogram(id="a", title="t", description="d", values=np.ones(9), label="x", counted="books")
    assert [one.tip.endswith(": 9 books") for one in same.shapes if one.tag == "rect"] == [True]


def test_a_heat_map_is_darkest_at_the_largest_share():
    shares = np.array([[1, 0.2, 0.1], [0.2, 1, np.nan], [0.1, np.nan, 1]])
    drawing = svg.heat(id="a", title="t", description="d", names=["a", "b", "c"], shares=shares)
    shades = [one["fill-opacity"] for one in shapes(drawing, "rect", "heat")]
    assert shades == [1.0, 0.53, 1.0, 0.53]
    assert len(shapes(drawing, "rect", "empty")) == 5
