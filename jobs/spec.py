"""The spec: what an experiment is, as TOML. Where things lie is said by flags, never here."""

import math
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dkvb.backbones import BackboneSpec
from dkvb.errors import DkvbError
from dkvb.keys import KeySettings
from dkvb.masks import SCOPES, TAU
from dkvb.training import TrainSettings
from jobs.bounds import LEAST, MOST, check, check_choice, check_range, whole
from jobs.errors import BadSpec, nearest
from jobs.images_spec import ImagesSpec
from store.places import has_password

SHIPPED = Path(__file__).parent / "specs"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Which classes are forgotten, how, and how far."""

    classes: list[str] | None = None
    """Names of the classes, each forgotten by itself; all unless given."""
    uva: UvaSpec | None = None
    uve: UveSpec | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            distinct = len(set(self.classes)) == len(self.classes)
            check(bool(self.classes) and distinct, f"sweep.classes: found {self.classes}, expected different names")
        check(bool(self.uva or self.uve), "sweep: found no method, expected [sweep.uva], [sweep.uve] or both")


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


def build(cls: Any, table: Any, where: str) -> Any:
    """Make a spec dataclass of a TOML table, every key and type checked; where names the table in errors."""
    if not isinstance(table, dict):
        raise BadSpec(f"{where}: found {table!r}, expected a table")
    hints, at = get_type_hints(cls), f"{where}: " if where else ""
    for key in table:
        if key not in hints:
            raise BadSpec(f"{at}unknown key {key!r}{nearest(key, hints)} (known: {', '.join(hints)})")
    for spec_field in fields(cls):
        required = spec_field.default is MISSING and spec_field.default_factory is MISSING
        if required and spec_field.name not in table:
            raise BadSpec(f"{at}key {spec_field.name!r} is missing")
    made = {key: convert(hints[key], value, f"{where}.{key}" if where else key) for key, value in table.items()}
    try:
        return cls(**made)
    except DkvbError as error:
        raise BadSpec(f"{at}{error}") from error


def as_table(spec: Spec | dict[str, Any]) -> dict[str, Any]:
    """The table of which `build` makes the spec; what was not set is left out, as TOML has it."""
    return _set(asdict(spec) if isinstance(spec, Spec) else spec)


def _set(table: dict[str, Any]) -> dict[str, Any]:
    return {key: _set(value) if isinstance(value, dict) else value for key, value in table.items() if value is not None}


def convert(hint: Any, value: Any, where: str) -> Any:
    """Check one value against its type; a whole number does for a float."""
    if get_origin(hint) is UnionType:
        return convert(next(part for part in get_args(hint) if part is not NoneType), value, where)
    if is_dataclass(hint):
        return build(hint, value, where)
    if get_origin(hint) is list and isinstance(value, list):
        return [convert(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if get_origin(hint) is dict and isinstance(value, dict):
        return {key: convert(get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint in (int, float) and type(value) is int and not LEAST <= value <= MOST:
        raise BadSpec(f"{where}: found {whole(value)}, expected a number from {LEAST} to {MOST}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is float and not math.isfinite(value):
        raise BadSpec(f"{where}: found {value}, expected a finite number")
    if isinstance(value, str) and has_password(value):
        raise BadSpec(f"{where}: an address with a password in it; a spec is kept and shown, credentials are neither")
    if type(value) is not hint:
        raise BadSpec(f"{where}: found {value!r}, expected {describe(hint)}")
    return value


def describe(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if get_origin(hint) is list:
        return f"a list, each {words[get_args(hint)[0]]}"
    return words.get(hint, "a table")


def shipped() -> list[str]:
    """Names of the specs that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_spec(name: str) -> Spec:
    """The experiment of a spec that holds one; raises: BadSpec."""
    specs = load_specs(name)
    check(len(specs) == 1, f"{name}: holds {len(specs)} experiments, expected one")
    return specs[0]


def load_specs(name: str) -> list[Spec]:
    """Read the experiments of a spec: a TOML file, or the name of a shipped one.

    raises: BadSpec naming file, table and key.
    """
    path = SHIPPED / f"{name}.toml" if name in shipped() else Path(name)
    if not path.is_file():
        known = f"{nearest(name, shipped())} (shipped: {', '.join(shipped())})"
        raise BadSpec(f"{name}: neither a file nor a shipped spec{known}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadSpec(f"{path}: cannot be read: {error}; write it as UTF-8") from error
    except OSError as error:
        raise BadSpec(f"{path}: cannot be read: {error}") from error
    except ValueError as error:  # not TOML, or a number of many thousand digits
        raise BadSpec(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise BadSpec(f"{path}: not a spec: nested too deeply") from error
    try:
        made = []
        for i, experiment in enumerate(experiments(table)):
            with _within(f"experiments[{i}]" if "experiments" in table else ""):
                made.append(build(Spec, experiment, ""))
    except BadSpec as error:
        raise BadSpec(f"{path}: {error}") from error
    return made


@contextmanager
def _within(where: str) -> Iterator[None]:
    """A mistake that is found within says where, if that is not plain."""
    try:
        yield
    except BadSpec as error:
        raise BadSpec(f"{where}: {error}" if where else str(error)) from error


def experiments(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The experiments that a spec's table stands for: itself, or one for each of its `[[experiments]]`.

    Each of them is the table with some keys set anew, and its name behind the table's.
    raises: BadSpec.
    """
    base = {key: value for key, value in table.items() if key != "experiments"}
    found = table.get("experiments", [{}])
    check(isinstance(found, list) and len(found) > 0, "experiments: expected tables, each headed [[experiments]]")
    made = []
    for i, one in enumerate(found):
        check(isinstance(one, dict), f"experiments[{i}]: found {one!r}, expected a table")
        if "experiments" in table:
            check(isinstance(one.get("name"), str), f"experiments[{i}]: key 'name' is missing, expected a text")
            one = {**one, "name": f"{base.get('name', '')}-{one['name']}"}
        made.append(_over(base, one))
    names = [str(one.get("name")) for one in made]
    check(len(set(names)) == len(names), f"experiments: found the names {names}, expected different ones")
    return made


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with the changes made, table by table."""
    both = {
        key: _over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
    return {**base, **both}
