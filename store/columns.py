"""The data dictionary of tables: every column that is written, with type, unit and meaning.

docs/format.md holds it as tables (`python -m tests.pages`). A change of what a name means raises the version of its
step (`jobs`), so that old and new data can never be mixed.
"""

from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from store.layout import SETS_TABLE, SWEEP_ITEMS_TABLE, SWEEP_TABLE

Schema: TypeAlias = dict[str, type[pl.DataType]]
"""Names and types of a table's columns, in order."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    dtype: type[pl.DataType]
    meaning: str
    unit: str = ""
    """Empty for names, indexes and JSON; a share lies in [0, 1]."""


Columns: TypeAlias = dict[str, Column]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One result table, as Parquet: how it is written and what it holds."""

    files: tuple[str, ...]
    """Where it lies in a root."""
    row: str
    """What a row is."""
    columns: Columns
    """By name, in order."""

    @property
    def schema(self) -> Schema:
        """Names and types of its columns."""
        return {name: column.dtype for name, column in self.columns.items()}


_KNOWN = {
    "class": Column(pl.Int32, "index of the forget class"),
    "name": Column(pl.String, "name of the forget class"),
    "seed": Column(pl.Int32, "seed of the model: projections, keys, values, linear head"),
    "head": Column(pl.String, "`values` or `linear`, with `-lda` where it is solved for and not trained"),
    "method": Column(pl.String, "what forgot the class, or `none`"),
    "setting": Column(pl.String, "JSON: what was chosen, such as budget, step size and epoch"),
    "train_forget": Column(pl.Float64, "accuracy on the training items of the forget class", "share"),
    "train_retain": Column(pl.Float64, "accuracy on the training items of all other classes", "share"),
    "train_retain_among_retain": Column(
        pl.Float64, "train_retain, with the argmax over the retain classes only", "share"
    ),
    "test_forget": Column(pl.Float64, "accuracy on the test items of the forget class", "share"),
    "test_retain": Column(pl.Float64, "accuracy on the test items of all other classes", "share"),
    "test_retain_among_retain": Column(
        pl.Float64, "test_retain, with the argmax over the retain classes only", "share"
    ),
    "test": Column(pl.Float64, "accuracy on all test items", "share"),
    "worst_neighbour": Column(pl.Int32, "index of the retain class that lost most test accuracy"),
    "neighbour_damage": Column(
        pl.Float64, "test accuracy that this class lost; negative where every class gained", "share"
    ),
    "tow": Column(
        pl.Float64, "tug of war against the head trained without the forget class (Oracle-V)", "score in [0, 1]"
    ),
    "js_forget": Column(
        pl.Float64, "Jensen-Shannon divergence from that head on the training items of the forget class", "in [0, 1]"
    ),
    "digest": Column(pl.String, "digest of the artefact that the row is in: leads back to the images"),
}
"""Columns that several tables have."""


def _known(*names: str) -> Columns:
    return {name: _KNOWN[name] for name in names}


def _swept(forgotten: str, share: str) -> Columns:
    """What both sweeps measure; forgotten: what goes; share: what N is a share of."""
    return {
        "method": Column(pl.String, "`uva`, or `uva-values`, `uva-contrast` by other ranks; `uve`"),
        "seed": Column(pl.Int32, "seed of the order of the examples; 0 for UvA"),
        "budget": Column(pl.Int64, "N", "pairs (UvA) or examples (UvE)"),
        "share": Column(pl.Float64, f"N as a share of {share}", "share"),
        "pairs_masked": Column(pl.Int64, "pairs taken away", "pairs"),
        "pairs_masked_share": Column(pl.Float64, "pairs taken away, of all c * m", "share"),
        "forget_hit_share": Column(
            pl.Float64,
            f"training activations of {forgotten} on masked pairs; of `uva-values` its votes, of `uva-contrast` "
            "activations on pairs that it ranks",
            "share",
        ),
        "retain_hit_share": Column(pl.Float64, "training activations of all other classes on masked pairs", "share"),
        **{
            name: Column(about.dtype, about.meaning.replace("the forget class", forgotten), about.unit)
            for name, about in _known(
                *("train_forget", "train_retain", "test_forget", "test_retain"),
                *("train_retain_among_retain", "test_retain_among_retain"),
            ).items()
        },
        **{
            f"{name}_relative": Column(pl.Float64, f"{name} over its value at N = 0", "ratio")
            for name in ("train_forget", "train_retain", "test_forget", "test_retain")
        },
        **_known("worst_neighbour", "neighbour_damage"),
        "test_retain_lost": Column(
            pl.Int64, "test items of other classes that were right at N = 0 and are wrong now", "items"
        ),
        "test_retain_gained": Column(
            pl.Int64, "test items of other classes that were wrong at N = 0 and are right now", "items"
        ),
        **_known("digest"),
    }


TABLES = {
    "sweep": Table(
        files=(f"sweep/<digest>/{SWEEP_TABLE}",),
        row="a class, method, seed and budget",
        columns={
            **_known("class", "name"),
            **_swept("the forget class", "the class's activated pairs (UvA) or training items (UvE)"),
        },
    ),
    "retain_items": Table(
        files=(f"sweep/<digest>/{SWEEP_ITEMS_TABLE}",),
        row="a unit, method, seed and test item whose change is not 0",
        columns={
            "method": Column(pl.String, "`uva`, or `uva-values`, `uva-contrast` by other ranks; `uve`"),
            "seed": Column(pl.Int32, "seed of the order of the examples; 0 for UvA"),
            "item": Column(pl.Int64, "row of the test split, in the manifest's order"),
            "change": Column(
                pl.Float64,
                "what the item adds to the sum of all known classes' changes of test_retain at the rule's N",
                "sum of shares",
            ),
        },
    ),
    "sets": Table(
        files=(f"sets/<digest>/{SETS_TABLE}",),
        row="a set of classes that are forgotten together, method, seed and budget",
        columns={
            "set": Column(
                pl.Int32, "number of the set: those that the spec names, then the random ones by draw and size"
            ),
            "size": Column(pl.Int32, "classes in it", "classes"),
            "draw": Column(pl.Int32, "number of the random order that it begins; null for a set that the spec names"),
            "members": Column(pl.String, "JSON: indexes of the classes in it, increasing"),
            "names": Column(pl.String, "JSON: their names, in that order"),
            "rule": Column(pl.Boolean, "whether N is that of the rule"),
            **_swept(
                "the set",
                "the set's activated pairs (UvA) or the training items of its largest class (UvE)",
            ),
        },
    ),
    "compare": Table(
        files=("compare/<digest>/compare.parquet", "solved/<digest>/compare.parquet"),
        row="a class, head and method",
        columns={
            **_known("class", "name", "seed", "head", "method", "setting"),
            **_known("train_forget", "train_retain", "train_retain_among_retain"),
            **_known("test_forget", "test_retain", "test_retain_among_retain", "test"),
            **_known("worst_neighbour", "neighbour_damage", "tow"),
            "aus": Column(pl.Float64, "adaptive unlearning score on the test items", "score in [0, 2]"),
            **_known("js_forget"),
            "tow_kv": Column(pl.Float64, "tow against Oracle-KV; null where there is none", "score in [0, 1]"),
            "js_forget_kv": Column(pl.Float64, "js_forget against Oracle-KV; null where there is none", "in [0, 1]"),
            **_known("digest"),
        },
    ),
    "beside": Table(
        files=("compare/<digest>/beside.parquet", "solved/<digest>/beside.parquet"),
        row="a class, head and method, where the spec says `compare.heads`",
        columns={
            **_known("class", "name", "seed", "head", "method"),
            "tow_test": Column(
                pl.Float64,
                "tug of war on test items alone, those of the forget class and all others",
                "score in [0, 1]",
            ),
            "ece": Column(
                pl.Float64,
                "expected calibration error on the test items of all other classes: 15 bins of equal width",
                "in [0, 1]",
            ),
            "member_auc": Column(
                pl.Float64,
                "AUC of the loss of all training items against all test items, whatever their class",
                "in [0, 1]",
            ),
            **_known("digest"),
        },
    ),
    "oracle_gap": Table(
        files=("compare/<digest>/oracle_gap.parquet",),
        row="a class that has an Oracle-KV",
        columns={
            **_known("class", "name", "seed"),
            **{
                f"{name}_{oracle}": Column(pl.Float64, f"{_KNOWN[name].meaning}, of Oracle-{oracle.upper()}", "share")
                for oracle in ("v", "kv")
                for name in ("train_forget", "train_retain", "test_forget", "test_retain", "test")
            },
            "tow": Column(pl.Float64, "tug of war of Oracle-V against Oracle-KV", "score in [0, 1]"),
            "js_forget": Column(
                pl.Float64, "Jensen-Shannon divergence of both on the training items of the forget class", "in [0, 1]"
            ),
            **_known("digest"),
        },
    ),
    "attacks": Table(
        files=(
            "compare/<digest>/attacks.parquet",
            "solved/<digest>/attacks.parquet",
            "lira/<digest>/attacks.parquet",
        ),
        row="a class, head, method, attack and measure",
        columns={
            **_known("class", "name", "seed", "head", "method"),
            "attack": Column(pl.String, "name of the attack"),
            "measure": Column(pl.String, "what is measured of it"),
            "value": Column(pl.Float64, "the measure on the model that forgot", "of the measure"),
            "oracle": Column(pl.Float64, "the same on the head trained without the class", "of the measure"),
            **_known("digest"),
        },
    ),
    "metrics": Table(
        files=("compare/<digest>/metrics.parquet", "solved/<digest>/metrics.parquet"),
        row="a class, head, method and metric, where the spec says `compare.metrics`",
        columns={
            **_known("class", "name", "seed", "head", "method"),
            "metric": Column(pl.String, "name of the metric, which another distribution gives"),
            "value": Column(pl.Float64, "the metric of the model that forgot", "of the metric"),
            "oracle": Column(pl.Float64, "the same of the head trained without the class", "of the metric"),
            **_known("digest"),
        },
    ),
    "selection": Table(
        files=("compare/<digest>/selection.parquet",),
        row="a class and label-free rule for N",
        columns={
            **_known("class", "name", "seed"),
            "weight": Column(pl.Float64, "what a hit of another class costs: pairs go by n_f - weight * n_r", "hits"),
            "tau": Column(
                pl.Float64, "the rule takes the smallest N that holds this share of the removable activations", "share"
            ),
            "budget": Column(pl.Int64, "that N", "pairs"),
            "best_budget": Column(pl.Int64, "the N of the grid with the highest tow by test labels", "pairs"),
            "tow": Column(pl.Float64, "tow at budget", "score in [0, 1]"),
            "best_tow": Column(pl.Float64, "tow at best_budget", "score in [0, 1]"),
            "regret": Column(pl.Float64, "best_tow - tow", "score"),
            **_known("test_forget", "test_retain", "train_forget", "train_retain", "digest"),
        },
    ),
    "costs": Table(
        files=("costs/<digest>/costs.parquet",),
        row="a head and method: a request to forget one class; seconds make two runs differ",
        columns={
            **_known("class", "name", "seed", "head", "method"),
            "flops_forward": Column(
                pl.Int64, "forward, on cached codes or embeddings, as torch's FlopCounterMode counts", "FLOPs"
            ),
            "flops_backward": Column(pl.Int64, "backward, on the same", "FLOPs"),
            "flops_uncached": Column(
                pl.Int64, "both, and each image it needs once through backbone and coding", "FLOPs"
            ),
            "bytes_read": Column(pl.Int64, "the arrays it reads, as they lie in memory", "bytes"),
            "flops_ratio": Column(
                pl.Float64, "FLOPs of retraining the same head over its own; null where it has none", "ratio"
            ),
            "seconds": Column(pl.Float64, "median of warm runs, evaluation excluded", "seconds"),
            "seconds_least": Column(pl.Float64, "the fastest of these runs", "seconds"),
            "seconds_most": Column(pl.Float64, "the slowest", "seconds"),
            "peak_bytes": Column(
                pl.Int64, "resident memory that it adds; null where the system does not tell", "bytes"
            ),
            "retrain_ratio": Column(pl.Float64, "seconds of retraining the same head over its own", "ratio"),
            "requests_to_pay": Column(
                pl.Float64,
                "masks: requests until the bottleneck has paid off against retraining a linear head",
                "requests",
            ),
            **_known("digest"),
        },
    ),
    "scope": Table(
        files=("scope/<digest>/scope.parquet",),
        row="a forget set, head and method",
        columns={
            "kind": Column(
                pl.String, "classes, sequence forward or backward, instances, proxy split, flipped or other"
            ),
            "size": Column(
                pl.Float64,
                "how much is forgotten: classes, requests so far, share of the class's items, or images counted",
                "of the kind",
            ),
            "names": Column(pl.String, "JSON: the classes that are gone"),
            **_known("seed", "head", "method", "setting"),
            **_known("train_forget", "train_retain", "test_forget", "test_retain", "test_retain_among_retain", "test"),
            "tow": Column(pl.Float64, "tug of war against the head trained without the forget set", "score in [0, 1]"),
            "js_forget": Column(
                pl.Float64,
                "Jensen-Shannon divergence from that head on the training items of the forget set",
                "in [0, 1]",
            ),
            "jaccard": Column(
                pl.Float64, "of a proxy's mask with the mask of the class's own counts; null elsewhere", "share"
            ),
            "mia_auc": Column(
                pl.Float64,
                "instances: AUC of the attack by loss, against test items of the class; null elsewhere",
                "in [0, 1]",
            ),
            **_known("digest"),
        },
    ),
}
"""The result tables by name. Numbers are null where there is nothing to measure, such as an accuracy over no items."""

SWEEP = TABLES["sweep"].schema
"""The grid of each class and seed holds the N of the rule (`dkvb.orders.TAU`). Seconds are in the unit's marker, so
that equal work gives equal bytes; `dkvb table` joins them."""

SWEEP_3 = {name: kind for name, kind in SWEEP.items() if name not in ("test_retain_lost", "test_retain_gained")}
"""The sweep's table as versions up to 3 of the step wrote it; their grids need not hold the N of the rule."""

SWEEP_ITEMS = TABLES["retain_items"].schema
"""By it the mean change has an interval over test items."""

SETS = TABLES["sets"].schema
ATTACKS = TABLES["attacks"].schema
COMPARE_TABLES = {name: TABLES[name].schema for name in ("compare", "oracle_gap", "attacks", "selection")}
SOLVED_TABLES = {name: TABLES[name].schema for name in ("compare", "beside", "attacks")}
BESIDE = TABLES["beside"].schema
METRICS = TABLES["metrics"].schema
COSTS = TABLES["costs"].schema
SCOPE = TABLES["scope"].schema
