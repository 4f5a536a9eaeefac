"""What a spec may say. Where things lie is said by flags, never here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from dkvb.backbone_spec import BackboneSpec
from dkvb.limits import Limit, above, different, one_of, whole
from dkvb.orders import RANKS, SCOPES, uva_method
from dkvb.settings import KeySettings
from jobs.errors import BadSpec
from jobs.spec.bounds import Wrong, refuse
from jobs.spec.comparison import CompareSpec
from jobs.spec.heads import HeadSpec, LinearSpec
from jobs.spec.images import ImagesSpec
from jobs.step import IF_SET


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsSpec:
    """How images go through the backbone."""

    batch: Annotated[int, whole(1, 65536)] = 64
    """Images per forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BottleneckSpec:
    """Size of the bottleneck (defaults: the DKVB authors')."""

    c: Annotated[int, whole(1, 65536)] = 256
    """Codebooks."""
    m: Annotated[int, whole(1, 32768)] = 4096  # codes are int16
    """Key-value pairs per codebook."""
    d_k: Annotated[int, whole(1, 65536)] = 14
    """Width of a key."""
    selectable: Annotated[str, one_of("used", "all")] = "used"
    """ "used": in evaluation only keys that training used; "all": every key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSpec(KeySettings):
    """How keys are fitted."""

    sample: Annotated[int, whole(1)] | None = None
    """Training items the keys see, drawn by the seed; all of them unless given."""
    method: Annotated[str, one_of("ema", "items")] | None = None
    """ "ema", as unless given: fitted; or "items": random items are keys, a control that has learned nothing."""

    def __post_init__(self) -> None:
        KeySettings.__post_init__(self)
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        for part in fields(KeySettings):
            if self.method == "items" and (given := getattr(self, part.name)) != part.default:
                yield Wrong(f'found {given}, but method = "items" fits nothing: leave it out', (part.name,))

    @property
    def passes(self) -> int:
        """Over the items that keys are fitted on; 0 where none is fitted."""
        return 0 if self.method == "items" else self.epochs

    @property
    def settings(self) -> KeySettings:
        """The same without the sample."""
        return KeySettings(**{setting.name: getattr(self, setting.name) for setting in fields(KeySettings)})


@dataclass(frozen=True, slots=True, kw_only=True)
class UvaGrid:
    """The budgets of Unlearning via Activations as steps are told of them: part of digests."""

    key: ClassVar[str] = "uva"
    unit: str
    """ "shares" or "pairs"."""
    grid: list[float]
    scope: str
    rank: str | None = field(default=None, metadata=IF_SET)
    """Of `dkvb.orders.RANKS`; None: by activations."""

    @property
    def method(self) -> str:
        """As tables name it."""
        return uva_method(self.rank or RANKS[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class UveGrid:
    """The budgets of Unlearning via Examples, likewise."""

    key: ClassVar[str] = "uve"
    method: ClassVar[str] = "uve"
    unit: str
    """ "shares" or "examples"."""
    grid: list[float]
    seeds: list[int]


Grid = UvaGrid | UveGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Grids:
    """The grids of the methods that there are."""

    uva: UvaGrid | None = field(default=None, metadata=IF_SET)
    uve: UveGrid | None = field(default=None, metadata=IF_SET)

    def __iter__(self) -> Iterator[Grid]:
        yield from filter(None, (self.uva, self.uve))

    def of(self, method: str) -> Grid:
        """That of one method; raises: KeyError where there is none."""
        return {grid.key: grid for grid in self}[method]

    @property
    def example_seed(self) -> int:
        """The first seed that draws an order of examples; 0 where examples are not swept."""
        return self.uve.seeds[0] if self.uve else 0


INCREASING = Limit(
    "increasing numbers above 0",
    lambda grid: len(grid) > 0 and all(a < b for a, b in pairwise([0, *grid])),
    {"minItems": 1, "uniqueItems": True},
)
Shares = Annotated[list[Annotated[float, above(0, 1)]], INCREASING]
Numbers = Annotated[list[Annotated[int, whole(1)]], INCREASING]
Seed = Annotated[int, whole(0)]
Names = Annotated[list[str], different("one or more different names")]


@dataclass(frozen=True, slots=True, kw_only=True)
class UvaSpec:
    """Grid of Unlearning via Activations: pairs, or shares of the pairs a class activates."""

    shares: Shares | None = None
    """Shares in (0, 1] of the pairs that the class activates. Either this or `pairs`."""
    pairs: Numbers | None = None
    """Numbers of pairs N_a; c * m of [bottleneck] at most."""
    scope: Annotated[str, one_of(*SCOPES)] = "global"
    """ "global" ranks all pairs together, "per-codebook" each codebook by itself."""
    rank: Annotated[str, one_of(*RANKS)] | None = None
    """By what: "activations", as unless given, "values" or "contrast"."""

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        yield from one_grid(shares=self.shares, pairs=self.pairs)
        if self.pairs is not None and self.ranked is not None:
            yield Wrong(
                f"found numbers of pairs and rank = {self.rank!r}, expected shares: how many pairs of a class can be "
                "ranked in that way is not known before",
                ("pairs",),
            )

    @property
    def ranked(self) -> str | None:
        """The rank; None: by activations."""
        return None if self.rank == RANKS[0] else self.rank

    @property
    def grid(self) -> UvaGrid:
        """Whichever of both was given."""
        if self.shares is not None:
            return UvaGrid(unit="shares", grid=self.shares, scope=self.scope, rank=self.ranked)
        return UvaGrid(unit="pairs", grid=[*(self.pairs or [])], scope=self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class UveSpec:
    """Grid of Unlearning via Examples: examples, or shares of the training items of a class."""

    shares: Shares | None = None
    """Shares in (0, 1] of the class's training items. Either this or `examples`."""
    examples: Numbers | None = None
    """Numbers of examples N_e."""
    seeds: Annotated[list[Seed], different("one or more, all different")] = field(default_factory=lambda: [0])
    """Each draws its own order of the examples."""

    def __post_init__(self) -> None:
        refuse(one_grid(shares=self.shares, examples=self.examples))

    @property
    def grid(self) -> UveGrid:
        """Whichever of both was given."""
        if self.shares is not None:
            return UveGrid(unit="shares", grid=self.shares, seeds=self.seeds)
        return UveGrid(unit="examples", grid=[*(self.examples or [])], seeds=self.seeds)


def one_grid(**grids: list[Any] | None) -> Iterator[Wrong]:
    """What is wrong where not exactly one grid is given."""
    given = [name for name, grid in grids.items() if grid is not None]
    if len(given) != 1:
        yield Wrong(f"found {' and '.join(given) or 'no grid'}, expected exactly one of {' or '.join(grids)}")


DRAWS = 20
"""Random orders of the classes unless the spec says how many."""

MOST_DRAWS = 100_000

HALF = "half"
"""The size that stands for half of the classes."""

Size = Annotated[int, whole(1)] | Annotated[str, one_of(HALF)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsks:
    """Which sets of classes are forgotten, as the step is told of them: part of its digest."""

    sets: list[list[str]]
    """Names of the classes of each."""
    sizes: list[int | str]
    """Of the random ones."""
    draws: int
    seed: int


def wrong_sets(sets: list[list[str]]) -> Iterator[Wrong]:
    """Whether there are some, and no two of them hold the same names."""
    if not sets:
        yield Wrong("found no set, expected one or more lists of class names, or no such key", ("sets",))
    seen: dict[frozenset[str], int] = {}
    for i, names in enumerate(sets):
        if (same := seen.setdefault(frozenset(names), i)) != i:
            yield Wrong(f"found {names}, the classes of sweep.sets[{same}]; take one of them out", (f"sets[{i}]",))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Which classes are forgotten, how, and how far."""

    classes: Names | None = None
    """Names of the classes, each forgotten by itself; all unless given."""
    each: bool = True
    """Whether each class is forgotten by itself; false leaves only the sets."""
    sets: list[Names] | None = None
    """Sets of classes by name, each forgotten together."""
    sizes: Annotated[list[Size], different("one or more sizes, all different")] | None = None
    """Sizes of random sets; "half" stands for half of the classes that have training items."""
    draws: Annotated[int, whole(1, MOST_DRAWS)] | None = None
    """Random orders of the classes, 20 unless given: each order's first k classes are its set of size k."""
    set_seed: Seed | None = None
    """Seed of these orders; that of the experiment unless given."""
    uva: UvaSpec | None = None
    """Unlearning via Activations: pairs, or shares of the pairs that a class activates."""
    uve: UveSpec | None = None
    """Unlearning via Examples: examples, or shares of the training items of a class. One of both is needed."""

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        if not (self.uva or self.uve):
            yield Wrong("found no method, expected [sweep.uva], [sweep.uve] or both")
        if self.sets is not None:
            yield from wrong_sets(self.sets)
        for name in ("draws", "set_seed"):
            if (given := getattr(self, name)) is not None and self.sizes is None:
                yield Wrong(f"found {given} and no sweep.sizes, expected both, or sets by name alone", (name,))
        if not self.each and self.sets is None and self.sizes is None:
            yield Wrong("found false and neither sweep.sets nor sweep.sizes, expected something to forget", ("each",))

    def set_asks(self, seed: int) -> SetAsks | None:
        """The sets that are asked for, if any; seed: the experiment's."""
        if self.sets is None and self.sizes is None:
            return None
        drawn = self.sizes is not None
        return SetAsks(
            sets=self.sets or [],
            sizes=self.sizes or [],
            draws=(DRAWS if self.draws is None else self.draws) if drawn else 0,
            seed=(seed if self.set_seed is None else self.set_seed) if drawn else 0,
        )

    @property
    def grids(self) -> Grids:
        """Of the methods that are there."""
        return Grids(uva=self.uva.grid if self.uva else None, uve=self.uve.grid if self.uve else None)


NAME = Limit(
    "up to 100 letters, digits, '.', '_' and '-', a letter or digit first",
    lambda name: bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)),
    {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
)
"""Names become files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """An experiment."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    """Of its tables too."""

    name: Annotated[str, NAME]
    """Names it in tables and on the command line."""
    images: ImagesSpec
    """Which images, in which form; `--images` says where they lie."""
    backbone: BackboneSpec
    """The frozen network that makes embeddings of images."""
    sweep: SweepSpec
    """Which classes are forgotten, how, and how far."""
    seed: Seed = 0
    """Seed of every random draw."""
    embeddings: EmbeddingsSpec = field(default_factory=EmbeddingsSpec)
    """How images go through the backbone."""
    bottleneck: BottleneckSpec = field(default_factory=BottleneckSpec)
    """Size of the bottleneck; unless given, that of the DKVB's authors."""
    keys: KeysSpec = field(default_factory=KeysSpec)
    """How keys are fitted."""
    values: HeadSpec = field(default_factory=HeadSpec)
    """How the values are made: trained, or solved for from sums, of which items can be forgotten exactly."""
    linear: LinearSpec = field(default_factory=LinearSpec)
    """How the linear head is made, with which every accuracy is compared."""
    compare: CompareSpec | None = None
    """What masks are compared with, how often, and on which heads; without this table, with nothing."""
    other: ImagesSpec | None = None
    """Another data set, below the same location: keys are fitted on its training split too, proxies taken from it."""

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        pairs, there = self.sweep.uva and self.sweep.uva.pairs, self.bottleneck.c * self.bottleneck.m
        if pairs and pairs[-1] > there:
            text = f"found {pairs[-1]}, expected a whole number from 1 to {there}"
            yield Wrong(text, (f"sweep.uva.pairs[{len(pairs) - 1}]",))
        if self.compare is not None:
            yield from self._wrong_with(self.compare)
        if self.other is not None and (self.compare is None or not self.compare.trains):
            text = "found another data set and nothing to do with it, expected [compare] with trained heads"
            yield Wrong(text, ("other",))

    def _wrong_with(self, compare: CompareSpec) -> Iterator[Wrong]:
        if self.sweep.uva is None or self.sweep.uve is None:
            yield Wrong("found one method, expected [sweep.uva] and [sweep.uve]", ("compare",))
        if self.sweep.uva is not None and self.sweep.uva.ranked is not None:
            text = "[compare] ranks pairs in ways of its own, expected no rank, or no [compare]"
            yield Wrong(text, ("sweep.uva.rank",))
        for name in ("values", "linear"):
            if compare.trains and getattr(self, name).settings is None:
                yield Wrong(
                    'found "lda", but [compare] trains its heads again: expected "trained", or '
                    'compare.heads = ["linear-lda", "values-lda"] alone (beside trained heads they need no [values])',
                    (f"{name}.method",),
                )


def check_name(where: str, name: str) -> None:
    """Names become files; raises: BadSpec."""
    if not NAME.holds(name):
        raise BadSpec(f"{where}: {NAME.refusal(name)}")
