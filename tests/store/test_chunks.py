"""What is read without Zarr is what Zarr reads."""

import json

import numpy as np
import pytest
import zarr
from numcodecs import zstd

from store import arrays
from store.arrays import open_array
from store.artefacts import Artefact, open_root
from store.chunks import unpacked_size
from store.errors import ArtefactDamaged, NotARoot
from store.layout import ARRAYS, BLOCK, chunk_shape, dtypes, layout_of

NAMES = [*ARRAYS, "class", "item_key_test", "shard", "forget class"]
"""Those of the steps, and coordinates that are texts."""
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


def is_text(name):
    return layout_of(name).dtype == "string"


@pytest.fixture
def artefact(tmp_path):
    return Artefact(open_root(tmp_path / "root", create=True), "codes", "0" * 16)


def made(artefact, name):
    """An array of a kind, and what it holds: several chunks where chunks are that small."""
    how = layout_of(name)
    shape = [SIZES.get(axis, 8209 if how.chunk.get(axis) == BLOCK else 2053) for axis in how.dims]
    path = f"{name}/00000" if how.each else name
    content = np.random.default_rng(0).integers(0, 100, shape).astype("int64" if is_text(name) else dtypes(how)[0])
    if is_text(name):
        content = np.array([f"köter/{'x' * number}\0{number}" if number else "" for number in content], object)
    arrays.create(artefact.data, path, shape, dtype=dtypes(how)[0] if how.dtype == "count" else None)
    arrays.write(artefact.data, path, content)
    return path, content


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_array_is_read_as_zarr_reads_it(name, artefact):
    path, content = made(artefact, name)
    array, by_zarr = open_array(artefact.data, path), zarr.open_array(artefact.data / path, mode="r")
    assert array.shape == by_zarr.shape
    assert is_text(name) or (array.dtype, array.nbytes) == (str(by_zarr.dtype), by_zarr.nbytes)
    assert array[...].dtype == content.dtype
    assert np.array_equal(array[...], content)
    assert np.array_equal(by_zarr[...], content)
    cut = [a / b for a, b in zip(chunk_shape(layout_of(name), content.shape), content.shape, strict=True)]
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


@pytest.mark.parametrize("name", ["codes", "keys", "item_key"])
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


def text_chunk(*texts, count=None):
    """A chunk of texts as Zarr writes it: how many there are, then the length of each and its bytes."""
    parts = [len(text).to_bytes(4, "little") + text for text in texts]
    return zstd.compress((len(texts) if count is None else count).to_bytes(4, "little") + b"".join(parts))


DAMAGED_TEXTS = {
    "fewer": text_chunk(b"a", b"b"),
    "more": text_chunk(b"a", b"b", b"c", b"d"),
    "a count that no memory holds": text_chunk(b"a", b"b", b"c", count=2**31 - 1),
    "fewer than it says": text_chunk(b"a", b"b", count=3),
    "a length past the end": zstd.compress(b"\3\0\0\0" + b"\1\0\0\0a" * 2 + b"\xff\xff\xff\x7fa"),
    "no UTF-8": text_chunk(b"a", b"\xff", b"c"),
    "nothing": zstd.compress(b""),
}


@pytest.mark.parametrize("case", DAMAGED_TEXTS)
def test_texts_that_are_none_are_damage(case, artefact):
    arrays.create(artefact.data, "item_key", (3,))
    arrays.write(artefact.data, "item_key", np.array(["a", "b", "c"], object))
    chunk = artefact.data / "item_key/c/0"
    assert zstd.decompress(chunk.read_bytes()) == zstd.decompress(text_chunk(b"a", b"b", b"c"))
    chunk.write_bytes(DAMAGED_TEXTS[case])
    with pytest.raises(ArtefactDamaged, match="a chunk cannot be read"):
        open_array(artefact.data, "item_key")[...]


@pytest.mark.parametrize(
    "about", [{"data_type": "int32"}, {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}]
)
def test_texts_whose_metadata_say_otherwise_are_refused(about, artefact):
    arrays.create(artefact.data, "item_key", (3,))
    file = artefact.data / "item_key/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **about}))
    with pytest.raises(NotARoot, match="item_key"):
        open_array(artefact.data, "item_key")


@pytest.mark.parametrize("level", [1, 9])
def test_the_size_of_a_frame_is_that_of_what_it_holds(level):
    for size in (0, 1, 5, 255, 256, 257, 65535, 65536, 65791, 65792, 10**6):
        for content in (bytes(size), np.random.default_rng(0).bytes(size)):
            assert unpacked_size(zstd.compress(content, level)) == size
    told = zstd.compress(bytes(257), 1)
    assert [unpacked_size(told[:cut]) for cut in range(5)] == [None] * 5


def test_a_frame_that_does_not_say_its_size_is_read_too(artefact):
    arrays.create(artefact.data, "label", (3,), dims=("item",))
    arrays.write(artefact.data, "label", np.array([1, 2, 3], np.int32))
    chunk = artefact.data / "label/c/0"
    block = np.array([4, 5, 6], "<i4").tobytes()
    header = (len(block) << 3 | 1).to_bytes(3, "little")  # the last block, as it is
    chunk.write_bytes(b"\x28\xb5\x2f\xfd" + b"\x00\x58" + header + block)  # no size, a window of 2 MB
    assert unpacked_size(chunk.read_bytes()) is None
    assert open_array(artefact.data, "label")[...].tolist() == [4, 5, 6]
