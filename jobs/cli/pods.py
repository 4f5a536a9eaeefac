"""The pods of a run on Kubernetes: whether they have the GPUs, folders and room that its `dkvb run` asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cluster.files.document import Keys, at, mapping, sequence, word
from cluster.files.finding import Notes
from cluster.files.quantity import quantity
from store.places import is_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What the step that needs most of a resource asks of a pod."""

    resource: str
    """As Kubernetes calls it."""
    on_gpu: bool
    gib: int
    why: str
    """The step, and its figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The pods of the head, or of a group of workers, which are all alike."""

    name: str
    resources: Keys
    """Where its resources are."""
    requests: dict[str, Any]
    limits: dict[str, Any]
    gpus: float
    mounts: tuple[str, ...]
    """Paths of volumes that other pods may have, too."""


def pods_of(value: Any, cluster: Keys) -> list[Pod]:
    """The head's pod and those of each group of workers; none where no Ray cluster is described at these keys."""
    groups: list[Keys] = [(*cluster, "headGroupSpec")]
    groups += [(*cluster, "workerGroupSpecs", n) for n in range(len(sequence(value, *cluster, "workerGroupSpecs")))]
    return [_pod(value, keys) for keys in groups] if mapping(value, *cluster) else []


def _pod(value: Any, group: Keys) -> Pod:
    spec: Keys = (*group, "template", "spec")
    container: Keys = (*spec, "containers", 0)  # KubeRay runs Ray in the first
    requests, limits = (mapping(value, *container, "resources", kind) for kind in ("requests", "limits"))
    given = [each for name, each in (requests | limits).items() if str(name).endswith("/gpu")]
    said = [at(value, *group, "rayStartParams", "num-gpus"), at(value, *group, "resources", "GPU")]
    own = {word(each, "name") for each in sequence(value, *spec, "volumes") if mapping(each).keys() & {"emptyDir"}}
    mounts = [each for each in sequence(value, *container, "volumeMounts") if word(each, "name") not in own]
    return Pod(
        name=word(value, *group, "groupName") or "the head",
        resources=(*container, "resources"),
        requests=requests,
        limits=limits,
        gpus=sum(quantity(each) or 0 for each in ([each for each in said if each is not None] or given)[:1]),
        mounts=tuple(word(each, "mountPath") for each in mounts),
    )


def check_gpus(notes: Notes, entrypoint: Keys, workers: Sequence[Pod], gpus: float | None) -> None:
    """Note GPUs that a worker is to hold and no pod has: it would wait for a place forever."""
    most = max((pod.gpus for pod in workers), default=0.0)
    if workers and gpus and gpus > most:
        has = f"pods with at most {most:g}" if most else "no pod with a GPU"
        expected = f"a worker group with nvidia.com/gpu: {-(-gpus // 1):g}"
        remedy = "each worker holds so many on one node: add them to a group's limits, or lower --gpus"
        notes.error(entrypoint, f"--gpus {gpus:g} and {has}", expected=expected, remedy=remedy)


def check_mounted(notes: Notes, entrypoint: Keys, pods: Sequence[Pod], option: str, place: str | None) -> None:
    """Note a path that is not the same folder in all pods."""
    if place is None or "$" in place or is_address(place.removeprefix("file://")):
        return
    path = PurePosixPath(place.removeprefix("file://"))
    without = [pod.name for pod in pods if not any(mount and path.is_relative_to(mount) for mount in pod.mounts)]
    if without:
        found = f"--{option} {place}, where no volume is mounted in {', '.join(without)}"
        image = ", or images in the image itself" if option == "images" else ""
        expected = f"s3://, or one volume for all pods at this path (volumes, volumeMounts){image}"
        remedy = "each pod would read and write a folder of its own, gone with the pod"
        notes.warning(entrypoint, found, expected=expected, remedy=remedy)


def check_room(notes: Notes, pods: Sequence[Pod], needs: Sequence[Need], gpus: float | None) -> None:
    """Note pods that have no room for the largest step of those that are for them.

    pods: the head first. gpus: what a worker holds for steps on GPUs; 0 where all of them compute on CPUs.
    """
    from jobs.plan.cost import RAY_GIB

    why = f"Ray needs {RAY_GIB} GiB, and the driver of the run some more"
    head = Need(resource="memory", on_gpu=False, gib=RAY_GIB + 1, why=why)
    largest = {(pod.resources, "memory"): head for pod in pods[:1]}
    workers = pods[1:]
    for need in needs:
        on_gpu = need.on_gpu and gpus != 0
        fitting = [pod for pod in workers if (pod.gpus > 0) == on_gpu] or workers
        for key in [(pod.resources, need.resource) for pod in fitting]:
            if key not in largest or largest[key].gib < need.gib:
                largest[key] = need
    for pod in pods:
        for resource in ("memory", "ephemeral-storage"):
            kind = "limits" if resource in pod.limits else "requests"
            given = getattr(pod, kind).get(resource)
            has, need_here = quantity(given), largest.get((pod.resources, resource))
            if has is not None and need_here is not None and has < need_here.gib * 2**30:
                remedy = "raise it; `dkvb cluster render --for SPEC` makes pods that are large enough"
                expected = f"{need_here.gib}Gi or more: {need_here.why}"
                found = f"{given} in pods of {pod.name}"
                notes.warning((*pod.resources, kind, resource), found, expected=expected, remedy=remedy)
