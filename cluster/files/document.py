"""YAML read safely, with the line of every value: what a finding points at."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import yaml

from cluster.errors import UnreadableYaml

Keys = tuple[str | int, ...]
"""The path from the top of a document to a value: keys of mappings and indices of lists."""

_MOST_VALUES = 20_000
"""Values in a document with its aliases written out; a cluster file has a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a YAML file."""

    value: Any
    """Plain dictionaries, lists and scalars."""
    lines: Mapping[Keys, int]
    """The line of each key or list item."""
    texts: tuple[tuple[Keys, str], ...]
    """Every string in it, with its keys; where aliases stand for it, once."""
    same: Mapping[Keys, Keys]
    """Of a value that an alias stands for: where it is first."""
    twice: tuple[Keys, ...]
    """Keys given twice in one mapping; YAML keeps the last and says nothing."""

    def line(self, keys: Keys) -> int:
        """The line of a value, or of the nearest key above it that is in the document."""
        while keys not in self.lines:
            keys = keys[:-1]
        return self.lines[keys]


@dataclass(slots=True)
class _Walk:
    """What a walk through the nodes of one document gathers."""

    lines: dict[Keys, int] = field(default_factory=dict)
    texts: list[tuple[Keys, str]] = field(default_factory=list)
    first: dict[int, Keys] = field(default_factory=dict)
    same: dict[Keys, Keys] = field(default_factory=dict)
    twice: list[Keys] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)


def read_documents(text: str) -> list[Document]:
    """The documents of a YAML text that are not empty.

    raises: UnreadableYaml.
    """
    try:
        return list(_documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" ({error.context})" if error.context else ""
        problem = str(error.problem)
        problem = problem.removeprefix("found ") if problem.startswith("found ") else f"what cannot be read: {problem}"
        raise UnreadableYaml(line=mark.line + 1 if mark else 1, problem=f"{problem}{context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableYaml(line=line, problem=f"the character #x{error.character:04x}") from error
    except RecursionError as error:
        raise UnreadableYaml(line=1, problem="values nested too deeply") from error
    except ValueError as error:  # a scalar that looks like a date or a number but is neither
        raise UnreadableYaml(line=1, problem=str(error)) from error


def _documents(text: str) -> Iterator[Document]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            walk = _Walk()
            _visit(node, (), walk)
            value = loader.construct_document(node)
            if value is not None:
                texts, twice = (*walk.texts,), (*walk.twice,)
                yield Document(value=value, lines=walk.lines, texts=texts, same=walk.same, twice=twice)
    finally:
        loader.dispose()


def _visit(node: yaml.Node, keys: Keys, walk: _Walk) -> None:
    line = node.start_mark.line + 1
    walk.lines.setdefault(keys, line)
    if id(node) in walk.open:
        raise UnreadableYaml(line=line, problem="an alias inside what it stands for")
    if len(walk.lines) > _MOST_VALUES:
        raise UnreadableYaml(line=line, problem=f"more than {_MOST_VALUES:,} values with the aliases written out")
    walk.same[keys] = walk.first.setdefault(id(node), keys)
    walk.open.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _visit_mapping(node, keys, walk)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _visit(item, (*keys, index), walk)
    elif node.tag == "tag:yaml.org,2002:str" and id(node) not in walk.seen:
        walk.texts.append((keys, node.value))
    walk.seen.add(id(node))
    walk.open.discard(id(node))


def _visit_mapping(node: yaml.MappingNode, keys: Keys, walk: _Walk) -> None:
    names: set[str] = set()
    for key, item in node.value:
        name = str(key.value)
        if name in names and name != "<<":
            walk.twice.append((*keys, name))
        names.add(name)
        inside = keys if name == "<<" else (*keys, name)
        walk.lines[inside] = key.start_mark.line + 1
        _visit(item, inside, walk)


def at(value: Any, *keys: str | int) -> Any:
    """The value at these keys; None where there is none."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def mapping(value: Any, *keys: str | int) -> dict[str, Any]:
    """The mapping at these keys; an empty one where there is none."""
    inside = at(value, *keys)
    return inside if isinstance(inside, dict) else {}


def sequence(value: Any, *keys: str | int) -> list[Any]:
    """The list at these keys; an empty one where there is none."""
    inside = at(value, *keys)
    return inside if isinstance(inside, list) else []


def whole(value: Any, *keys: str | int) -> int | None:
    """The whole number at these keys; None where there is none."""
    number = at(value, *keys)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def word(value: Any, *keys: str | int) -> str:
    """The value at these keys as text, whatever its type, so that it can be looked up and named; "" for none."""
    inside = at(value, *keys)
    return "" if inside is None else str(inside)


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.75) -> str | None:
    """The known name that was probably meant."""
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(str(name).lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None
