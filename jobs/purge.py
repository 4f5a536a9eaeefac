"""Purging: everything on a root that was made of forgotten items is made anew without them, then destroyed.

Embeddings of the other items are copied; keys and all that follows from them are computed again by the ordinary run.
The experiments count as made anew once their records name the new artefacts; until then what was there is used, and
afterwards whatever comes next destroys what is left of the old (`jobs.destroying`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dkvb.errors import BadBudget
from jobs import certificate, destroying
from jobs.certificate import Asker
from jobs.chain import state
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED, check_signs
from jobs.excluded import item_digests
from jobs.kept import ELSEWHERE, all_specs, folder, folder_text, kept_folders, test_items, tests_text
from jobs.left import check_left
from jobs.plan.graph import steps
from jobs.plan.plan import Plan
from jobs.printable import shown
from jobs.query.item_keys import item_keys
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, experiments
from jobs.run.forgotten import read_spec
from jobs.step import SPLITS, Step, to_json
from store.artefacts import Artefact, as_written, digest
from store.checksums import DONE
from store.files import exists, remove
from store.layout import CHECKPOINT, LINEAR, LINEAR_SUMS, MASK, SUMS
from store.places import Place

LIMITS = (
    "The backbone is frozen and still represents the items.",
    "What was made of the items is overwritten and removed on this root as soon as this is written; old blocks where "
    "writing does not overwrite (copy-on-write file systems, snapshots, SSDs, versions of an object store) are not, "
    f"nor are {ELSEWHERE}.",
    "Numbers of rows stay in the records of requests to forget exactly, digests of the items' keys in the specs.",
)

Runs = Callable[[Sequence[Plan]], None]
"""Runs plans on the root, and leaves its records of experiments as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge did."""

    request: str
    """The request that it was done for: the name of its folder."""
    items: int
    """Training items that are left out from now on."""
    classes: list[str]
    """Names of those of which no training item is left."""
    test_items: dict[str, int]
    """Of each of them, test images, whose embeddings and codes stay on the root."""
    requests: list[str]
    """The requests that it carries out."""
    experiments: list[str]
    """Names of those that were made anew."""
    checkpoint: str
    """Where the new model is."""
    destroyed: list[str]
    """Folders that were destroyed, or of which sums, checkpoints and masks were."""
    certificate: str
    """Where the certificate is, in the log of the root."""

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        items = f"{self.items} training item{'s' * (self.items != 1)}"
        if self.classes:
            items += f", all of {', '.join(map(shown, self.classes))} among them"
        return "\n".join(
            [
                f"purged: {', '.join(self.experiments)} made anew without {items}",
                f"  checkpoint    {self.checkpoint}",
                f"  certificate   {self.certificate}",
                *folder_text("destroyed     these folders, or the sums, checkpoints and masks in them", self.destroyed),
                "  still there   numbers of rows in records of requests to forget exactly, digests of keys in specs",
                *tests_text(self.test_items),
                f"  elsewhere     yours to destroy: {ELSEWHERE}",
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What is to be purged, before anything of it is done."""

    gone: frozenset[int]
    """Rows of the training items that are left out."""
    classes: list[str]
    """Names of those of which nothing is left."""
    tests: dict[str, int]
    """Of each such class, test images: their embeddings stay."""
    requests: list[str]
    """Requests whose items these are, by the names of their folders."""
    affected: list[Experiment]
    """Those that are made of the same images, and are made anew: each would keep the items."""
    plans: dict[str, Plan]
    """Name of each -> its plan without the items."""
    kept: list[str]
    """Folders that hold the items or were made of them."""


def planned(asked: Experiment, rows: Collection[int]) -> Purge:
    """What a purge has to do, which is checked to be possible; nothing is written.

    rows: of training items that are forgotten, beside those that requests of the experiments forgot exactly.
    raises: BadRequest, BadBudget; BadSpec where another version recorded an experiment; StoreError.
    """
    root, stored, same = asked.root, Stored(asked), "manifest[train]"
    labels = stored.labels("train")
    affected = [one for one in experiments(root) if one.steps.get(same) == asked.steps[same]]
    states = {one.name: state(one, len(labels)) for one in affected}
    if more := [name for name, past in states.items() if past.learned]:
        raise BadRequest(
            f"{root}: requests learned items in experiment {more[0]}, which a purge would lose; run the spec on a new "
            "root without the images of the forgotten items, and delete this one"
        )
    gone = frozenset(rows).union(*(past.forgotten for past in states.values()))
    digests = digests_of(stored, gone)
    plans = {one.name: plan_without(one, digests) for one in affected}
    kept = kept_folders(asked)
    for one in experiments(root):
        if one.name in plans or {*digests} <= {*((one.spec.get("images") or {}).get("without") or ())}:
            continue
        if used := {f"{label.partition('[')[0]}/{name}" for label, name in one.steps.items()} & {*kept}:
            raise BadRequest(
                f"{root}: experiment {one.name} was made of these images when their files were others, and uses "
                f"{min(used)}: run it again with the files as they are now, then purge"
            )
    before = np.bincount(labels[labels >= 0], minlength=len(stored.classes))
    labels[[*gone]] = -1
    items = np.bincount(labels[labels >= 0], minlength=len(stored.classes)).tolist()
    if not any(items):
        raise BadRequest(f"{root}: these are the last training items: nothing would be left to make a model of")
    for name, plan in plans.items():
        try:
            check_left(plan.spec, stored.classes, items)
        except (BadRequest, BadBudget) as error:
            raise BadRequest(
                f"{root}: nothing was changed: without the items the spec of {name} would ask for more than is left: "
                f"{error}; run {name} with a spec that asks for less, then ask again"
            ) from error
    whole = [k for k, left in enumerate(items) if before[k] and not left]
    return Purge(
        gone=gone,
        classes=[stored.classes[k] for k in whole],
        tests=test_items(stored, whole),
        requests=sorted({by for past in states.values() for by in past.forgotten.values()}),
        affected=affected,
        plans=plans,
        kept=kept,
    )


def check_purge(asked: Experiment, rows: Collection[int], key_file: Path | None = None) -> None:
    """Check that a purge can be done, before what asks for it is; arguments and errors as of `planned` and `purge`."""
    check_signs(asked.root, key_file)
    planned(asked, rows)


def class_rows(experiment: Experiment, classes: Sequence[str]) -> list[int]:
    """Rows of all training items of some classes; raises: BadRequest for a class that is none."""
    stored = Stored(experiment)
    wanted = class_indexes(stored.classes, classes)
    return np.flatnonzero(np.isin(stored.labels("train"), wanted)).tolist()


def purge(
    asked: Experiment,
    run: Runs,
    *,
    of: Artefact | None = None,
    rows: Collection[int] = (),
    asker: Asker | None = None,
    key_file: Path | None = None,
) -> Purged:
    """Make everything anew that was made of forgotten items, without them; destroy what was before.

    run: as `Runs`.
    of: the request that asks for it; unless given, the experiment's last that forgot exactly.
    rows: of training items that are forgotten in another way than exactly (`class_rows`).
    raises: BadRequest, BadSpec, StepFailed, StoreError.
    """
    root = asked.root
    of = of or state(asked, len(Stored(asked).labels("train"))).previous
    if of is None:
        raise BadRequest(f"{asked.name}: no request forgot anything exactly, so there is nothing to purge")
    check_signs(root, key_file)
    todo = planned(asked, rows)
    requests = sorted({of.digest, *todo.requests})
    plans, new = todo.plans, {f"{step.kind}/{step.digest}" for plan in todo.plans.values() for step in plan.steps}
    with destroying.one_at_a_time(root):
        run([*plans.values()])
        parts = old_parts(root, todo.kept, todo.affected, but=new)
        anew = {name: Experiment(root, name, asdict(plan.spec), plan.digests()) for name, plan in plans.items()}
        model = anew[asked.name]
        said = certificate.body(
            request={
                "method": "purge",
                "classes": todo.classes,
                "items": len(todo.gone),
                "of": of.digest,
                "requests": requests,
                "test_items": todo.tests,
                "experiments": [*plans],
                "destroyed": [*parts],
            },
            asker=asker or Asker(),
            model=model.model,
            files=certificate.stamps(
                root,
                [
                    *(one.artefact("values").path / CHECKPOINT for one in anew.values()),
                    *(one.artefact("linear").path / LINEAR for one in anew.values() if "linear" in one.steps),
                    model.artefact("embeddings[train]").path / DONE,
                ],
            ),
            measured=None,
            previous=certificate.last_entry(root),
            limits=LIMITS,
        )
        records = {name: digest(one.steps) for name, one in anew.items()}
        destroying.order(root, of.digest, parts, anew=records)
        log = certificate.write(certificate.signed(said, key_file), root, of.path)
        for name in anew:
            remove(root / f"{name}.png")  # `dkvb run` draws it anew
        for name in sorted(anew, key=lambda name: name == asked.name):  # last the one whose requests say what is gone
            anew[name].write()
        destroying.finish(root)
    return Purged(
        request=of.digest,
        items=len(todo.gone),
        classes=todo.classes,
        test_items=todo.tests,
        requests=requests,
        experiments=[*plans],
        checkpoint=str(model.artefact("values").path / CHECKPOINT),
        destroyed=[*parts],
        certificate=str(log),
    )


def digests_of(stored: Stored, rows: Collection[int]) -> list[str]:
    """What stands in specs for some training items; raises: BadRequest on a root that recorded no keys of items."""
    shards = stored.manifest("train").shards
    keys = item_keys(stored, "train", shards)
    if keys is None:
        raise BadRequest(
            f"{stored.experiment.root}: an older version read the images, which recorded no keys of items, so none can "
            "be left out; run the experiment on a new root"
        )
    return item_digests(shards, keys.tolist(), rows)


def plan_without(experiment: Experiment, gone: Sequence[str]) -> Plan:
    """The plan of an experiment that leaves out some items, of the image files as they were when it was run.

    raises: BadSpec where another version recorded it; BadRequest where it was made with other extensions.
    """
    spec = read_spec(experiment.spec)
    without = sorted({*(spec.images.without or ()), *gone})
    spec = replace(spec, images=replace(spec.images, without=without))
    listings = {}
    for split in (*SPLITS, *(["other"] if spec.other is not None else [])):
        scanned = experiment.artefact(f"manifest[{split}]")
        with as_written(scanned.path):
            listings[split] = str(scanned.spec()["spec"]["listing"])
    plan = Plan(spec, steps(spec, "", listings))
    for step in plan.steps:
        if step.kind in ("manifest", "embeddings"):
            _check_same_extensions(experiment, step)
    return plan


def _check_same_extensions(experiment: Experiment, step: Step) -> None:
    """Whether images would be read by other extensions than they were: nothing could be copied."""
    before, asks = experiment.artefact(step.label), to_json(step.asks)
    with as_written(before.path):
        asked = before.spec()["spec"]
        made = [(one["images"].get("extension"), one.get("extension")) for one in (asked, asks)]
    for was, here in zip(*made, strict=True):
        if was != here:
            raise BadRequest(
                f"{experiment.root}: nothing was changed: {step.label} was made with {was}, found {here} here: install "
                f"what it was made with, or run {experiment.name} again, then purge"
            )


def old_parts(
    root: Place, kept: Sequence[str], affected: Sequence[Experiment], *, but: set[str]
) -> dict[str, tuple[str, ...]]:
    """What is destroyed: folders that hold the items, those that nothing uses any more, and models of requests.

    Those too of requests to a model that no experiment names any more.
    """
    old = {f"{label.partition('[')[0]}/{name}" for one in affected for label, name in one.steps.items()}
    used = {
        f"{label.partition('[')[0]}/{name}"
        for one in experiments(root)
        if one.name not in {gone.name for gone in affected}
        for label, name in one.steps.items()
    }
    parts: dict[str, tuple[str, ...]] = {
        name: () for name in sorted({*kept} | old) if name not in but | used and not name.startswith(f"{UNLEARNED}/")
    }
    for artefact, spec in all_specs(root).items():
        values = f"values/{spec.get('bottleneck')}"
        if artefact.step == UNLEARNED and values not in used and (values in {*kept} | old or not exists(root / values)):
            whole = destroying.still_whole(artefact, (SUMS, CHECKPOINT, MASK, LINEAR, LINEAR_SUMS))
            if whole or not artefact.done:
                parts[folder(artefact)] = whole if artefact.done else ()
    return parts
