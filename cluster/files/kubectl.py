"""kubectl: what the Kubernetes cluster of its current context has installed, and what it says of a file."""

import json
import re
import subprocess
from collections.abc import Iterator

from cluster.errors import InvalidRequest
from cluster.files.document import Keys, at
from cluster.files.finding import Notes
from cluster.files.schemas import Schemas, as_json, schemas_of

_PATIENCE = 60.0
"""Seconds for one answer of a cluster."""
_PATH = re.compile(r"\b(?:spec|metadata)(?:\.[\w-]+|\[[^\]]*\])*")
_UNREACHED = re.compile("Unable to connect|connection to the server|refused|no such host|dial tcp|logged in|no context")


def ask_schemas() -> Schemas:
    """The schemas of all CRDs that the cluster has.

    raises: InvalidRequest if kubectl is not there, or gets no answer.
    """
    done = _kubectl("get", "crd", "-o", "json")
    if done.returncode:
        raise _failed(done)
    try:
        return schemas_of("the cluster of kubectl", [json.loads(done.stdout)])
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"kubectl get: expected CRDs in JSON: {error}") from error


def try_on_server(notes: Notes) -> None:
    """Let the cluster try an object without keeping it, and note what it refuses.

    raises: InvalidRequest if kubectl is not there, or gets no answer.
    """
    value = notes.document.value
    named = at(value, "metadata", "name") is not None or at(value, "metadata", "generateName") is None
    verb = "apply" if named else "create"  # kubectl applies only what has a name
    done = _kubectl(verb, "--dry-run=server", "--validate=strict", "-f", "-", given=json.dumps(as_json(value)))
    if done.returncode and _UNREACHED.search(done.stderr):
        raise _failed(done)
    for keys, text in _refused(done.stderr) if done.returncode else ():
        notes.error(keys, "what the cluster refuses", expected=f"what it accepts: {text}", remedy="correct it")
    for line in done.stderr.splitlines():
        if line.startswith("Warning: "):
            text = f"none: {line.removeprefix('Warning: ')}"
            notes.warning((), "a warning of the cluster", expected=text, remedy="look into it")


def _refused(text: str) -> Iterator[tuple[Keys, str]]:
    """The objections in what kubectl printed, with the keys that each names."""
    if unknown := re.findall(r'unknown field "([^"]+)"', text):
        yield from ((_keys(path), f"no key {path}") for path in unknown)
        return
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Warning: ")]
    points = [line.strip().removeprefix("* ") for line in lines if line.lstrip().startswith("* ")]
    for point in points or [" ".join(lines)]:
        named = _PATH.search(point)
        yield _keys(named[0]) if named else (), point


def _keys(path: str) -> Keys:
    """`spec.workerGroupSpecs[0].replicas` as keys."""
    parts = re.findall(r"\[(\d+)\]|\[([^\]]*)\]|([^.\[\]]+)", path)
    return tuple(int(number) if number else bracket.strip("\"'") or name for number, bracket, name in parts)


def _kubectl(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["kubectl", *words], input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except OSError as error:
        remedy = "install it, or give the CRDs by --crds"
        raise InvalidRequest(f"kubectl: cannot be run: {error.strerror}; {remedy}") from error
    except subprocess.TimeoutExpired as error:
        raise InvalidRequest(f"kubectl {words[0]}: no answer from its cluster within {_PATIENCE:g} s") from error


def _failed(done: subprocess.CompletedProcess[str]) -> InvalidRequest:
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return InvalidRequest(f"kubectl {done.args[1]}: {said[-1] if said else f'ended with {done.returncode}'}")
