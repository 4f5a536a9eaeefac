"""Arrays: created once, written in whole chunks, read in parts; nothing is lost and nothing made by accident."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.errors import ContainsGroupError

from store import arrays
from store.errors import ArtefactMissing, ChunkMismatch
from store.layout import ARRAYS, BLOCK, CODEBOOKS

SHARDS = (5, 1, 7, 3)


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data.zarr"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """Embeddings in ragged shards, and the rows of all of them."""
    data = tmp_path_factory.mktemp("sharded") / "data.zarr"
    rows = np.arange(sum(SHARDS) * 2).reshape(-1, 2).astype(np.float16)
    start = 0
    for number, size in enumerate(SHARDS):
        arrays.create(data, f"embeddings/{number:05d}", (size, 2))
        arrays.write(data, f"embeddings/{number:05d}", rows[start : start + size])
        start += size
    return data, rows


def test_a_group_that_another_driver_makes_meanwhile_is_used(tmp_path, monkeypatch):
    """Zarr looks whether there is a group, then writes one, and refuses where one came in between."""
    arrays.create(tmp_path / "data.zarr", "codes", (7, 3))
    usual = zarr.open_group

    def open_group(store, *, mode, **more):
        if mode == "a":
            raise ContainsGroupError("A group exists in store")
        return usual(store, mode=mode, **more)

    monkeypatch.setattr(zarr, "open_group", open_group)
    arrays.create(tmp_path / "data.zarr", "counts", (2, 3, 5), dtype="uint16")
    assert arrays.open_array(tmp_path / "data.zarr", "counts").shape == (2, 3, 5)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rising(shape, dtype):
    if dtype == "string":
        return np.array([f"köter/{i}\0" for i in range(*shape)], object)
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


SHAPES = {
    "item_key": (17,),
    "z": (17, 5),
    "embeddings": (7, 5),
    "labels": (7,),
    "projection": (11, 5, 3),
    "keys": (11, 13, 3),
    "codes": (17, 11),
    "neighbours": (17, 11, 5),
    "counts": (3, 11, 13),
    "counts_by_codebook": (3, 11, 13),
    "oracle_logits_train": (2, 17, 3),
    "oracle_logits_test": (2, 7, 3),
    "oracle_lda_logits_train": (2, 17, 3),
    "oracle_lda_logits_test": (2, 7, 3),
    "margins": (19, 4, 5),
    "margin": (19, 4, 11),
    "whole_keys": (11, 13, 3),
    "class_sums": (11, 3, 4),
    "moments": (11, 3, 33),
}


def test_there_is_a_case_for_every_array_of_the_layout():
    assert SHAPES.keys() == ARRAYS.keys()


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_reads_back_as_it_was_written(name, data):
    how = ARRAYS[name]
    dtype = "uint16" if how.dtype == "count" else how.dtype
    arrays.create(data, name, SHAPES[name], dtype=dtype)
    block = rising(SHAPES[name], dtype)
    arrays.write(data, name, block)
    found = arrays.read(data, name)
    assert dtype in ("string", found.dtype)
    np.testing.assert_array_equal(found, block)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_metadata_say_what_the_axes_are(name, data):
    how = ARRAYS[name]
    dtype = "uint16" if how.dtype == "count" else how.dtype
    arrays.create(data, name, SHAPES[name], dtype=dtype, attributes={"shard": "one"})
    about = json.loads((data / name / "zarr.json").read_text())
    assert about["zarr_format"] == 3
    assert about["dimension_names"] == list(how.dims)
    assert about["data_type"] == dtype
    assert about["attributes"] == {"meaning": how.meaning, "shard": "one"}
    assert about["fill_value"] == how.fill
    chunks = [min(how.chunk.get(axis, size), size) for axis, size in zip(how.dims, SHAPES[name], strict=True)]
    assert about["chunk_grid"]["configuration"]["chunk_shape"] == chunks


def test_every_level_of_the_group_can_be_opened_by_other_programs(data):
    arrays.create(data, "embeddings/00000", (3, 5))
    for folder in (data, data / "embeddings"):
        assert json.loads((folder / "zarr.json").read_text())["node_type"] == "group"


def test_what_was_never_written_reads_as_missing(data):
    arrays.create(data, "codes", (7, 3))
    arrays.create(data, "labels/00000", (5,))
    assert (arrays.read(data, "codes") == -1).all()
    assert (arrays.read(data, "labels/00000") == -1).all()


def test_creating_again_keeps_what_was_written(data):
    arrays.create(data, "codes", (7, 3))
    arrays.write(data, "codes", np.ones((7, 3), np.int16))
    arrays.create(data, "codes", (7, 3))
    assert (arrays.read(data, "codes") == 1).all(), "what another driver wrote was wiped"


def test_an_array_of_another_shape_is_refused_and_kept(data):
    arrays.create(data, "codes", (7, 3))
    with pytest.raises(ChunkMismatch, match=r"shape \(7, 3\), expected \(5, 3\)"):
        arrays.create(data, "codes", (5, 3))
    assert arrays.read(data, "codes").shape == (7, 3)


def test_counts_take_two_bytes_while_they_fit():
    assert arrays.count_dtype(0) == "uint16"
    assert arrays.count_dtype(65535) == "uint16"
    assert arrays.count_dtype(65536) == "uint32"


def test_opening_never_creates(data):
    with pytest.raises(ArtefactMissing, match="codes"):
        arrays.open_array(data, "codes")
    assert not data.exists()
    arrays.create(data, "keys", (2, 3, 5))
    before = files(data)
    with pytest.raises(ArtefactMissing, match="codes"):
        arrays.open_array(data, "codes")
    with pytest.raises(ArtefactMissing, match="codes"):
        arrays.write(data, "codes", np.ones((7, 3), np.int16))
    assert files(data) == before


def test_parts_that_are_not_there_are_named(data):
    with pytest.raises(ArtefactMissing, match="embeddings"):
        arrays.read_shards(data, "embeddings")


CODEBOOK_BLOCKS = 2 * CODEBOOKS + 3


@pytest.mark.parametrize(
    ("start", "rows"),
    [
        (0, CODEBOOKS),
        (CODEBOOKS, CODEBOOKS),
        (0, 2 * CODEBOOKS),
        (2 * CODEBOOKS, 3),
        (0, CODEBOOK_BLOCKS),
    ],
)
def test_whole_chunks_are_written_where_they_belong(start, rows, data):
    arrays.create(data, "keys", (CODEBOOK_BLOCKS, 3, 2))
    block = rising((rows, 3, 2), np.float32) + 1
    arrays.write(data, "keys", block, start=start)
    expected = np.zeros((CODEBOOK_BLOCKS, 3, 2), np.float32)
    expected[start : start + rows] = block
    np.testing.assert_array_equal(arrays.read(data, "keys"), expected)


@pytest.mark.parametrize(
    ("start", "shape"),
    [
        (1, (CODEBOOKS, 3, 2)),
        (0, (CODEBOOKS - 1, 3, 2)),
        (CODEBOOKS, (CODEBOOKS + 1, 3, 2)),
        (2 * CODEBOOKS, (2, 3, 2)),
        (2 * CODEBOOKS, (4, 3, 2)),
        (0, (CODEBOOKS, 2, 2)),
        (0, (CODEBOOKS, 3, 1)),
        (0, (CODEBOOKS, 3)),
    ],
)
def test_a_block_that_is_not_whole_chunks_is_refused(start, shape, data):
    arrays.create(data, "keys", (CODEBOOK_BLOCKS, 3, 2))
    with pytest.raises(ChunkMismatch, match="whole chunks of 8 rows"):
        arrays.write(data, "keys", np.ones(shape, np.float32), start=start)
    assert not arrays.read(data, "keys").any()


@pytest.mark.parametrize("start", [2 * CODEBOOKS, 3 * CODEBOOKS, -CODEBOOKS])
def test_whole_chunks_that_lie_outside_the_array_are_refused(start, data):
    arrays.create(data, "keys", (CODEBOOK_BLOCKS, 3, 2))
    with pytest.raises(ChunkMismatch):
        arrays.write(data, "keys", np.ones((CODEBOOKS, 3, 2), np.float32), start=start)


def test_a_block_of_codes_is_one_chunk(data):
    arrays.create(data, "codes", (BLOCK + 5, 3))
    arrays.write(data, "codes", np.full((5, 3), 7, np.int16), start=BLOCK)
    assert [name for name in files(data / "codes") if name != "zarr.json"] == ["c/1/0"]


WRITER = """
import sys
import numpy as np
from pathlib import Path
from store import arrays
for number in sys.argv[2:]:
    arrays.write(Path(sys.argv[1]), "keys", np.full((8, 3, 2), 1 + int(number), np.float32), start=8 * int(number))
"""


def test_two_writers_in_different_chunks_lose_nothing(data):
    blocks = 30
    arrays.create(data, "keys", (blocks * CODEBOOKS, 3, 2))
    shares = [[str(number) for number in range(first, blocks, 2)] for first in (0, 1)]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, data, *share]) for share in shares]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    expected = np.repeat(np.arange(blocks) + 1, CODEBOOKS)[:, None, None]
    np.testing.assert_array_equal(arrays.read(data, "keys"), np.broadcast_to(expected, (blocks * CODEBOOKS, 3, 2)))


EVERY = [(start, stop) for start, stop in itertools.product(range(18), [None, *range(19)])]


def test_rows_of_ragged_shards_are_those_of_all_shards_together(sharded):
    data, rows = sharded
    for start, stop in EVERY:
        expected = rows[start:stop]
        if len(expected):
            np.testing.assert_array_equal(arrays.read_shards(data, "embeddings", start=start, stop=stop), expected)
        else:
            with pytest.raises(ArtefactMissing, match=r"outside the 16 rows"):
                arrays.read_shards(data, "embeddings", start=start, stop=stop)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=13),
    bounds=st.tuples(st.integers(0, 91), st.integers(0, 91)),
)
def test_reading_rows_is_slicing_for_every_cut_into_shards(sizes, bounds, tmp_path_factory):
    data = tmp_path_factory.mktemp("cut") / "data.zarr"
    labels = np.arange(sum(sizes), dtype=np.int32)
    for number, part in enumerate(np.split(labels, np.cumsum(sizes)[:-1])):
        arrays.create(data, f"labels/{number:05d}", part.shape)
        arrays.write(data, f"labels/{number:05d}", part)
    start, stop = bounds
    expected = labels[start:stop]
    if len(expected):
        np.testing.assert_array_equal(arrays.read_shards(data, "labels", start=start, stop=stop), expected)
    else:
        with pytest.raises(ArtefactMissing):
            arrays.read_shards(data, "labels", start=start, stop=stop)


def test_only_the_shards_that_are_asked_for_are_opened_for_data(tmp_path):
    arrays.create(tmp_path / "d", "embeddings/00000", (2, 3))
    arrays.write(tmp_path / "d", "embeddings/00000", np.ones((2, 3), np.float16))
    arrays.create(tmp_path / "d", "embeddings/00001", (2, 3))
    arrays.write(tmp_path / "d", "embeddings/00001", np.ones((2, 3), np.float16))
    (chunk,) = (path for path in (tmp_path / "d/embeddings/00001").rglob("c/*/*") if path.is_file())
    chunk.write_bytes(b"damaged")
    assert arrays.read_shards(tmp_path / "d", "embeddings", stop=2).shape == (2, 3)


def test_the_arrays_are_plain_zarr(data):
    arrays.create(data, "counts", (3, 2, 5), dtype="uint32")
    arrays.write(data, "counts", rising((3, 2, 5), np.uint32))
    group = zarr.open_group(data, mode="r")
    counts = group["counts"]
    assert isinstance(counts, zarr.Array)
    np.testing.assert_array_equal(counts[:], rising((3, 2, 5), np.uint32))
