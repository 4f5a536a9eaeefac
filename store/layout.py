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
SWEEP_ITEMS_TABLE = "retain_items.parquet"

LIRA_HEADS = 16
"""Heads of a batch of U-LiRA: its unit of work and its chunk."""

BLOCK = 8192
"""Rows of a block of codes: its unit of work and its chunk."""

CODEBOOKS = 8
"""Codebooks of a block of keys: its unit of work and its chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one array is written."""

    step: str
    """Which writes it."""
    each: str = ""
    """Of what there is one array each; empty where there is one in all."""
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
    "test_retain_lost": pl.Int64,  # test items of other classes right at N = 0 and wrong now
    "test_retain_gained": pl.Int64,  # and wrong at N = 0 and right now
    "digest": pl.String,  # of the sweep artefact: leads back to the images
}
"""Columns of the sweep's result table: one row a class, method, N and seed; null where there is nothing to measure.
The grid of each class and seed holds the N of the rule (`dkvb.orders.TAU`). Seconds stand in the unit's marker, so that
equal work gives equal bytes; `dkvb table` joins them."""

SWEEP_3 = {name: kind for name, kind in SWEEP.items() if name not in ("test_retain_lost", "test_retain_gained")}
"""The same as versions up to 3 of the step wrote it; their grids need not hold the N of the rule."""

SETS_COLUMNS = (
    *("pairs_masked", "pairs_masked_share", "forget_hit_share", "retain_hit_share"),
    *("train_forget", "train_retain", "test_forget", "test_retain"),
    *("train_retain_among_retain", "test_retain_among_retain", "worst_neighbour", "neighbour_damage"),
    *("test_retain_lost", "test_retain_gained", "digest"),
)
"""What a row of sets says as a row of the sweep does."""

SETS_TABLE = "sets.parquet"
SETS = {
    "set": pl.Int32,  # its number in this artefact
    "size": pl.Int32,  # classes
    "draw": pl.Int32,  # of which random order of the classes it is the beginning; null for one that the spec names
    "members": pl.String,  # JSON: indexes of its classes
    "names": pl.String,  # JSON: their names
    "method": pl.String,  # uva or uve
    "seed": pl.Int32,  # of the UvE permutation; 0 for UvA
    "budget": pl.Int64,  # N: pairs of the set (uva), or examples of each class (uve)
    "share": pl.Float64,  # N as a share of the set's activated pairs (uva), or of its largest class's items (uve)
    "rule": pl.Boolean,  # whether this is the N of the rule
    **{name: SWEEP[name] for name in SETS_COLUMNS},
}
"""Columns of the table of sets: one row a set, method, N and seed; null where there is nothing to measure."""

SWEEP_ITEMS = {
    "method": pl.String,
    "seed": pl.Int32,
    "item": pl.Int64,  # row of the test split, in the manifest's order
    "change": pl.Float64,  # sum of its shares in the changes of test_retain, at the rule's N, over known classes
}
"""What each test item adds to the sum of all classes' retain changes at the rule's N: one row a unit, method, seed and
item, where it is not 0. By it the mean change has an interval over test items."""

ABOUT = {
    "class": pl.Int32,  # index of the forget class
    "name": pl.String,  # its name
    "seed": pl.Int32,  # of the model: projections, keys, values, linear head
}
"""The first columns of every table of the comparison; its last is the digest of the artefact."""

ATTACKS = {
    **ABOUT,
    "head": pl.String,
    "method": pl.String,
    "attack": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "oracle": pl.Float64,  # the same attack on the head trained without the class
    "digest": pl.String,
}
"""One row a class, head, method, attack and measure."""

COMPARE_TABLES = {
    "compare": {
        **ABOUT,
        "head": pl.String,  # linear or values
        "method": pl.String,
        "setting": pl.String,  # JSON: budget, step size, epoch that were chosen
        "train_forget": pl.Float64,  # accuracies in [0, 1]; null over no items
        "train_retain": pl.Float64,
        "train_retain_among_retain": pl.Float64,  # argmax over the retain classes only
        "test_forget": pl.Float64,
        "test_retain": pl.Float64,
        "test_retain_among_retain": pl.Float64,
        "test": pl.Float64,  # all test items
        "worst_neighbour": pl.Int32,  # the retain class that lost most test accuracy
        "neighbour_damage": pl.Float64,  # and how much it lost
        "tow": pl.Float64,  # against the head trained without the class (Oracle-V)
        "aus": pl.Float64,  # on the test items
        "js_forget": pl.Float64,  # divergence from that oracle on the training items of the class, in [0, 1]
        "tow_kv": pl.Float64,  # the same two against Oracle-KV; null where there is none
        "js_forget_kv": pl.Float64,
        "digest": pl.String,
    },
    "oracle_gap": {
        **ABOUT,
        "train_forget_v": pl.Float64,  # accuracies of Oracle-V: same keys, values that never saw the class
        "train_retain_v": pl.Float64,
        "test_forget_v": pl.Float64,
        "test_retain_v": pl.Float64,
        "test_v": pl.Float64,
        "train_forget_kv": pl.Float64,  # and of Oracle-KV: keys that never saw it either
        "train_retain_kv": pl.Float64,
        "test_forget_kv": pl.Float64,
        "test_retain_kv": pl.Float64,
        "test_kv": pl.Float64,
        "tow": pl.Float64,  # of V against KV
        "js_forget": pl.Float64,
        "digest": pl.String,
    },
    "attacks": ATTACKS,
    "selection": {
        **ABOUT,
        "weight": pl.Float64,  # pairs ranked by n_f - weight * n_r
        "tau": pl.Float64,  # the smallest N that holds this share of the removable activations
        "budget": pl.Int64,  # that N
        "best_budget": pl.Int64,  # the N of the grid with the highest ToW by test labels
        "tow": pl.Float64,
        "best_tow": pl.Float64,
        "regret": pl.Float64,  # best_tow - tow
        "test_forget": pl.Float64,  # accuracies at N
        "test_retain": pl.Float64,
        "train_forget": pl.Float64,
        "train_retain": pl.Float64,
        "digest": pl.String,
    },
}
"""The tables of the compare step: one row a class, head and method (compare), or attack (attacks), or rule
(selection)."""

COSTS = {
    **ABOUT,
    "head": pl.String,
    "method": pl.String,
    "flops_forward": pl.Int64,  # of a request on cached codes or embeddings, as torch's FlopCounterMode counts
    "flops_backward": pl.Int64,
    "flops_uncached": pl.Int64,  # both, and each image it needs once through backbone and coding
    "bytes_read": pl.Int64,  # of the arrays it reads, as they lie in memory
    "flops_ratio": pl.Float64,  # FLOPs of retraining the same head over these; null where there are none
    "seconds": pl.Float64,  # median of warm runs, evaluation excluded
    "seconds_least": pl.Float64,
    "seconds_most": pl.Float64,
    "peak_bytes": pl.Int64,  # resident memory it adds; null where the system does not tell
    "retrain_ratio": pl.Float64,  # seconds of retraining the same head over its own
    "requests_to_pay": pl.Float64,  # masks: after which the bottleneck has paid against retraining a linear head
    "digest": pl.String,
}
"""One row a head and method: a request to forget one class. Seconds make two runs differ."""

SCOPE = {
    "kind": pl.String,  # classes, sequence forward or backward, instances, proxy split, flipped or other
    "size": pl.Float64,  # classes, requests so far, share of the class's items, or images counted
    "names": pl.String,  # JSON: the classes that are gone
    "seed": pl.Int32,
    "head": pl.String,
    "method": pl.String,
    "setting": pl.String,  # JSON
    "train_forget": pl.Float64,  # accuracies in [0, 1]; null over no items
    "train_retain": pl.Float64,
    "test_forget": pl.Float64,
    "test_retain": pl.Float64,
    "test_retain_among_retain": pl.Float64,
    "test": pl.Float64,
    "tow": pl.Float64,  # against the head trained without the forget set
    "js_forget": pl.Float64,
    "jaccard": pl.Float64,  # of a proxy's mask with the mask of the class's own counts; null elsewhere
    "mia_auc": pl.Float64,  # instances: by loss, against test items of the class; null elsewhere
    "digest": pl.String,
}
"""One row a forget set, head and method."""
