"""A CRD of our own, small, with every rule of structural schemas that a real one has; and where real ones are."""

from pathlib import Path

import pytest
import yaml

from tests.paths import DATA

CRDS = DATA / "crds"
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason=f"no CRDs of KubeRay and Kueue at {CRDS}")

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
AMOUNT = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",  # noqa: E501
    "x-kubernetes-int-or-string": True,
}
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["port", "protocol"],
    "items": {
        "type": "object",
        "required": ["port", "protocol"],
        "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}},
    },
}
POD = {
    "type": "object",
    "properties": {
        "serviceAccountName": {"type": "string"},
        "tolerations": {"type": "array", "items": {"type": "object"}},
    },
}
SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "mode": {"type": "string", "enum": ["Fast", "Careful"]},
        "isOpen": {"type": "boolean"},
        "amount": AMOUNT,
        "labels": TEXTS,
        "ports": PORTS,
        "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "choice": {"type": "array", "items": {"type": "string", "nullable": True}},
        "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": POD}},
        "template": {"type": "object", "properties": {"spec": POD}},
        "word": {"type": "string", "pattern": "(?:a)(?i)b"},
        "elsewhere": {"type": "object", "properties": {}, "$ref": "http://192.0.2.1/schema"},
        "empty": {"type": "object"},
    },
}


def crd(kind="Gadget", group="test.example", *, spec=SPEC, versions=("v1",)):
    """A CustomResourceDefinition of one kind."""
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind},
            "versions": [{"name": each, "served": True, "schema": {"openAPIV3Schema": schema}} for each in versions],
        },
    }


def written(folder: Path, *values) -> Path:
    """A file with these values, one document each."""
    path = folder / "crds.yaml"
    path.write_text(yaml.safe_dump_all(values))
    return path
