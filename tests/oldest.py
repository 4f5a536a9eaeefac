"""Print the oldest version of each dependency that pyproject.toml allows, as constraints for pip: `make test-oldest`.

Run by its path, before anything is installed, so it uses Python alone. Extras for object stores are left out: each of
their versions asks for one version of fsspec.
"""

import re
import sys
import tomllib
from pathlib import Path

EXTRAS = ("cluster", "report", "sign", "sql", "xarray")


def oldest(project: dict[str, object]) -> list[str]:
    """`name==version` of each dependency, and of those of EXTRAS; raises: ValueError for one without a lower bound."""
    asked = [*project["dependencies"], *(each for name in EXTRAS for each in project["optional-dependencies"][name])]  # type: ignore[misc, index]
    return [pinned(text) for text in asked]


def pinned(requirement: str) -> str:
    """The oldest version of one requirement, without its extras, which constraints may not have."""
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[.*\])?>=([0-9][0-9.]*)(?:,<.*)?", requirement)
    if found is None:
        raise ValueError(f"{requirement}: expected NAME>=VERSION,<VERSION")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    sys.stdout.write(
        "\n".join(oldest(tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"])) + "\n"
    )
