"""What a page is made of: sections of blocks, each a record that the template of its kind draws.

Texts are plain; the templates escape them. Names of classes come from strangers: `name` makes them fit to be shown.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from jobs.printable import shown
from jobs.report.svg import Drawing

LONGEST = 60
"""Columns that a name takes at most; what is longer is cut, and its class number then tells it apart."""
MARKS = 4
"""Marks above and below one letter at most: more would cover other lines, and no script needs them."""
WORST = 50
"""Rows of a table that are open; the whole table stands below them, folded."""
NOTHING = "–"
"""In place of a number that there is not."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    detail: str = ""
    """A second line, smaller."""
    value: float | None = None
    """What a column of numbers is sorted by."""
    name: bool = False
    """Whether it is a text from elsewhere, of any script and length: set apart from the text around it."""


@dataclass(frozen=True, slots=True)
class Column:
    """Head of a column."""

    title: str
    numeric: bool = False
    sorted: str = "none"
    """ "ascending" or "descending" in the column that the rows come sorted by."""
    names: bool = False
    """Whether it shows names, though it is sorted by numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, the rows that matter most first."""

    kind: ClassVar[str] = "table"
    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    open: int = WORST
    """Rows that are not folded away."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """Head of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms and what each is."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tile:
    """One number that is to be seen first."""

    label: str
    number: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Numbers in a row."""

    kind: ClassVar[str] = "tiles"
    items: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Figures:
    """Drawings that stand side by side where there is room."""

    kind: ClassVar[str] = "figures"
    drawings: Sequence[Drawing]


@dataclass(frozen=True, slots=True)
class Code:
    """Commands or a file, to be copied; folded: behind its head."""

    kind: ClassVar[str] = "code"
    text: str
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not there, and the command that makes it."""

    kind: ClassVar[str] = "missing"
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class Explorer:
    """The place of what needs a script: one class along N."""

    kind: ClassVar[str] = "explorer"


Block: TypeAlias = Table | Paragraph | Heading | Bullets | Facts | Tiles | Figures | Code | Missing | Explorer


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a place in its contents."""

    id: str
    title: str
    blocks: Sequence[Block]


def width(character: str) -> int:
    """Columns that a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += width(character)
        if taken > most - (place + 1 < len(text)):
            return text[:place] + "…"
    return text


def few_marks(text: str) -> str:
    """A text without the marks that one letter has beyond `MARKS`."""
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= MARKS:
            kept.append(character)
    return "".join(kept)


def name(text: str, k: int | None = None) -> str:
    """The name of a class, fit to be shown, and with its number where it had to be cut; k: index of the class."""
    whole = shown(text) or '""'
    cut = clip(few_marks(whole), LONGEST)
    return cut if cut == whole or k is None else f"{cut} (#{k})"


def isolated(text: str) -> str:
    """A name for the middle of a sentence: between marks that keep its direction to itself."""
    return f"\u2068{text}\u2069"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number for people, with a true minus."""
    if value is None:
        return NOTHING
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if not text.strip("+-0.,"):
        text = text.strip("+-")  # nothing is not negative
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None, digits: int = 2) -> str:
    """A number that is one of per cent already, with its sign, on one line of a page."""
    return NOTHING if value is None else f"{number(value, digits)}\N{NO-BREAK SPACE}%"


def number_cell(value: float | None, digits: int = 2, *, sign: bool = False, detail: str = "") -> Cell:
    """A number in a table."""
    return Cell(number(value, digits, sign=sign), detail, value)


def text_cell(value: object) -> Cell:
    """A short text of ours in a table."""
    return Cell(NOTHING if value is None else shown(str(value)))


def free_cell(value: object) -> Cell:
    """A text that somebody gave, in a table."""
    return Cell(NOTHING) if value is None else Cell(clip(shown(str(value)), 4 * LONGEST), name=True)


def name_cell(text: str, k: int | None = None) -> Cell:
    """The name of a class in a table."""
    return Cell(name(text, k), name=True)
