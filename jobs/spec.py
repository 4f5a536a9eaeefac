"""The spec: what an experiment is, as TOML. Where things lie is said by flags, never here."""

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
from dkvb.masks import SCOPES
from dkvb.training import TrainSettings
from jobs.errors import BadSpec, nearest
from store.images import KINDS
from store.places import has_password

SHIPPED = Path(__file__).parent / "specs"


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise BadSpec(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSpec:
    """Which images, in which form."""

    kind: str
    """folder, webdataset, parquet, cifar10, cifar100 or digits."""
    train: str = "train"
    """The training split: a folder, a glob, or a brace range of shards."""
    test: str = "test"
    """The test split."""
    classes: str | None = None
    """File of class names below the images' location, one a line, where the data have none."""
    shard_items: int = 1000
    """Items of a shard, where the data come without shards."""
    on_error: str = "fail"
    """ "fail": a bad image or label fails its shard, and the run once the other shards are done; "skip" leaves it out
    and counts it."""
    expect: dict[str, int] = field(default_factory=dict)
    """Items of "train" and "test" and number of "classes", checked when the images are read; used by the plan."""

    def __post_init__(self) -> None:
        near = nearest(self.kind, KINDS)
        _check(self.kind in KINDS, f"images.kind: found {self.kind!r}, expected one of {', '.join(KINDS)}{near}")
        _check(
            self.on_error in ("fail", "skip"),
            f'images.on_error: found {self.on_error!r}, expected "fail" or "skip"',
        )
        _check(self.train != self.test, f"images.train and images.test: both are {self.train!r}, expected two splits")
        _check(self.shard_items > 0, f"images.shard_items: found {self.shard_items}, expected 1 or more")
        for key in self.expect:
            _check(
                key in ("train", "test", "classes"),
                f"images.expect: unknown key {key!r}; known: train, test, classes",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsSpec:
    """How images go through the backbone."""

    batch: int = 64
    """Images a forward pass."""

    def __post_init__(self) -> None:
        _check(self.batch > 0, f"embeddings.batch: found {self.batch}, expected 1 or more")


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
        for name in ("c", "m", "d_k"):
            _check(getattr(self, name) > 0, f"bottleneck.{name}: found {getattr(self, name)}, expected 1 or more")
        _check(self.m <= 32768, f"bottleneck.m: found {self.m}, expected at most 32768 (codes are int16)")
        _check(
            self.selectable in ("used", "all"),
            f'bottleneck.selectable: found {self.selectable!r}, expected "used" or "all"',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSpec(KeySettings):
    """How keys are fitted."""

    sample: int | None = None
    """Training items the keys see, drawn by the seed; all of them unless given."""

    def __post_init__(self) -> None:
        KeySettings.__post_init__(self)
        _check(self.sample is None or self.sample > 0, f"keys.sample: found {self.sample}, expected 1 or more")


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
        _check(
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
        _check(
            bool(self.seeds) and distinct, f"sweep.uve.seeds: found {self.seeds}, expected one or more, all different"
        )


def check_grid(where: str, **grids: list[Any] | None) -> None:
    """One grid, increasing, positive."""
    names = " or ".join(grids)
    given = {name: grid for name, grid in grids.items() if grid is not None}
    _check(len(given) == 1, f"{where}: found {' and '.join(given) or 'no grid'}, expected exactly one of {names}")
    ((name, grid),) = given.items()
    rising = all(a < b for a, b in zip([0, *grid], grid, strict=False))
    _check(bool(grid) and rising, f"{where}.{name}: found {grid}, expected increasing numbers above 0")
    if name == "shares":
        _check(grid[-1] <= 1, f"{where}.shares: found {grid[-1]}, expected shares of at most 1")


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
            _check(bool(self.classes) and distinct, f"sweep.classes: found {self.classes}, expected different names")
        _check(bool(self.uva or self.uve), "sweep: found no method, expected [sweep.uva], [sweep.uve] or both")


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
    tau: float = 0.95
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
            _check(bool(given) and distinct, f"compare.{name}: found {given}, expected one or more, all different")
        _check(min(self.seeds) >= 0, f"compare.seeds: found {self.seeds}, expected 0 or more")
        _check(0 < self.tau <= 1, f"compare.tau: found {self.tau}, expected a share above 0, at most 1")
        _check(
            self.lira_heads == 0 or self.lira_heads > 3,
            f"compare.lira_heads: found {self.lira_heads}, expected 0, or 4 and more (64 is usual)",
        )
        for name in ("lira_items", "lira_classes"):
            _check(getattr(self, name) > 0, f"compare.{name}: found {getattr(self, name)}, expected 1 or more")
        _check(self.trials > 0, f"compare.trials: found {self.trials}, expected 1 or more")
        few = f"compare.tuning_classes: found {self.tuning_classes}, expected 2 or more: one must be another class"
        _check(self.tuning_classes > 1, few)
        _check(
            all(0 < tau <= 1 for tau in self.taus),
            f"compare.taus: found {self.taus}, expected shares above 0, at most 1",
        )
        _check(min(self.weights) >= 0, f"compare.weights: found {self.weights}, expected 0 or more")


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
        both = self.sweep.uva is not None and self.sweep.uve is not None
        _check(self.compare is None or both, "compare: found one method, expected [sweep.uva] and [sweep.uve]")
        alone = self.other is not None and self.compare is None
        _check(not alone, "other: found another data set and nothing to do with it, expected [compare]")


def check_name(where: str, name: str) -> None:
    """Names become files; raises: BadSpec."""
    _check(
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


def as_table(spec: Spec) -> dict[str, Any]:
    """The table of which `build` makes the spec; what was not set is left out, as TOML has it."""
    return _set(asdict(spec))


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
    if hint is float and type(value) is int:
        return float(value)
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
    _check(len(specs) == 1, f"{name}: holds {len(specs)} experiments, expected one")
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
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
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
    _check(isinstance(found, list) and len(found) > 0, "experiments: expected tables, each headed [[experiments]]")
    made = []
    for i, one in enumerate(found):
        _check(isinstance(one, dict), f"experiments[{i}]: found {one!r}, expected a table")
        if "experiments" in table:
            _check(isinstance(one.get("name"), str), f"experiments[{i}]: key 'name' is missing, expected a text")
            one = {**one, "name": f"{base.get('name', '')}-{one['name']}"}
        made.append(_over(base, one))
    names = [one.get("name") for one in made]
    _check(len(set(names)) == len(names), f"experiments: found the names {names}, expected different ones")
    return made


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with the changes made, table by table."""
    both = {
        key: _over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
    return {**base, **both}
