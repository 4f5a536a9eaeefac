"""Checks of RayJob and RayCluster objects for KubeRay."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.files.container_image import check_image
from cluster.files.document import Keys, at, mapping, nearest, sequence, whole, word
from cluster.files.finding import Notes

RAY_KINDS = ("RayJob", "RayCluster")
QUEUE_KINDS = ("ResourceFlavor", "ClusterQueue", "LocalQueue", "WorkloadPriorityClass")
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ELASTIC = "kueue.x-k8s.io/elastic-job"
GPU = "nvidia.com/gpu"
_VERSIONS = dict.fromkeys(RAY_KINDS, ("ray.io/v1",)) | dict.fromkeys(
    QUEUE_KINDS, ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")
)
_LONGEST_NAME = 47
"""Characters in the name of a RayJob, to which KubeRay adds more for pods and services."""
_JOB_KEYS = [
    "entrypoint",
    "runtimeEnvYAML",
    "jobId",
    "submissionMode",
    "metadata",
    "clusterSelector",
    "managedBy",
    "deletionStrategy",
    "suspend",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "activeDeadlineSeconds",
    "backoffLimit",
    "rayClusterSpec",
    "submitterPodTemplate",
    "submitterConfig",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "preRunningDeadlineSeconds",
]
_CLUSTER_KEYS = [
    "authOptions",
    "suspend",
    "managedBy",
    "autoscalerOptions",
    "headServiceAnnotations",
    "enableInTreeAutoscaling",
    "rayVersion",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "workerGroupSpecs",
    "upgradeStrategy",
]
_GROUP_KEYS = [
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "idleTimeoutSeconds",
    "rayStartParams",
    "template",
    "scaleStrategy",
    "numOfHosts",
    "suspend",
    "resources",
    "labels",
    "headService",
    "serviceType",
    "enableIngress",
]
_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")


def check_object(notes: Notes) -> None:
    """Note everything in a Kubernetes object that will not work as intended; other kinds are ignored."""
    value = notes.document.value
    kind = word(value, "kind")
    if kind not in _VERSIONS:
        if kind == "Secret" and (value.get("data") or value.get("stringData")):
            notes.error(
                ("kind",), "a Secret with its data", expected="none in a file", remedy="`kubectl create secret`"
            )
        elif near := nearest(kind, _VERSIONS):
            notes.error(("kind",), kind, expected=f"`{near}`", remedy="correct it")
        elif not kind or not value.get("apiVersion"):
            notes.error((), "no apiVersion and kind", expected="both", remedy="see `dkvb cluster render`")
        return
    if value.get("apiVersion") not in _VERSIONS[kind]:
        notes.error(("apiVersion",), value.get("apiVersion"), expected=f"`{_VERSIONS[kind][0]}`", remedy="correct it")
    name = at(value, "metadata", "name")
    longest = _LONGEST_NAME if kind == "RayJob" else 63
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", str(name)) or len(str(name)) > longest:
        expected = f"lowercase letters, digits and hyphens, at most {longest}"
        notes.error(("metadata", "name"), name, expected=expected, remedy="rename it")
    if kind == "RayJob":
        _check_job(notes)
    elif kind == "RayCluster":
        _check_cluster(notes, ("spec",))


def _check_job(notes: Notes) -> None:
    value = notes.document.value
    spec = mapping(value, "spec")
    _check_spelling(notes, ("spec",), spec, _JOB_KEYS)
    mode = word(spec, "submissionMode") or "K8sJobMode"
    if mode not in _MODES:
        notes.error(("spec", "submissionMode"), mode, expected=f"one of {', '.join(_MODES)}", remedy="correct it")
    if mode != "InteractiveMode":
        _check_entrypoint(notes, spec.get("entrypoint"))
    if spec.get("shutdownAfterJobFinishes") is not True:
        notes.error(
            ("spec", "shutdownAfterJobFinishes"),
            spec.get("shutdownAfterJobFinishes"),
            expected="true",
            remedy="set it: otherwise the Ray cluster and its GPUs stay after the run",
        )
    for key, says in (
        ("ttlSecondsAfterFinished", "say how long a finished Ray cluster stays"),
        ("backoffLimit", "say how often a failed run is started again; it goes on from what is done"),
    ):
        number = whole(spec, key)
        if key not in spec:
            notes.warning(("spec", key), None, expected="a number", remedy=says)
        elif number is None or number < 0:
            notes.error(("spec", key), spec[key], expected="a whole number, 0 or more", remedy=says)
    if spec.get("clusterSelector") is None and not spec.get("rayClusterSpec"):
        notes.error(("spec", "rayClusterSpec"), None, expected="a Ray cluster", remedy="see `dkvb cluster render`")
    elif spec.get("rayClusterSpec"):
        _check_cluster(notes, ("spec", "rayClusterSpec"))


def _check_entrypoint(notes: Notes, entrypoint: object) -> None:
    keys: Keys = ("spec", "entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        notes.error(keys, entrypoint, expected="`dkvb run SPEC --root R --address auto`", remedy="add it")
    elif re.search(r"\bdkvb\s+run\b", entrypoint):
        for option, without in (
            ("--root", "a root that all pods reach"),
            ("--address auto", "without it the run starts a Ray of its own in the head's pod"),
        ):
            if not re.search(option.replace(" ", r"[\s=]+"), entrypoint):
                notes.error(keys, f"no {option}", expected=option, remedy=f"add it: {without}")
        if not re.search(r"--workers", entrypoint):
            notes.warning(keys, "no --workers", expected="--workers N", remedy="add it: Ray starts pods because of it")


def _check_cluster(notes: Notes, keys: Keys) -> None:
    spec = mapping(notes.document.value, *keys)
    _check_spelling(notes, keys, spec, _CLUSTER_KEYS)
    ray = spec.get("rayVersion")
    if not isinstance(ray, str) or not re.fullmatch(r"\d+\.\d+\.\d+", ray):
        notes.error((*keys, "rayVersion"), ray, expected='the image\'s version in quotes, as "2.60.0"', remedy="set it")
        ray = None
    elif tuple(map(int, ray.split("."))) < (2, 52, 0):
        notes.error((*keys, "rayVersion"), ray, expected="2.52.0 or newer", remedy="token authentication needs it")
    _check_group(notes, (*keys, "headGroupSpec"), ray=ray)
    cpus = at(spec, "headGroupSpec", "rayStartParams", "num-cpus")
    if cpus != "0":
        notes.error(
            (*keys, "headGroupSpec", "rayStartParams", "num-cpus"),
            f"{cpus} without quotes" if isinstance(cpus, int) else cpus,
            expected='"0"',
            remedy="keep work off the head: what fills its memory ends the whole run",
        )
    groups = sequence(spec, "workerGroupSpecs")
    if not groups:
        notes.error(
            (*keys, "workerGroupSpecs"), None, expected="a worker group", remedy="add one: the head does no work"
        )
    for index in range(len(groups)):
        group: Keys = (*keys, "workerGroupSpecs", index)
        _check_group(notes, group, ray=ray)
        _check_replicas(notes, group, scales=spec.get("enableInTreeAutoscaling") is True)
        if not any(at(each, "resources", "limits", GPU) for _, each in containers(notes.document.value, group)):
            notes.warning(group, f"no {GPU} limit", expected="GPU workers", remedy=f"add {GPU} to requests and limits")
    _check_token(notes, keys, [(*keys, "headGroupSpec"), *((*keys, "workerGroupSpecs", n) for n in range(len(groups)))])


def _check_group(notes: Notes, keys: Keys, *, ray: str | None) -> None:
    group = mapping(notes.document.value, *keys)
    _check_spelling(notes, keys, group, _GROUP_KEYS)
    if "groupName" not in group and keys[-1] != "headGroupSpec":
        notes.error((*keys, "groupName"), None, expected="a name", remedy="add it")
    for name, given in mapping(group, "rayStartParams").items():
        if not isinstance(given, str) and name != "num-cpus":
            notes.error(
                (*keys, "rayStartParams", name), given, expected=f'"{given}"', remedy="KubeRay needs a string: quote it"
            )
    container_list = list(containers(notes.document.value, keys))
    if not container_list:
        notes.error((*keys, "template"), "no container", expected="template.spec.containers", remedy="add one")
    for inside, container in container_list:
        check_image(notes, (*inside, "image"), container.get("image"), ray=ray)
        _check_resources(notes, inside, container)
        for index, variable in enumerate(sequence(container, "env")):
            name = str(at(variable, "name"))
            if re.fullmatch(r"RAY_AUTH_TOKEN|\w*(SECRET|PASSWORD|ACCESS_KEY|API_KEY)\w*|HF_TOKEN", name) and at(
                variable, "value"
            ):
                notes.error(
                    (*inside, "env", index),
                    f"{name} with its value (not shown)",
                    expected="valueFrom.secretKeyRef",
                    remedy="move it into a Secret and replace it: this value is exposed",
                )


def _check_resources(notes: Notes, keys: Keys, container: Mapping[str, Any]) -> None:
    requests, limits = mapping(container, "resources", "requests"), mapping(container, "resources", "limits")
    for name in ("cpu", "memory"):
        if name not in requests and name not in limits:
            notes.error(
                (*keys, "resources", "requests"),
                f"no {name}",
                expected=f"a request for {name}",
                remedy="add it: Kubernetes and Kueue place pods, and Ray sizes itself, by it",
            )
    if GPU in requests and requests[GPU] != limits.get(GPU):
        notes.error(
            (*keys, "resources", "limits"),
            limits.get(GPU),
            expected=f"{GPU}: {requests[GPU]}, as requested",
            remedy="make both the same: Kubernetes refuses anything else",
        )


def _check_replicas(notes: Notes, keys: Keys, *, scales: bool) -> None:
    group = mapping(notes.document.value, *keys)
    now, least, most = (whole(group, key) for key in ("replicas", "minReplicas", "maxReplicas"))
    if most is None:
        notes.error(
            (*keys, "maxReplicas"), group.get("maxReplicas"), expected="a number", remedy="set it: it bounds the cost"
        )
    elif least is not None and least > most:
        notes.error(
            (*keys, "minReplicas"), least, expected=f"at most maxReplicas, {most}", remedy="correct one of them"
        )
    elif now is not None and not (least or 0) <= now <= most:
        notes.error((*keys, "replicas"), now, expected=f"{least or 0} to {most}", remedy="correct it")
    if not scales and not now and not least:
        notes.error(
            (*keys, "replicas"),
            now,
            expected="1 or more, as enableInTreeAutoscaling is not true",
            remedy="set replicas, or turn autoscaling on: nothing else starts workers",
        )


def _check_token(notes: Notes, keys: Keys, groups: list[Keys]) -> None:
    mode = at(notes.document.value, *keys, "authOptions", "mode")
    if mode == "token":
        return
    for group in groups:
        for _, container in containers(notes.document.value, group):
            by_name = {word(each, "name"): each for each in sequence(container, "env")}
            if mode is None and at(by_name.get("RAY_AUTH_MODE"), "value") == "token" and "RAY_AUTH_TOKEN" in by_name:
                continue
            notes.error(
                (*keys, "authOptions"),
                mode,
                expected="mode: token",
                remedy="add it (KubeRay 1.5.1 or newer): without it whoever reaches a port runs code on the cluster",
            )


def _check_spelling(notes: Notes, keys: Keys, section: Mapping[str, Any], known: Sequence[str]) -> None:
    """Note keys that look like a known one; any other may be one of another version of KubeRay."""
    for key in section:
        near = nearest(key, known)
        if key not in known and near and near not in section:
            notes.error((*keys, str(key)), "an unknown key", expected=f"`{near}`", remedy="rename it")


def containers(value: Any, group: Keys) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The containers of a head or worker group, with their keys."""
    inside: Keys = (*group, "template", "spec", "containers")
    for index, container in enumerate(sequence(value, *inside)):
        if isinstance(container, dict):
            yield (*inside, index), container
