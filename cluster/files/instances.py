"""Machines of AWS and Google Cloud: whether a node type claims the CPUs and GPUs that its machine has."""

import re

from cluster.files.document import Keys, at, mapping, nearest, sequence, whole
from cluster.files.finding import Notes

_AWS_GPUS = {
    "g4dn": {12: 4},
    "g5": {12: 4, 24: 4, 48: 8},
    "g6": {12: 4, 24: 4, 48: 8},
    "g6e": {12: 4, 24: 4, 48: 8},
    "p3": {2: 1, 8: 4, 16: 8},
    "p4d": {24: 8},
    "p4de": {24: 8},
    "p5": {4: 1, 48: 8},
    "p5en": {48: 8},
}
"""Family -> size -> GPUs; sizes that are not named have 1."""
_AWS_WITHOUT = re.compile(r"[cmrt]\d\w*")
_GCP_G2 = {24: 2, 48: 4, 96: 8}
_KEYS = {
    "aws": [
        "InstanceType",
        "ImageId",
        "KeyName",
        "SubnetIds",
        "SubnetId",
        "SecurityGroupIds",
        "IamInstanceProfile",
        "InstanceMarketOptions",
        "BlockDeviceMappings",
        "MetadataOptions",
        "NetworkInterfaces",
        "TagSpecifications",
        "UserData",
        "Placement",
        "EbsOptimized",
        "CapacityReservationSpecification",
        "CreditSpecification",
        "Monitoring",
    ],
    "gcp": [
        "machineType",
        "disks",
        "guestAccelerators",
        "metadata",
        "scheduling",
        "serviceAccounts",
        "networkInterfaces",
        "labels",
        "tags",
        "minCpuPlatform",
        "sourceMachineImage",
        "shieldedInstanceConfig",
        "reservationAffinity",
    ],
}
_MACHINE = {"aws": "InstanceType", "gcp": "machineType"}


def machine(provider: str, node_config: dict[str, object]) -> tuple[int | None, int | None]:
    """CPUs and GPUs of a machine; None for what its name does not say."""
    name = str(node_config.get(_MACHINE.get(provider, ""), ""))
    if provider == "aws" and (found := re.fullmatch(r"([a-z]\w*)\.(\d*)xlarge", name)):
        family, size = found[1], int(found[2] or 1)
        if family in _AWS_GPUS:
            return 4 * size, _AWS_GPUS[family].get(size, 1)
        return None, 0 if _AWS_WITHOUT.fullmatch(family) else None
    if provider == "gcp":
        if found := re.fullmatch(r"g2-(?:standard|custom)-(\d+)", name):
            return int(found[1]), _GCP_G2.get(int(found[1]), 1)
        if found := re.fullmatch(r"a[23]-\w+-(\d+)g", name):
            return None, int(found[1])
        cards = [whole(card, "acceleratorCount") or 0 for card in sequence(node_config, "guestAccelerators")]
        return None, sum(cards) if name else None
    return None, None


def check_instance(notes: Notes, keys: Keys, provider: str, *, is_head: bool) -> None:
    """Note a node type whose machine is not named, or does not have what the node type claims."""
    config, inside = notes.document.value, (*keys, "node_config")
    node_config, resources = mapping(config, *inside), mapping(config, *keys, "resources")
    for key in node_config:
        near = nearest(key, _KEYS.get(provider, ()))
        if near and near != key and key not in _KEYS[provider] and near not in node_config:
            notes.error((*inside, str(key)), "an unknown key", expected=f"`{near}`", remedy="rename it")
    name = _MACHINE.get(provider)
    if name and not node_config.get(name) and not nearest(name, set(map(str, node_config)) - set(_KEYS[provider])):
        notes.error((*inside, name), None, expected="a machine type", remedy="add it")
        return
    cpus, gpus = machine(provider, node_config)
    claimed = resources.get("GPU")
    if gpus is not None and claimed is not None and claimed != gpus:
        notes.error(
            (*keys, "resources", "GPU"),
            claimed,
            expected=f"{gpus}, as {node_config.get(name or '')} has",
            remedy="correct it: Ray starts nodes by these numbers",
        )
    claimed_cpus = whole(resources, "CPU")
    if cpus is not None and claimed_cpus is not None and claimed_cpus > cpus:
        notes.error(
            (*keys, "resources", "CPU"), claimed_cpus, expected=f"at most {cpus}", remedy="correct it to what there is"
        )
    if not is_head:
        _check_worker(notes, keys, gpus, claimed)
        terminates = any(at(each, "onHostMaintenance") == "TERMINATE" for each in sequence(node_config, "scheduling"))
        if provider == "gcp" and gpus and not terminates:
            notes.error(
                (*inside, "scheduling"),
                at(node_config, "scheduling"),
                expected="onHostMaintenance: TERMINATE",
                remedy="add it: machines with GPUs do not start otherwise",
            )


def _check_worker(notes: Notes, keys: Keys, gpus: int | None, claimed: object) -> None:
    if gpus and claimed is None and mapping(notes.document.value, *keys, "resources"):
        notes.error(
            (*keys, "resources"), "no GPU", expected=f"GPU: {gpus}", remedy="add it, or no work with --gpus comes here"
        )
    elif not gpus and not claimed:
        notes.warning(
            (*keys, "resources"),
            "no GPU",
            expected="GPU workers",
            remedy="use a machine with one: on CPUs embeddings take many times as long",
        )
