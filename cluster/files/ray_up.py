"""Checks of a file for `ray up`: node types, provider, image, start commands, token."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cluster.files.container_image import check_image
from cluster.files.document import Keys, at, mapping, nearest, sequence, whole, word
from cluster.files.finding import Notes
from cluster.files.instances import check_instance
from cluster.files.render import objection, schema

PROVIDERS = ("aws", "gcp", "local", "azure", "vsphere", "aliyun", "spark", "external")
"""Ray's providers with which `ray up` starts something."""
_START = re.compile(r"\bray\s+start\b")
_AUTH_MODE = re.compile(r"RAY_AUTH_MODE=[\"']?(\w+)")


def check_cluster(notes: Notes) -> None:
    """Note everything in a file for `ray up` that will not work as intended; Ray's own objections come last."""
    config = notes.document.value
    provider = word(config, "provider", "type")
    _check_keys(notes, (), config, schema()["properties"])
    for section in ("docker", "auth"):
        _check_keys(notes, (section,), mapping(config, section), schema()["properties"][section]["properties"])
    _check_provider(notes, provider)
    if provider == "local":
        _check_machines(notes)
    elif not any(notes.has_error((key,)) for key in ("provider", "available_node_types")):
        _check_node_types(notes, provider)
    _check_docker(notes)
    _check_starts(notes, local=provider == "local")
    _check_mounts(notes)
    _check_objection(notes)


def _check_keys(notes: Notes, keys: Keys, section: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in section:
        if key not in known:
            near = nearest(key, known)
            notes.error(
                (*keys, key),
                "an unknown key",
                expected=f"`{near}`" if near else f"one of {', '.join(sorted(known))}",
                remedy="rename it" if near else "remove it",
            )


def _check_provider(notes: Notes, provider: str) -> None:
    if provider not in PROVIDERS:
        near = nearest(provider, PROVIDERS, cutoff=0.6)  # they are short
        keys: Keys = ("provider", "type")
        if provider == "kuberay":
            notes.error(keys, provider, expected="aws, gcp or local", remedy="`dkvb cluster render --provider kuberay`")
        else:
            notes.error(
                keys, provider, expected=f"`{near}`" if near else f"one of {', '.join(PROVIDERS)}", remedy="correct it"
            )
        return
    needed = {"aws": ("region",), "gcp": ("region", "availability_zone", "project_id")}.get(provider, ())
    given = mapping(notes.document.value, "provider")
    for key in needed:
        if not given.get(key):
            notes.error(("provider", key), given.get(key), expected=f"the {key} for {provider}", remedy="add it")
    known = {*schema()["properties"]["provider"]["properties"], "external_head_ip", "coordinator_address"}
    for key in given:
        near = nearest(key, known)
        if key not in known and near and near not in given:
            notes.error(("provider", key), "an unknown key", expected=f"`{near}`", remedy="rename it")
    if provider in ("aws", "gcp") and not at(notes.document.value, "auth", "ssh_user"):
        notes.error(
            ("auth", "ssh_user"), None, expected="the user of the machine image", remedy="add `ssh_user: ubuntu`"
        )
    if provider != "local" and "idle_timeout_minutes" not in notes.document.value:
        notes.warning(
            ("idle_timeout_minutes",), None, expected="minutes", remedy="say it (Ray takes 5): idle GPUs cost money"
        )


def _check_machines(notes: Notes) -> None:
    """The provider `local`: machines that are there, instead of node types."""
    config = notes.document.value
    for key in ("available_node_types", "head_node_type"):
        if config.get(key):
            notes.error(
                (key,), "node types", expected="none on-premise", remedy="remove it; name machines in worker_ips"
            )
    if at(config, "provider", "coordinator_address"):
        return
    workers = at(config, "provider", "worker_ips")
    if not at(config, "provider", "head_ip"):
        notes.error(("provider", "head_ip"), None, expected="the head's address", remedy="add it")
    if not isinstance(workers, list) or not workers:
        notes.error(("provider", "worker_ips"), workers, expected="the workers' addresses", remedy="list them")
        return
    if len({*map(str, workers)}) < len(workers):
        notes.error(("provider", "worker_ips"), "a machine twice", expected="each once", remedy="remove the second")
    if at(config, "provider", "head_ip") in workers:
        notes.error(("provider", "worker_ips"), "the head", expected="other machines", remedy="remove it from the list")
    least, most = whole(config, "min_workers"), whole(config, "max_workers")
    _check_range(notes, (), least, most)
    if most is not None and most > len(workers):
        notes.warning(
            ("max_workers",), most, expected=f"at most {len(workers)}, as in worker_ips", remedy="list more or ask less"
        )
    if not at(config, "auth", "ssh_user"):
        notes.error(("auth", "ssh_user"), None, expected="the user on these machines", remedy="add it")


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
    known = next(iter(schema()["properties"]["available_node_types"]["patternProperties"].values()))["properties"]
    for name, node_type in types.items():
        keys: Keys = ("available_node_types", str(name))
        _check_keys(notes, keys, node_type if isinstance(node_type, dict) else {}, known)
        _check_range(notes, keys, whole(node_type, "min_workers"), whole(node_type, "max_workers"))
        check_instance(notes, keys, provider, is_head=name == head)
    _check_head(notes, ("available_node_types", head))
    _check_totals(notes, types)


def _check_totals(notes: Notes, types: Mapping[str, Any]) -> None:
    config = notes.document.value
    most = whole(config, "max_workers")
    if len(types) == 1 or most == 0:
        notes.error(
            ("max_workers",) if len(types) > 1 else ("available_node_types",),
            "no workers",
            expected="a worker type and max_workers of 1 or more",
            remedy="add them: the head does no work",
        )
    if most is None and "max_workers" not in config:
        notes.warning(("max_workers",), None, expected="a number", remedy="say it (Ray takes 2): it bounds the cost")
    wanted = sum(whole(each, "min_workers") or 0 for each in types.values())
    if most is not None and wanted > most:
        notes.error(
            ("max_workers",),
            most,
            expected=f"at least {wanted}, the sum of min_workers",
            remedy="raise it, or lower min_workers",
        )


def _check_range(notes: Notes, keys: Keys, least: int | None, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        notes.error(
            (*keys, "min_workers"),
            least,
            expected=f"at most max_workers, {most}",
            remedy="lower it, or raise max_workers",
        )


def _check_head(notes: Notes, keys: Keys) -> None:
    config = notes.document.value
    starts = " ".join(map(str, sequence(config, "head_start_ray_commands")))
    if at(config, *keys, "resources", "CPU") != 0 and "--num-cpus=0" not in starts and "--num-cpus 0" not in starts:
        notes.error(
            (*keys, "resources"),
            at(config, *keys, "resources"),
            expected="{CPU: 0}",
            remedy="keep work off the head: what fills its memory ends the whole cluster",
        )
    market = at(config, *keys, "node_config", "InstanceMarketOptions", "MarketType")
    if market == "spot":
        notes.warning(
            (*keys, "node_config", "InstanceMarketOptions"),
            "spot",
            expected="an on-demand head",
            remedy="remove it: when the head is taken away, all workers are too",
        )


def _check_docker(notes: Notes) -> None:
    docker = mapping(notes.document.value, "docker")
    images = [(key, docker[key]) for key in ("image", "head_image", "worker_image") if docker.get(key) is not None]
    if not images:
        notes.warning(
            ("docker",), None, expected="docker.image", remedy="pin the nodes' software by an image, as render does"
        )
    for key, image in images:
        check_image(notes, ("docker", key), image)
    for name, node_type in mapping(notes.document.value, "available_node_types").items():
        if image := at(node_type, "docker", "worker_image"):
            check_image(notes, ("available_node_types", str(name), "docker", "worker_image"), image)


def _check_starts(notes: Notes, *, local: bool) -> None:
    config = notes.document.value
    _check_start(notes, "head_start_ray_commands", needed=("--head", "--autoscaling-config"), refused="--address")
    _check_start(notes, "worker_start_ray_commands", needed=("--address",), refused="--head")
    head = [command for command in sequence(config, "head_start_ray_commands") if _START.search(str(command))]
    if local and head and not any(re.search(r"--num-cpus[= ]0\b", str(command)) for command in head):
        notes.error(
            ("head_start_ray_commands",),
            "a head that does work",
            expected="--num-cpus=0",
            remedy="keep work off the head: what fills its memory ends the whole cluster",
        )


def _check_start(notes: Notes, key: str, *, needed: tuple[str, ...], refused: str) -> None:
    config = notes.document.value
    starts = [(index, each) for index, each in enumerate(sequence(config, key)) if _START.search(str(each))]
    if not starts:
        notes.error(
            (key,),
            "no `ray start`",
            expected=f"one with RAY_AUTH_MODE=token and {', '.join(needed)}",
            remedy="add it, as render does: Ray's own has no token, and on AWS and GCP shows the dashboard to all",
        )
    for index, start in starts:
        keys: Keys = (key, index)
        for option in needed:
            if option not in str(start):
                notes.error(keys, f"`ray start` without {option}", expected=option, remedy="add it")
        if re.search(rf"{refused}\b", str(start)):
            notes.error(keys, refused, expected=f"none in {key}", remedy="remove it")
        if exposed := re.search(r"--dashboard-host[= ][\"']?(0\.0\.0\.0|::|\*)", str(start)):
            notes.error(
                keys, exposed[0], expected="--dashboard-host=127.0.0.1", remedy="`ray dashboard FILE` tunnels to it"
            )
        if "RAY_USAGE_STATS_ENABLED=0" not in _surroundings(config, key, start) and "--disable-usage-stats" not in str(
            start
        ):
            notes.warning(keys, "usage statistics", expected="RAY_USAGE_STATS_ENABLED=0", remedy="turn them off")
        modes = _AUTH_MODE.findall(_surroundings(config, key, start))
        if not modes or any(mode != "token" for mode in modes):
            notes.error(
                keys,
                f"RAY_AUTH_MODE={modes[-1]}" if modes else "no RAY_AUTH_MODE",
                expected="RAY_AUTH_MODE=token before `ray start`",
                remedy="without it whoever reaches a port of the cluster runs code on it",
            )


def _surroundings(config: Mapping[str, Any], key: str, start: object) -> str:
    """Everything that may set the environment of a `ray start`; with Docker, initialization_commands do not."""
    places = ["setup_commands", key.replace("start_ray", "setup")]
    places += [] if at(config, "docker", "image") else ["initialization_commands"]
    commands = [each for place in places for each in sequence(config, place)] + sequence(
        config, "docker", "run_options"
    )
    return "\n".join(map(str, [*commands, start]))


def _check_mounts(notes: Notes) -> None:
    config = notes.document.value
    mounts = mapping(config, "file_mounts")
    commands = "\n".join(text for keys, text in notes.document.texts if str(keys[0]).endswith("_commands"))
    named = re.search(r"RAY_AUTH_TOKEN_PATH=[\"']?([^\s;\"']+)", commands)
    tokens = [path for path in mounts if str(path).endswith(".ray/auth_token") or (named and str(path) == named[1])]
    if not tokens:
        notes.error(
            ("file_mounts",),
            "no token for the nodes",
            expected="~/.ray/auth_token: ~/.ray/auth_token",
            remedy="add it; `ray get-auth-token --generate` makes the token",
        )
    elif not re.search(r"chmod\s+0?600|install\s.*-m\s*0?600", commands):
        notes.warning(
            ("file_mounts", tokens[0]),
            "a token that others on the node may be able to read",
            expected="chmod 600 in setup_commands",
            remedy="add it",
        )
    for remote, local in mounts.items():
        mode = _mode(str(local))
        if mode is None:
            remedy = "`ray get-auth-token --generate` makes it" if remote in tokens else "make it, or correct the path"
            notes.warning(("file_mounts", str(remote)), f"{local}, not there", expected="a local file", remedy=remedy)
        elif remote in tokens and mode & 0o077:
            notes.warning(
                ("file_mounts", str(remote)), f"{local}, open to others", expected="mode 600", remedy="chmod 600"
            )


def _mode(local: str) -> int | None:
    """The mode of a local file; None where there is none, or can be none."""
    try:
        return Path(local).expanduser().stat().st_mode
    except (OSError, RuntimeError, ValueError):  # an unknown user's home and a null byte, too
        return None


def _check_objection(notes: Notes) -> None:
    refused = objection(notes.document.value)
    if refused is not None and not notes.has_error(refused.keys):
        text = f"what Ray refuses: {refused.text}"
        notes.error(refused.keys, text, expected="what `ray up` takes", remedy="correct it")
