"""Coordinates: what stands along the axes of a group's arrays, stored beside them for every reader of Zarr.

A group is labelled when its arrays are complete: coordinates first, and last the metadata of all that is in it
(consolidated metadata), by which a reader finds everything in one file. All of it follows from what is there, so that
it can be made again, to the byte.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import ZarrUserWarning

from store.arrays import create, group, parts, rows_of, write
from store.chunks import METADATA
from store.files import exists, read_bytes, write_atomic
from store.json import from_json
from store.layout import ARRAYS, BLOCK, COORDINATES, FLAT, GROUP_FORMAT
from store.places import Place, reported


@dataclass(frozen=True, slots=True)
class Coordinate:
    """What stands at each place of one axis."""

    name: str
    """Its entry in `store.layout.COORDINATES`; that of its own axis is what `sel` of xarray looks in."""
    axis: str
    values: NDArray[Any]
    """(length of the axis,) texts or integers."""


def label(data: Place, coordinates: Sequence[Coordinate]) -> None:
    """Write coordinates beside the arrays of a group; those that a killed run left are written over.

    raises: ChunkMismatch where one of another length is there.
    """
    for each in coordinates:
        create(data, each.name, each.values.shape, dims=(each.axis,))
        write(data, each.name, storable(each.values))


def consolidate(data: Place, coordinates: Sequence[Coordinate], about: Mapping[str, Any]) -> None:
    """Write a group's metadata with that of all that lies in it: what makes coordinates be seen.

    about: attributes of the group, for whoever has nothing else.
    """
    # xarray takes for coordinates what is named like its axis, and what this attribute names (CF conventions).
    further = " ".join(each.name for each in coordinates if each.name != each.axis)
    named = {"coordinates": further} if further else {}
    with reported(data), warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # it says that this is no part of the standard yet
        opened = group(data)
        opened.update_attributes({"format": GROUP_FORMAT, **about, **named})
        zarr.consolidate_metadata(opened.store, zarr_format=3)


def group_format(data: Place, *, whole: bool) -> str | None:
    """What a group says of its own format, unchecked; None where an older version wrote it.

    whole: None as well where `consolidate` began to write it, and did not come to its end.
    """
    try:
        about = from_json(read_bytes(data / METADATA))
        return str(about["attributes"]["format"]) if about.get("consolidated_metadata") or not whole else None
    except (AttributeError, FileNotFoundError, LookupError, TypeError, ValueError):
        return None


def join_rows(data: Place, name: str) -> None:
    """Write the parts of a sub-group as one array, one after the other along their first axis."""
    pieces = parts(data, name)
    rows = sum(piece.shape[0] for piece in pieces)
    create(data, FLAT[name], (rows, *pieces[0].shape[1:]))
    for start in range(0, rows, BLOCK):
        write(data, FLAT[name], rows_of(pieces, start, start + BLOCK), start=start)


def join_columns(data: Place, name: str) -> None:
    """Write the parts of a sub-group as one array, side by side along their last axis; read into memory as a whole."""
    whole = np.concatenate([piece[...] for piece in parts(data, name)], axis=-1)
    create(data, FLAT[name], whole.shape)
    write(data, FLAT[name], whole)


def rename_axes(data: Place, names: Sequence[str]) -> None:
    """Give the axes of arrays the names of the layout, where an older version named them otherwise.

    names: of the arrays; those that are not there are passed over.
    """
    for name in names:
        if exists(data / name / METADATA) and axes(data, name) != ARRAYS[name].dims:
            path = data / name / METADATA
            about = {**from_json(read_bytes(path)), "dimension_names": list(ARRAYS[name].dims)}
            write_atomic(path, json.dumps(about, indent=2).encode())


def axes(data: Place, name: str) -> tuple[str, ...] | None:
    """What an array says of the names of its axes, unchecked; None where that cannot be read."""
    try:
        return tuple(from_json(read_bytes(data / name / METADATA))["dimension_names"])
    except (FileNotFoundError, LookupError, TypeError, ValueError):
        return None


def made_when_closed(name: str) -> bool:
    """Whether a file of a group is written when its artefact is closed, and follows from others.

    name: its path in the Zarr group.
    """
    first = name.partition("/")[0]
    return first == METADATA or first in COORDINATES or first in FLAT.values()


def storable(values: NDArray[Any]) -> NDArray[Any]:
    """Texts as UTF-8 can hold them: names of files may have bytes in them that are none; numbers as they are."""
    if values.dtype != object:
        return values
    return np.array([str(text).encode(errors="backslashreplace").decode() for text in values], object)
