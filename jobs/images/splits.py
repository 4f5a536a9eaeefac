"""What the splits of an experiment decide by themselves before anything is embedded: files, items and classes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from dkvb.errors import BadBudget
from dkvb.orders import budgets
from jobs.classes import class_indexes
from jobs.errors import BadRequest, BadSpec
from jobs.forget_sets import forget_sets, repeated
from jobs.printable import number, shown
from jobs.spec.images import ImagesSpec
from jobs.spec.schema import Spec
from jobs.step import SPLITS, Step
from store.artefacts import read_json
from store.errors import ImageDataError
from store.images import PUBLISHED, Images, Manifest
from store.layout import MANIFEST
from store.manifest import FORGOTTEN
from store.names import one_form, told_apart
from store.places import Place

SHOWN = 5


def check_apart(train: Images, test: Images) -> None:
    """Whether the splits share no file; raises: BadSpec naming some that they share.

    Two parts of one set (images.test_share) may lie in the same files; no item is in both.
    """
    if train.source.part is not None:
        return
    tested = set(test.paths())
    shared = [path for path in train.paths() if path in tested]
    if shared:
        raise BadSpec(
            f"images.train = {train.source.pattern!r} and images.test = {test.source.pattern!r} share {len(shared)} of "
            f"{len(tested)} test files ({_some(shared)}): what is trained on cannot be tested on; name files apart"
        )


def check_manifests(spec: Spec, steps: Sequence[Step], root: Place) -> list[str]:
    """Whether the manifests of an experiment fit together and its spec; they are done already.

    returns: what the user should know.
    raises: ImageDataError, BadRequest, dkvb.errors.BadBudget.
    """
    manifests = {
        step.split: Manifest.from_json(read_json(step.task(root).output.path / MANIFEST))
        for step in steps
        if step.kind == "manifest"
    }
    for split, manifest in manifests.items():
        _check_expected(manifest, split, spec.images if split in SPLITS or spec.other is None else spec.other)
    train, test = manifests["train"], manifests["test"]
    check_classes(train, test, plain=spec.images.kind not in ("folder", *PUBLISHED))
    named = _named(spec, train, manifests.get("other"))
    if empty := [k for k in class_indexes(train.classes, named) if not train.histogram[k]]:
        raise BadRequest(
            f"class {train.classes[empty[0]]!r} has no training items to forget; take it out of sweep.classes and "
            "compare.classes"
        )
    uve = spec.sweep.uve
    for k in _swept(spec, train):
        if uve is not None and uve.examples is not None:
            what = f"training items of class {train.classes[k]!r}"
            try:
                budgets([*uve.examples], train.histogram[k], shares=False, what=what)
            except BadBudget as error:
                raise BadBudget(f"sweep.uve.examples: {error}") from error
    asked = spec.sweep.set_asks(spec.seed)
    return [
        *([] if asked is None else repeated(asked, sum(1 for items in train.histogram if items))),
        *_notes(train, test, all_swept=not named and spec.sweep.each),
        *_unaccounted(manifests, spec.images.kind),
    ]


def _named(spec: Spec, train: Manifest, other: Manifest | None) -> list[str]:
    """The classes that the spec names, to be forgotten; raises: BadRequest for all that are not there, by key."""
    said = [("sweep.classes", train, spec.sweep.classes or [])]
    if (compare := spec.compare) is not None:
        said += [
            ("compare.classes", train, compare.classes or []),
            ("compare.oracle_kv", train, compare.oracle_kv or []),
        ]
    forgotten = [name for _, _, names in said for name in names]
    if compare is not None and other is not None:
        said += [
            ("compare.proxies", train, [*compare.proxies]),
            ("compare.proxies", other, [*compare.proxies.values()]),
        ]
    wrong = []
    for key, manifest, names in said:
        for name in names:
            try:
                class_indexes(manifest.classes, [name])
            except BadRequest as error:
                wrong.append(f"{key}: {error}")
    if wrong:
        raise BadRequest("\n".join(wrong))
    return forgotten


def _swept(spec: Spec, train: Manifest) -> list[int]:
    """The classes that are forgotten, by themselves or in sets; raises: BadRequest for sets that cannot be."""
    classes: set[int] = set()
    if spec.sweep.each and spec.sweep.classes is not None:
        classes.update(class_indexes(train.classes, spec.sweep.classes))
    elif spec.sweep.each:
        classes.update(k for k, items in enumerate(train.histogram) if items)
    if (asked := spec.sweep.set_asks(spec.seed)) is not None:
        classes.update(k for one in forget_sets(asked, train.classes, train.histogram) for k in one.classes)
    return sorted(classes)


def _check_expected(manifest: Manifest, split: str, images: ImagesSpec) -> None:
    where = "other.expect" if split == "other" else "images.expect"
    items = "train" if split == "other" else split
    forgotten = len(images.without or ()) if split == "train" else 0
    gone = forgotten - sum(label == FORGOTTEN for shard in manifest.shards for label in shard.labels)
    for key, found, more in ((items, manifest.items, max(gone, 0)), ("classes", len(manifest.classes), 0)):
        if images.expect.get(key) not in (None, found, found + more):
            what = "classes" if key == "classes" else "items"
            about = f", and {more} that were forgotten for good and are no longer there" if more else ""
            remedy = "check the location, or correct the spec"
            if images.without:
                remedy += (
                    "; where files of what was forgotten were deleted, and more than its training items, say what is "
                    f"left: --set {where}.{key}={found + more}"
                )
            raise ImageDataError(
                f"the {split} images: found {found} {what}{about}, the spec's {where} says {images.expect[key]}; "
                f"{remedy}"
            )


def check_classes(train: Manifest, test: Manifest, *, plain: bool) -> None:
    """Whether both splits have the same classes, two or more of them with training items.

    plain: whether class names may be labels in words, for want of names.
    """
    mine, other = [[one_form(name) for name in manifest.classes] for manifest in (train, test)]
    if plain and mine != other and _are_numbers(mine) and _are_numbers(other):
        raise ImageDataError(
            f"the splits have different classes: labels are numbers, and run to {len(mine) - 1} in train and to "
            f"{len(other) - 1} in test; mend the labels, or name all classes in a file (images.classes)"
        )
    if mine != other:
        only = [[name for name in a if name not in b] for a, b in ((mine, other), (other, mine))]
        told = told_apart([*only[0], *only[1]])
        parts = [
            f"{split} alone has {_some(told[start:stop])}"
            for split, start, stop in (("train", 0, len(only[0])), ("test", len(only[0]), len(told)))
            if start < stop
        ]
        raise ImageDataError(
            f"the splits have different classes ({len(mine)} in train, {len(other)} in test; "
            f"{'; '.join(parts) or 'the order differs'}); give both splits the same class folders, or the same file of "
            "class names"
        )
    items = train.histogram
    filled = sum(1 for count in items if count)
    if filled < 2:
        raise ImageDataError(
            f"{filled} of {len(items)} classes with training items: a classifier needs two or more, one to forget and "
            "one to keep"
        )
    if plain and _are_numbers(train.classes) and not items[0] and not test.histogram[0] and all(items[1:]):
        raise ImageDataError(
            f"labels run from 1 to {len(items) - 1}, and no item has label 0: write labels from 0, or name all "
            f"{len(items)} classes in a file (images.classes) if label 0 is one without items"
        )


def _are_numbers(classes: Sequence[str]) -> bool:
    """Whether classes are called by their labels, as where nothing names them."""
    return list(classes) == [str(label) for label in range(len(classes))]


def _notes(train: Manifest, test: Manifest, *, all_swept: bool) -> Iterator[str]:
    names = train.classes
    if (empty := [names[k] for k, count in enumerate(train.histogram) if not count]) and all_swept:
        which = f"{len(empty)} of {len(names)} classes ({_some(empty)})"
        if gone := sum(shard.labels.count(FORGOTTEN) for shard in train.shards):
            items = number(gone, "training item was", "training items were")
            yield f"nothing left to forget: {which}; {items} forgotten for good"
        else:
            yield f"no training items, not forgotten: {which}"
    without = [names[k] for k, count in enumerate(test.histogram) if not count and train.histogram[k]]
    if without:
        yield f"no test items, so nothing can be said of them on test images: {len(without)} classes ({_some(without)})"


def _unaccounted(manifests: Mapping[str, Manifest], kind: str) -> Iterator[str]:
    """What an older version may have lost."""
    old = [split for split, manifest in manifests.items() if manifest.left_alone is None]
    if old and kind in ("webdataset", "parquet"):
        lost = (
            "names with dots, links and further kinds of images"
            if kind == "webdataset"
            else "which column is the label"
        )
        yield (
            f"the manifests of this root ({', '.join(old)}) were written by a version that did not account for all it "
            f"saw ({lost}); a run on a new root tells"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shown(name) for name in islice(names, SHOWN)) + more
