"""What is read without Zarr is what Zarr reads."""

import numpy as np
import pytest
import zarr

from store import arrays
from store.arrays import open_array
from store.artefacts import Artefact, open_root
from store.errors import ArtefactDamaged
from store.layout import ARRAYS, BLOCK, chunk_shape, dtypes

NUMBERS = [name for name, how in ARRAYS.items() if how.dtype != "string"]
SIZES = {
    "class": 5,
    "codebook": 19,
    "key": 7,
    "d_z": 3,
    "d_k": 2,
    "rank": 2,
    "forget class": 3,
    "head": 37,
    "method": 2,
}


@pytest.fixture
def artefact(tmp_path):
    return Artefact(open_root(tmp_path / "root", create=True), "codes", "0" * 16)


def made(artefact, name):
    """An array of a kind, and what it holds: several chunks where chunks are that small."""
    how = ARRAYS[name]
    shape = [SIZES.get(axis, 8209 if how.chunk.get(axis) == BLOCK else 2053) for axis in how.dims]
    path = f"{name}/00000" if how.each else name
    content = np.random.default_rng(0).integers(0, 100, shape).astype(dtypes(how)[0])
    arrays.create(artefact.data, path, shape, dtype=dtypes(how)[0] if how.dtype == "count" else None)
    arrays.write(artefact.data, path, content)
    return path, content


@pytest.mark.parametrize("name", NUMBERS)
def test_every_kind_of_array_is_read_as_zarr_reads_it(name, artefact):
    path, content = made(artefact, name)
    array, by_zarr = open_array(artefact.data, path), zarr.open_array(artefact.data / path, mode="r")
    assert (array.shape, array.dtype, array.nbytes) == (by_zarr.shape, str(by_zarr.dtype), by_zarr.nbytes)
    assert array[...].dtype == content.dtype
    assert np.array_equal(array[...], content)
    assert np.array_equal(by_zarr[...], content)
    cut = [a / b for a, b in zip(chunk_shape(ARRAYS[name], content.shape), content.shape, strict=True)]
    axis = int(np.argmin(cut))
    n = content.shape[axis]
    for at in (slice(1, n), slice(n // 2, None), n - 1, -1, slice(2, 2), slice(0, n + 9)):
        index = (*[slice(None)] * axis, at)
        assert np.array_equal(array[index], content[index])
        assert np.array_equal(array[index], by_zarr[index])
    rows = np.flatnonzero(np.random.default_rng(1).random(len(content)) < 0.3)
    assert np.array_equal(array.rows(rows), content[rows])
    assert np.array_equal(array.rows(rows[:0]), content[:0])
    assert array[...].flags.writeable


def test_what_was_never_written_reads_as_the_fill(artefact):
    arrays.create(artefact.data, "neighbours", (2053, 3, 2))
    arrays.write(artefact.data, "neighbours", np.ones((1024, 3, 2), np.int16), start=1024)
    found = open_array(artefact.data, "neighbours")[...]
    assert (found[1024:2048] == 1).all()
    assert (found[:1024] == -1).all()
    assert (found[2048:] == -1).all()


def test_rows_and_numbers_outside_are_refused(artefact):
    arrays.create(artefact.data, "codes", (7, 3))
    array = open_array(artefact.data, "codes")
    for at in (7, -8, (0, 3), slice(None, None, 2)):
        with pytest.raises(IndexError):
            array[at]
    with pytest.raises(IndexError):
        array.rows(np.array([0, 7]))


@pytest.mark.parametrize("name", ["codes", "keys"])
@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_a_damaged_chunk_without_a_checksum_ends_in_one_message(name, damage, artefact):
    path, _ = made(artefact, name)
    chunk = next(file for file in (artefact.data / path / "c").rglob("*") if file.is_file())
    chunk.write_bytes(damage(chunk.read_bytes()))
    with pytest.raises(ArtefactDamaged, match="a chunk cannot be read"):
        open_array(artefact.data, path)[...]


def test_a_chunk_of_another_size_is_damage(artefact):
    for name, shape in (("codes", (7, 3)), ("neighbours", (7, 3, 2))):
        arrays.create(artefact.data, name, shape)
        arrays.write(artefact.data, name, np.ones(shape, np.int16))
    (artefact.data / "codes/c/0/0").write_bytes((artefact.data / "neighbours/c/0/0/0").read_bytes())
    with pytest.raises(ArtefactDamaged, match="a chunk cannot be read"):
        open_array(artefact.data, "codes")[...]
