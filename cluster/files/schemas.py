"""Schemas of objects, as CRDs and Ray bring them: what a document violates, as strictly as `kubectl apply` sees it."""

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator, Draft7Validator, ValidationError
from jsonschema.validators import extend

from cluster.errors import InvalidRequest
from cluster.files.document import Keys, at, mapping, nearest, sequence, word
from cluster.files.finding import Notes

Schema = Mapping[str, Any]
_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Schema = {
    "type": "object",
    "properties": dict.fromkeys(("name", "generateName", "namespace", "uid", "resourceVersion"), _TEXT)
    | {key: {} for key in ("creationTimestamp", "generation", "managedFields", "ownerReferences", "selfLink")}
    | {"labels": _TEXTS, "annotations": _TEXTS, "finalizers": {"type": "array", "items": _TEXT}},
}
"""Kubernetes' own ObjectMeta, which a CRD leaves out."""
_IMPLIED: Schema = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA}
_QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|"
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # of 2 MB in C: 0.5 s instead of 13 s
_MOST_NAMED = 12
"""Known fields that a finding lists; a pod has 45."""


@dataclass(frozen=True, slots=True)
class Schemas:
    """The OpenAPI v3 schemas of a cluster's own kinds."""

    source: str
    """Where they are from, in words."""
    of: Mapping[tuple[str, str], Schema]
    """By apiVersion and kind."""


def read_schemas(path: Path) -> Schemas:
    """The schemas of all CRDs in a YAML or JSON file, or in those of a folder.

    raises: InvalidRequest if a file cannot be read, or there is no CRD.
    """
    values: list[object] = []
    try:
        files = [path] if path.is_file() else sorted(path.iterdir())
        for file in [each for each in files if each.suffix in (".yaml", ".yml", ".json")]:
            loader = _LOADER(file.read_bytes())
            while loader.check_data():
                values.append(loader.get_data())
    except OSError as error:
        raise InvalidRequest(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{file}: expected CRDs in YAML or JSON, found {' '.join(str(error).split())}") from error
    return schemas_of(str(path), values)


def schemas_of(source: str, values: Iterable[object]) -> Schemas:
    """The schemas of all CRDs among these values, or in lists of Kubernetes among them.

    raises: InvalidRequest if there is none.
    """
    found = {key: schema for value in values for key, schema in _served(value).items()}
    if not found:
        raise InvalidRequest(f"{source}: found no CustomResourceDefinition; docs/cluster.md says where to get them")
    return Schemas(source, found)


def _served(value: object) -> dict[tuple[str, str], Schema]:
    """The schemas in a CRD, or in a list of CRDs; those of versions that a cluster serves."""
    if word(value, "kind").endswith("List"):
        return {key: schema for item in sequence(value, "items") for key, schema in _served(item).items()}
    if word(value, "kind") != "CustomResourceDefinition":
        return {}
    group, kind = word(value, "spec", "group"), word(value, "spec", "names", "kind")
    return {
        (f"{group}/{word(version, 'name')}", kind): schema
        for version in sequence(value, "spec", "versions")
        if at(version, "served") is True and (schema := mapping(version, "schema", "openAPIV3Schema"))
    }


def check_object(notes: Notes, schema: Schema) -> None:
    """Note where a Kubernetes object is not what its CRD's schema says.

    raises: InvalidRequest if the schema itself makes no sense.
    """
    whole = {**schema, "properties": {**mapping(schema, "properties"), **_IMPLIED}}
    try:
        errors = [*_strict()(whole).iter_errors(as_json(notes.document.value, nulls=False))]
    except Exception as error:  # it comes from anyone
        kind = word(notes.document.value, "kind")
        raise InvalidRequest(f"the schema of {kind} cannot be used: {type(error).__name__}: {error}") from error
    _note(notes, errors)


def check_settings(notes: Notes, schema: Schema) -> None:
    """Note where a file for `ray up` is not what Ray's JSON schema says; Ray fills in what is missing."""
    errors = Draft7Validator(schema).iter_errors(as_json(notes.document.value))
    _note(notes, [each for each in errors if each.validator != "required"])


def _note(notes: Notes, errors: list[Any]) -> None:
    unknown = [each for each in errors if each.validator == "additionalProperties"]
    meant = {keys for each in unknown for keys in _note_unknown(notes, each)}
    for each in [each for each in errors if each.validator != "additionalProperties"]:
        keys = tuple(each.absolute_path)
        if keys not in meant:
            expected, remedy = _says(each)
            found = each.message if each.validator == "x-kubernetes-list-type" else _found(keys, each.instance)
            notes.error(keys, found, expected=expected, remedy=remedy)


def _note_unknown(notes: Notes, error: Any) -> list[Keys]:
    """Note fields that the schema does not have; returns the keys of those that were probably meant."""
    above: Keys = tuple(error.absolute_path)
    known: Mapping[str, Schema] = error.schema.get("properties", {})
    meant: list[Keys] = []
    for key in [key for key in error.instance if key not in known]:
        inside = [*_inside(known, key)]
        if near := nearest(key, [name for name in known if name not in error.instance]):
            meant.append((*above, near))
            expected, remedy = near, "rename it"
        elif len(inside) == 1:
            expected, remedy = inside[0], "move it there"
        elif 0 < len(known) <= _MOST_NAMED:
            expected, remedy = f"one of {', '.join(sorted(known))}", "remove it"
        else:
            expected, remedy = "a field of the schema" if known else "no field here", "remove it"
        quoted = f"`{expected}`" if " " not in expected else expected
        notes.error((*above, key), "an unknown key", expected=quoted, remedy=remedy)
    return meant


def _inside(known: Mapping[str, Schema], key: str, *, depth: int = 2) -> Iterator[str]:
    """Where a field is that was put too high, such as `template.spec.tolerations`."""
    for name, each in known.items():
        below = mapping(each, "properties")
        if key in below:
            yield f"{name}.{key}"
        elif depth > 1:
            yield from (f"{name}.{path}" for path in _inside(below, key, depth=depth - 1))


def _says(error: Any) -> tuple[str, str]:
    """What was expected instead, and what to do."""
    rule, wanted, found = error.validator, error.validator_value, error.instance
    if rule == "required":
        return f"a value of type {word(wanted, error.absolute_path[-1], 'type') or 'any'}", "add it"
    if error.schema.get("x-kubernetes-int-or-string") and rule != "pattern":
        return "an integer or a string", "quote it" if isinstance(found, float) else "correct it"
    if rule == "type" and wanted == "string" and isinstance(found, bool | int | float):
        return "a string", "quote it"
    if rule == "type":
        quoted = isinstance(found, str) and re.fullmatch(r"-?\d+|true|false", found)
        return f"type {wanted}", "remove the quotes" if quoted else "correct it"
    if rule == "enum":
        near = nearest(found, [each for each in wanted if isinstance(each, str)], cutoff=0.6)
        return f"`{near}`" if near else f"one of {', '.join(map(str, wanted))}", "correct it"
    if rule == "pattern" and wanted.startswith(_QUANTITY):
        return "a quantity, as 500m, 2 or 16Gi", "correct it"
    if rule == "x-kubernetes-list-type":
        return "each item once", "remove one of them"
    return f"{rule} {wanted}" if isinstance(wanted, str | int | float) else error.message, "correct it"


def _found(keys: Keys, value: object) -> object:
    """What is there; never the value of an environment variable, which may be a secret."""
    if isinstance(value, dict | list) or (keys[-1:] == ("value",) and value is not None):
        words = {dict: "a mapping", list: "a list", str: "a string", int: "an integer without quotes"}
        return words.get(type(value), f"a {type(value).__name__} without quotes")
    return f'"{value}"' if isinstance(value, str) else value


def as_json(value: object, *, nulls: bool = True) -> Any:
    """The value as JSON has it: keys are strings, and dates too.

    nulls: whether keys without a value stay; to Kubernetes they are absent.
    """
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items() if nulls or item is not None]
        return {key: as_json(item, nulls=nulls) for key, item in items}
    if isinstance(value, list):
        return [as_json(item, nulls=nulls) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


@cache
def _strict() -> Any:
    """A validator with the rules of Kubernetes' structural schemas.

    A mapping is closed unless `additionalProperties` or `x-kubernetes-preserve-unknown-fields` says otherwise; nothing
    is looked up by `$ref`.
    Source: kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions.
    """
    is_type = Draft4Validator.VALIDATORS["type"]

    def type_(validator: Any, wanted: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        if instance is None and schema.get("nullable"):
            return
        yield from is_type(validator, wanted, instance, schema)
        is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
        known = {**schema.get("properties", {}), **(_IMPLIED if schema.get("x-kubernetes-embedded-resource") else {})}
        if wanted == "object" and isinstance(instance, dict) and not is_open and {*instance} - {*known}:
            closed = {"properties": known}
            yield ValidationError("unknown", validator="additionalProperties", instance=instance, schema=closed)

    def required(_validator: Any, names: list[str], instance: Any, schema: Schema) -> Iterator[ValidationError]:
        properties = schema.get("properties", {})
        for name in names if isinstance(instance, dict) else ():
            if name not in instance and at(properties, name, "default") is None:
                yield ValidationError("missing", path=[name], validator_value=properties, instance=None)

    def pattern(_validator: Any, wanted: str, instance: Any, _schema: Schema) -> Iterator[ValidationError]:
        with suppress(re.error):  # Kubernetes reads it by RE2, which knows what Python does not
            if isinstance(instance, str) and not re.search(wanted, instance):
                yield ValidationError("does not match")

    def int_or_string(validator: Any, wanted: object, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        if wanted:
            yield from is_type(validator, ["integer", "string"], instance, schema)

    def list_type(_validator: Any, wanted: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        names, first = sequence(schema, "x-kubernetes-list-map-keys"), dict[str, int]()
        for index, item in enumerate(instance if wanted in ("map", "set") and isinstance(instance, list) else ()):
            defaults = [at(schema, "items", "properties", name, "default") for name in names]
            same = [mapping(item).get(name, default) for name, default in zip(names, defaults, strict=True)] or item
            if (other := first.setdefault(json.dumps(same), index)) != index:
                yield ValidationError(f"{', '.join(names) or 'all'} of item {other} again", path=[index], instance=item)

    own = {"type": type_, "required": required, "pattern": pattern, "$ref": lambda *_: ()}
    return extend(
        Draft4Validator, own | {"x-kubernetes-int-or-string": int_or_string, "x-kubernetes-list-type": list_type}
    )
