"""Kubernetes quantities: `500m`, `2`, `16Gi`."""

import re

from cluster.files.document import Keys, mapping
from cluster.files.finding import Notes

_UNITS = {unit: 1000.0**power for power, unit in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}


def quantity(given: object) -> float | None:
    """A Kubernetes quantity as a number: `500m` is 0.5, `1Gi` is 1073741824; None for what is none."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([a-zA-Z]{0,2})", str(given), re.ASCII)
    return float(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else None


def amount(number: float) -> str:
    """A quantity for people."""
    return f"{number / 1024**3:.1f}Gi" if number >= 1024**2 else f"{number:g}"


def check_quantity(notes: Notes, keys: Keys, given: object) -> None:
    """Note what is no quantity; in the words of `schemas`, which finds it where there is a CRD."""
    if quantity(given) is None:
        found = f'"{given}"' if isinstance(given, str) else given
        notes.error(keys, found, expected="a quantity, as 500m, 2 or 16Gi", remedy="correct it")


def check_limits(notes: Notes, keys: Keys, resources: object) -> None:
    """Note what is no quantity in a container's resources, and what is requested above its limit."""
    requests, limits = mapping(resources, "requests"), mapping(resources, "limits")
    for kind, given in (("requests", requests), ("limits", limits)):
        for name, each in given.items():
            check_quantity(notes, (*keys, kind, str(name)), each)
    for name in requests.keys() & limits.keys():
        least, most = quantity(requests[name]), quantity(limits[name])
        if least is not None and most is not None and least > most:
            expected, remedy = f"at most the limit, {limits[name]}", "lower it, or raise the limit"
            notes.error((*keys, "requests", str(name)), requests[name], expected=expected, remedy=remedy)
