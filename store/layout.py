"""The data dictionary: every array and table that is written, its axes, type, chunks and meaning.

docs/format.md is its prose. A change of what a name means raises the version of its step (`jobs`), so that old and
new data can never be mixed.
"""

from dataclasses import dataclass

import polars as pl
from zarr.codecs import BloscCodec, ZstdCodec

MANIFEST = "manifest.json"
CHECKPOINT = "bottleneck.safetensors"
LINEAR = "linear.safetensors"
MASK = "mask.safetensors"
SWEEP_TABLE = "sweep.parquet"

BLOCK = 8192
"""Rows of a block of codes: its unit of work and its chunk."""

CODEBOOKS = 8
"""Codebooks of a block of keys: its unit of work and its chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one array is written."""

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
        dims=("item", "d_z"),
        dtype="float16",
        chunk={},
        meaning="output of the frozen backbone for one image shard; zeros where the item was skipped",
    ),
    "labels": Layout(
        dims=("item",),
        dtype="int32",
        chunk={},
        fill=-1,
        meaning="class of an item of one image shard; -1: skipped",
    ),
    "projection": Layout(
        dims=("codebook", "d_z", "d_k"),
        dtype="float32",
        chunk={"codebook": CODEBOOKS},
        meaning="frozen random directions, unit L2 norm along d_z",
    ),
    "keys": Layout(
        dims=("codebook", "key", "d_k"), dtype="float32", chunk={"codebook": CODEBOOKS}, meaning="fitted keys"
    ),
    "codes": Layout(
        dims=("item", "codebook"),
        dtype="int16",
        chunk={"item": BLOCK},
        fill=-1,
        codec=BloscCodec(cname="lz4", shuffle="bitshuffle"),
        meaning="index of the nearest selectable key; -1: skipped item, or no selectable key",
    ),
    "neighbours": Layout(
        dims=("item", "codebook", "rank"),
        dtype="int16",
        chunk={"item": 1024},
        fill=-1,
        codec=BloscCodec(cname="lz4", shuffle="bitshuffle"),
        meaning="nearest selectable keys in order; -1 past the last selectable key",
    ),
    "counts": Layout(
        dims=("class", "codebook", "key"),
        dtype="count",
        chunk={"class": 1},
        meaning="training items of the class that select the pair",
    ),
    "counts_by_codebook": Layout(
        dims=("class", "codebook", "key"),
        dtype="count",
        chunk={"codebook": 1},
        meaning="counts, laid out for one key",
    ),
}

SWEEP = {
    "class": pl.Int32,  # index of the forget class
    "name": pl.String,  # its name
    "method": pl.String,  # uva or uve
    "seed": pl.Int32,  # of the UvE permutation; 0 for UvA
    "budget": pl.Int64,  # N: pairs (uva) or examples (uve)
    "share": pl.Float64,  # N as a share of the class's activated pairs (uva) or training items (uve)
    "pairs_masked": pl.Int64,
    "pairs_masked_share": pl.Float64,  # of all c * m pairs
    "forget_hit_share": pl.Float64,  # share of the forget class's training activations on masked pairs
    "retain_hit_share": pl.Float64,  # the same for all other classes
    "train_forget": pl.Float64,  # accuracies in [0, 1]
    "train_retain": pl.Float64,
    "test_forget": pl.Float64,
    "test_retain": pl.Float64,
    "train_retain_among_retain": pl.Float64,  # argmax over the retain classes only
    "test_retain_among_retain": pl.Float64,
    "train_forget_relative": pl.Float64,  # accuracy / accuracy at N = 0
    "train_retain_relative": pl.Float64,
    "test_forget_relative": pl.Float64,
    "test_retain_relative": pl.Float64,
    "worst_neighbour": pl.Int32,  # the retain class that lost most test accuracy
    "neighbour_damage": pl.Float64,  # and how much it lost
    "digest": pl.String,  # of the sweep artefact: leads back to the images
}
"""Columns of the sweep's result table: one row a class, method, N and seed. Seconds stand in the unit's marker, so
that equal work gives equal bytes; `dkvb table` joins them."""
