"""How many images a plan is made for: counted where they lie, as an earlier run found them, or as the spec expects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobs.images.counted import Counted, count
from jobs.plan.plan import Plan
from jobs.printable import shown
from jobs.spec.schema import Spec
from jobs.step import SPLITS
from store.artefacts import Artefact, read_json
from store.errors import StoreError
from store.images import PUBLISHED
from store.layout import MANIFEST
from store.locations import some
from store.manifest import Manifest
from store.places import Place

WORDS = {"classes": "classes", "train": "training images", "test": "test images"}
"""What sizes are of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How many images there are, and how that is known."""

    sizes: Mapping[str, int]
    """Items of "train" and "test", and number of "classes", as far as they are known."""
    source: str
    """ "counted", "estimated", "root", "spec", or "none"."""
    how: str
    """In words, behind the numbers."""
    notes: Sequence[str] = ()
    """What a run would stop at, and what is left alone."""
    counted: Counted | None = field(default=None, compare=False)
    """What was counted, if anything was."""

    def lines(self) -> list[str]:
        """For people."""
        if self.source == "none":
            return [self.how]
        about = "about " if self.source == "estimated" else ""
        parts = [f"{about}{self.sizes[key]:,} {word}" for key, word in WORDS.items() if key in self.sizes]
        return [f"{', '.join(parts)}: {self.how}", *self.notes]


def find_sizes(
    spec: Spec, plan: Plan, *, location: str | None, root: Place | None, counted: Counted | None = None
) -> Found:
    """How many images a plan is for.

    location: where they lie; None where they are not here.
    root: whose manifests are read, where they are done; None for none.
    counted: what lies there, if it was counted already.
    raises: as `count`.
    """
    expect = dict(spec.images.expect)
    if root is not None and (read := _on_root(plan, root)) is not None:
        sizes, unlabelled = read
        how = f"as the run found them that is on this root{_without_label(unlabelled)}"
        return Found(sizes=sizes, source="root", how=how)
    complete = {"train", "test", "classes"} <= expect.keys()
    if location is not None and not (complete and spec.images.kind in PUBLISHED):
        counted = counted or count(spec.images, location)
        if counted.whole or not complete:
            return _counted(spec, counted)
        how = f"as the spec's images.expect says; {_read(counted)}"
        return Found(sizes=expect, source="spec", how=how, notes=_notes(spec, counted), counted=counted)
    if expect:
        return Found(sizes=expect, source="spec", how="as the spec's images.expect says")
    how = (
        "How many images there are decides what the run needs: give --images DIR, and they are counted; or say "
        "images.expect = { train = ..., test = ..., classes = ... } in the spec."
    )
    return Found(sizes={}, source="none", how=how)


def _without_label(number: int) -> str:
    return f", {number:,} of them without a label, and so left out" if number else ""


def _on_root(plan: Plan, root: Place) -> tuple[dict[str, int], int] | None:
    """The sizes by the manifests on a root, and how many items have no label; None where one cannot be read."""
    sizes, unlabelled = dict[str, int](), 0
    for split in SPLITS:
        output = Artefact(root, "manifest", plan.step(f"manifest[{split}]").digest)
        try:
            if not output.done:
                return None
            manifest = Manifest.from_json(read_json(output.path / MANIFEST))
        except StoreError:
            return None
        sizes |= {split: manifest.items, "classes": len(manifest.classes)}
        unlabelled += manifest.unlabelled
    return {"train": sizes["train"], "test": sizes["test"], "classes": sizes["classes"]}, unlabelled


def _counted(spec: Spec, counted: Counted) -> Found:
    if counted.whole:
        how = f"counted just now, in {counted.seconds:.1f} s{_without_label(counted.unlabelled)}"
        source = "counted"
    else:
        how, source = f"estimated: {_read(counted)}; a run counts them all", "estimated"
    return Found(sizes=counted.sizes, source=source, how=how, notes=_notes(spec, counted), counted=counted)


def _read(counted: Counted) -> str:
    """How far counting came."""
    return f"{counted.read} were read in {counted.seconds:.0f} s"


def _notes(spec: Spec, counted: Counted) -> list[str]:
    """What a run would stop at, and what it leaves alone."""
    notes: list[str] = []
    gone = len(spec.images.without or ())  # their files may be there or not
    if counted.whole:
        notes += [
            f"a run would stop: there are {counted.sizes[key]:,} {WORDS[key]}, and images.expect says {number:,}"
            for key, number in spec.images.expect.items()
            if not number - (gone if key == "train" else 0) <= counted.sizes[key] <= number
        ]
    if wrong := counted.problems:
        stops = 'a run would stop there (images.on_error = "skip" leaves them out)'
        ends = "they are left out" if spec.images.on_error == "skip" else stops
        notes.append(f"problems: {len(wrong)}, {ends}: {shown(some(wrong))}")
    if counted.left_out:
        notes.append(f"left alone, as no data: {shown(counted.left_out)}")
    return notes
