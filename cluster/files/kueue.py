"""Kueue: what has to agree between a run on Kubernetes and the objects that queue it: names, resources, quota."""

from collections import defaultdict
from collections.abc import Sequence

from cluster.files.document import Keys, at, mapping, nearest, sequence, whole, word
from cluster.files.finding import Notes
from cluster.files.kubernetes import RAY_CLUSTER, check_resource, containers
from cluster.files.quantity import amount, check_quantity, quantity

_QUEUE = "kueue.x-k8s.io/queue-name"
_ELASTIC = "kueue.x-k8s.io/elastic-job"
_QUOTAS = {"nominalQuota", "borrowingLimit", "lendingLimit"}
_SUBMITTER = {"cpu": 0.5, "memory": 200 * 1024.0**2}
"""What KubeRay's submitter pod requests unless the file says otherwise."""


def check_queues(all_notes: Sequence[Notes]) -> None:
    """Note what does not agree between the objects of one file."""
    by_kind: defaultdict[str, list[Notes]] = defaultdict(list)
    for each in all_notes:
        by_kind[word(each.document.value, "kind")].append(each)
    flavors = {_name(each) for each in by_kind["ResourceFlavor"]}
    for queue in by_kind["ClusterQueue"]:
        _check_cluster_queue(queue, flavors)
    clusters = {_name(each): each for each in by_kind["ClusterQueue"]}
    for local in by_kind["LocalQueue"]:
        named = word(local.document.value, "spec", "clusterQueue")
        if clusters and named not in clusters:
            expected = f"one of {', '.join(clusters)}"
            local.error(("spec", "clusterQueue"), named, expected=expected, remedy="name a ClusterQueue of this file")
    for run in (*by_kind["RayJob"], *by_kind["RayCluster"]):
        _check_run(run, by_kind["LocalQueue"], clusters)


def requested(run: Notes) -> dict[str, float]:
    """What all pods of a run request together, as Kueue counts it."""
    value, base = run.document.value, RAY_CLUSTER[word(run.document.value, "kind")]
    total: defaultdict[str, float] = defaultdict(float)
    pods: list[tuple[Keys, int]] = [((*base, "headGroupSpec"), 1)]
    for index, group in enumerate(sequence(value, *base, "workerGroupSpecs")):
        replicas, hosts = whole(group, "replicas"), whole(group, "numOfHosts")
        count = whole(group, "minReplicas") or 0 if replicas is None else replicas
        pods.append(((*base, "workerGroupSpecs", index), count * (hosts or 1)))
    for keys, count in pods:
        for _, container in containers(value, keys):
            given = mapping(container, "resources", "limits") | mapping(container, "resources", "requests")
            for name, each in given.items():
                total[name] += (quantity(each) or 0) * count
    if at(value, "kind") == "RayJob" and at(value, "spec", "submissionMode") in (None, "K8sJobMode"):
        for name, own in _SUBMITTER.items():
            total[name] += own
    return total


def _check_run(run: Notes, queues: Sequence[Notes], clusters: dict[str, Notes]) -> None:
    """Note what keeps a run from waiting for its turn, or from ever getting it."""
    queue, namespace = word(run.document.value, "metadata", "labels", _QUEUE), _namespace(run)
    suspend = at(run.document.value, "spec", "suspend")
    if not queue:
        if suspend is True or queues:
            stays = "; this one stays suspended" if suspend else ""
            remedy = f"add it: Kueue leaves runs without it alone{stays}"
            run.error(("metadata", "labels"), "no queue", expected=f"{_QUEUE}: QUEUE", remedy=remedy)
        return
    _check_turn(run)
    local = {_name(each): each for each in queues if _namespace(each) == namespace}
    if queue in local:
        cluster = clusters.get(word(local[queue].document.value, "spec", "clusterQueue"))
        if cluster is not None:
            _check_quota(run, cluster)
    elif queues:
        expected = f"a LocalQueue of namespace {namespace}: {', '.join(local) or 'this file has none'}"
        run.error(("metadata", "labels", _QUEUE), queue, expected=expected, remedy="name one, in the same namespace")


def _check_turn(run: Notes) -> None:
    """Note a run that would start, or grow, without asking its queue, or that its queue cannot end."""
    value = run.document.value
    suspend, scaling = at(value, "spec", "suspend"), (*RAY_CLUSTER[word(value, "kind")], "enableInTreeAutoscaling")
    if suspend is False:
        remedy = "leave it out or set it: the run must not start before its turn"
        run.error(("spec", "suspend"), suspend, expected="true", remedy=remedy)
    if at(value, "kind") == "RayJob" and at(value, "spec", "shutdownAfterJobFinishes") is not True:
        remedy = "set it: Kueue and KubeRay ask for it, as the quota is free again when the Ray cluster has ended"
        run.error(("spec", "shutdownAfterJobFinishes"), None, expected="true in a queue", remedy=remedy)
    if at(value, *scaling) is True and at(value, "metadata", "annotations", _ELASTIC) != "true":
        remedy = f'fix replicas, or annotate the run with {_ELASTIC}: "true" where Kueue has elastic jobs turned on'
        run.error(scaling, "true", expected="false", remedy=remedy)


def _check_quota(run: Notes, queue: Notes) -> None:
    spec, keys = mapping(queue.document.value, "spec"), ("spec", "resourceGroups")
    quotas: defaultdict[str, list[float]] = defaultdict(list)
    for group in sequence(spec, "resourceGroups"):
        for flavor in sequence(group, "flavors"):
            for resource in sequence(flavor, "resources"):
                quotas[word(resource, "name")].append(quantity(at(resource, "nominalQuota")) or 0)
    for name, asked in requested(run).items():
        most = max(quotas.get(name, [0]))
        if name not in quotas and not nearest(name, quotas, cutoff=0.85):
            remedy = "add it to coveredResources and to a flavor: the run would wait forever"
            queue.error(keys, f"no quota for {name}", expected=f"{name}, which {_name(run)} requests", remedy=remedy)
        elif asked > most and not spec.get("cohortName") and not spec.get("cohort"):
            expected = f"at least {amount(asked)}, which {_name(run)} requests"
            remedy = "raise it, or ask for less: the run would wait forever"
            queue.error(keys, f"a quota of {amount(most)} for {name}", expected=expected, remedy=remedy)


def _check_cluster_queue(queue: Notes, flavors: set[str]) -> None:
    groups = sequence(queue.document.value, "spec", "resourceGroups")
    if not groups:
        remedy = "see `dkvb cluster render --provider kueue`"
        queue.warning(("spec", "resourceGroups"), None, expected="quotas", remedy=remedy)
    for number, group in enumerate(groups):
        covered = list(map(str, sequence(group, "coveredResources")))
        for place, name in enumerate(covered):
            check_resource(queue, ("spec", "resourceGroups", number, "coveredResources", place), name)
        for index, flavor in enumerate(sequence(group, "flavors")):
            keys: Keys = ("spec", "resourceGroups", number, "flavors", index)
            for row, resource in enumerate(sequence(flavor, "resources")):
                for key in _QUOTAS & mapping(resource).keys():
                    check_quantity(queue, (*keys, "resources", row, key), resource[key])
            names = [word(each, "name") for each in sequence(flavor, "resources")]
            if names != covered:
                expected = f"{', '.join(covered)}, in this order, as in coveredResources"
                found = ", ".join(names) or None
                queue.error((*keys, "resources"), found, expected=expected, remedy="make both lists the same")
            if flavors and word(flavor, "name") not in flavors:
                expected, remedy = f"one of {', '.join(sorted(flavors))}", "name a ResourceFlavor of this file"
                queue.error((*keys, "name"), at(flavor, "name"), expected=expected, remedy=remedy)


def _name(notes: Notes) -> str:
    return word(notes.document.value, "metadata", "name")


def _namespace(notes: Notes) -> str:
    return word(notes.document.value, "metadata", "namespace") or "default"
