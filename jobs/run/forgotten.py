"""What was forgotten for good on a root stays forgotten there, whatever spec is run."""

from dataclasses import replace

from jobs.elsewhere import images_of
from jobs.results.experiment import experiments
from jobs.spec.reading import as_table, build
from jobs.spec.schema import Spec
from store.artefacts import ROOT_FILE
from store.files import exists
from store.places import Place


def without_forgotten(spec: Spec, root: Place) -> Spec:
    """The spec, leaving out what experiments of the same images leave out on that root; raises: NotARoot."""
    if not exists(root / ROOT_FILE):
        return spec
    gone = {*(spec.images.without or ())}
    for one in experiments(root):
        without = (one.spec.get("images") or {}).get("without")
        if without and images_of(one) == (spec.images.kind, spec.images.train):
            gone |= {str(digest) for digest in without}
    return replace(spec, images=replace(spec.images, without=sorted(gone))) if gone else spec


def read_spec(recorded: dict[str, object]) -> Spec:
    """The spec of an experiment as recorded; raises: BadSpec where another version wrote it."""
    made: Spec = build(Spec, as_table(recorded), "")
    return made
