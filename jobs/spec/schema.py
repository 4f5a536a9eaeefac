"""What a spec may say. Where things lie is said by flags, never here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from dkvb.backbones import BackboneSpec
from dkvb.keys import KeySettings
from dkvb.orders import SCOPES, TAU
from dkvb.training import TrainSettings
from jobs.spec.bounds import check, check_choice, check_range
from jobs.spec.images import ImagesSpec
from jobs.step import IF_SET


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsSpec:
    """How images go through the backbone."""

    batch: int = 64
    """Images a forward pass."""

    def __post_init__(self) -> None:
        check_range("embeddings.batch", self.batch, least=1, most=65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class BottleneckSpec:
    """Size of the bottleneck (defaults: the DKVB authors')."""

    c: int = 256
    """Codebooks."""
    m: int = 4096
    """Key-value pairs a codebook."""
    d_k: int = 14
    """Width of a key."""
    selectable: str = "used"
    """ "used": in evaluation only keys that training used; "all": every key."""

    def __post_init__(self) -> None:
        check_range("bottleneck.c", self.c, least=1, most=65536)
        check_range("bottleneck.m", self.m, least=1, most=32768)  # codes are int16
        check_range("bottleneck.d_k", self.d_k, least=1, most=65536)
        check_choice("bottleneck.selectable", self.selectable, ("used", "all"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSpec(KeySettings):
    """How keys are fitted."""

    sample: int | None = None
    """Training items the keys see, drawn by the seed; all of them unless given."""

    def __post_init__(self) -> None:
        KeySettings.__post_init__(self)
        if self.sample is not None:
            check_range("keys.sample", self.sample, least=1)

    @property
    def settings(self) -> KeySettings:
        """The same without the sample."""
        return KeySettings(**{setting.name: getattr(self, setting.name) for setting in fields(KeySettings)})


@dataclass(frozen=True, slots=True, kw_only=True)
class UvaGrid:
    """The budgets of Unlearning via Activations as steps are told of them: part of digests."""

    method: ClassVar[str] = "uva"
    unit: str
    """ "shares" or "pairs"."""
    grid: list[float]
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UveGrid:
    """The budgets of Unlearning via Examples, likewise."""

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
        return {grid.method: grid for grid in self}[method]

    @property
    def example_seed(self) -> int:
        """The first seed that draws an order of examples; 0 where examples are not swept."""
        return self.uve.seeds[0] if self.uve else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UvaSpec:
    """Grid of Unlearning via Activations: pairs, or shares of the pairs a class activates."""

    shares: list[float] | None = None
    """Shares in (0, 1] of the pairs that the class activates."""
    pairs: list[int] | None = None
    """Numbers of pairs N_a."""
    scope: str = "global"
    """ "global" ranks all pairs together, "per-codebook" each codebook by itself."""

    def __post_init__(self) -> None:
        check_grid("sweep.uva", shares=self.shares, pairs=self.pairs)
        check(
            self.scope in SCOPES,
            f"sweep.uva.scope: found {self.scope!r}, expected one of {', '.join(SCOPES)}",
        )

    @property
    def grid(self) -> UvaGrid:
        """Whichever of both was given."""
        if self.shares is not None:
            return UvaGrid(unit="shares", grid=self.shares, scope=self.scope)
        return UvaGrid(unit="pairs", grid=[*(self.pairs or [])], scope=self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class UveSpec:
    """Grid of Unlearning via Examples: examples, or shares of the training items of a class."""

    shares: list[float] | None = None
    """Shares in (0, 1] of the class's training items."""
    examples: list[int] | None = None
    """Numbers of examples N_e."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Each draws its own order of the examples."""

    def __post_init__(self) -> None:
        check_grid("sweep.uve", shares=self.shares, examples=self.examples)
        distinct = len(set(self.seeds)) == len(self.seeds)
        check(
            bool(self.seeds) and distinct, f"sweep.uve.seeds: found {self.seeds}, expected one or more, all different"
        )

    @property
    def grid(self) -> UveGrid:
        """Whichever of both was given."""
        if self.shares is not None:
            return UveGrid(unit="shares", grid=self.shares, seeds=self.seeds)
        return UveGrid(unit="examples", grid=[*(self.examples or [])], seeds=self.seeds)


def check_grid(where: str, **grids: list[Any] | None) -> None:
    """One grid, increasing, positive."""
    names = " or ".join(grids)
    given = {name: grid for name, grid in grids.items() if grid is not None}
    check(len(given) == 1, f"{where}: found {' and '.join(given) or 'no grid'}, expected exactly one of {names}")
    ((name, grid),) = given.items()
    rising = all(a < b for a, b in zip([0, *grid], grid, strict=False))
    check(bool(grid) and rising, f"{where}.{name}: found {grid}, expected increasing numbers above 0")
    if name == "shares":
        check(grid[-1] <= 1, f"{where}.shares: found {grid[-1]}, expected shares of at most 1")


DRAWS = 20
"""Random orders of the classes unless the spec says how many."""

MOST_DRAWS = 100_000

HALF = "half"
"""The size that stands for half of the classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsks:
    """Which sets of classes are forgotten, as the step is told of them: part of its digest."""

    sets: list[list[str]]
    """Names of the classes of each."""
    sizes: list[int | str]
    """Of the random ones."""
    draws: int
    seed: int


def check_sets(sets: list[list[str]] | None) -> None:
    """Sets of names: each holds some, each name once, and no two are the same."""
    if sets is None:
        return
    check(bool(sets), "sweep.sets: found no set, expected one or more lists of class names, or no such key")
    seen: dict[frozenset[str], int] = {}
    for i, names in enumerate(sets):
        distinct = len(set(names)) == len(names)
        check(bool(names) and distinct, f"sweep.sets[{i}]: found {names}, expected one or more different names")
        same = seen.setdefault(frozenset(names), i)
        check(same == i, f"sweep.sets[{i}]: found {names}, the classes of sweep.sets[{same}]; take one of them out")


def check_sizes(sizes: list[int | str] | None) -> None:
    """Sizes: whole numbers from 1 on, or HALF, each once."""
    if sizes is None:
        return
    distinct = len(set(sizes)) == len(sizes)
    check(bool(sizes) and distinct, f"sweep.sizes: found {sizes}, expected one or more sizes, all different")
    for i, size in enumerate(sizes):
        if isinstance(size, int):
            check_range(f"sweep.sizes[{i}]", size, least=1)
        else:
            check(size == HALF, f'sweep.sizes[{i}]: found {size!r}, expected a whole number or "{HALF}"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Which classes are forgotten, how, and how far."""

    classes: list[str] | None = None
    """Names of the classes, each forgotten by itself; all unless given."""
    each: bool = True
    """Whether they are; false leaves only the sets."""
    sets: list[list[str]] | None = None
    """Sets of classes by name, each forgotten together."""
    sizes: list[int | str] | None = None
    """Sizes of random sets; "half" stands for half of the classes that have training items."""
    draws: int | None = None
    """Random orders of the classes, 20 unless given: each order's first k classes are its set of size k."""
    set_seed: int | None = None
    """Of these orders; the experiment's seed unless given."""
    uva: UvaSpec | None = None
    uve: UveSpec | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            distinct = len(set(self.classes)) == len(self.classes)
            check(bool(self.classes) and distinct, f"sweep.classes: found {self.classes}, expected different names")
        check(bool(self.uva or self.uve), "sweep: found no method, expected [sweep.uva], [sweep.uve] or both")
        check_sets(self.sets)
        check_sizes(self.sizes)
        for name in ("draws", "set_seed"):
            given = getattr(self, name)
            alone = given is not None and self.sizes is None
            check(not alone, f"sweep.{name}: found {given} and no sweep.sizes, expected both, or sets by name alone")
        if self.draws is not None:
            check_range("sweep.draws", self.draws, least=1, most=MOST_DRAWS)
        some = self.each or self.sets is not None or self.sizes is not None
        check(some, "sweep.each: found false and neither sweep.sets nor sweep.sizes, expected something to forget")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSpec:
    """What the masks are compared with, and how often."""

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Each gives a model of its own: projections, keys, values, linear head; baselines are tuned on the first's."""
    classes: list[str] | None = None
    """Names of the classes, each forgotten by itself; those of the sweep unless given."""
    trials: int = 8
    """Settings that each baseline may try, on either head."""
    tuning_classes: int = 3
    """Classes, the first that are compared, that settings are chosen on; for a class that is one of them, the others
    decide. The comparison on another data set's keys is done for as many."""
    oracle_kv: list[str] | None = None
    """Classes for which an oracle's keys are fitted without them too; all that are compared unless given."""
    tau: float = TAU
    """Share of the class's activations that a mask by the label-free rule holds: as `dkvb unlearn` without --budget."""
    taus: list[float] = field(default_factory=lambda: [0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
    """Label-free rule: the smallest N whose pairs hold this share of the class's activations."""
    weights: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.5, 1.0])
    """Label-free ranking by n_f - weight * n_r; 0 ranks by n_f alone."""

    lira_heads: int = 64
    """Heads that U-LiRA trains with the class, and as many without; 0 leaves it out."""
    lira_items: int = 10000
    """Training items that they are trained on, drawn by the seed; a head sees the class and half of the others."""
    lira_classes: int = 1
    """Classes, the first that are compared, for which that is done."""
    proxies: dict[str, str] = field(default_factory=dict)
    """Class -> class of the other data set whose images stand for it."""

    def __post_init__(self) -> None:
        for name in ("seeds", "taus", "weights"):
            given = getattr(self, name)
            distinct = len(set(given)) == len(given)
            check(bool(given) and distinct, f"compare.{name}: found {given}, expected one or more, all different")
        check(min(self.seeds) >= 0, f"compare.seeds: found {self.seeds}, expected 0 or more")
        check(0 < self.tau <= 1, f"compare.tau: found {self.tau}, expected a share above 0, at most 1")
        check(
            self.lira_heads == 0 or self.lira_heads > 3,
            f"compare.lira_heads: found {self.lira_heads}, expected 0, or 4 and more (64 is usual)",
        )
        for name in ("lira_items", "lira_classes", "trials"):
            check_range(f"compare.{name}", getattr(self, name), least=1)
        few = f"compare.tuning_classes: found {self.tuning_classes}, expected 2 or more: one must be another class"
        check(self.tuning_classes > 1, few)
        check(
            all(0 < tau <= 1 for tau in self.taus),
            f"compare.taus: found {self.taus}, expected shares above 0, at most 1",
        )
        check(min(self.weights) >= 0, f"compare.weights: found {self.weights}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """An experiment."""

    name: str
    """Names it in tables and on the command line."""
    images: ImagesSpec
    backbone: BackboneSpec
    sweep: SweepSpec
    seed: int = 0
    """Of every random draw."""
    embeddings: EmbeddingsSpec = field(default_factory=EmbeddingsSpec)
    bottleneck: BottleneckSpec = field(default_factory=BottleneckSpec)
    keys: KeysSpec = field(default_factory=KeysSpec)
    values: TrainSettings = field(default_factory=TrainSettings)
    linear: TrainSettings = field(default_factory=TrainSettings)
    compare: CompareSpec | None = None
    other: ImagesSpec | None = None
    """Another data set, below the same location: keys are fitted on its training split too, proxies taken from it."""

    def __post_init__(self) -> None:
        check_name("name", self.name)
        pairs, there = self.sweep.uva and self.sweep.uva.pairs, self.bottleneck.c * self.bottleneck.m
        if pairs:
            check_range(f"sweep.uva.pairs[{len(pairs) - 1}]", pairs[-1], least=1, most=there)
        both = self.sweep.uva is not None and self.sweep.uve is not None
        check(self.compare is None or both, "compare: found one method, expected [sweep.uva] and [sweep.uve]")
        alone = self.other is not None and self.compare is None
        check(not alone, "other: found another data set and nothing to do with it, expected [compare]")


def check_name(where: str, name: str) -> None:
    """Names become files; raises: BadSpec."""
    check(
        bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)),
        f"{where}: found {name!r}, expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first",
    )
