"""Reading specs: TOML into `Spec`, every key and type checked."""

import math
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dkvb.errors import DkvbError
from jobs.errors import BadSpec, nearest
from jobs.spec.bounds import LEAST, MOST, check, whole
from jobs.spec.schema import Spec
from store.places import has_password

SHIPPED = Path(__file__).parent / "shipped"


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
        kinds = [part for part in get_args(hint) if part is not NoneType]
        if len(kinds) == 1:
            return convert(kinds[0], value, where)
        kind = next((kind for kind in kinds if type(value) is kind), None)
        if kind is None:
            raise BadSpec(f"{where}: found {value!r}, expected {describe(hint)}")
        return convert(kind, value, where)
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
        return f"a list, each {describe(get_args(hint)[0])}"
    if get_origin(hint) is UnionType:
        return " or ".join(describe(kind) for kind in get_args(hint))
    return words.get(hint, "a table")


def shipped() -> list[str]:
    """Names of the specs that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


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
