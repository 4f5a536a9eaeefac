"""Specs nobody meant: the shipped ones with other types, numbers, names and tables in them, or with damaged text."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from tests.faults.children import Call, dkvb
from tests.paths import REPOSITORY

ODD: list[Any] = [
    *(0, -1, 1, 7, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e308, -1.0, float("inf"), float("-inf"), float("nan"), True, False),
    *(
        "",
        " ",
        ".",
        "..",
        "../..",
        "~",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "-x",
        "x" * 20_000,
        "\x00",
        "\x1b[31mred",
        "a\nb",
    ),
    *(
        "é",
        "e\u0301",
        "\u202egnp",
        "\U0001f600",
        "\ufeff",
        "s3://bucket/x",
        "file:///etc",
        "a::b",
        "http://u:p@h/x",
        "{0..9}",
    ),
    *("train", "digits", "folder", "{0000..99999999}", "[", "**/*", "null", "nan", "1e999"),
    *([], [0], [1, 1], [2, 1], [float("nan")], [1e-12, 1], ["a", 1], [[1]], [{}], ["3", "3"], list(range(3000))),
    *({}, {"a": 1}, {"": {}}, {"name": "x"}, {"train": 10**30}, date(2024, 1, 1)),
]


def value(found: Any) -> str:
    """A value as TOML; tables in one line."""
    if isinstance(found, dict):
        return "{" + ", ".join(f"{text(key)} = {value(one)}" for key, one in found.items()) + "}"
    if isinstance(found, list):
        return "[" + ", ".join(map(value, found)) + "]"
    if isinstance(found, float):
        return repr(found)
    return found.isoformat() if isinstance(found, date) else text(found)


def text(found: Any) -> str:
    """A text, a whole number or a truth as TOML, which is JSON's but for characters beyond 16 bits."""
    return json.dumps(found, ensure_ascii=False)


def as_toml(table: dict[str, Any]) -> str:
    """A table as TOML."""
    return "".join(f"{text(key)} = {value(one)}\n" for key, one in table.items())


def places(table: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every (table or list, key or index) below a table."""
    found = [] if found is None else found
    items = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, one in items:
        found.append((table, key))
        places(one, found)
    return found


def change(table: dict[str, Any], rng: random.Random, odd: list[Any]) -> str:
    """Change one place of a table of values; returns what was done."""
    where, key = rng.choice(places(table) or [(table, "name")])
    before = where[key] if isinstance(where, list) or key in where else None
    what = rng.choice(("other", "alike", "alike", "gone", "unknown", "wrapped", "moved", "nudged", "deep"))
    if what == "gone" and (isinstance(where, list) or key in where):
        del where[key]
    elif what == "unknown" and isinstance(where, dict):
        where[rng.choice([f"{key}x", str(key)[1:], str(key).upper(), "", "a.b", "\x1b", "é", "__class__"])] = (
            rng.choice(odd)
        )
    elif what == "wrapped":
        where[key] = rng.choice([[before], {"a": before}, [before, before], str(before)])
    elif what == "moved":
        other, at = rng.choice(places(table))
        where[key], other[at] = deepcopy(other[at]), deepcopy(before)
    elif what == "nudged" and isinstance(before, int | float) and abs(before) < 1e9:
        where[key] = rng.choice([-before, before + 1, before * 10**9, before / 3, before + 0.5, before * 10**40])
    elif what == "deep":
        for _ in range(rng.choice((3, 30, 90))):
            before = rng.choice(([before], {"a": before}))
        where[key] = before
    else:
        alike = [one for one in odd if type(one) is type(before)] if what == "alike" else []
        what, where[key] = "other", rng.choice(alike or odd)
    return f"{key} {what}"


TEXTS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit flipped": lambda text, rng: _with(text, rng, lambda byte: byte ^ 1 << rng.randrange(8)),
    "a byte other": lambda text, rng: _with(text, rng, lambda byte: rng.randrange(256)),
    "cut": lambda text, rng: text[: rng.randrange(len(text))],
    "a line gone": lambda text, rng: b"\n".join(_lines(text, rng, keep=False)),
    "a line twice": lambda text, rng: b"\n".join(_lines(text, rng, keep=True)),
    "byte order mark": lambda text, rng: b"\xef\xbb\xbf" + text,
    "CR LF": lambda text, rng: text.replace(b"\n", rng.choice((b"\r\n", b"\r"))),
    "UTF-16": lambda text, rng: text.decode(errors="replace").encode("utf-16"),
    "control characters": lambda text, rng: _at(
        text, rng, rng.choice((b"\x00", b"\x1b[2J", b"\x7f", b"\x85", b"\x0c"))
    ),
    "no UTF-8": lambda text, rng: _at(text, rng, rng.choice((b"\xff", b"\xed\xa0\x80", b"\xc3"))),
    "brackets": lambda text, rng: _at(
        text, rng, rng.choice((b"[", b"]", b'"', b"'''", b"[[", b"=", b"{")) * rng.choice((1, 5000))
    ),
    "empty": lambda text, rng: rng.choice((b"", b"\n", b"#", bytes(100), b"[" * 100_000)),
    "dots": lambda text, rng: text + b"\n" + b".".join([b"a"] * rng.choice((3, 5000))) + b" = 1\n",
}
"""What becomes of the text of a spec."""


def _with(text: bytes, rng: random.Random, change: Callable[[int], int]) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + bytes([change(text[at])]) + text[at + 1 :]


def _at(text: bytes, rng: random.Random, more: bytes) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + more + text[at:]


def _lines(text: bytes, rng: random.Random, *, keep: bool) -> list[bytes]:
    lines = text.split(b"\n")
    at = rng.randrange(len(lines))
    return [*lines[:at], *([lines[at]] * 2 if keep else []), *lines[at + 1 :]]


class Specs:
    """Each case is a file, planned without images, and with the digits where it can be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shipped = sorted((REPOSITORY / "jobs" / "spec" / "shipped").glob("*.toml"))
        (folder / "empty").mkdir()

    def case(self, rng: random.Random) -> tuple[str, dict[str, Call]]:
        """One spec; returns what it is, and what is done with it."""
        import tomllib

        shipped = rng.choice(self.shipped)
        text, about = shipped.read_bytes(), [shipped.stem]
        if rng.random() < 0.75:
            table = tomllib.loads(text.decode())
            if rng.random() < 0.1:
                table["experiments"] = [{"name": "a"}, {"name": "b", "seed": 1, "sweep": {"classes": ["3"]}}]
            about += [change(table, rng, ODD) for _ in range(rng.choice((1, 1, 2, 4)))]
            text = as_toml(table).encode(errors="surrogatepass")
        else:
            for _ in range(rng.choice((1, 1, 2))):
                what = rng.choice(list(TEXTS))
                text = TEXTS[what](text or b"\n", rng)
                about.append(what)
        path = self.folder / rng.choice(("spec.toml", "spec.toml", "spec", "é \u202e.toml", "a'b\n.toml"))
        path.write_bytes(text)
        more = rng.choice(([], ["--json"], ["--images", self.folder / "empty"], ["--root", self.folder / "none"]))
        return ", ".join(about), {"plan": dkvb("plan", path, *more), "make_plan": lambda: self.plan(path)}

    @staticmethod
    def plan(path: Path) -> None:
        """Plan it with the digits for images, whatever it names."""
        from jobs.errors import JobsError
        from jobs.plan.plan import make_plan, waves
        from jobs.printable import say
        from jobs.spec.reading import as_table, load_specs
        from store.errors import StoreError

        try:
            specs = load_specs(str(path))
            digits = load_specs("digits")[0].images
            for spec in specs:
                plan = make_plan(replace(spec, images=digits), None)
                waves([plan])
                as_table(spec)
        except (JobsError, StoreError) as error:
            say(f"dkvb: {error}", err=True)
            raise SystemExit(2) from None
