"""Findings: what is wrong in a cluster file, where, and what to do about it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cluster.files.document import Document, Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or probably not intended."""

    file: str
    """The file's path, as it was given."""
    line: int
    """Counted from 1."""
    severity: Literal["error", "warning"]
    """A file with errors does not start the intended cluster; warnings are for the reader to judge."""
    where: str
    """The path to the value, dotted."""
    found: str
    """What is there; never a secret."""
    expected: str
    """What belongs there."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.severity}: {self.where}: "
            f"found {self.found}, expected {self.expected}; {self.remedy}"
        )

    def row(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return asdict(self)


class Notes:
    """The findings in one document, gathered by its checks."""

    def __init__(self, file: str, document: Document) -> None:
        self.file = file
        self.document = document
        self._made: dict[tuple[Keys, str], Finding] = {}

    def error(self, keys: Keys, found: object, *, expected: str, remedy: str) -> None:
        """Note what keeps the file from working as intended."""
        self._note("error", keys, found, (expected, remedy))

    def warning(self, keys: Keys, found: object, *, expected: str, remedy: str) -> None:
        """Note what is probably not intended."""
        self._note("warning", keys, found, (expected, remedy))

    def _note(self, severity: Literal["error", "warning"], keys: Keys, found: object, says: tuple[str, str]) -> None:
        self._made.setdefault(
            (self.document.same.get(keys, keys), says[0]),  # what aliases repeat is one mistake
            Finding(
                file=self.file,
                line=self.document.line(keys),
                severity=severity,
                where=_plain(dotted(keys)),
                found=_plain(shown(found)),
                expected=_plain(says[0]),
                remedy=says[1],
            ),
        )

    def has(self, keys: Keys) -> bool:
        """Whether anything was noted at these keys."""
        return any(noted == keys for noted, _ in self._made)

    def has_error(self, keys: Keys) -> bool:
        """Whether an error was noted at these keys or below them."""
        keys = self.document.same.get(keys, keys)
        return any(
            finding.severity == "error" and noted[: len(keys)] == keys for (noted, _), finding in self._made.items()
        )

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self._made.values(), key=lambda finding: finding.line))


def dotted(keys: Keys) -> str:
    """`spec.workerGroupSpecs[0].replicas`; `the file` for the top."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".") or "the file"


def shown(value: object) -> str:
    """A value on one short line."""
    text = "" if value is None else " ".join(str(value).split())
    text = (text.lower() if isinstance(value, bool) else text) or "nothing"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(text: str) -> str:
    """The text without what a terminal would obey or could not show: the file may come from anyone."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
