"""Cluster files from templates, for `ray up` and for KubeRay, and what Ray's own validators say of one."""

import io
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

from cluster.errors import InvalidRequest
from cluster.files.document import Keys
from cluster.installed import require_ray
from cluster.private import validate

TEMPLATES = Path(__file__).parent / "templates"
PROVIDERS = ("aws", "gcp", "local", "kuberay", "kueue")
"""What can be rendered: one template each."""
ON_KUBERNETES = ("kuberay", "kueue")
GPU_IMAGE = "rayproject/ray:{ray}-py312-gpu"
"""For `ray up`: dkvb's dependencies are installed when a node starts."""
DKVB_IMAGE = "registry.example.com/dkvb:0.1.0-ray{ray}"
"""For Kubernetes, where the image has to hold dkvb: everyone builds their own."""
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})")
_COMMAND = re.compile(r"^#     (\S.*?)  +(.*)$", re.MULTILINE)
"""A line of a template's head: a command, which may have the name of the run in it, and what it does."""
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_MOST_WORKERS = {"local": 200}
_SPEC_COMMENT = """
  # EDIT: the path of the spec, as the head's pod has it: in the image, or mounted from a ConfigMap."""
_SPEC = re.compile(r"[A-Za-z0-9._/-]+")
_HEAD_AND_SUBMITTER = (3, 9)
_WORKER_CPUS = 3 + 7
"""CPUs and GiB that the Kueue template asks for: 2 and 8 for the head, a half and 0.2 for KubeRay's submitter; and for
two workers, one with a GPU and one without."""
RAY_DISK = 10
"""GiB of a pod's disk for what Ray spills there, for logs and for code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """What Ray's validators refuse in a `ray up` file."""

    keys: Keys
    """Where it is, as far as Ray says."""
    text: str


@cache
def installed_ray() -> str:
    """The version of Ray on this machine, without importing it; raises: RayMissing."""
    require_ray("a cluster file, whose Ray is that of this machine")
    return version("ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run that a file for Kubernetes is for, and the GiB of a worker's pod: with a GPU, without, of disk.

    Unless given, what the steps of cifar10 need.
    """

    spec: str = "cifar10"
    """As the pods have it: the name of a shipped one, or a path."""
    gpu_memory: int = 4
    cpu_memory: int = 4
    disk: int = RAY_DISK


def render(
    provider: str,
    *,
    name: str = "dkvb",
    max_workers: int | None = None,
    image: str | None = None,
    run: Run | None = None,
) -> str:
    """The text of a cluster file.

    provider: one of PROVIDERS.
    name: of the cluster, or of the run on Kubernetes.
    max_workers: the most workers, 4 unless given (on Kubernetes of each kind, with a GPU and without); for `local` the
        number of machines to fill in, 2 unless given.
    image: the container image, with a tag or a digest; Ray's own for GPUs with the installed version unless given.
    run: on Kubernetes; for `ray up` runs are submitted, and machines have what their type has.

    raises: InvalidRequest for a value that makes no sense.
    """
    if provider not in PROVIDERS:
        raise InvalidRequest(f"render: provider is {provider!r}, expected one of {', '.join(PROVIDERS)}")
    workers = max_workers if max_workers is not None else 2 if provider == "local" else 4
    run = run or Run()
    _check_values(name, workers, image, run.spec, most=_MOST_WORKERS.get(provider, 1000))
    template = Template((TEMPLATES / f"{provider}.yaml").read_text(encoding="utf-8"))
    given = image or (DKVB_IMAGE if provider in ON_KUBERNETES else GPU_IMAGE).format(ray=installed_ray())
    ray = ray_of(given) or installed_ray()
    text = template.substitute(
        name=name,
        max_workers=workers,
        image=given,
        image_comment="" if image else "  # EDIT: yours, with dkvb in it (docs/cluster.md)",
        ray_version=ray,
        dependencies=_dependencies(ray),
        worker_ips="\n".join(f"    - 192.0.2.{11 + index}" for index in range(workers)),
        quota_cpu=_HEAD_AND_SUBMITTER[0] + workers * _WORKER_CPUS,
        quota_memory=_HEAD_AND_SUBMITTER[1] + workers * (run.gpu_memory + run.cpu_memory),
        quota_disk=RAY_DISK + 2 * workers * run.disk,
        spec=run.spec,
        spec_name=PurePosixPath(run.spec).stem,
        spec_comment=_SPEC_COMMENT if "/" in run.spec else "",
        gpu_memory=run.gpu_memory,
        cpu_memory=run.cpu_memory,
        head_disk=RAY_DISK,
        disk=run.disk,
    )
    width = max(len(each[1]) for each in _COMMAND.finditer(text))
    return _COMMAND.sub(lambda each: f"#     {each[1]:<{width}}   {each[2]}", text)


def _check_values(name: str, workers: int, image: str | None, spec: str, *, most: int) -> None:
    """Check that each value can be put anywhere in YAML as it is.

    raises: InvalidRequest.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"render: name is {name!r}, expected 1 to 40 lowercase letters, digits and hyphens, a letter first and no "
            "hyphen last"
        )
    if not _SPEC.fullmatch(spec):
        raise InvalidRequest(
            f"render: spec is {spec!r}, expected ASCII letters, digits, dots, hyphens and underscores: a shell reads it"
        )
    if not 1 <= workers <= most:
        raise InvalidRequest(f"render: max_workers is {workers}, expected 1 to {most}")
    if image is not None and not _IMAGE.fullmatch(image):
        raise InvalidRequest(
            f"render: image is {image!r}, expected REPOSITORY:TAG or REPOSITORY@sha256:DIGEST, as "
            f"{GPU_IMAGE.format(ray=installed_ray())}"
        )
    if image is not None and tag_of(image) in ("latest", "nightly"):
        raise InvalidRequest(
            f"render: image is {image!r}, which is another one every few weeks; expected a fixed tag, such as "
            f"{GPU_IMAGE.format(ray=installed_ray())}"
        )


def dependencies() -> list[str]:
    """The requirements of dkvb except Ray, which is in the image."""
    return (TEMPLATES / "requirements.txt").read_text(encoding="utf-8").split()


def _dependencies(ray: str) -> str:
    """The dependencies as lines of a folded scalar in `setup_commands`, with Ray kept at its version."""
    names = [f'"{each}"' for each in (f"ray[default]=={ray}", *dependencies())]
    return "\n".join("    " + " ".join(names[start : start + 4]) for start in range(0, len(names), 4))


def tag_of(image: str) -> str | None:
    """The tag of an image, `@...` for a digest, None without either."""
    last = image.rpartition("/")[2]
    return f"@{last.partition('@')[2]}" if "@" in last else last.partition(":")[2] or None


def ray_of(image: str) -> str | None:
    """The version of Ray in an image, as far as its tag says: `rayproject/ray:2.60.0-...` or `...:...ray2.60.0...`."""
    tag = tag_of(image) or ""
    pattern = r"(\d+\.\d+\.\d+)" if re.search(r"(^|/)ray(-\w+)?[:@]", image) else r".*?ray-?(\d+\.\d+\.\d+)"
    found = re.match(pattern, tag)
    return found[1] if found else None


def objection(config: Mapping[str, Any]) -> Objection | None:
    """What Ray's own `prepare_config` and `validate_config` refuse in a `ray up` file; offline, nothing is written."""
    from jsonschema import ValidationError

    printed = io.StringIO()  # Ray prints and logs as well as raises
    logging_before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            validate(config)
    except ValidationError as error:
        return Objection(keys=tuple(error.absolute_path), text=error.message)
    except Exception as error:  # a file that Ray does not expect makes it raise anything
        message = getattr(error, "message", None) or str(error)
        return Objection(keys=(), text=message if " " in message else f"{type(error).__name__}: {message}")
    finally:
        logging.disable(logging_before)
    return None


@cache
def schema() -> dict[str, Any]:
    """Ray's own JSON schema of a `ray up` file."""
    import json

    import ray.autoscaler

    path = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    read: Callable[[str], dict[str, Any]] = json.loads
    return read(path.read_text(encoding="utf-8"))
