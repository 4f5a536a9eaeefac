"""What was forgotten on a root stays forgotten there whatever spec is run, or the run says that it does not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jobs.evidence import UNLEARNED
from jobs.printable import shown
from jobs.results.experiment import Experiment, experiments
from jobs.spec.reading import as_table, build
from jobs.spec.schema import Spec
from store.artefacts import ROOT_FILE, Artefact, as_written
from store.files import exists, names
from store.places import Place


def without_forgotten(spec: Spec, root: Place) -> Spec:
    """The spec, leaving out what experiments of the same images leave out on that root; raises: NotARoot."""
    if not exists(root / ROOT_FILE):
        return spec
    gone = {*(spec.images.without or ())}
    for one in experiments(root):
        images = dict(one.spec.get("images") or {})
        if (without := images.get("without")) and _same(images, spec):
            gone |= {str(digest) for digest in without}
    return replace(spec, images=replace(spec.images, without=sorted(gone))) if gone else spec


def _same(images: dict[str, object], spec: Spec) -> bool:
    """Whether the recorded images are those of a spec: of one kind, and of one training split."""
    return (images.get("kind"), images.get("train")) == (spec.images.kind, spec.images.train)


def read_spec(recorded: dict[str, object]) -> Spec:
    """The spec of an experiment as recorded; raises: BadSpec where another version wrote it."""
    made: Spec = build(Spec, as_table(recorded), "")
    return made


def requests(root: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request on a root: the name of its folder, and its spec; raises: ArtefactDamaged, NotARoot."""
    for name in names(root / UNLEARNED):
        made = Artefact(root, UNLEARNED, name)
        if made.done:
            with as_written(made.path):
                yield name, made.spec()


def forgotten_elsewhere(now: Experiment, spec: Spec) -> list[str]:
    """What to know of a model whose images hold what requests to other models of its root forgot.

    Of a purge there is nothing to know: its items are left out of every run.
    """
    models = {one.steps.get("values"): one for one in experiments(now.root)}
    told = []
    for name, request in requests(now.root):
        values = str(request["bottleneck"])
        model = models.get(values)
        purged = model is None and not exists(now.root / "values" / values)
        other = model is not None and not _same(dict(model.spec.get("images") or {}), spec)
        if request["method"] == "learn" or values == now.steps.get("values") or purged or other:
            continue
        what = ", ".join(map(shown, request.get("classes") or ["items"]))
        left = ", and what it left was destroyed" if request.get("commit") else ""
        told.append(
            f"request {name} forgot {what} of these images in another model{left}; this model is made of them again, "
            "unless their images are gone: ask it to forget them too"
        )
    return told
