"""A spec for a folder of images: what was found there, what was chosen, and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.begin.layout import Layout, find_layout
from jobs.errors import BadRequest, BadSpec
from jobs.images.counted import Counted, Sampled, count, sampled
from jobs.images.splits import check_classes
from jobs.printable import shown
from jobs.spec.images import ImagesSpec
from jobs.spec.overlay import as_options, overlaid, read
from jobs.spec.reading import build, build_all
from jobs.spec.schema import Spec
from store.addresses import written_out
from store.errors import ImageDataError
from store.locations import some
from store.places import is_address

CODEBOOKS = 256
LEAST_KEYS, MOST_KEYS = 64, 4096
"""Key-value pairs of a codebook: the DKVB authors' 4096 where there are images enough for them."""

ITEMS_A_KEY = 4
"""Training items for each key of a codebook, at least: the digits have 5.6, CIFAR-10 12."""

SAMPLE = 20_000
"""Most items that keys are fitted on, as in the shipped specs."""

SMALL_EDGE, SMALL_PIXELS = 100, 128
"""Images whose shorter edge is below the first are given to the backbone at the second, as in the shipped specs."""

MANY = 20_000
"""Images from which the same is done to larger ones, to save time: 224 pixels take three times as long."""

BATCH = 16
"""Images of a forward pass. Memory of larger ones is made anew by the system each time: on a core of a busy Xeon, 64 at
a time took 1.7 to 2.5 times as long an image at 128 pixels, and 1.4 to 1.7 times at 224. Fewer take other kernels."""

FEW, FEW_AT_ONCE = 10_000, 250
"""Images of folders up to the first are embedded so many at a time, for all CPUs to have some."""

FINE = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
COARSE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
EXAMPLES = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
"""Grids of budgets, as in the shipped specs; the coarse ones for many classes."""

MANY_CLASSES = 100

SHOWN = 3
"""Problems that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What was found in a folder of images, and the spec that was chosen for it."""

    location: str
    layout: Layout
    counted: Counted
    sampled: Sampled
    table: Mapping[str, Any]
    """The spec, as TOML has it."""
    why: Mapping[str, str]
    """Why keys are as they are, by table."""
    specs: list[Spec]
    """The experiments of it."""

    @property
    def name(self) -> str:
        """Of the experiment."""
        return str(self.table["name"])

    def to_json(self) -> dict[str, Any]:
        """What was found and chosen, as a JSON object."""
        counted, edge = self.counted, self.sampled.edge
        return {
            "images": self.location,
            "found": self.layout.about,
            "classes": list(counted.classes),
            "sizes": counted.sizes,
            "estimated": not counted.whole,
            "bytes": self.bytes,
            "formats": dict(self.sampled.formats),
            "shorter_edge": edge,
            "left_alone": dict(counted.left_alone),
            "unused": list(self.layout.unused),
            "problems": self.problems,
            "spec": dict(self.table),
            "why": dict(self.why),
        }

    @property
    def bytes(self) -> int:
        """Of all images together, in their files."""
        train, test = self.counted.train.bytes, self.counted.test.bytes
        same_files = self.layout.kind.startswith("cifar") or (self.counted.in_one and self.layout.kind != "folder")
        return train if same_files else train + test

    @property
    def problems(self) -> list[str]:
        """What is wrong with some of the images."""
        return [*self.counted.problems, *self.sampled.unreadable]


def begin(location: str, changes: Sequence[str] = ()) -> Begun:
    """Look at the images at a location, and choose a spec for them.

    location: a folder or an address.
    changes: keys that are set anew, as of `jobs.spec.overlay.overlaid`; those of [images] hold while it is looked.
    raises: BadRequest where no layout is recognised, or what lies there cannot be used; BadSpec for changes that cannot
        be made; StoreError.
    """
    location = written_out(location)
    layout = find_layout(location)
    table = _images_table(layout, changes)
    images = _images(table, changes)
    counted = count(images, location)
    _check(location, layout, counted)
    seen = sampled(images, location, counted)
    if not seen.sizes:
        raise ImageDataError(f"{location}: {seen.text()}")
    table, why = _chosen(_name(location), table, counted, seen)
    table = overlaid(table, changes)
    try:
        specs = build_all(table)
    except BadSpec as error:
        raise BadSpec(f"{as_options(changes) or location}: {error}") from error
    return Begun(location=location, layout=layout, counted=counted, sampled=seen, table=table, why=why, specs=specs)


def _images_table(layout: Layout, changes: Sequence[str]) -> dict[str, Any]:
    """The table `[images]`: as it was found, and what is set anew."""
    keys = {change: read(change)[0] for change in changes}
    found, named = layout.table, {tuple(key) for key in keys.values()}
    for key, other in (("test", "test_share"), ("test_share", "test")):  # two ways to say what is tested on
        if ("images", key) in named:
            found.pop(other, None)
    made = overlaid({"images": found}, [change for change, key in keys.items() if key[0] == "images"])["images"]
    if not isinstance(made, dict):
        raise BadSpec(f"images: found {made!r}, expected a table")
    return made


def _images(table: Mapping[str, Any], changes: Sequence[str]) -> ImagesSpec:
    try:
        made: ImagesSpec = build(ImagesSpec, dict(table), "images")
    except BadSpec as error:
        raise BadSpec(f"{as_options(changes)}: {error}" if changes else str(error)) from error
    return made


def _check(location: str, layout: Layout, counted: Counted) -> None:
    """Whether what was found can be trained and tested on; raises: BadRequest, ImageDataError."""
    train, test = counted.train.manifest, counted.test.manifest
    if not train.items or not test.items:
        wrong = some(counted.problems)
        raise BadRequest(
            f"{location}: found {layout.about}, and of {'train' if not train.items else 'test'} no image that can be "
            f"used{f': {wrong}' if wrong else ''}"
        )
    if counted.whole:
        check_classes(train, test, plain=layout.kind in ("webdataset", "parquet"))


def _name(location: str) -> str:
    """A name for the experiment, after its folder."""
    path = location.rstrip("/") if is_address(location) else str(Path(location).resolve())
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rpartition("/")[2])
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", cleaned)[:60] or "images"


def _chosen(
    name: str, images: Mapping[str, Any], counted: Counted, seen: Sampled
) -> tuple[dict[str, Any], dict[str, str]]:
    """The spec as a table, and why it is so."""
    why: dict[str, str] = {}
    items, v = counted.train.items, len(counted.classes)
    table: dict[str, Any] = {"name": name, "images": dict(images)}
    if (wrong := len(counted.problems) + len(seen.unreadable)) and "on_error" not in images:
        table["images"]["on_error"] = "skip"
        why["images.on_error"] = f"problems were met ({wrong}), and such items are left out"
    if images["kind"] == "folder" and counted.train.items <= FEW:
        table["images"].setdefault("shard_items", FEW_AT_ONCE)
    if counted.whole:
        table["images"].setdefault("expect", counted.sizes)
    edge = seen.edge or 0
    table["backbone"] = {"library": "efficientnet-lite", "name": "lite0"}
    why["backbone"] = "EfficientNet-Lite0: its weights come with dkvb, and it needs neither a network nor a GPU"
    if edge < SMALL_EDGE or items > MANY:
        table["backbone"]["image_size"] = SMALL_PIXELS
        few = f"the images are small, {edge} pixels" if edge < SMALL_EDGE else f"there are more than {MANY:,} images"
        why["backbone.image_size"] = f"{few}; its own 224 take three times as long"
    else:
        why["backbone.image_size"] = "224 pixels, its own"
    table["embeddings"] = {"batch": BATCH}
    why["embeddings"] = f"{BATCH} images at a time, which a CPU does quicker than 64; a GPU does more at a time quicker"
    m = LEAST_KEYS
    while 2 * m <= min(items / ITEMS_A_KEY, MOST_KEYS):
        m *= 2
    table["bottleneck"] = {"c": CODEBOOKS, "m": m}
    why["bottleneck"] = (
        f"{CODEBOOKS} codebooks of {m} pairs: {items / m:.1f} training images for each pair of a codebook"
    )
    if items > SAMPLE:
        table["keys"] = {"sample": SAMPLE}
        why["keys"] = f"keys are fitted on {SAMPLE:,} of the images, which is enough, and quicker than on all"
    few_classes = v <= MANY_CLASSES
    empty = sum(1 for count in counted.train.manifest.histogram if not count) if counted.whole else 0
    every = f"each of the {v - empty} classes with images to train on" if empty else f"each of the {v} classes"
    table["sweep"] = {
        "uva": {"shares": FINE if few_classes else COARSE},
        "uve": {"shares": EXAMPLES if few_classes else COARSE},
    }
    why["sweep"] = f"{every} is forgotten by itself, by both methods, with more and more pairs taken away"
    return table, why


def found_lines(begun: Begun) -> list[str]:
    """What was found, for people: one line for each thing."""
    counted, about = begun.counted, "" if begun.counted.whole else "about "
    sizes, names = counted.sizes, counted.classes
    per_class = counted.train.manifest.histogram if counted.whole else [*filter(None, counted.train.manifest.histogram)]
    spread = f"{min(per_class):,}" if min(per_class) == max(per_class) else f"{min(per_class):,} to {max(per_class):,}"
    split = begun.layout.why if counted.in_one or begun.layout.why else ""
    lines = [
        ("format", begun.layout.about),
        ("classes", f"{len(names):,} ({some(list(names))}), each with {spread} images to train on"),
        (
            "images",
            f"{about}{sizes['train']:,} to train on, {about}{sizes['test']:,} to test on{without_label(counted)}",
        ),
        ("size", f"{begun.bytes / 2**20:,.1f} MiB; {begun.sampled.text()}"),
    ]
    if counted.in_one:
        share = begun.table["images"].get("test_share", 0)
        lines.append(("test", f"{100 * share:g} % of the images are held out, drawn by their names: {split}"))
    elif split:
        lines.append(("splits", split))
    if not counted.whole:
        lines.append(("read", f"{counted.read} in {counted.seconds:.0f} s; the rest is estimated from their sizes"))
    if begun.layout.unused:
        lines.append(("not used", some(begun.layout.unused)))
    if counted.left_out:
        lines.append(("left alone", counted.left_out))
    if wrong := begun.problems:
        rest = f"; and {len(wrong) - SHOWN} more, which `dkvb init --json` names" if len(wrong) > SHOWN else ""
        lines.append(("problems", f'{len(wrong)}, left out by on_error = "skip": {"; ".join(wrong[:SHOWN])}{rest}'))
    return [f"  {head:<11} {shown(text)}" for head, text in lines]


def without_label(counted: Counted) -> str:
    """How many of the images cannot be used, for want of a label; empty where all have one."""
    return f", of which {counted.unlabelled:,} have no label and are left out" if counted.unlabelled else ""


def chosen_lines(begun: Begun) -> list[str]:
    """What was chosen and why, for people."""
    return [f"  {key:<20} {shown(text)}" for key, text in begun.why.items()]
