"""Requests to forget that were made to other models of a root: this one may still know what they forgot."""

from collections.abc import Iterator
from typing import Any

from jobs.evidence import UNLEARNED
from jobs.printable import shown
from jobs.results.experiment import Experiment, experiments
from store.artefacts import Artefact, as_written
from store.files import exists, names
from store.places import Place


def requests(root: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request on a root: the name of its folder, and its spec; raises: ArtefactDamaged, NotARoot."""
    for name in names(root / UNLEARNED):
        made = Artefact(root, UNLEARNED, name)
        if made.done:
            with as_written(made.path):
                yield name, made.spec()


def forgotten_elsewhere(now: Experiment) -> list[str]:
    """What to know of a model whose images hold what requests to other models of its root forgot.

    Of classes that it was asked to forget too, and of a purge, whose items are left out of every run, there is nothing.
    raises: ArtefactDamaged, NotARoot.
    """
    models = {one.steps.get("values"): one for one in experiments(now.root)}
    made = {name: spec for name, spec in requests(now.root) if spec["method"] != "learn"}
    own = {k for spec in made.values() if spec["bottleneck"] == now.steps.get("values") for k in spec["classes"]}
    told = []
    for name, request in made.items():
        values, classes = str(request["bottleneck"]), request["classes"]
        model = models.get(values)
        purged = model is None and not exists(now.root / "values" / values)
        other = model is not None and images_of(model) != images_of(now)
        if values == now.steps.get("values") or purged or other or (classes and {*classes} <= own):
            continue
        what = ", ".join(map(shown, classes or ["items"]))
        left = ", and what it left was destroyed" if request.get("commit") else ""
        told.append(
            f"request {name} forgot {what} of these images in another model{left}; this model is made of them again, "
            "unless their images are gone: ask it to forget them too"
        )
    return told


def images_of(experiment: Experiment) -> tuple[object, object]:
    """Which images an experiment is of: their kind, and their training split."""
    images = experiment.spec.get("images") or {}
    return images.get("kind"), images.get("train")
