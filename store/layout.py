"""The data dictionary of arrays: every one that is written, with type, chunks and meaning, and the names of files.

`store/columns.py` is that of tables; docs/format.md is the prose of both. A change of what a name means raises the
version of its step (`jobs`), so that old and new data can never be mixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MANIFEST = "manifest.json"
CHECKPOINT = "bottleneck.safetensors"
LINEAR = "linear.safetensors"
SUMS = "sums.safetensors"
LINEAR_SUMS = "linear_sums.safetensors"
LEARNED = "learned.safetensors"
MASK = "mask.safetensors"
FORGOTTEN = "forgotten.json"
"""Rows of the training items that a request forgot exactly."""
SWEEP_TABLE = "sweep.parquet"
SWEEP_ITEMS_TABLE = "retain_items.parquet"
SETS_TABLE = "sets.parquet"

LIRA_HEADS = 16
"""Heads of a batch of U-LiRA: a unit of work, and a chunk."""

BLOCK = 8192
"""Rows of a block of codes: a unit of work, and a chunk."""

CODEBOOKS = 8
"""Codebooks of a block of keys: a unit of work, and a chunk."""

ITEMS = 65536
"""Items of a chunk of what stands along the items: their keys, labels, classes and shards."""

GROUP_FORMAT = "dkvb-arrays/1"
"""What the attribute `format` of a group says that has coordinates and consolidated metadata."""


class Codec(StrEnum):
    """How a chunk is compressed, by the name that Zarr has for it."""

    ZSTD = "zstd"
    """Zstandard, level 1."""
    BLOSC = "blosc"
    """Blosc: bits shuffled, then LZ4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One array: how it is written and what it holds."""

    step: str
    """The step that writes it."""
    each: str = ""
    """What there is one array for; empty where there is one in all."""
    dims: tuple[str, ...]
    """Names of the axes."""
    also: tuple[tuple[str, ...], ...] = ()
    """Other names that the axes may have: in other groups, or in what older versions wrote."""
    dtype: str
    """NumPy type, or "string" (UTF-8); "count" stands for the smallest unsigned type that holds the counts."""
    chunk: dict[str, int]
    """Chunk length along an axis; an axis not named is one chunk."""
    meaning: str
    """What an element is, with its unit."""
    fill: int | str = 0
    """What an element that was never written reads as."""
    codec: Codec = Codec.ZSTD
    """How a chunk is compressed."""


ARRAYS = {
    "item_key": Layout(
        step="manifest",
        dims=("item",),
        dtype="string",
        chunk={"item": ITEMS},
        fill="",
        meaning="key of an item: path of its file, name of its tar member, row of its parquet file",
    ),
    "embeddings": Layout(
        step="embeddings",
        each="shard",
        dims=("item", "d_z"),
        dtype="float16",
        chunk={},
        meaning="output of the frozen backbone for one image shard; zeros where the item was skipped",
    ),
    "labels": Layout(
        step="embeddings",
        each="shard",
        dims=("item",),
        dtype="int32",
        chunk={},
        fill=-1,
        meaning="class of an item of one image shard; -1: skipped",
    ),
    "z": Layout(
        step="embeddings",
        dims=("item", "d_z"),
        dtype="float16",
        chunk={"item": BLOCK},
        meaning="all embeddings of the split, one shard after the other",
    ),
    "projection": Layout(
        step="keys",
        dims=("codebook", "d_z", "d_k"),
        dtype="float32",
        chunk={"codebook": CODEBOOKS},
        meaning="frozen random directions, unit L2 norm along d_z",
    ),
    "keys": Layout(
        step="keys",
        dims=("codebook", "key", "d_k"),
        dtype="float32",
        chunk={"codebook": CODEBOOKS},
        meaning="fitted keys",
    ),
    "codes": Layout(
        step="codes",
        dims=("item", "codebook"),
        dtype="int16",
        chunk={"item": BLOCK},
        fill=-1,
        codec=Codec.BLOSC,
        meaning="index of the nearest selectable key; -1: skipped item, or no selectable key",
    ),
    "neighbours": Layout(
        step="neighbours",
        dims=("item", "codebook", "rank"),
        dtype="int16",
        chunk={"item": 1024},
        fill=-1,
        codec=Codec.BLOSC,
        meaning="nearest selectable keys in order; -1 past the last selectable key",
    ),
    "counts": Layout(
        step="counts",
        dims=("class", "codebook", "key"),
        dtype="count",
        chunk={"class": 1},
        meaning="training items of the class that select the pair",
    ),
    "counts_by_codebook": Layout(
        step="counts",
        dims=("class", "codebook", "key"),
        dtype="count",
        chunk={"codebook": 1},
        meaning="counts, laid out for one key",
    ),
    "whole_keys": Layout(
        step="sums",
        dims=("codebook", "key", "d_k"),
        dtype="int16",
        chunk={"codebook": CODEBOOKS},
        meaning="keys times 2^bits (in provenance.json), rounded",
    ),
    "class_sums": Layout(
        step="sums",
        dims=("codebook", "d_k", "class"),
        dtype="int64",
        chunk={"codebook": CODEBOOKS},
        meaning="sum of the whole keys that the class's training items select",
    ),
    "moments": Layout(
        step="sums",
        dims=("codebook", "d_k", "feature"),
        dtype="int64",
        chunk={"codebook": CODEBOOKS},
        meaning="sum over the training items of products of two features: numbers of the whole keys that an item "
        "selects, codebook by codebook; may be 0 where the second is of an earlier codebook",
    ),
    "oracle_logits_train": Layout(
        step="oracles",
        dims=("forget class", "item_train", "class"),
        also=(("forget class", "item", "class"),),
        dtype="float32",
        chunk={"forget class": 1},
        meaning="logits of a model whose keys and values never saw the class, on training items that are not skipped",
    ),
    "oracle_logits_test": Layout(
        step="oracles",
        dims=("forget class", "item_test", "class"),
        also=(("forget class", "item", "class"),),
        dtype="float32",
        chunk={"forget class": 1},
        meaning="the same on the test items",
    ),
    "oracle_lda_logits_train": Layout(
        step="oracles",
        dims=("forget class", "item_train", "class"),
        dtype="float32",
        chunk={"forget class": 1},
        meaning="logits of such a model whose values are solved for, where these are compared",
    ),
    "oracle_lda_logits_test": Layout(
        step="oracles",
        dims=("forget class", "item_test", "class"),
        dtype="float32",
        chunk={"forget class": 1},
        meaning="the same on the test items",
    ),
    "margins": Layout(
        step="lira",
        each="class",
        dims=("head", "method", "item"),
        dtype="float32",
        chunk={"head": LIRA_HEADS},
        meaning="log odds of an item's own class in nats, of one forget class under heads that forgot it",
    ),
    "margin": Layout(
        step="lira",
        dims=("head", "method", "item"),
        dtype="float32",
        chunk={"head": LIRA_HEADS},
        meaning="the margins of all classes, one class after the other",
    ),
}

FLAT = {"embeddings": "z", "labels": "label", "margins": "margin"}
"""What is written in parts -> the array that holds all of it, made when the last part is done."""

SPLIT_ITEMS = ("item", "item_train", "item_test")
"""Axes of items: of one split, and of both where a group has both."""

ALONG_ITEMS: dict[str, tuple[str, int | str, str]] = {
    "item_key": ("string", "", "key of an item; SHARD#ROW where the version that read the images recorded none"),
    "label": ("int32", -1, "index of an item's class; -1: skipped"),
    "class": ("string", "", "name of a class; of an item's class, empty where the item was skipped"),
    "shard": ("string", "", "the shard that holds an item"),
}
"""What stands along an axis of items: type, fill and meaning, by name."""

COORDINATES = {
    "codebook": Layout(step="", dims=("codebook",), dtype="int32", chunk={}, meaning="number of a codebook"),
    "key": Layout(step="", dims=("key",), dtype="int32", chunk={}, meaning="number of a key in its codebook"),
    "method": Layout(step="", dims=("method",), dtype="string", fill="", chunk={}, meaning="what forgot the class"),
    "forget class": Layout(step="", dims=("forget class",), dtype="string", fill="", chunk={}, meaning="its name"),
    **{
        name + axis.removeprefix("item"): Layout(
            step="",
            dims=(axis,),
            also=(("class",),) if name == "class" and axis == "item" else (),
            dtype=dtype,
            chunk={axis: ITEMS},
            fill=fill,
            meaning=meaning,
        )
        for axis in SPLIT_ITEMS
        for name, (dtype, fill, meaning) in ALONG_ITEMS.items()
    },
}
"""What stands along the axes, in every group that has them; an axis has the coordinate of its own name as index."""


def layout_of(name: str) -> Layout:
    """How an array of that path in its group is written."""
    first = name.partition("/")[0]
    return ARRAYS[first] if first in ARRAYS else COORDINATES[first]


def chunk_shape(how: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The chunks of an array of that shape."""
    return tuple(max(1, min(how.chunk.get(axis, size), size)) for axis, size in zip(how.dims, shape, strict=True))


def dtypes(how: Layout) -> tuple[str, ...]:
    """The types that an array may have, as its metadata name them."""
    return ("uint16", "uint32") if how.dtype == "count" else (how.dtype,)
