"""The part of a spec that says what masks are compared with, how often, and on which heads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from dkvb.extensions import METHODS, METRICS, named
from dkvb.limits import Limit, above, at_least, different, one_of, whole
from dkvb.orders import TAU
from jobs.spec.bounds import Wrong, refuse
from jobs.spec.heads import SOLVED, TRAINED

DIFFERENT = different("one or more, all different")
LIRA_HEADS = Limit("0, or 4 and more (64 is usual)", lambda found: found == 0 or found > 3, {"minimum": 0})
TUNING = Limit("2 or more: one must be another class", lambda found: found > 1, {"minimum": 2})

Shares = Annotated[list[Annotated[float, above(0, 1)]], DIFFERENT]
Heads = Annotated[list[Annotated[str, one_of(*TRAINED, *SOLVED)]], different("one or more different heads")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSpec:
    """What the masks are compared with, and how often."""

    seeds: Annotated[list[Annotated[int, whole(0)]], DIFFERENT] = field(default_factory=lambda: [0, 1, 2])
    """Each gives a model of its own: projections, keys, values, linear head; baselines are tuned on the first's."""
    classes: Annotated[list[str], different("one or more different names")] | None = None
    """Names of the classes, each forgotten by itself; those of the sweep unless given."""
    trials: Annotated[int, whole(1)] = 8
    """Settings that each baseline may try, on either head."""
    tuning_classes: Annotated[int, TUNING] = 3
    """Classes, the first that are compared, that settings are chosen on; for a class that is one of them, the others
    decide, and where one alone is compared the data set's first others. The comparison on another data set's keys is
    done for as many."""
    oracle_kv: list[str] | None = None
    """Classes for which an oracle's keys are fitted without them too; all that are compared unless given."""
    tau: Annotated[float, above(0, 1)] = TAU
    """Share of the class's activations that a mask by the label-free rule holds: as `dkvb unlearn` without --budget."""
    taus: Shares = field(default_factory=lambda: [0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
    """Label-free rule: the smallest N whose pairs hold this share of the class's activations."""
    weights: Annotated[list[Annotated[float, at_least(0)]], DIFFERENT] = field(
        default_factory=lambda: [0.0, 0.1, 0.5, 1.0]
    )
    """Label-free ranking by n_f - weight * n_r; 0 ranks by n_f alone."""

    lira_heads: Annotated[int, LIRA_HEADS] = 64
    """Heads that U-LiRA trains with the class, and as many without; 0 leaves it out."""
    lira_items: Annotated[int, whole(1)] = 10000
    """Training items these heads are trained on, drawn by the seed; a head sees the class and half of the others."""
    lira_classes: Annotated[int, whole(1)] = 1
    """Classes, the first that are compared, for which U-LiRA is done."""
    proxies: dict[str, str] = field(default_factory=dict)
    """Class -> class of the other data set whose images stand for it."""
    heads: Heads | None = None
    """Heads that are compared: "linear" and "values", which are trained, and "linear-lda" and "values-lda", which are
    solved for. With this key, calibration, attacks on the file and the other things of docs/comparison.md are
    measured too; without it, both trained heads are compared and these are left out."""

    methods: Annotated[list[Annotated[str, named(METHODS)]], different("one or more different methods")] | None = None
    """Methods of other distributions that are compared too, by the names of their entry points (docs/extend.md)."""
    metrics: Annotated[list[Annotated[str, named(METRICS)]], different("one or more different metrics")] | None = None
    """Metrics of other distributions that are taken too, likewise."""

    @property
    def trains(self) -> bool:
        """Whether trained heads are compared."""
        return self.heads is None or TRAINED[0] in self.heads

    @property
    def on_codes(self) -> bool:
        """Whether values are compared, of whichever kind: a linear head has no keys that could have seen a class."""
        return self.trains or self.solves_values

    @property
    def solves_values(self) -> bool:
        """Whether values that are solved for are compared."""
        return SOLVED[1] in (self.heads or [])

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        if len({*TRAINED} & {*(self.heads or [])}) == 1:
            yield Wrong(f'found {self.heads}, expected "linear" and "values" both or neither', ("heads",))
        elif self.methods and not self.trains:
            text = f'found {self.methods} and heads = {self.heads}, expected "linear" and "values" among them'
            yield Wrong(text, ("methods",))
