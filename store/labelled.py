"""Arrays of a root with names along their axes, as xarray has them: made in memory, nothing on the root is changed."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from store.arrays import open_array
from store.places import Place
from store.zarr_store import zarr_store

Labelled: TypeAlias = Any
"""An `xarray.DataArray`. Where xarray is not installed: a `store.arrays.StoredArray`, or the NumPy array given."""

Coordinates: TypeAlias = Mapping[str, tuple[str, Sequence[Any] | NDArray[Any]]]
"""Name of a coordinate -> the axis it lies along, and what stands at each place of that axis."""


def labelled(data: Place, name: str, coordinates: Coordinates) -> Labelled:
    """One array of a group, with coordinates; chunks are read, and checked, when they are needed.

    data: Zarr group; name: of an array in it.
    raises: ArtefactMissing, ArtefactDamaged, NotARoot.
    """
    array = open_array(data, name)  # refuses what is not written by dkvb
    if not has_xarray():
        return array
    import xarray

    group = xarray.open_dataset(zarr_store(data), engine="zarr", consolidated=False, zarr_format=3, chunks=None)
    return group[name].assign_coords(coordinates)


def with_coordinates(values: NDArray[Any], axes: Sequence[str], coordinates: Coordinates) -> Labelled:
    """An array that is in memory already, with coordinates; axes: their names, in order."""
    if not has_xarray():
        return values
    import xarray

    return xarray.DataArray(values, dims=axes, coords=dict(coordinates))


def has_xarray() -> bool:
    """Whether xarray is installed."""
    return importlib.util.find_spec("xarray") is not None
