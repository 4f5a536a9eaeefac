"""The plan: the steps of an experiment with their digests, and the order in which they can run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dkvb.errors import DkvbError
from jobs.errors import BadSpec
from jobs.images.splits import check_apart
from jobs.plan.graph import steps
from jobs.spec.schema import Spec
from jobs.step import SPLITS, Step
from store.addresses import written_out
from store.artefacts import digest
from store.errors import StoreError
from store.images import Images
from store.places import Place, installs, is_address

UNKNOWN = "unknown until the images are seen"


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of an experiment, in an order in which they can run."""

    spec: Spec
    steps: tuple[Step, ...]

    def step(self, label: str) -> Step:
        """A step by its label, such as "codes[test]"."""
        return next(step for step in self.steps if step.label == label)

    def is_done(self, root: Place) -> bool:
        """Whether nothing is left to do on a root."""
        return all(step.task(root).output.done for step in self.steps)

    def digests(self) -> dict[str, str]:
        """Label -> digest."""
        return {step.label: step.digest for step in self.steps}


def waves(plans: Sequence[Plan]) -> list[dict[str, Step]]:
    """The steps of experiments as one graph, each once, in waves: a step waits for steps of earlier waves only.

    returns: for each wave the steps by label, with the experiment's name before it where labels would clash.
    """
    depth: dict[str, int] = {}

    def depth_of(step: Step) -> int:
        if step.digest not in depth:
            depth[step.digest] = 1 + max((depth_of(needed) for needed in step.inputs.values()), default=-1)
        return depth[step.digest]

    unique = {step.digest: (plan, step) for plan in reversed(plans) for step in plan.steps}
    made: list[dict[str, Step]] = [{} for _ in range(1 + max(depth_of(step) for _, step in unique.values()))]
    for plan in plans:
        for step in plan.steps:
            if unique[step.digest][0] is plan:
                clash = sum(other.label == step.label for _, other in unique.values()) > 1
                made[depth[step.digest]][f"{plan.spec.name} {step.label}" if clash else step.label] = step
    return made


def image_source(spec: Spec, location: str, split: str) -> Images:
    """The images of one split, or the training images of the "other" data set."""
    if split == "other" and spec.other is not None:
        return spec.other.split("train").open(location)
    return spec.images.split(split).open(location)


def make_plan(spec: Spec, location: str | None) -> Plan:
    """The steps; digests need the listing of the images (names and sizes, nothing is opened).

    location: where the images lie; None makes a plan without them, good for looking at only.
    raises: BadSpec when the images are not given but needed, and for splits that share files; ImagesMissing.
    """
    if not location and spec.images.kind != "digits":
        raise BadSpec(
            f"{spec.name}: images of kind {spec.images.kind!r} have to be read from somewhere: give --images DIR"
        )
    # Workers have working directories of their own.
    written = written_out(location or "")
    resolved = str(Path(written).resolve()) if location and not is_address(written) else written
    sources = {split: image_source(spec, resolved, split) for split in _parts(spec)}
    with _listable(resolved):
        listings = {split: digest([[f.name, f.bytes] for f in images.listing()]) for split, images in sources.items()}
        check_apart(sources["train"], sources["test"])
    return Plan(spec, steps(spec, resolved, listings))


def sketch(spec: Spec) -> Plan:
    """The plan of an experiment whose images are not here: its steps are right, their digests are not."""
    return Plan(spec, steps(spec, "", dict.fromkeys(_parts(spec), UNKNOWN)))


def _parts(spec: Spec) -> tuple[str, ...]:
    """What of the images is listed."""
    return (*SPLITS, "other") if spec.other is not None else SPLITS


@contextmanager
def _listable(location: str) -> Iterator[None]:
    """Listing images: what a remote file system raises, as BadSpec."""
    try:
        yield
    except (BadSpec, DkvbError, StoreError, OSError):
        raise
    except Exception as error:  # what a remote file system raises has no common base
        raise BadSpec(
            f"{location}: cannot be listed ({type(error).__name__}: {error}); check the address, the credentials, and "
            f"that its file system is installed ({installs(location)})"
        ) from error
