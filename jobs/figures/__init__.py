"""Figures of a root: of its sweep, its store, its comparison; read off the tables that others read too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import BadRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jobs.results.experiment import Experiment

KINDS = {
    "curves": "what the other classes lose while each class goes",
    "along": "accuracy of forget and retain classes along N; of some classes with --class",
    "misses": "what is still recognised of each class at the rule's N",
    "sets": "sets of classes forgotten together, against their size; SCRUB beside where it was compared",
    "confusion": "which class is taken for which; before and under a mask with --class or --mask",
    "overlap": "how far classes share pairs; of one class with the others with --class",
    "collateral": "what the mask of --class or --mask takes from the other classes",
    "load": "how evenly each codebook is used",
    "compare": "masks beside baselines, controls and oracles",
    "attacks": "attacks on what has forgotten, beside the oracle",
    "costs": "what one request costs by every method",
}
"""What there is, and what it shows."""

TAKES = {
    "curves": {"class"},
    "along": {"class"},
    "confusion": {"class", "mask"},
    "overlap": {"class"},
    "collateral": {"class", "mask"},
}
"""What a kind can be narrowed down by; a kind that is not here shows everything."""

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a figure is narrowed down to."""

    classes: tuple[str, ...] = ()
    """Names, or "#" and numbers."""
    mask: str | None = None
    """A mask file, or a folder or digest that `dkvb unlearn` wrote."""

    def check(self, kind: str) -> None:
        """Raise BadRequest for what a kind has no use for."""
        given = {name for name, value in (("class", self.classes), ("mask", self.mask)) if value}
        for name in sorted(given - TAKES.get(kind, set())):
            fit = ", ".join(other for other, taken in TAKES.items() if name in taken)
            raise BadRequest(f"--{name}: a figure of the kind {kind!r} shows everything; --{name} is for {fit}")
        if len(given) > 1:
            raise BadRequest("found --class and --mask, expected one of them: a mask knows its classes")


FOR_PAPER = ("svg", "pdf")
"""Formats in which nothing stands above a figure: a paper has its own words below."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure."""

    data: bytes
    """The file."""
    caption: str
    """What it shows; in PNG that stands above it too."""


def draw(experiment: "Experiment", kind: str, choice: Choice = Choice(), *, form: str) -> Drawn:
    """Draw a figure of an experiment; the same input gives the same bytes.

    kind: of KINDS; form: of FORMATS.
    raises: BadRequest where matplotlib is missing, or a table that the kind needs, or for a choice that it has no use
    for; and what reading a root raises.
    """
    from jobs.figures.style import caption, drawing, saved

    choice.check(kind)
    with drawing([*experiment.classes, experiment.name], titled=form not in FOR_PAPER):
        figure = drawers()[kind](experiment, choice)
        return Drawn(saved(figure, form), caption(figure))


def drawers() -> dict[str, Callable[["Experiment", Choice], "Figure"]]:
    """Functions that read and draw a kind."""
    from jobs.figures import comparison, sets, store, sweep

    return {
        "curves": sweep.curves,
        "along": sweep.along,
        "misses": sweep.misses,
        "sets": sets.sets,
        "confusion": store.confusion,
        "overlap": store.overlap,
        "collateral": store.collateral,
        "load": store.load,
        "compare": comparison.compare,
        "attacks": comparison.attacks,
        "costs": comparison.costs,
    }
