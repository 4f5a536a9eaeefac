"""Looks of all figures: one column of print, text of 7 points, colours that everyone tells apart, names of any script.

matplotlib is an extra: it is imported where it is used.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from warnings import catch_warnings

from jobs.errors import BadRequest
from jobs.printable import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.3
"""Width of a figure in inches: a column of a page of two."""

TEXT = 7
"""Size of all text in points."""

LINE = TEXT * 1.25 / 72
"""Height of a line of text in inches."""

NAMED = 5
"""Classes that get a colour and a name of their own where there are too many for all."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito, told apart by colour-blind readers too; without yellow, which paper swallows."""

MARKERS = "osD^v<"
"""For readers of grey prints."""

OTHER = "0.55"
"""Of classes without a name."""

MISSING = "figures need matplotlib: pip install 'dkvb-unlearning[report]'"

LOOK: dict[Any, Any] = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.titlepad": 3,
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelpad": 2,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.linewidth": 0.3,
    "grid.color": "0.85",
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    **{f"{axis}tick.major.{what}": size for axis in "xy" for what, size in (("size", 2), ("width", 0.5), ("pad", 2))},
    "lines.linewidth": 1,
    "lines.markersize": 3,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "text.parse_math": False,  # a name with two "$" is no formula
    "svg.fonttype": "path",  # looks alike where the fonts are not installed
    "svg.hashsalt": "dkvb",
    "pdf.fonttype": 42,  # fonts that can be searched and that publishers take
    "savefig.dpi": 200,
}

METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""Formats, and what keeps the time of day out of them."""


TITLED = ContextVar("TITLED", default=True)
"""Whether figures have their title and what explains them above."""


@contextmanager
def drawing(names: Iterable[str], *, titled: bool = True) -> Iterator[None]:
    """Set matplotlib up for one figure, and leave it as it was.

    names: texts of somebody else's that will be drawn; installed fonts that hold their characters are made use of.
    titled: without it nothing stands above a figure: for papers, where its caption says it (`caption`).
    raises: BadRequest when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise BadRequest(MISSING) from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # what a user has set for figures of his own does not change ours
        matplotlib.rcParams.update({**LOOK, "font.family": families("".join(names))})
        before = TITLED.set(titled)
        try:
            yield
        finally:
            TITLED.reset(before)


def saved(figure: "Figure", form: str) -> bytes:
    """A figure as a file: of the formats in METADATA; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with catch_warnings(action="ignore", category=UserWarning):  # names may have characters that no font has
        figure.savefig(buffer, format=form, metadata=METADATA[form])
    return buffer.getvalue()


def families(text: str) -> list[str]:
    """Families of installed fonts that hold the characters of a text between them, as few as is simple.

    returns: first matplotlib's own; characters that no font holds are left to `legible`.
    """
    from matplotlib.font_manager import fontManager

    chosen = ["DejaVu Sans"]
    missing = {ord(each) for each in text if each.isprintable()} - glyphs(chosen[0])
    if missing:
        regular = {font.name for font in fontManager.ttflist if font.style == "normal" and font.weight == 400}
        held = {name: glyphs(name) & missing for name in sorted(regular) if "Last Resort" not in name}
        for name in sorted(held, key=lambda name: -len(held[name])):
            if held[name] & missing:
                chosen.append(name)
                missing -= held[name]
    return chosen


@cache
def glyphs(family: str) -> frozenset[int]:
    """Code points that the regular font of a family holds; none where it cannot be read."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:
        path = findfont(FontProperties(family=[family]), fallback_to_default=False)
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def legible(text: str) -> str:
    """A text on one line in which what is not printable, or in no font of this figure, is shown as its code."""
    from matplotlib import rcParams

    held = frozenset().union(*map(glyphs, rcParams["font.family"]))
    return "".join(
        each if ord(each) in held else each.encode("unicode_escape").decode() if ord(each) > 127 else each
        for each in shown(text)
    )


def width(text: str) -> float:
    """Width of a line of text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=TEXT), ismath=False)[0])


def label(name: str, most: float = 56) -> str:
    """A name of somebody else's, legible and cut to so many points."""
    text = legible(name[:100])
    if width(text) <= most and len(name) <= 100:
        return text
    length = next((n for n in range(len(text), 0, -1) if width(f"{text[:n]}…") <= most), 1)
    return f"{text[:length]}…"


def wrapped(text: str, most: float) -> list[str]:
    """Lines of a text, broken between words where they would be wider than so many points."""
    lines = [""]
    for word in text.replace(" %", "\u00a0%").split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or width(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def sheet(height: float, *title: str) -> "Figure":
    """An empty figure of one column with a title; height: of what is below the title, in inches."""
    from matplotlib.figure import Figure

    lines = [part for line in title for part in wrapped(line, 72 * (COLUMN - 0.08))] if TITLED.get() else []
    figure = Figure(figsize=(COLUMN, height + LINE * len(lines) + 0.05), layout="constrained")
    figure.set_label(f"{'. '.join(title)}.")
    if lines:
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=TEXT)
    return figure


def caption(figure: "Figure") -> str:
    """What a figure shows, for the caption below it."""
    return str(figure.get_label())


def key(figure: "Figure", lines: Mapping[str, Mapping[str, Any]]) -> None:
    """Say below a figure what its lines and marks are; lines: words and how `Line2D` draws what they name."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=words, **look) for words, look in lines.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


class End(NamedTuple):
    """A line's end, or a point, that gets a name."""

    x: float
    y: float
    text: str
    colour: str


def name_ends(panel: "Axes", ends: Sequence[End], height: float) -> None:
    """Write names at the right of a panel, no two over each other, each with a line to what it names.

    The panel's limits must be final. height: of the panel, in inches, about.
    """
    low, high = panel.get_ylim()
    places = spread([(end.y - low) / (high - low) for end in ends], LINE / height)
    for end, place in zip(ends, places, strict=True):
        panel.annotate(
            end.text,
            (end.x, end.y),
            (1.04, place),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 1},
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places in [0, 1], moved apart until a gap lies between each two, in their order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    if order:
        moved[order[-1]] = min(moved[order[-1]], 1.0)
    for lower, upper in reversed(list(pairwise(order))):
        moved[lower] = min(moved[lower], moved[upper] - gap)
    return moved


def name_rows(panel: "Axes", names: Sequence[str]) -> None:
    """Name the rows of a panel, the first at the top."""
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.spines["left"].set_visible(False)
