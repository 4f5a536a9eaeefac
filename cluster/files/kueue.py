"""Kueue: what has to agree between a run on Kubernetes and the objects that queue it: names, resources, quota."""

import re
from collections import defaultdict
from collections.abc import Sequence

from cluster.files.document import Keys, at, mapping, sequence, whole, word
from cluster.files.finding import Notes
from cluster.files.kubernetes import ELASTIC, QUEUE_KINDS, QUEUE_LABEL, RAY_KINDS, containers

_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)
}
_SUBMITTER = {"cpu": 0.5, "memory": 200 * 1024.0**2}
"""What KubeRay's submitter pod requests unless the file says otherwise."""


def check_queues(all_notes: Sequence[Notes]) -> None:
    """Note what does not agree between the objects of one file."""
    kinds = {kind: [each for each in all_notes if at(each.document.value, "kind") == kind] for kind in QUEUE_KINDS}
    flavors = {_name(each) for each in kinds["ResourceFlavor"]}
    for queue in kinds["ClusterQueue"]:
        _check_cluster_queue(queue, flavors)
    clusters = {_name(each): each for each in kinds["ClusterQueue"]}
    for local in kinds["LocalQueue"]:
        named = word(local.document.value, "spec", "clusterQueue")
        if clusters and named not in clusters:
            expected = f"one of {', '.join(map(str, clusters))}"
            local.error(("spec", "clusterQueue"), named, expected=expected, remedy="name a ClusterQueue of this file")
    for run in all_notes:
        if at(run.document.value, "kind") in RAY_KINDS:
            _check_run(run, kinds["LocalQueue"], clusters)


def quantity(given: object) -> float | None:
    """A Kubernetes quantity as a number: `500m` is 0.5, `1Gi` is 1073741824."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]{0,2})", str(given))
    return float(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else None


def requested(run: Notes) -> dict[str, float]:
    """What all pods of a run request together, as Kueue counts it."""
    value = run.document.value
    base = _ray_cluster(run)
    total: defaultdict[str, float] = defaultdict(float)
    groups: list[tuple[Keys, int]] = [((*base, "headGroupSpec"), 1)]
    for index, group in enumerate(sequence(value, *base, "workerGroupSpecs")):
        count = whole(group, "replicas")
        groups.append(
            ((*base, "workerGroupSpecs", index), whole(group, "minReplicas") or 0 if count is None else count)
        )
    for keys, count in groups:
        for _, container in containers(value, keys):
            given = mapping(container, "resources", "limits") | mapping(container, "resources", "requests")
            for name, amount in given.items():
                total[name] += (quantity(amount) or 0) * count
    if at(value, "kind") == "RayJob" and at(value, "spec", "submissionMode") in (None, "K8sJobMode"):
        for name, amount in _SUBMITTER.items():
            total[name] += amount
    return total


def _check_run(run: Notes, queues: Sequence[Notes], clusters: dict[str, Notes]) -> None:
    """Note what keeps a run from waiting for its turn, or from ever getting it."""
    if word(run.document.value, "metadata", "labels", QUEUE_LABEL):
        _check_turn(run)
        if queues:
            _check_place(run, queues, clusters)
    else:
        _check_unqueued(run, has_queues=bool(queues))


def _check_unqueued(run: Notes, *, has_queues: bool) -> None:
    """Note a run without a queue that was meant to have one: it is suspended, or the file has queues."""
    suspend = at(run.document.value, "spec", "suspend")
    if suspend is True or has_queues:
        run.error(
            ("metadata", "labels"),
            "no queue",
            expected=f"{QUEUE_LABEL}: QUEUE",
            remedy="add it: Kueue leaves runs without it alone" + ("; this one stays suspended" if suspend else ""),
        )


def _check_turn(run: Notes) -> None:
    """Note a run that would start, or grow, without asking its queue."""
    value = run.document.value
    suspend = at(value, "spec", "suspend")
    if suspend is not True:
        run.error(
            ("spec", "suspend"), suspend, expected="true", remedy="set it: the run must not start before its turn"
        )
    scaling: Keys = (*_ray_cluster(run), "enableInTreeAutoscaling")
    if at(value, *scaling) is True and at(value, "metadata", "annotations", ELASTIC) != "true":
        run.error(
            scaling,
            "true",
            expected="false",
            remedy=f'fix replicas, or annotate the run with {ELASTIC}: "true" where Kueue has elastic jobs turned on',
        )


def _check_place(run: Notes, queues: Sequence[Notes], clusters: dict[str, Notes]) -> None:
    """Note a run whose queue is not in its namespace, or has no room for it."""
    queue, namespace = word(run.document.value, "metadata", "labels", QUEUE_LABEL), _namespace(run)
    local = {_name(each): each for each in queues if _namespace(each) == namespace}
    if queue in local:
        cluster = clusters.get(word(local[queue].document.value, "spec", "clusterQueue"))
        if cluster is not None:
            _check_quota(run, cluster)
    else:
        expected = f"a LocalQueue of namespace {namespace}: {', '.join(local) or 'this file has none'}"
        run.error(
            ("metadata", "labels", QUEUE_LABEL), queue, expected=expected, remedy="name one, in the same namespace"
        )


def _check_quota(run: Notes, queue: Notes) -> None:
    quotas: dict[str, float] = {}
    for group in sequence(queue.document.value, "spec", "resourceGroups"):
        for flavor in sequence(group, "flavors"):
            for resource in sequence(flavor, "resources"):
                given = quantity(at(resource, "nominalQuota")) or 0
                name = word(resource, "name")
                quotas[name] = max(quotas.get(name, 0.0), given)
    for name, amount in requested(run).items():
        if name not in quotas:
            queue.error(
                ("spec", "resourceGroups"),
                f"no quota for {name}",
                expected=f"{name}, which {_name(run)} requests",
                remedy="add it to coveredResources and to a flavor: the run would wait for ever",
            )
        elif amount > quotas[name] and not at(queue.document.value, "spec", "cohortName"):
            queue.error(
                ("spec", "resourceGroups"),
                f"a quota of {_amount(quotas[name])} for {name}",
                expected=f"at least {_amount(amount)}, which {_name(run)} requests",
                remedy="raise it, or ask for less: the run would wait for ever",
            )


def _check_cluster_queue(queue: Notes, flavors: set[str]) -> None:
    groups = sequence(queue.document.value, "spec", "resourceGroups")
    if not groups:
        queue.error(
            ("spec", "resourceGroups"), None, expected="quotas", remedy="see `dkvb cluster render --provider kueue`"
        )
    for number, group in enumerate(groups):
        covered = list(map(str, sequence(group, "coveredResources")))
        for index, flavor in enumerate(sequence(group, "flavors")):
            keys: Keys = ("spec", "resourceGroups", number, "flavors", index)
            names = [word(each, "name") for each in sequence(flavor, "resources")]
            if names != covered:
                queue.error(
                    (*keys, "resources"),
                    ", ".join(names) or None,
                    expected=f"{', '.join(covered)}, in this order, as in coveredResources",
                    remedy="make both lists the same",
                )
            if flavors and word(flavor, "name") not in flavors:
                expected = f"one of {', '.join(sorted(flavors))}"
                queue.error(
                    (*keys, "name"), at(flavor, "name"), expected=expected, remedy="name a ResourceFlavor of this file"
                )
            for place, each in enumerate(sequence(flavor, "resources")):
                if quantity(at(each, "nominalQuota")) is None:
                    given = at(each, "nominalQuota")
                    queue.error(
                        (*keys, "resources", place), given, expected="nominalQuota", remedy="add it, as 4 or 16Gi"
                    )


def _amount(number: float) -> str:
    return f"{number / 1024**3:.1f}Gi" if number >= 1024**2 else f"{number:g}"


def _name(notes: Notes) -> str:
    return word(notes.document.value, "metadata", "name")


def _namespace(notes: Notes) -> str:
    return word(notes.document.value, "metadata", "namespace") or "default"


def _ray_cluster(run: Notes) -> Keys:
    """Where a run describes its Ray cluster."""
    return ("spec", "rayClusterSpec") if at(run.document.value, "kind") == "RayJob" else ("spec",)
