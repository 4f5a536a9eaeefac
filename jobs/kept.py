"""What of a root holds training items or was made of them, and what a request to forget leaves behind.

Read off the spec of every artefact, also of those that no experiment names any more.
"""

import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jobs.destroying import Parts, still_whole
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.printable import shown
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, experiments
from store.artefacts import SPEC, Artefact, as_written, digest
from store.checksums import damaged
from store.errors import NotARoot
from store.files import exists, names, read_bytes
from store.json import from_json
from store.layout import CHECKPOINT, LEARNED, LINEAR, LINEAR_SUMS, SUMS
from store.places import Place, quoted
from store.tombstones import TOMBSTONE

SUMMED = ("data.zarr/class_sums", "data.zarr/moments")
"""Arrays of a `sums` step that items leave; its whole keys are those of the keys step."""

EMPTIED = ("values", "linear", UNLEARNED)
"""Steps whose artefacts hold nothing of the items once they have a tombstone; sums keep their whole keys."""

ELSEWHERE = "the images, backups, copies, and versions that an object store or a file system keeps"
"""What of the items is not on the root, for people."""

NOT_ITS_SPEC = "is not the spec that the folder is named after"

OF_REQUEST = (SUMS, CHECKPOINT, LINEAR_SUMS, LINEAR)
"""Files in the folder of a request to forget exactly that are made of the items that it left."""

Spec = dict[str, Any]


def all_specs(root: Place) -> dict[Artefact, Spec]:
    """The spec of every artefact that has begun.

    raises: ArtefactDamaged: what was made of what decides what is destroyed.
    """
    known: dict[Artefact, Spec] = {}
    for artefact in all_artefacts(root):
        spec = read_spec(artefact)
        if spec is not None:
            known[artefact] = spec
        elif artefact.done or exists(artefact.path / SPEC):
            raise damaged(artefact.path, artefact.path / SPEC, NOT_ITS_SPEC)
    return known


def all_artefacts(root: Place) -> Iterator[Artefact]:
    """Every artefact folder of a root, those of requests too."""
    for step in names(root):
        for name in names(root / step):
            try:
                yield Artefact(root, step, name)
            except NotARoot:  # a file of the root, or the record of something
                continue


def read_spec(artefact: Artefact) -> Spec | None:
    """What an artefact was asked; None where its file is missing, or is not the spec that its folder is named after."""
    try:
        spec = from_json(read_bytes(artefact.path / SPEC))
    except (OSError, ValueError):
        return None
    return spec if isinstance(spec, dict) and digest(spec) == artefact.digest else None


def inputs_of(artefact: Artefact, spec: Spec) -> set[str]:
    """What an artefact was made of, as STEP/DIGEST; embeddings take nothing but names from the other manifest."""
    inputs = spec.get("inputs")
    table = inputs if isinstance(inputs, Mapping) else {}
    return {str(table.get("manifest"))} if artefact.step == "embeddings" else {*map(str, table.values())}


def kept_folders(experiment: Experiment, but: Collection[str] = ()) -> list[str]:
    """What on a root still holds the training items of an experiment or was made of them, as folders below it.

    That is all that was made of these images, whatever their files were when they were read, and other requests. A
    folder whose spec is damaged may hold them, and counts as if it did.
    but: folders that are left out.
    raises: ArtefactDamaged where nobody can tell which images the experiment is of.
    """
    specs = {artefact: read_spec(artefact) for artefact in all_artefacts(experiment.root)}
    known = {artefact: spec or {} for artefact, spec in specs.items()}
    manifest = Artefact(experiment.root, "manifest", experiment.steps["manifest[train]"])
    if not known.get(manifest):
        raise damaged(manifest.path, manifest.path / SPEC, NOT_ITS_SPEC)
    images = {one: images_of(spec) for one, spec in known.items() if one.step == "manifest"}
    holding = {folder(one) for one, spec in specs.items() if spec is None or images.get(one) == images[manifest]}
    while more := {folder(one) for one, spec in known.items() if inputs_of(one, spec) & holding} - holding:
        holding |= more
    destroyed = {folder(one) for one in known if one.step in EMPTIED and exists(one.path / TOMBSTONE)}
    destroyed -= {folder(one) for one in known if keeps_learned(one)}
    return sorted((holding | {folder(one) for one in known if one.step == UNLEARNED}) - destroyed - {*but})


def emptied(root: Place, parts: Parts) -> list[str]:
    """Those folders that hold nothing of the items once what a commit destroys is destroyed."""
    done = {name: Artefact(root, *name.split("/")) for name in parts if name.partition("/")[0] in EMPTIED}
    return [name for name, one in done.items() if not parts[name] or LEARNED in parts[name] or not keeps_learned(one)]


def keeps_learned(artefact: Artefact) -> bool:
    """Whether a request still keeps items that were learned."""
    return artefact.step == UNLEARNED and bool(still_whole(artefact, (LEARNED,)))


def images_of(spec: Spec) -> Spec:
    """Which images a manifest was asked for, whatever of them it leaves out, and by which version of a reader."""
    asks = spec.get("spec")
    images = asks.get("images") if isinstance(asks, dict) else None
    if not isinstance(images, dict):
        return {}
    return {key: part for key, part in images.items() if key not in ("without", "extension")}


def folder(artefact: Artefact) -> str:
    """Its path below the root."""
    return f"{artefact.step}/{artefact.digest}"


def folder_text(head: str, folders: Collection[str]) -> list[str]:
    """Folders for people, several a line, below a head; nothing where there are none."""
    lines = textwrap.wrap(", ".join(folders), 100, break_long_words=False, break_on_hyphens=False)
    return [f"  {head}", *(f"{' ' * 16}{shown(line)}" for line in lines)] if lines else []


def test_items(stored: Stored, classes: Collection[int]) -> dict[str, int]:
    """Of some classes that have any: how many test images, whose embeddings and codes no request takes away."""
    labels = stored.labels("test")
    counts = {stored.classes[k]: int((labels == k).sum()) for k in classes if k < len(stored.classes)}
    return {name: count for name, count in counts.items() if count}


def tests_text(items: Mapping[str, int]) -> list[str]:
    """The same for people: a line, or none."""
    if not items:
        return []
    counts = ", ".join(f"{count} of {shown(name)}" for name, count in items.items())
    return [
        f"  test images   {counts}: no head was made of them; embeddings and codes stay on this root, until the images "
        "are deleted and the experiment is run on a new one"
    ]


def summed_steps(experiment: Experiment) -> dict[str, str]:
    """The steps of an experiment whose artefacts hold sums that requests take items out of, and their digests."""
    with as_written(experiment.path):
        linear = (experiment.spec.get("linear") or {}).get("method") == "lda"
    return {step: experiment.steps[step] for step in ("sums", *["linear"] * linear) if step in experiment.steps}


def asked_of(spec: Spec) -> set[tuple[str, str]]:
    """The steps whose sums a request changed, and their digests."""
    return {(step, str(spec.get(step))) for step in ("sums", "linear")}


def superseded(experiment: Experiment, new: str, *, learned: bool = False) -> Parts:
    """What the state that a request leaves takes the place of: sums, checkpoints made of them, and those of requests.

    new: the folder of the request. learned: whether it also keeps what is left of learned items.
    Requests that were cut off go as a whole.
    raises: BadRequest where another experiment still begins with the same sums.
    """
    root, own = experiment.root, experiment.steps["values"]
    known, steps = all_specs(root), summed_steps(experiment)
    others = {
        one.steps["values"]: one.name
        for one in experiments(root)
        if one.steps["values"] != own and steps.items() & one.steps.items()
    }
    requests = {one: spec for one, spec in known.items() if one.step == UNLEARNED and steps.items() & asked_of(spec)}
    asked = {spec.get("bottleneck") for one, spec in requests.items() if one.done}
    if waiting := [name for values, name in others.items() if values not in asked]:
        raise BadRequest(
            f"{root}: a head of {waiting[0]} is made of the same sums, and would keep the items: ask it to forget "
            f"them first (`dkvb unlearn {quoted(root)} --experiment {quoted(waiting[0])} --method exact`), then commit"
        )
    parts: dict[Artefact, tuple[str, ...]] = {}
    if "sums" in steps:
        parts[Artefact(root, "sums", steps["sums"])] = SUMMED
        of_sums = f"sums/{steps['sums']}"
        for one, spec in known.items():
            if one.step == "values" and one.digest not in others and of_sums in inputs_of(one, spec):
                parts[one] = (CHECKPOINT,)
    if "linear" in steps:
        parts[Artefact(root, "linear", steps["linear"])] = (SUMS, LINEAR)
    whole = {one: still_whole(one, some) for one, some in parts.items()}
    for one, spec in requests.items():
        if one.digest != new and spec.get("bottleneck") not in others:
            whole[one] = still_whole(one, OF_REQUEST) if one.done else ()
    for one, spec in known.items() if learned else ():
        if one.step == UNLEARNED and one.done and one.digest != new and spec.get("bottleneck") == own:
            whole[one] = (*whole.get(one, ()), *still_whole(one, (LEARNED,)))
    return {folder(one): some for one, some in whole.items() if some or not one.done}
