"""Reading specs: TOML into `Spec`, by pydantic, which is imported only then; all mistakes are told at once."""

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dkvb.limits import nearest
from jobs.errors import BadSpec
from jobs.spec.bounds import check
from jobs.spec.library import SHIPPED, shipped
from jobs.spec.lines import line_of, lines_of
from jobs.spec.mistakes import Mistake, Mistakes, plain, told
from jobs.spec.overlay import overlaid
from jobs.spec.schema import Spec
from store.places import quoted

SHOWN = 30
"""Mistakes of a file that are told."""

T = TypeVar("T")


def build(cls: type[T], table: Any, where: str = "") -> T:
    """Make a spec of a TOML table, whose values are taken as strictly as JSON's; a whole number does for a float.

    where: names the table in messages.
    raises: Mistakes, all of them.
    """
    from pydantic import TypeAdapter, ValidationError

    asked: Any = cls
    adapter: TypeAdapter[T] = _adapter(asked)
    try:
        made = adapter.validate_json(json.dumps(plain(table)), strict=True)
        mistakes = told([], table)
    except ValidationError as error:
        mistakes = told(error.errors(include_url=False), table)
    if mistakes:
        raise Mistakes(mistakes, where)
    return made


@cache
def _adapter(cls: Any) -> Any:
    """Made once: it takes longer than all that it reads."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def as_table(spec: Spec | dict[str, Any]) -> dict[str, Any]:
    """The table of which `build` makes the spec; what was not set is left out, as TOML has it."""
    return _set(asdict(spec) if isinstance(spec, Spec) else spec)


def _set(table: dict[str, Any]) -> dict[str, Any]:
    return {key: _set(value) if isinstance(value, dict) else value for key, value in table.items() if value is not None}


def load_specs(name: str, changes: Sequence[str] = ()) -> list[Spec]:
    """Read the experiments of a spec: a TOML file, or the name of a shipped one.

    changes: keys that are set anew, as of `jobs.spec.overlay.overlaid`.
    raises: BadSpec naming file, table and key.
    """
    path = SHIPPED / f"{name}.toml" if name in shipped() else Path(name)
    if path.is_dir():
        raise BadSpec(
            f"{name}: neither a file nor a shipped spec, but a folder; if images lie there, "
            f"`dkvb init --images {quoted(name)} -o spec.toml` writes a spec for them"
        )
    if not path.is_file():
        known = f"{nearest(name, shipped())} (shipped: {', '.join(shipped())})"
        raise BadSpec(f"{name}: neither a file nor a shipped spec{known}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
        table = overlaid(table, changes) if changes else table
    except BadSpec:
        raise
    except UnicodeDecodeError as error:
        raise BadSpec(f"{path}: cannot be read: {error}; write it as UTF-8") from error
    except OSError as error:
        raise BadSpec(f"{path}: cannot be read: {error}") from error
    except ValueError as error:  # not TOML, or a number of many thousand digits
        raise BadSpec(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise BadSpec(f"{path}: not a spec: nested too deeply") from error
    try:
        return build_all(table, "" if changes else text)  # a key that was changed is on no line of the file
    except BadSpec as error:
        raise BadSpec(f"{path}{''.join(f' with --set {change}' for change in changes)}: {error}") from error
    except RecursionError as error:  # tables within each other that experiments set anew
        raise BadSpec(f"{path}: not a spec: nested too deeply") from error


def build_all(table: dict[str, Any], text: str = "") -> list[Spec]:
    """The experiments that a spec's table stands for; text: that of its file, for lines; raises: BadSpec."""
    made: list[Spec] = []
    wrong: list[tuple[int, Mistake]] = []
    tables = experiments(table)
    for i, one in enumerate(tables):
        try:
            made.append(build(Spec, one))
        except Mistakes as error:
            wrong += [(i, mistake) for mistake in error.mistakes]
    if wrong:
        raise BadSpec(_by_line(wrong, text, of=len(tables) if "experiments" in table else 0))
    return made


def _by_line(wrong: list[tuple[int, Mistake]], text: str, *, of: int) -> str:
    """Mistakes as the file has them, line by line; what all of its several experiments have wrong is told once.

    wrong: number of the experiment, and a mistake of it; of: the number of `[[experiments]]`.
    """
    lines, times = lines_of(text), Counter(mistake for _, mistake in wrong)
    said = set()
    for i, mistake in wrong:
        where = f"experiments[{i}]: " if of == 1 or times[mistake] < of else ""
        line = line_of(lines, mistake.keys, i) or (lines.get(("experiments", i), 0) if where else 0)
        said.add((line, f"{where}{mistake.text}"))
    told = [f"line {line}: {one}" if line else one for line, one in sorted(said)]
    if len(told) == 1:
        return told[0]
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "\n  ".join([f"{len(told)} mistakes", *told[:SHOWN], *more])


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
        check(isinstance(one, dict), f"experiments[{i}]: expected a table, headed [[experiments]]")
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
