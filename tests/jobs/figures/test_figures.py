"""Figures of roots: each kind is drawn, says what it shows, and refuses what it cannot show."""

import re
import warnings

import pytest

from jobs.errors import BadRequest
from jobs.figures import FORMATS, KINDS, Choice, draw, drawers
from jobs.figures.style import caption, drawing
from jobs.unlearn import Request, unlearn
from tests.tiny import unfinish

BEGIN = {"svg": b"<?xml", "pdf": b"%PDF-", "png": b"\x89PNG"}
COMPARED = ("compare", "attacks", "costs")
OF_ANY_ROOT = [kind for kind in KINDS if kind not in (*COMPARED, "sets")]
NARROWED = [
    ("curves", Choice(classes=("ant",))),
    ("along", Choice(classes=("ant", "#2"))),
    ("confusion", Choice(classes=("bee",))),
    ("overlap", Choice(classes=("cat",))),
]


def choice_of(kind):
    return Choice(classes=("bee",)) if kind == "collateral" else Choice()


def test_every_kind_has_a_function():
    assert list(drawers()) == list(KINDS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", OF_ANY_ROOT)
def test_a_kind_is_drawn_the_same_each_time(kind, form, finished):
    once = draw(finished, kind, choice_of(kind), form=form)
    assert once.data.startswith(BEGIN[form])
    assert len(once.data) > 5000
    assert once.caption.startswith("tiny: ")
    assert draw(finished, kind, choice_of(kind), form=form) == once


@pytest.mark.parametrize(("kind", "choice"), NARROWED)
def test_a_figure_can_be_of_some_classes(kind, choice, finished):
    assert draw(finished, kind, choice, form="svg") != draw(finished, kind, form="svg")


def test_a_mask_that_was_made_says_which_classes_it_forgets(own):
    made = unlearn(own, Request(classes=["bee"]), mask_only=True)
    choice = Choice(mask=made.mask)
    with drawing(own.classes):
        figures = [drawers()[kind](own, choice) for kind in ("confusion", "collateral")]
    assert all("bee forgotten" in " ".join(figure.get_suptitle().split()) for figure in figures)


@pytest.mark.parametrize("kind", COMPARED)
def test_a_root_without_a_comparison_says_what_makes_one(kind, finished):
    with pytest.raises(BadRequest, match=re.escape("give its spec a [compare] section") + ".*`dkvb run SPEC --root"):
        draw(finished, kind, form="svg")


def test_what_a_kind_has_no_use_for_is_refused(finished):
    with pytest.raises(BadRequest, match="--class: a figure of the kind 'load' shows everything"):
        draw(finished, "load", Choice(classes=("ant",)), form="svg")
    with pytest.raises(BadRequest, match=r"--mask: .* --mask is for confusion, collateral"):
        draw(finished, "curves", Choice(mask="x"), form="svg")
    with pytest.raises(BadRequest, match="found --class and --mask, expected one"):
        draw(finished, "confusion", Choice(classes=("ant",), mask="x"), form="svg")
    with pytest.raises(BadRequest, match="'collateral' is of a mask: add --class NAME"):
        draw(finished, "collateral", form="svg")
    with pytest.raises(BadRequest, match="no class 'wasp'"):
        draw(finished, "along", Choice(classes=("wasp",)), form="svg")


def test_papers_get_figures_without_a_title_and_their_caption_beside(finished):
    titles = {}
    for titled in (True, False):
        with drawing(finished.classes, titled=titled):
            figure = drawers()["along"](finished, Choice())
            titles[titled] = figure.get_suptitle()
            said = caption(figure)
    assert titles[False] == ""
    assert " ".join(titles[True].replace("\u00a0", " ").split()) == said.removesuffix(".").replace(". ", " ")
    assert "N by the rule" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_looks_that_a_user_has_set_change_nothing_and_stay(finished):
    import matplotlib

    plain = draw(finished, "along", form="svg")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20}):
        assert draw(finished, "along", form="svg") == plain
        assert matplotlib.rcParams["font.size"] == 20


def test_the_command_writes_what_its_file_is_called(dkvb, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = dkvb("figure", finished.root, "--kind", "along", "-o", tmp_path / "a.PDF")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(
        f"Figure: {tmp_path / 'a.PDF'}\nCaption: tiny: each of 3 classes forgotten by itself. bands: "
    )
    assert (tmp_path / "a.PDF").read_bytes().startswith(b"%PDF-")
    ended = dkvb("figure", finished.root, "--kind", "collateral", "--class", "ant")
    assert (ended.code, ended.out) == (0, "Figure: tiny-collateral.png\n"), ended.err
    assert (tmp_path / "tiny-collateral.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_refuses_another_ending(dkvb, finished, tmp_path):
    ended = dkvb("figure", finished.root, "--kind", "along", "-o", tmp_path / "a.jpg")
    assert ended.code == 2
    assert "expected a file that ends in .svg, .pdf or .png" in ended.err


def test_a_sweep_that_is_not_done_is_named(dkvb, own):
    unfinish(own.artefact("sweep"))
    ended = dkvb("figure", own.root, "--kind", "misses")
    assert ended.code == 2
    assert "step sweep is not finished; run `dkvb run`" in ended.err


def test_the_help_names_every_kind(dkvb):
    ended = dkvb("figure", "--help")
    assert ended.code == 0
    assert all(about in " ".join(ended.out.split()) for about in KINDS.values())


def test_drawing_warns_of_nothing(finished):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in OF_ANY_ROOT:
            draw(finished, kind, choice_of(kind), form="svg")
    assert [str(warning.message) for warning in caught] == []
