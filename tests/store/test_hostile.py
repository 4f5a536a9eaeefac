"""Roots and image sets that somebody else made: they are data, and what they name lies in them."""

import json
import os
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from zarr.codecs import GzipCodec

from store import arrays
from store.artefacts import ROOT_FILE, Artefact, open_root, read_json
from store.errors import ArtefactMissing, BadAddress, ImageDataError, ImageSourceError, NotARoot
from store.files import read_all, read_bytes, read_tree
from store.images import Manifest, open_images
from store.places import has_password, place
from store.tables import read_table

DEEP = b"[" * 100_000


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path / "root", create=True)


@pytest.fixture
def artefact(root):
    artefact = Artefact(root, "codes", "0" * 16)
    artefact.prepare({"step": "codes"})
    arrays.create(artefact.data, "codes", (7, 3))
    return artefact


def meta(artefact, **changes):
    """Change the metadata of its array."""
    path = artefact.data / "codes" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- links and other ways out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["experiments", "codes", "progress.json"])
def test_a_link_in_a_root_is_refused(name, root, tmp_path):
    (root / name).symlink_to(tmp_path)
    with pytest.raises(NotARoot, match=f"{name}: is a link"):
        open_root(root, create=True)


def test_a_link_among_the_experiments_is_refused(root, tmp_path):
    (root / "experiments").mkdir()
    (tmp_path / "secret").write_text("{}")
    (root / "experiments" / "x.json").symlink_to(tmp_path / "secret")
    with pytest.raises(NotARoot, match="is a link"):
        open_root(root, create=False)


def test_an_artefact_that_is_a_link_is_refused(artefact, root):
    (root / "codes" / ("1" * 16)).symlink_to(artefact.path)
    with pytest.raises(NotARoot, match="is a link"):
        Artefact(root, "codes", "1" * 16)


@pytest.mark.parametrize("read", [read_bytes, read_table, lambda path: read_all(path.parent, ".parquet")])
def test_a_pipe_in_place_of_a_file_holds_nobody_up(read, tmp_path):
    os.mkfifo(tmp_path / "sweep.parquet")
    with pytest.raises(NotARoot, match=r"sweep\.parquet: is not a file"):
        read(tmp_path / "sweep.parquet")


@pytest.mark.parametrize("name", ["units", "events.jsonl", "data.zarr/codes/c"])
def test_nothing_is_written_through_a_link(name, artefact, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (artefact.path / name).symlink_to(victim)
    with pytest.raises(NotARoot, match=f"{name}: is a link"):
        artefact.prepare({})
    assert list(victim.iterdir()) == []


def test_a_pipe_is_no_file_of_a_root(artefact):
    os.mkfifo(artefact.path / "units.json")
    with pytest.raises(NotARoot, match="neither a file nor a folder"):
        artefact.check_own()


@pytest.mark.parametrize("name", ["data.zarr", "data.zarr/codes", "data.zarr/codes/c", "data.zarr/codes/c/0/0"])
def test_no_chunk_is_read_through_a_link(name, artefact, tmp_path):
    arrays.write(artefact.data, "codes", np.ones((7, 3), np.int16))
    (artefact.path / name).rename(tmp_path / "elsewhere")
    (artefact.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotARoot, match=f"{name}: is a link"):
        arrays.read(artefact.data, "codes")


def test_a_pipe_in_place_of_a_chunk_holds_nobody_up(artefact):
    (artefact.data / "codes" / "c" / "0").mkdir(parents=True)
    os.mkfifo(artefact.data / "codes" / "c" / "0" / "0")
    with pytest.raises(NotARoot, match="c/0/0: is neither a file nor a folder"):
        arrays.read(artefact.data, "codes")


def test_whoever_reads_an_artefact_looks_at_what_is_no_chunk(artefact, tmp_path):
    (artefact.data / "codes" / "c").symlink_to(tmp_path)  # seen when a chunk is read
    artefact.check_own(arrays=False)
    (artefact.path / "units").symlink_to(tmp_path)
    with pytest.raises(NotARoot, match="units: is a link"):
        artefact.check_own(arrays=False)


def test_a_root_may_itself_be_a_link(root, tmp_path):
    (tmp_path / "short").symlink_to(root)
    assert open_root(tmp_path / "short", create=False) == tmp_path / "short"


def test_files_of_a_queue_that_are_links_are_not_read(tmp_path):
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "queue" / "job").mkdir(parents=True)
    (tmp_path / "queue" / "job" / "job.json").symlink_to(tmp_path / "secret")
    assert read_tree(tmp_path / "queue", ".json") == {}


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_nested_beyond_reason_is_not_readable(root):
    (root / "spec.json").write_bytes(DEEP)
    with pytest.raises(ArtefactMissing, match="not readable as JSON"):
        read_json(root / "spec.json")


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"format": []}'])
def test_a_root_file_of_something_else_is_refused(content, root):
    (root / ROOT_FILE).write_text(content)
    with pytest.raises(NotARoot):
        open_root(root, create=False)


@pytest.mark.parametrize("content", ["3", "null", "[3]", '[["a"]]', '["../../x"]', '["a/b"]', '["a\\n"]'])
def test_units_of_something_else_are_refused(content, artefact):
    (artefact.path / "units.json").write_text(content)
    with pytest.raises(NotARoot):
        artefact.units()


@pytest.mark.parametrize(("step", "digest"), [(3, "0" * 16), ("codes", None), ("codes", ["0"]), ("codes\n", "0" * 16)])
def test_an_artefact_of_something_else_is_refused(step, digest, root):
    with pytest.raises(NotARoot):
        Artefact(root, step, digest)


# --- arrays and tables -----------------------------------------------------------------------------------------------


def test_an_array_as_it_was_made_is_opened(artefact):
    assert arrays.open_array(artefact.data, "codes").shape == (7, 3)


def codec(name, **how):
    return {"name": name, "configuration": how}


BYTES = codec("bytes", endian="little")
HOSTILE: dict[str, dict[str, object]] = {
    "another codec": {"codecs": [BYTES, codec("gzip", level=1)]},
    "a codec of numcodecs": {"codecs": [BYTES, codec("numcodecs.lzma")]},
    "pickles": {"codecs": [codec("numcodecs.pickle")]},
    "a codec that is not there": {"codecs": [codec("../../evil")]},
    "a filter": {"codecs": [codec("transpose", order=[1, 0]), BYTES, codec("blosc", cname="lz4", clevel=5)]},
    "texts": {"data_type": "string", "codecs": [codec("vlen-utf8")], "fill_value": ""},
    "objects": {"data_type": "object"},
    "another type": {"data_type": "float64"},
    "another axis": {"dimension_names": ["item", "key"]},
    "more axes": {"shape": [7, 3, 1]},
    "chunks of its own": {"chunk_grid": codec("regular", chunk_shape=[10**12, 3])},
    "a negative shape": {"shape": [-1, 3]},
    "a shape of texts": {"shape": ["7", "3"]},
    "no codecs": {"codecs": []},
    "a transformer": {"storage_transformers": [codec("evil")]},
    "nesting": {"attributes": None, "codecs": {"a": 1}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_array_that_is_not_as_dkvb_writes_it_is_refused(case, artefact):
    meta(artefact, **HOSTILE[case])
    with pytest.raises(NotARoot, match="codes"):
        arrays.open_array(artefact.data, "codes")


def test_metadata_that_are_no_json_are_refused(artefact):
    for content in (DEEP, b"[]", b"{}", b"\xff"):
        (artefact.data / "codes" / "zarr.json").write_bytes(content)
        with pytest.raises((NotARoot, ArtefactMissing)):
            arrays.open_array(artefact.data, "codes")


def test_an_array_larger_than_memory_is_refused_before_it_is_read(artefact):
    meta(artefact, shape=[10**15, 3], chunk_grid=codec("regular", chunk_shape=[8192, 3]))
    with pytest.raises(NotARoot, match=r"more than the .* of this machine's memory"):
        arrays.read(artefact.data, "codes")


def test_parts_do_not_believe_what_their_group_says_of_them(root):
    data = Artefact(root, "embeddings", "0" * 16).data
    arrays.create(data, "labels/00000", (5,))
    foreign = zarr.open_group(data / "labels", mode="a", zarr_format=3)
    foreign.create_array("00001", shape=(5,), dtype="int32", chunks=(5,), compressors=GzipCodec())
    with pytest.raises(NotARoot, match="00001"):
        arrays.read_shards(data, "labels")
    group = data / "labels" / "zarr.json"
    inner = json.loads((data / "labels" / "00000" / "zarr.json").read_text()) | {"shape": [10**15]}
    shutil.rmtree(str(data / "labels" / "00001"))
    about = {"kind": "inline", "must_understand": False, "metadata": {"00000": inner}}
    group.write_text(json.dumps(json.loads(group.read_text()) | {"consolidated_metadata": about}))
    assert arrays.read_shards(data, "labels").tolist() == [-1] * 5


def test_a_table_of_other_columns_or_types_is_refused(root):
    path = root / "table.parquet"
    schema = {"name": pl.String, "n": pl.Int64}
    for content in ({"name": ["a"]}, {"name": ["a"], "n": ["1"]}, {"name": [["a"]], "n": [1]}):
        pl.DataFrame(content).write_parquet(path)
        with pytest.raises(NotARoot, match="columns or types are not"):
            read_table(path, schema)
    path.write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(NotARoot, match="not a readable table"):
        read_table(path)


# --- images ----------------------------------------------------------------------------------------------------------


def test_class_folders_that_lead_back_are_refused(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"")
    for name in ("x", "y"):
        (tmp_path / "train" / "a" / name).symlink_to(tmp_path / "train")
    with pytest.raises(ImageDataError, match="leads back"):
        open_images("folder", str(tmp_path), pattern="train").listing()


LABELS = {"name": "x", "labels": [0], "keys": "k"}


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": [3]},
        {"shards": [LABELS | {"labels": ["0"]}]},
        {"shards": [LABELS | {"labels": [1]}]},
        {"shards": [LABELS | {"labels": [-3]}]},
        {"shards": [LABELS | {"labels": []}]},
        {"shards": [LABELS | {"name": 3}]},
        {"shards": 3},
        {"shards": [[]]},
    ],
)
def test_a_manifest_of_something_else_is_refused(changes):
    with pytest.raises(ImageDataError, match="not an image manifest"):
        Manifest.from_json({"classes": ["a"], "shards": [LABELS], "problems": [], **changes})


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.tar", "a/../../up.tar"])
def test_images_are_named_below_their_location(name, tmp_path):
    for given in ({"pattern": name}, {"pattern": "*.tar", "class_file": name}):
        with pytest.raises(ImageSourceError, match="points outside"):
            open_images("webdataset", str(tmp_path), **given)
    manifest = Manifest.from_json({"classes": ["a"], "shards": [LABELS | {"name": name}], "problems": []})
    with pytest.raises(ImageSourceError, match="points outside"):
        next(open_images("webdataset", str(tmp_path), pattern="*.tar").read(manifest.shards[0]))


@pytest.mark.parametrize("text", [DEEP, b"[]", b'{"info": 3}', b'{"info": {"features": []}}', b"\xff"])
def test_parquet_metadata_of_something_else_are_named(text, tmp_path):
    image = pa.array([{"bytes": b"", "path": None}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": image, "label": pa.array([0])}).replace_schema_metadata({"huggingface": text})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ImageDataError, match="huggingface"):
        open_images("parquet", str(tmp_path), pattern="x.parquet").scan(on_error="fail")


def test_an_image_column_that_holds_no_bytes_is_none(tmp_path):
    image = pa.array([{"bytes": ["x"]}], pa.struct([("bytes", pa.list_(pa.string()))]))
    pq.write_table(pa.table({"image": image, "label": pa.array([0])}), tmp_path / "x.parquet")
    with pytest.raises(ImageSourceError, match=r"expected one column of images .* found none"):
        open_images("parquet", str(tmp_path), pattern="x.parquet").scan(on_error="skip")


# --- passwords -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:secret@bucket/root",
        "s3://key:sec/ret@bucket/root",
        "simplecache::s3://key:secret@bucket/root",
        "https://user:pass@host/x",
        "https://ghp_token@host/x",
        "https://host/x?X-Amz-Signature=abc",
        "https://host/x?sv=1&sig=abc",
    ],
)
def test_an_address_with_a_password_is_refused_wherever_it_stands(address, tmp_path):
    with pytest.raises(BadAddress, match="password") as caught:
        open_images("webdataset", address, pattern="*.tar").listing()
    assert "secret" not in str(caught.value)
    if "::" not in address:
        with pytest.raises(BadAddress, match="password"):
            place(address)


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a:b@c", "http://host:8080/a@b", "sftp://me@host/x", "/data/a:b@c", "hf-hub:timm/x@main", "a@b"],
)
def test_an_address_without_a_password_is_none_with_one(address):
    assert not has_password(address)
