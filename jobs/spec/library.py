"""The specs that come with the package, as texts: without the libraries that reading a spec takes."""

import re
from pathlib import Path

from dkvb.limits import nearest
from jobs.errors import BadSpec

SHIPPED = Path(__file__).parent / "shipped"


def shipped() -> list[str]:
    """Names of the specs that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def shipped_text(name: str) -> str:
    """A spec that comes with the package, as its file has it; raises: BadSpec."""
    if name not in shipped():
        raise BadSpec(f"{name}: no shipped spec{nearest(name, shipped())} (shipped: {', '.join(shipped())})")
    return (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")


def about_shipped() -> dict[str, str]:
    """Name -> what it is, in the first words of its file."""
    heads = {name: re.match(r"# (.*?)(?:\.\s|\n)", shipped_text(name)) for name in shipped()}
    return {name: head[1].rstrip(".") if head else "" for name, head in heads.items()}
