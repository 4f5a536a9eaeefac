"""Requests to forget that were made to other models of a root: this one may still know what they forgot."""

from jobs.destroying import requests
from jobs.evidence import UNLEARNED
from jobs.printable import shown
from jobs.results.experiment import Experiment, experiments
from store.artefacts import as_written
from store.files import exists


def forgotten_elsewhere(now: Experiment) -> list[str]:
    """What to know of a model whose images hold what requests to other models of its root forgot.

    Of classes that it was asked to forget too, and of a purge, whose items are left out of every run, there is nothing.
    raises: ArtefactDamaged, NotARoot.
    """
    models = {one.steps.get("values"): one for one in experiments(now.root)}
    with as_written(now.root / UNLEARNED):
        made = {one.digest: spec for one, spec in requests(now.root) if spec["method"] != "learn"}
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
