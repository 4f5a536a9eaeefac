"""Records of experiments on a root: which artefacts make each up, so that it can be found by its name."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from jobs.elsewhere import forgotten_elsewhere
from jobs.errors import BadRequest, BadSpec
from jobs.plan.plan import Plan
from jobs.results.experiment import Experiment, read_experiment
from jobs.run.progress import Progress
from jobs.spec.reading import as_table, build
from jobs.spec.schema import Spec
from store.artefacts import Artefact, as_written
from store.files import exists
from store.places import Place

EARLY = frozenset({"manifest", "embeddings", "keys", "codes", "neighbours", "counts", "sums", "linear"})
"""Steps whose artefacts are no results by themselves."""


def record_all(plans: Sequence[Plan], root: Place, progress: Progress) -> None:
    """Write down which artefacts make up each experiment; the newer one takes a name.

    raises: NotARoot, ArtefactDamaged for a record that is there and holds something else.
    """
    for plan in plans:
        now, note = experiment(plan, root), taken_over(plan, root)
        now.write()
        if note is not None:
            progress.note(note)
        for text in forgotten_elsewhere(now):
            progress.note(f"{now.name}: {text}")


def check_names(plans: Sequence[Plan], root: Place) -> None:
    """Check that no experiment loses its name to another spec; raises: BadRequest, and what `refusal` raises."""
    for plan in plans:
        if (why := refusal(plan, root)) is not None:
            raise BadRequest(why)


def taken_over(plan: Plan, root: Place) -> str | None:
    """What the spec or the images of the experiment that goes by a plan's name on a root have of their own; or None.

    raises: as `record_all`.
    """
    last, now = recorded_before(plan, root)
    keys = changed_keys(last, now)
    files = [] if any(key.startswith(("images.", "other.")) for key in keys) else changed_files(last, now)
    if not (changes := [*keys, *files]):
        return None
    return f"{now.name} ran here before with another spec or other images: {', '.join(changes)}"


def refusal(plan: Plan, root: Place) -> str | None:
    """Why a run would be refused its name: results of another spec on the same images could not be found again.

    What was not finished, and what the other spec makes too, may go by the name.
    raises: as `record_all`.
    """
    last, now = recorded_before(plan, root)
    keys = changed_keys(last, now)
    gone = [label for label in last.steps if last.steps[label] != now.steps.get(label)]
    kinds = {label: label.partition("[")[0] for label in gone}
    lost = [name for name, kind in kinds.items() if kind not in EARLY and Artefact(root, kind, last.steps[name]).done]
    if not keys or not lost or any(label.startswith("manifest[") for label in gone):
        return None
    names = (f"{now.name}-{number}" for number in count(2))
    free = next(name for name in names if not exists(replace(now, name=name).path))
    return (
        f"{root}: {now.name} ran here before with another spec ({', '.join(keys)}), and its results "
        f'({", ".join(lost)}) go by that name; give this one its own: name = "{free}" in the spec, or --set '
        f"name={free}; what both have in common is not computed again"
    )


def recorded_before(plan: Plan, root: Place) -> tuple[Experiment, Experiment]:
    """The experiment that goes by a plan's name on a root, and what the plan makes; twice that where there is none."""
    now = experiment(plan, root)
    return (read_experiment(root, now.name) if exists(now.path) else now), now


def experiment(plan: Plan, root: Place) -> Experiment:
    """What a plan makes on a root."""
    return Experiment(root, plan.spec.name, asdict(plan.spec), plan.digests())


def changed_keys(last: Experiment, now: Experiment) -> list[str]:
    """The keys of their specs in which two experiments of one name differ."""
    with as_written(now.path):
        before, after = flat(completed(last.spec)), flat(now.spec)
    return sorted(key for key in before | after if before.get(key) != after.get(key))


def changed_files(last: Experiment, now: Experiment) -> list[str]:
    """What of the image files of two experiments of one name differs."""
    manifests = [label for label in last.steps if label.startswith("manifest[")]
    others = [label for label in manifests if last.steps[label] != now.steps.get(label, last.steps[label])]
    return [f"the files of {label.removeprefix('manifest')}, in names or sizes" for label in others]


def completed(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as it was written, and the defaults of keys that came later."""
    try:
        return asdict(build(Spec, as_table(spec), ""))
    except BadSpec:  # of another version, whose keys or bounds were others
        return spec


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one level of dotted keys."""
    level: dict[str, Any] = {}
    for key, value in table.items():
        level |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return level
