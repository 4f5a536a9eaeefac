"""Two experiments compared: what their specs say differently, what the models know, and what forgetting costs them.

Differences are B - A, in percentage points, paired: over the test items that both have (McNemar's interval for a
change of accuracy), and over the classes that both knew before (Student's t). What cannot be paired is refused: a
difference over other classes or other test items says nothing of the two experiments.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from dkvb.statistics import change_width
from jobs.diff_intervals import retain_widths
from jobs.diff_methods import compared_attacks, compared_methods, texts
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, experiments, find
from jobs.results.formats import markdown, records
from jobs.results.headline import FORGOTTEN, KNOWN, before, by_class, sweep_table
from jobs.results.heads import WORDS
from jobs.results.sweep_tables import half_interval, heads
from jobs.step import SPLITS
from store.artefacts import Artefact, as_written, read_json
from store.places import Place

COUNTED = {"train after": ("train right", "train items"), "test after": ("test right", "test items")}
"""Measures of forgetting that are counts of items, and the columns that hold them."""

MEASURES = (*COUNTED, "retain change", "among retain change", "neighbour damage", "pairs masked %")
"""What is compared of each class at the N of the rule: columns of `jobs.results.headline.by_class`."""

MEASURE_WORDS = {name: WORDS[name].text for name in MEASURES if name in WORDS}
MEASURE_WORDS["neighbour damage"] = "most one other lost"
"""The measures as people read them."""

PER_ITEM = "retain change"
"""The measure of which the sweep keeps what each test item adds."""

NAMED = 5
"""Classes that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A key in which two specs differ; a value is JSON text, or None where a spec has no such key."""

    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two experiments beside each other."""

    a: Experiment
    b: Experiment
    spec: list[Change]
    shared: list[str]
    """Labels of the steps that both have in common, to the digest."""
    changed: list[str]
    """Labels of those that differ, or that one alone has."""
    versions: dict[str, tuple[int, int]]
    """Label -> versions of a step that the two did by different ones: other versions, other results."""
    accuracy: pl.DataFrame
    """Before anything is forgotten, one row each for test, train and the linear head on test: what, items, right and
    per cent of a and b, difference; on test also only a, only b (items that one alone has right) and its interval."""
    forgetting: pl.DataFrame
    """One row a method and measure at the N of the rule, mean over the classes that both knew: method, measure,
    classes, a, b, difference, its 95 % intervals over classes and over test items; counts where it counts items."""
    classes: pl.DataFrame
    """One row a method and class, means over seeds: method, class, name, and each measure in a, b and difference."""
    methods: pl.DataFrame | None
    """Of what both compared with each other, one row a head, method and measure (`jobs.diff_methods.METHODS`)."""
    attacks: pl.DataFrame | None
    """Of the attacks that both made, one row a head, method, attack and measure (`jobs.diff_methods.ATTACKS`)."""

    @property
    def same(self) -> bool:
        """Whether both are one experiment: every step has the same digest in both."""
        return not self.changed

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "same": self.same,
            **{side: {"root": str(one.root), "experiment": one.name} for side, one in (("a", self.a), ("b", self.b))},
            "spec": [{"key": change.key, **sides(change)} for change in self.spec],
            "steps": {"shared": self.shared, "changed": self.changed, "versions": self.versions},
            **{name: records(getattr(self, name)) for name in ("accuracy", "forgetting", "classes")},
            **{
                name: None if (table := getattr(self, name)) is None else records(table)
                for name in ("methods", "attacks")
            },
        }

    def text(self) -> str:
        """Tables in Markdown, for people; one line where both are the same."""
        if self.same:
            return SAME
        names = [f"{side}: {one.root}, experiment {one.name}" for side, one in (("A", self.a), ("B", self.b))]
        spec = [(shown(change.key), change.a, change.b) for change in self.spec]
        versions = [f"{label}: version {a} in A, {b} in B" for label, (a, b) in self.versions.items()]
        steps = f"steps in common: {listed(self.shared)}; not: {listed(self.changed)}"
        parts = [
            "\n".join([*map(shown, names), steps, *map(shown, versions)]),
            markdown(pl.DataFrame(spec, schema=dict.fromkeys(("spec", "A", "B"), pl.String), orient="row"))
            if spec
            else "the specs say the same",
            f"Before anything is forgotten, per cent; differences are B - A, in points.\n\n{markdown(self.accuracy)}",
            "Each class forgotten by itself at the N of the rule, mean over the classes that both knew.\n\n"
            f"{markdown(self.forgetting.with_columns(pl.col('measure').replace(MEASURE_WORDS)))}",
            NOTE,
            *texts(self.methods, self.attacks),
        ]
        return "\n\n".join(part.rstrip("\n") for part in parts)


SAME = (
    "A and B are the same: every step has the same digest; nothing to compare. To keep two settings apart, give each a "
    "name of its own in its spec: one root holds both, and `dkvb diff ROOT ROOT --a NAME --b NAME` compares them"
)
"""In place of tables."""

NOTE = """only A, only B: test items that one model alone has right, of which the interval over items is made (McNemar).
"over classes": Student's t of the classes' differences, over classes like these; it leaves out what other test items
would change. "over test items": of each test item's differences, over items like these for these classes; the sweep
keeps it of the retain change. All intervals are 95 %, of one model on either side: other seeds give other models."""
"""Printed below the tables."""


def listed(labels: list[str]) -> str:
    """Labels on one line."""
    return ", ".join(map(shown, labels)) or "none"


def sides(change: Change) -> dict[str, Any]:
    """The values of a change; a side without the key is left out."""
    return {side: json.loads(text) for side in ("a", "b") if (text := getattr(change, side)) is not None}


def choose(root: Place, name: str | None, option: str) -> Experiment:
    """One experiment of a root; option: by which the command line names it. raises: as `find`."""
    if name is None and len(there := experiments(root)) > 1:
        known = ", ".join(one.name for one in there)
        raise BadRequest(f"{root}: holds {len(there)} experiments ({known}); say which with {option} NAME")
    return find(root, name)


def diff(a: Experiment, b: Experiment) -> Diff:
    """Compare two experiments.

    raises: BadRequest where they have other classes or other test items, or are not finished; StoreError.
    """
    one, other = Stored(a), Stored(b)
    check_classes(a, b)
    check_test_items(one, other)
    labels = [*dict.fromkeys([*a.steps, *b.steps])]
    shared = [label for label in labels if a.steps.get(label) == b.steps.get(label)]
    changed = [label for label in labels if label not in shared]
    known = [per_class(by_class(sweep_table(each))) for each in (a, b)]
    classes = paired_classes(*known)
    widths = retain_widths(a, b, known)
    return Diff(
        a=a,
        b=b,
        spec=changes(a.spec, b.spec),
        shared=shared,
        changed=changed,
        versions=versions(a, b, changed),
        accuracy=accuracies(one, other),
        forgetting=pl.DataFrame(
            [row for part in classes.partition_by("method", maintain_order=True) for row in measured(part, widths)],
            schema=FORGETTING,
        ),
        classes=classes.select(
            "method", "class", "name", *(f"{side}{measure}" for measure in MEASURES for side in ("a ", "b ", ""))
        ).rename({measure: f"{measure} difference" for measure in MEASURES}),
        methods=compared_methods(a, b),
        attacks=compared_attacks(a, b),
    )


def versions(a: Experiment, b: Experiment, labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Label -> versions of the steps that both have, where these differ."""
    found = {}
    for label in labels:
        if label in a.steps and label in b.steps:
            one, other = version(a.artefact(label)), version(b.artefact(label))
            if one != other:
                found[label] = (one, other)
    return found


def version(artefact: Artefact) -> int:
    """Version of the step that wrote an artefact."""
    path = artefact.path / "spec.json"
    with as_written(path):
        return int(read_json(path)["version"])


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """In what two specs differ, by dotted keys in the order of the first."""
    one, other = dict(flat(a)), dict(flat(b))
    keys = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    return [Change(key=key, a=one.get(key), b=other.get(key)) for key in keys]


def flat(table: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a nested table, and their values as JSON."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", json.dumps(value, ensure_ascii=False)


def check_classes(a: Experiment, b: Experiment) -> None:
    """Whether two experiments have the same classes; raises: BadRequest naming some that one alone has."""
    if a.classes == b.classes:
        return
    alone = {
        side: [name for name in one.classes if name not in set(other.classes)]
        for side, one, other in (("A", a, b), ("B", b, a))
    }
    found = "; ".join(
        f"only {side} has {', '.join(map(shown, names[:NAMED]))}"
        + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        for side, names in alone.items()
        if names
    )
    raise BadRequest(
        f"{a.root}: {a.name} and {b.root}: {b.name}: found different classes ({found or 'the same in another order'}), "
        "expected the same: accuracies over different classes cannot be compared; choose two on one data set"
    )


def check_test_items(a: Stored, b: Stored) -> None:
    """Whether two experiments have the same test items in the same order, by their manifests; raises: BadRequest."""
    if a.experiment.steps.get("manifest[test]") == b.experiment.steps.get("manifest[test]"):
        return
    one, other = a.manifest("test"), b.manifest("test")
    if one.shards != other.shards:
        numbers = f"{one.items} in {len(one.shards)} shards, and {other.items} in {len(other.shards)}"
        raise BadRequest(
            f"{a.experiment.root}: {a.experiment.name} and {b.experiment.root}: {b.experiment.name}: found different "
            f"test items ({numbers}), expected the same files in the same shards: a difference over different items "
            "says nothing of the models; run both on one data set, with one images.shard_items"
        )


ACCURACY: dict[str, Any] = {
    "what": pl.String,
    "items": pl.Int64,
    "a right": pl.Int64,
    "a %": pl.Float64,
    "b right": pl.Int64,
    "b %": pl.Float64,
    "difference": pl.Float64,
    "only a": pl.Int64,
    "only b": pl.Int64,
    "± 95 % over items": pl.Float64,
}


def accuracies(a: Stored, b: Stored) -> pl.DataFrame:
    """What two models know before anything is forgotten; items: null where the two have other numbers of them."""
    rows: list[dict[str, Any]] = [paired_accuracy(a, b)]
    models = [before(one.experiment) for one in (a, b)]
    sizes = [{split: sum(model.items[split]) for split in SPLITS} for model in models]
    linear = [heads(one.experiment)["linear"] for one in (a, b)]
    train = [100 * share if (share := model.accuracy["train"]) is not None else None for model in models]
    for what, split, (x, y) in (("train", "train", train), ("linear head, test", "test", linear)):
        row: dict[str, Any] = {"what": what, "items": sizes[0][split] if sizes[0][split] == sizes[1][split] else None}
        if x is not None and y is not None:
            right = [round(value / 100 * size[split]) for value, size in zip((x, y), sizes, strict=True)]
            row |= {"a right": right[0], "a %": x, "b right": right[1], "b %": y, "difference": y - x}
        rows.append(row)
    return pl.DataFrame([{name: row.get(name) for name in ACCURACY} for row in rows], schema=ACCURACY)


def paired_accuracy(a: Stored, b: Stored) -> dict[str, Any]:
    """Test accuracy over the items that both have: an item that one skipped is left out."""
    one, other = Outcome.of(a, "test"), Outcome.of(b, "test")
    _, x, y = np.intersect1d(one.rows, other.rows, assume_unique=True, return_indices=True)
    then, now = one.right[x], other.right[y]
    n, lost, gained = len(x), int((then & ~now).sum()), int((~then & now).sum())
    row = {"what": "test", "items": n, "a right": int(then.sum()), "b right": int(now.sum())}
    if not n:
        return row
    width = change_width(np.array([lost]), np.array([gained]), np.array([n]))
    return {
        **row,
        "a %": 100 * float(then.mean()),
        "b %": 100 * float(now.mean()),
        "difference": 100 * (gained - lost) / n,
        "only a": lost,
        "only b": gained,
        "± 95 % over items": 100 * float(width[0]),
    }


def per_class(classes: pl.DataFrame) -> pl.DataFrame:
    """One row a method and class that was known before: the measures at the N of the rule, means over seeds.

    classes: as in `jobs.results.headline.by_class`.
    returns: also the counts, over seeds together, how many seeds there are, and whether all of them count as forgotten.
    """
    known = classes.filter(pl.col("outcome").is_in([FORGOTTEN, KNOWN]))
    return known.group_by("method", "class", "name", maintain_order=True).agg(
        *(pl.col(measure).mean() for measure in MEASURES),
        *(pl.col(column).sum() for columns in COUNTED.values() for column in columns),
        pl.len().alias("seeds"),
        (pl.col("outcome") == FORGOTTEN).all().alias("forgotten"),
    )


def paired_classes(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """The classes that both experiments knew and swept, by method.

    a, b: as in `per_class`.
    returns: their columns with "a " and "b " before the names, and each measure's difference under its own name.
    """
    on = ["method", "class", "name"]
    one, other = (table.select(*on, pl.exclude(on).name.prefix(side)) for table, side in ((a, "a "), (b, "b ")))
    both = one.join(other, on=on, how="inner", maintain_order="left")
    return both.with_columns((pl.col(f"b {name}") - pl.col(f"a {name}")).alias(name) for name in MEASURES)


FORGETTING: dict[str, Any] = {
    "method": pl.String,
    "measure": pl.String,
    "classes": pl.Int64,
    "a": pl.Float64,
    "a right": pl.Int64,
    "a items": pl.Int64,
    "b": pl.Float64,
    "b right": pl.Int64,
    "b items": pl.Int64,
    "difference": pl.Float64,
    "± 95 % over classes": pl.Float64,
    "± 95 % over test items": pl.Float64,
}


def measured(classes: pl.DataFrame, widths: Mapping[str, float | None]) -> Iterator[dict[str, Any]]:
    """The rows of one method.

    classes: its rows of `paired_classes`; widths: method -> half the interval of the retain change over test items.
    """
    method = classes["method"][0]
    gone = [int(classes[f"{side} forgotten"].sum()) for side in ("a", "b")]
    empty: dict[str, Any] = dict.fromkeys(FORGETTING) | {"method": method, "classes": len(classes)}
    yield empty | {"measure": "classes forgotten", "a": gone[0], "b": gone[1], "difference": gone[1] - gone[0]}
    for measure in MEASURES:
        paired = classes.filter(pl.col(measure).is_not_null())
        row = empty | {"measure": measure, "classes": len(paired), "difference": paired[measure].mean()}
        for side in ("a", "b"):
            row[side] = paired[f"{side} {measure}"].mean()
            for name, column in zip(("right", "items"), COUNTED.get(measure, ()), strict=False):
                row[f"{side} {name}"] = int(paired[f"{side} {column}"].sum())
        row["± 95 % over classes"] = half_interval(paired[measure])
        row["± 95 % over test items"] = widths.get(method) if measure == PER_ITEM else None
        yield row
