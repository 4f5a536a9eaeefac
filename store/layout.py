"""The data dictionary of arrays: every one that is written, with type, chunks and meaning, and the names of files.

`store/columns.py` is that of tables; docs/format.md is the prose of both. A change of what a name means raises the
version of its step (`jobs`), so that old and new data can never be mixed.
"""

from dataclasses import dataclass

from zarr.codecs import BloscCodec, ZstdCodec

MANIFEST = "manifest.json"
CHECKPOINT = "bottleneck.safetensors"
LINEAR = "linear.safetensors"
MASK = "mask.safetensors"
SWEEP_TABLE = "sweep.parquet"
SWEEP_ITEMS_TABLE = "retain_items.parquet"
SETS_TABLE = "sets.parquet"

LIRA_HEADS = 16
"""Heads of a batch of U-LiRA: a unit of work, and a chunk."""

BLOCK = 8192
"""Rows of a block of codes: a unit of work, and a chunk."""

CODEBOOKS = 8
"""Codebooks of a block of keys: a unit of work, and a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One array: how it is written and what it holds."""

    step: str
    """The step that writes it."""
    each: str = ""
    """What there is one array for; empty where there is one in all."""
    dims: tuple[str, ...]
    """Names of the axes."""
    dtype: str
    """NumPy type; "count" stands for the smallest unsigned type that holds the counts."""
    chunk: dict[str, int]
    """Chunk length along an axis; an axis not named is one chunk."""
    meaning: str
    """What an element is, with its unit."""
    fill: int = 0
    """What an element that was never written reads as."""
    codec: BloscCodec | ZstdCodec = ZstdCodec(level=1)  # noqa: RUF009 - codecs are frozen
    """How a chunk is compressed."""


ARRAYS = {
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
        codec=BloscCodec(cname="lz4", shuffle="bitshuffle"),
        meaning="index of the nearest selectable key; -1: skipped item, or no selectable key",
    ),
    "neighbours": Layout(
        step="neighbours",
        dims=("item", "codebook", "rank"),
        dtype="int16",
        chunk={"item": 1024},
        fill=-1,
        codec=BloscCodec(cname="lz4", shuffle="bitshuffle"),
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
    "oracle_logits_train": Layout(
        step="oracles",
        dims=("forget class", "item", "class"),
        dtype="float32",
        chunk={"forget class": 1},
        meaning="logits of a model whose keys and values never saw the class, on training items that are not skipped",
    ),
    "oracle_logits_test": Layout(
        step="oracles",
        dims=("forget class", "item", "class"),
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
}
