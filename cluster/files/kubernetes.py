"""Checks of Kubernetes objects: by their schemas where these are known; then by rules of our own, for KubeRay's."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.files.container_image import check_image
from cluster.files.document import Keys, at, mapping, nearest, sequence, whole, word
from cluster.files.finding import Notes
from cluster.files.quantity import check_limits
from cluster.files.render import ray_of
from cluster.files.schemas import Schemas, check_object

RAY_CLUSTER: dict[str, Keys] = {
    "RayJob": ("spec", "rayClusterSpec"),
    "RayCluster": ("spec",),
    "RayService": ("spec", "rayClusterConfig"),
    "RayCronJob": ("spec", "jobTemplate", "rayClusterSpec"),
}
"""Where each kind of KubeRay describes its Ray cluster."""
JOB: dict[str, Keys] = {"RayJob": ("spec",), "RayCronJob": ("spec", "jobTemplate")}
_LONGEST = {"RayJob": 47, "RayCluster": 53, "RayService": 47, "RayCronJob": 36}
"""Characters in a name, to which KubeRay adds more for pods and services."""
_KUEUE = ("ResourceFlavor", "ClusterQueue", "LocalQueue", "WorkloadPriorityClass")
VERSIONS = {kind: ["ray.io/v1"] for kind in RAY_CLUSTER} | {
    kind: ["kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1"] for kind in _KUEUE
}
"""Kinds that a file for KubeRay may have, and where no CRD says otherwise their apiVersions, newest first."""
_MORE = ("AdmissionCheck", "Cohort", "MultiKueueCluster", "MultiKueueConfig", "ProvisioningRequestConfig", "Topology")
_GROUPS: dict[str, tuple[str, ...]] = {"ray.io": (*RAY_CLUSTER,), "kueue.x-k8s.io": (*_KUEUE, *_MORE, "Workload")}
"""All kinds of KubeRay and of Kueue, by the group that stands in their apiVersion."""
_SECRET_NAME = re.compile(r"RAY_AUTH_TOKEN|\w*(SECRET|PASSWORD|ACCESS_KEY|API_KEY)\w*|HF_TOKEN")
_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
_RESOURCES = ("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "amd.com/gpu", "google.com/tpu")
"""Resources that pods request; there are others, but none of nearly the same name."""
_NAMES = {"serviceAccountName": "ServiceAccount", "claimName": "PersistentVolumeClaim"}
_NAMES |= dict.fromkeys(("secretName", "secretKeyRef", "secretRef", "imagePullSecrets"), "Secret")
_NAMES |= dict.fromkeys(("configMapKeyRef", "configMapRef", "configMap"), "ConfigMap")
"""Fields that name another object, themselves or by their `name`."""


def check_resource(notes: Notes, keys: Keys, resource: object) -> None:
    """Note a misspelt resource."""
    if resource not in _RESOURCES and (near := nearest(resource, _RESOURCES, cutoff=0.85)):
        notes.error(keys, resource, expected=f"`{near}`", remedy="correct it, wherever it is named")


def check_named(all_notes: Sequence[Notes]) -> None:
    """Note, once, what the objects of a file name and none of them is; not where something is said of it already."""
    made = {(word(each.document.value, "kind"), word(each.document.value, "metadata", "name")) for each in all_notes}
    named: dict[tuple[str, str], tuple[Notes, Keys]] = {}
    to_edit: set[tuple[str, str]] = set()
    for each in all_notes:
        for keys, text in each.document.texts:
            field = next((key for key in reversed(keys) if isinstance(key, str) and key != "name"), "")
            if text and (kind := _NAMES.get(field)) and (kind, text) not in made:
                named.setdefault((kind, text), (each, keys))
                to_edit |= {(kind, text)} if each.has(keys) else set()
    named = {name: place for name, place in named.items() if name not in to_edit}
    if named:
        first, keys = next(iter(named.values()))
        remedy = "make what is missing (`kubectl get` shows what is there)"
        expected = f"these to exist in the namespace: {', '.join(map(' '.join, named))}"
        first.warning(keys, "names of other objects", expected=expected, remedy=remedy)


def check_kind(notes: Notes, schemas: Schemas | None) -> bool:
    """Note what is wrong in a Kubernetes object, by its schema if there is one.

    returns: whether its fields were checked, or it was noted why they cannot be.
    """
    value = notes.document.value
    kind, version = word(value, "kind"), word(value, "apiVersion")
    schema = schemas.of.get((version, kind)) if schemas else None
    _check_secrets(notes)
    if schema is not None:
        check_object(notes, schema)
    told = schema is not None or _check_names(notes, [*schemas.of] if schemas else [])
    if kind in RAY_CLUSTER:
        _check_ray(notes, kind)
    return told


def _check_names(notes: Notes, given: Sequence[tuple[str, str]]) -> bool:
    """Note what is wrong in kind and apiVersion of an object without a schema, if anything is; returns whether.

    given: apiVersion and kind of each schema.
    """
    kind, version = (word(notes.document.value, key) for key in ("kind", "apiVersion"))
    group = version.partition("/")[0]
    of_group = [each for each in given if each[0].partition("/")[0] == group]
    versions = [each for each, its in (given if kind in VERSIONS else of_group) if its == kind] or VERSIONS.get(kind)
    ours = nearest(group, _GROUPS, cutoff=0.82)
    kinds = [*(_GROUPS[ours] if ours else VERSIONS), *(its for _, its in of_group)]
    near = nearest(kind, kinds, cutoff=0.6 if ours or of_group else 0.85)
    if not kind or not version:
        missing = " and ".join(key for key, has in (("apiVersion", version), ("kind", kind)) if not has)
        notes.error((), f"no {missing}", expected="apiVersion and kind", remedy="see `dkvb cluster render`")
    elif versions and version not in versions:
        notes.error(("apiVersion",), version, expected=f"`{versions[0]}`", remedy="correct it")
    elif kind not in kinds and (near or ours):
        expected = f"`{near}`" if near else f"one of {', '.join(kinds)}"
        notes.error(("kind",), kind, expected=expected, remedy="correct it")
    return notes.has_error(("kind",)) or notes.has_error(("apiVersion",)) or not (kind and version)


def _check_secrets(notes: Notes) -> None:
    value = notes.document.value
    if value.get("kind") == "Secret" and (value.get("data") or value.get("stringData")):
        notes.error(("kind",), "a Secret with its data", expected="none in a file", remedy="`kubectl create secret`")
    for keys, text in notes.document.texts:
        name = word(value, *keys[:-1], "name")
        if text and keys[-3:-2] == ("env",) and keys[-1] == "value" and _SECRET_NAME.fullmatch(name):
            remedy = "move it into a Secret and replace it: this value is exposed"
            found = f"{name} with its value (not shown)"
            notes.error(keys[:-1], found, expected="valueFrom.secretKeyRef", remedy=remedy)


def _check_ray(notes: Notes, kind: str) -> None:
    value = notes.document.value
    name, prefix = word(value, "metadata", "name"), word(value, "metadata", "generateName")
    key, given, added = ("generateName", f"{prefix}xxxxx", 5) if prefix and not name else ("name", name, 0)
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", given) or len(given) > _LONGEST[kind]:
        expected = f"lowercase letters, digits and hyphens, at most {_LONGEST[kind] - added}"
        notes.error(("metadata", key), name or prefix, expected=expected, remedy="rename it")
    cluster = RAY_CLUSTER[kind]
    if kind in JOB:
        _check_job(notes, JOB[kind])
    if mapping(value, *cluster):
        _check_cluster(notes, cluster)
    elif not at(value, *cluster[:-1], "clusterSelector"):
        notes.error(cluster, None, expected="a Ray cluster", remedy="see `dkvb cluster render`")


def _check_job(notes: Notes, keys: Keys) -> None:
    spec = mapping(notes.document.value, *keys)
    mode = word(spec, "submissionMode") or _MODES[0]
    if mode not in _MODES:
        notes.error((*keys, "submissionMode"), mode, expected=f"one of {', '.join(_MODES)}", remedy="correct it")
    entrypoint = word(spec, "entrypoint")
    if not entrypoint.strip() and mode != "InteractiveMode" and not spec.get("submitterPodTemplate"):
        expected = "`dkvb run SPEC --root R --address auto`"
        notes.error((*keys, "entrypoint"), spec.get("entrypoint"), expected=expected, remedy="add it")
    elif re.search(r"\bdkvb\s+run\b", entrypoint):
        for option, without in (
            ("--root", "a root that all pods reach"),
            ("--address auto", "without it the run starts a Ray of its own in the head's pod"),
        ):
            if not re.search(option.replace(" ", r"[\s=]+"), entrypoint):
                notes.error((*keys, "entrypoint"), f"no {option}", expected=option, remedy=f"add it: {without}")
    if not any(spec.get(key) for key in ("shutdownAfterJobFinishes", "deletionStrategy", "clusterSelector")):
        remedy = "set it: otherwise the Ray cluster and its GPUs stay after the run"
        notes.warning((*keys, "shutdownAfterJobFinishes"), None, expected="true", remedy=remedy)


def _check_cluster(notes: Notes, keys: Keys) -> None:
    spec = mapping(notes.document.value, *keys)
    head: Keys = (*keys, "headGroupSpec")
    workers: list[Keys] = [(*keys, "workerGroupSpecs", n) for n in range(len(sequence(spec, "workerGroupSpecs")))]
    given = spec.get("rayVersion")
    _check_head(notes, head)
    _check_workers(notes, keys, workers)
    _check_token(notes, keys, [head, *workers])
    for group in (head, *workers):
        for inside, container in [*containers(notes.document.value, group)][:1]:  # KubeRay runs Ray in the first
            _check_container(notes, inside, container, ray=given if isinstance(given, str) else None)


def _check_container(notes: Notes, keys: Keys, container: dict[str, Any], *, ray: str | None) -> None:
    image = container.get("image")
    check_image(notes, (*keys, "image"), image, ray=ray or ray_of(str(image)))  # the Ray on this machine has no say
    given = mapping(container, "resources", "requests") | mapping(container, "resources", "limits")
    for kind in ("requests", "limits"):
        for name in mapping(container, "resources", kind):
            check_resource(notes, (*keys, "resources", kind, str(name)), name)
    check_limits(notes, (*keys, "resources"), container.get("resources"))
    for name in [name for name in ("cpu", "memory") if name not in given]:
        remedy = "add it: Kubernetes and Kueue place pods, and Ray sizes itself, by it"
        notes.warning((*keys, "resources"), f"no {name}", expected=f"a request for {name}", remedy=remedy)


def _check_head(notes: Notes, head: Keys) -> None:
    parameter, resource = (*head, "rayStartParams", "num-cpus"), (*head, "resources", "CPU")
    parameters, resources = at(notes.document.value, *parameter), at(notes.document.value, *resource)
    if "0" not in (parameters, resources):
        keys, found = (parameter, parameters) if resources is None else (resource, resources)
        shown = f"{found} without quotes" if isinstance(found, int) else found
        remedy = "keep work off the head: what fills its memory ends the whole run"
        notes.error(keys, shown, expected='"0"', remedy=remedy)


def _check_workers(notes: Notes, keys: Keys, groups: list[Keys]) -> None:
    value = notes.document.value
    scales = at(value, *keys, "enableInTreeAutoscaling") is True
    most = 0
    for group in groups:
        now, least, highest = (_count(notes, (*group, key)) for key in ("replicas", "minReplicas", "maxReplicas"))
        if least is not None and highest is not None and least > highest:
            expected = f"at most maxReplicas, {highest}"
            notes.error((*group, "minReplicas"), least, expected=expected, remedy="correct one of them")
        most += max(now or 0, least or 0, (1 if highest is None else highest) if scales else 0)
    if not most:
        remedy = "set replicas, or turn autoscaling on: no worker would ever start, and the head does no work"
        notes.warning((*keys, "workerGroupSpecs"), "no workers", expected="1 or more", remedy=remedy)


def _count(notes: Notes, keys: Keys) -> int | None:
    """The whole number at these keys, if any; notes what is none."""
    given, number = at(notes.document.value, *keys), whole(notes.document.value, *keys)
    if given is not None and number is None:
        remedy = "remove the quotes" if isinstance(given, str) and given.isdecimal() else "correct it"
        notes.error(keys, f'"{given}"' if isinstance(given, str) else given, expected="type integer", remedy=remedy)
    return number


def _check_token(notes: Notes, keys: Keys, groups: list[Keys]) -> None:
    value = notes.document.value
    mode, ray = at(value, *keys, "authOptions", "mode"), at(value, *keys, "rayVersion")
    parts = re.findall(r"\d+", ray[:40] if isinstance(ray, str) else "")[:2]
    if mode == "token" and [*map(int, parts)] < [2, 52] and not notes.has_error((*keys, "rayVersion")):
        expected = "the image's version in quotes, 2.52.0 or newer"
        notes.error((*keys, "rayVersion"), ray, expected=expected, remedy="KubeRay refuses a token without it")
    if mode != "token" and not (mode is None and all(_has_token(value, group) for group in groups)):
        verb = "add it" if mode is None else "correct it"
        remedy = f"{verb} (KubeRay 1.5.1 or newer): without it whoever reaches a port runs code on the cluster"
        notes.error((*keys, "authOptions"), mode, expected="mode: token", remedy=remedy)


def _has_token(value: Any, group: Keys) -> bool:
    """Whether a group's first container turns token authentication on by itself, and is given a token."""
    for _, container in containers(value, group):
        by_name = {word(each, "name"): each for each in sequence(container, "env")}
        given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_K8S_TOKEN_AUTH"} & {*by_name}
        return at(by_name.get("RAY_AUTH_MODE"), "value") == "token" and bool(given)
    return False


def containers(value: Any, group: Keys) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The containers of a head or worker group, with their keys."""
    inside: Keys = (*group, "template", "spec", "containers")
    for index, container in enumerate(sequence(value, *inside)):
        if isinstance(container, dict):
            yield (*inside, index), container
