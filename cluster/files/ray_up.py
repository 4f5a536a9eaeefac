"""Checks of a file for `ray up`: by Ray's own schema; then by rules of our own: provider, image, start, token."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.files.container_image import check_image
from cluster.files.document import Keys, at, mapping, nearest, sequence, whole, word
from cluster.files.finding import Notes
from cluster.files.render import objection, schema
from cluster.files.schemas import check_settings
from cluster.private import start_options

PROVIDERS = ("aws", "gcp", "local", "azure", "vsphere", "aliyun", "spark", "external")
"""Ray's providers with which `ray up` starts something."""
_NEEDED = {"aws": ("region",), "gcp": ("region", "availability_zone", "project_id")}
_MACHINE = {"aws": "InstanceType", "gcp": "machineType"}
_SETTINGS = {
    "aws": ("ImageId", "IamInstanceProfile", "MetadataOptions", "InstanceMarketOptions", "BlockDeviceMappings"),
    "gcp": ("disks", "metadata", "serviceAccounts", "scheduling"),
}
"""Keys of node_config in the templates. A cloud takes others too, but none of nearly the same name."""
_START = re.compile(r"\bray\s+start\b")
_START_OPTION = re.compile(r"(?<=\s)--[\w-]+")
_AUTH_MODE = re.compile(r"RAY_AUTH_MODE=[\"']?(\w+)")
_HEAD = "keep work off the head: what fills its memory ends the whole cluster"


def check_cluster(notes: Notes) -> None:
    """Note everything in a file for `ray up` that will not do what is meant; Ray's own objection comes last."""
    provider = word(notes.document.value, "provider", "type")
    check_settings(notes, schema())
    _check_provider(notes, provider)
    if provider == "local":
        _check_machines(notes)
    elif not any(notes.has_error((key,)) for key in ("provider", "available_node_types")):
        _check_node_types(notes, provider)
    _check_images(notes)
    _check_starts(notes, "head_start_ray_commands", needed=("--head", "--autoscaling-config"), refused="--address")
    _check_starts(notes, "worker_start_ray_commands", needed=("--address",), refused="--head")
    _check_mounts(notes)
    refused = objection(_filled(notes.document.value) if provider == "aws" else notes.document.value)
    if refused is not None and not notes.has_error(refused.keys):
        text = f"what Ray refuses: {refused.text}"
        notes.error(refused.keys, text, expected="what `ray up` takes", remedy="correct it")


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A file as `ray up` validates it on AWS, where it asks the cloud what a machine has that the file does not say."""
    types = mapping(config, "available_node_types")
    filled = {name: {"resources": {}, **each} if isinstance(each, dict) else each for name, each in types.items()}
    return {**config, "available_node_types": filled} if types else {**config}


def _check_provider(notes: Notes, provider: str) -> None:
    config, given = notes.document.value, mapping(notes.document.value, "provider")
    if provider not in PROVIDERS:
        near = nearest(provider, PROVIDERS, cutoff=0.6)  # they are short
        expected = f"`{near}`" if near else f"one of {', '.join(PROVIDERS)}"
        remedy = "`dkvb cluster render --provider kuberay`" if provider == "kuberay" else "correct it"
        notes.error(("provider", "type"), provider, expected=expected, remedy=remedy)
        return
    for key in _NEEDED.get(provider, ()):
        if not given.get(key):
            notes.error(("provider", key), given.get(key), expected=f"the {key} for {provider}", remedy="add it")
    known = {*schema()["properties"]["provider"]["properties"], "external_head_ip", "coordinator_address"}
    for key in given:  # each provider takes more than Ray's schema names
        near = nearest(key, known)
        if key not in known and near and near not in given:
            notes.error(("provider", key), "an unknown key", expected=f"`{near}`", remedy="rename it")
    if provider in ("aws", "gcp", "local") and not at(config, "auth", "ssh_user"):
        notes.error(("auth", "ssh_user"), None, expected="the user on the machines", remedy="add it, as ubuntu")
    if provider != "local" and "idle_timeout_minutes" not in config:
        remedy = "set it (Ray's default is 5): idle GPUs cost money"
        notes.warning(("idle_timeout_minutes",), None, expected="a number of minutes", remedy=remedy)


def _check_machines(notes: Notes) -> None:
    """The provider `local`: machines that are there, instead of node types."""
    config = notes.document.value
    for key in ("available_node_types", "head_node_type"):
        if config.get(key):
            remedy = "remove it; name machines in worker_ips"
            notes.error((key,), "node types", expected="none on-premise", remedy=remedy)
    head, workers = at(config, "provider", "head_ip"), at(config, "provider", "worker_ips")
    if at(config, "provider", "coordinator_address"):
        return
    if not head:
        notes.error(("provider", "head_ip"), None, expected="the head's address", remedy="add it")
    if not isinstance(workers, list) or not workers:
        notes.error(("provider", "worker_ips"), workers, expected="the workers' addresses", remedy="list them")
        return
    if len({*map(str, workers)}) < len(workers):
        notes.error(("provider", "worker_ips"), "a machine twice", expected="each once", remedy="remove the second")
    if head in workers:
        notes.error(("provider", "worker_ips"), "the head", expected="other machines", remedy="remove it from the list")
    if (most := whole(config, "max_workers") or 0) > len(workers):
        expected = f"at most {len(workers)}, as in worker_ips"
        notes.warning(("max_workers",), most, expected=expected, remedy="list more or ask less")
    starts = [str(each) for each in sequence(config, "head_start_ray_commands") if _START.search(str(each))]
    if starts and not any(re.search(r"--num-cpus[= ]0\b", start) for start in starts):
        notes.error(("head_start_ray_commands",), "a head that does work", expected="--num-cpus=0", remedy=_HEAD)


def _check_node_types(notes: Notes, provider: str) -> None:
    config = notes.document.value
    types, head = mapping(config, "available_node_types"), word(config, "head_node_type")
    if not types:
        notes.error(("available_node_types",), None, expected="a head and a worker", remedy="see `dkvb cluster render`")
        return
    if head not in types:
        near = nearest(head, map(str, types))
        expected = f"`{near}`" if near else f"one of {', '.join(map(str, types))}"
        notes.error(("head_node_type",), head, expected=expected, remedy="name a node type of available_node_types")
        return
    most = whole(config, "max_workers")
    if len(types) == 1 or most == 0:
        keys: Keys = ("max_workers",) if len(types) > 1 else ("available_node_types",)
        expected = "a worker type and max_workers of 1 or more"
        notes.error(keys, "no workers", expected=expected, remedy="add them: the head does no work")
    if "max_workers" not in config:
        remedy = "set it (Ray's default is 2): it bounds the cost"
        notes.warning(("max_workers",), None, expected="a number", remedy=remedy)
    for name in types:
        _check_node_type(notes, ("available_node_types", str(name)), provider)
    _check_head(notes, ("available_node_types", head))


def _check_node_type(notes: Notes, keys: Keys, provider: str) -> None:
    node_type, machine = at(notes.document.value, *keys), _MACHINE.get(provider)
    least, most = whole(node_type, "min_workers"), whole(node_type, "max_workers")
    if least is not None and most is not None and least > most:
        expected = f"at most max_workers, {most}"
        notes.error((*keys, "min_workers"), least, expected=expected, remedy="lower it, or raise max_workers")
    settings = mapping(node_type, "node_config")
    known = [machine, *_SETTINGS[provider]] if machine else []
    misspelt = {near: str(key) for key in settings if key not in known and (near := nearest(key, known, cutoff=0.85))}
    for near, key in misspelt.items():
        if near not in settings:
            notes.error((*keys, "node_config", key), "an unknown key", expected=f"`{near}`", remedy="rename it")
    if machine and not settings.get(machine) and machine not in misspelt:
        notes.error((*keys, "node_config", machine), None, expected="a machine type", remedy="add it")
    if provider == "aws" and not {"IamInstanceProfile", "LaunchTemplate"} & {*settings, *misspelt}:
        remedy = "add it: Ray makes a profile that may do anything in EC2 and S3, for whoever has the token"
        expected = "one that may do what nodes need, as {Name: dkvb-worker}"
        notes.warning((*keys, "node_config", "IamInstanceProfile"), None, expected=expected, remedy=remedy)
    terminates = any(at(each, "onHostMaintenance") == "TERMINATE" for each in sequence(settings, "scheduling"))
    if provider == "gcp" and at(node_type, "resources", "GPU") and not terminates:
        notes.error(
            (*keys, "node_config", "scheduling"), settings.get("scheduling"),
            expected="onHostMaintenance: TERMINATE", remedy="add it: machines with GPUs do not start otherwise"
        )  # fmt: skip


def _check_head(notes: Notes, keys: Keys) -> None:
    config = notes.document.value
    starts, resources = " ".join(map(str, sequence(config, "head_start_ray_commands"))), at(config, *keys, "resources")
    if at(resources, "CPU") != 0 and not re.search(r"--num-cpus[= ]0\b", starts):
        notes.error((*keys, "resources"), resources, expected="{CPU: 0}", remedy=_HEAD)
    if at(config, *keys, "node_config", "InstanceMarketOptions", "MarketType") == "spot":
        remedy = "remove it: when the head is taken away, all workers are too"
        inside = (*keys, "node_config", "InstanceMarketOptions")
        notes.warning(inside, "spot", expected="an on-demand head", remedy=remedy)


def _check_images(notes: Notes) -> None:
    config = notes.document.value
    places: list[Keys] = [("docker", key) for key in ("image", "head_image", "worker_image")]
    if not any(at(config, *keys) for keys in places):
        remedy = "pin the nodes' software by an image, as render does"
        notes.warning(("docker",), None, expected="docker.image", remedy=remedy)
    types = mapping(config, "available_node_types")
    places += [("available_node_types", name, "docker", "worker_image") for name in types]
    for keys in [keys for keys in places if at(config, *keys) is not None]:
        check_image(notes, keys, at(config, *keys))


def _check_starts(notes: Notes, key: str, *, needed: tuple[str, ...], refused: str) -> None:
    config = notes.document.value
    starts = [(index, str(each)) for index, each in enumerate(sequence(config, key)) if _START.search(str(each))]
    if not starts:
        expected = f"one with RAY_AUTH_MODE=token and {', '.join(needed)}"
        remedy = "add it, as render does: Ray's own has no token, and on AWS and GCP shows the dashboard to all"
        notes.error((key,), "no `ray start`", expected=expected, remedy=remedy)
    for index, start in starts:
        keys: Keys = (key, index)
        around = _surroundings(config, key, start)
        for option in needed:
            if option not in start:
                notes.error(keys, f"`ray start` without {option}", expected=option, remedy="add it")
        for option in _START_OPTION.findall(re.split(r"[;|&]", _START.split(start)[1])[0]):
            if option not in start_options():
                near = nearest(option, start_options() - {*_START_OPTION.findall(start)})
                expected = f"`{near}`" if near else "an option of `ray start`"
                notes.error(keys, f"`ray start` with {option}", expected=expected, remedy="correct it")
        if re.search(rf"{refused}\b", start):
            notes.error(keys, refused, expected=f"none in {key}", remedy="remove it")
        if exposed := re.search(r"--dashboard-host[= ][\"']?(0\.0\.0\.0|::|\*)", start):
            remedy = "`ray dashboard FILE` tunnels to it"
            notes.error(keys, exposed[0], expected="--dashboard-host=127.0.0.1", remedy=remedy)
        if "RAY_USAGE_STATS_ENABLED=0" not in around and "--disable-usage-stats" not in start:
            notes.warning(keys, "usage statistics", expected="RAY_USAGE_STATS_ENABLED=0", remedy="turn them off")
        modes = _AUTH_MODE.findall(around)
        if not modes or any(mode != "token" for mode in modes):
            found = f"RAY_AUTH_MODE={modes[-1]}" if modes else "no RAY_AUTH_MODE"
            remedy = "without it whoever reaches a port of the cluster runs code on it"
            notes.error(keys, found, expected="RAY_AUTH_MODE=token before `ray start`", remedy=remedy)


def _surroundings(config: Mapping[str, Any], key: str, start: str) -> str:
    """Everything that may set the environment of a `ray start`; with Docker, initialization_commands do not."""
    places = ["setup_commands", key.replace("start_ray", "setup")]
    places += [] if at(config, "docker", "image") else ["initialization_commands"]
    commands = [each for place in places for each in sequence(config, place)]
    return "\n".join(map(str, [*commands, *sequence(config, "docker", "run_options"), start]))


def _check_mounts(notes: Notes) -> None:
    mounts = mapping(notes.document.value, "file_mounts")
    commands = "\n".join(text for keys, text in notes.document.texts if str(keys[0]).endswith("_commands"))
    named = re.search(r"RAY_AUTH_TOKEN_PATH=[\"']?([^\s;\"']+)", commands)
    tokens = [path for path in mounts if str(path).endswith(".ray/auth_token") or (named and str(path) == named[1])]
    if not tokens:
        remedy = "add it; `ray get-auth-token --generate` makes the token"
        expected = "~/.ray/auth_token: ~/.ray/auth_token"
        notes.error(("file_mounts",), "no token for the nodes", expected=expected, remedy=remedy)
    elif not re.search(r"chmod\s+0?600|install\s.*-m\s*0?600", commands):
        found = "a token that others on the node may be able to read"
        notes.warning(("file_mounts", tokens[0]), found, expected="chmod 600 in setup_commands", remedy="add it")
    for remote, local in mounts.items():
        mode, keys = _mode(str(local)), ("file_mounts", str(remote))
        if mode is None:
            remedy = "`ray get-auth-token --generate` makes it" if remote in tokens else "make it, or correct the path"
            notes.warning(keys, f"{local}, not there", expected="a local file", remedy=remedy)
        elif remote in tokens and mode & 0o077:
            notes.warning(keys, f"{local}, open to others", expected="mode 600", remedy="chmod 600")


def _mode(local: str) -> int | None:
    """The mode of a local file; None where there is none, or can be none."""
    try:
        return Path(local).expanduser().stat().st_mode
    except (OSError, RuntimeError, ValueError):  # an unknown user's home and a null byte, too
        return None
