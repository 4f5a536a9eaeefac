"""What is made of the spec's classes: the JSON Schema that comes with the package, and the keys in docs/spec.md.

``python -m tests.pages`` writes both anew.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from jobs.report.toml import value as toml
from jobs.spec.mistakes import words
from jobs.spec.schema import Spec

Node = dict[str, Any]

EXAMPLES: dict[str, Any] = {
    "name": "mine",
    "seed": 1,
    "images.kind": "folder",
    "images.train": "train-{0000..0099}.tar",
    "images.test": "validation",
    "images.classes": "names.txt",
    "images.image": "img",
    "images.label": "fine_label",
    "images.shard_items": 500,
    "images.test_share": 0.2,
    "images.orientation": "apply",
    "images.alpha": "white",
    "images.decode": "torchvision",
    "images.on_error": "skip",
    "images.expect": {"train": 50000, "test": 10000, "classes": 10},
    "images.without": ["0f3a5c7e9b1d2f4a"],
    "backbone.library": "timm",
    "backbone.name": "resnet50.a1_in1k",
    "backbone.weights": "weights/resnet50.safetensors",
    "backbone.layer": "layer3",
    "backbone.image_size": 128,
    "backbone.precision": "bfloat16",
    "embeddings.batch": 128,
    "bottleneck.c": 128,
    "bottleneck.m": 1024,
    "bottleneck.d_k": 12,
    "bottleneck.selectable": "all",
    "keys.decay": 0.99,
    "keys.smoothing": 0.0001,
    "keys.epochs": 5,
    "keys.batch": 512,
    "keys.dead": 0.0,
    "keys.sample": 20000,
    "keys.method": "items",
    "values.optimizer": "sgd",
    "values.epochs": 100,
    "values.lr": 0.5,
    "values.momentum": 0.8,
    "values.batch": 128,
    "values.clip": 0.5,
    "values.label_smoothing": 0.0,
    "values.decay": 0.1,
    "values.validation": 0.0,
    "values.method": "lda",
    "values.shrinkage": 0.1,
    "linear.bits": 12,
    "sweep.classes": ["cat", "dog"],
    "sweep.each": False,
    "sweep.sets": [["cat", "dog"], ["car"]],
    "sweep.sizes": [1, 2, "half"],
    "sweep.draws": 5,
    "sweep.set_seed": 7,
    "sweep.uva.shares": [0.1, 0.5, 1.0],
    "sweep.uva.pairs": [100, 1000, 10000],
    "sweep.uva.scope": "per-codebook",
    "sweep.uva.rank": "values",
    "sweep.uve.shares": [0.05, 0.5, 1.0],
    "sweep.uve.examples": [1, 10, 100],
    "sweep.uve.seeds": [0, 1, 2],
    "compare.seeds": [0, 1],
    "compare.classes": ["cat"],
    "compare.trials": 4,
    "compare.tuning_classes": 2,
    "compare.oracle_kv": ["cat"],
    "compare.tau": 0.95,
    "compare.taus": [0.9, 0.99],
    "compare.weights": [0.0, 0.1],
    "compare.lira_heads": 0,
    "compare.lira_items": 5000,
    "compare.lira_classes": 2,
    "compare.proxies": {"cat": "lynx"},
    "compare.methods": ["ascent"],
    "compare.metrics": ["agreement"],
    "compare.heads": ["linear", "values", "linear-lda", "values-lda"],
    "experiments": [{"name": "seed1", "seed": 1}, {"name": "small", "bottleneck": {"m": 256}}],
}
"""Dotted key -> a value that differs from the default. [linear] has those of [values], [other] those of [images]."""
LIKE = (("linear.", "values."), ("other.", "images."))


PARAGRAPH = re.compile(r"\s+")


class Written(GenerateJsonSchema):
    """JSON Schema as TOML needs it: no null, and with the docstring and default of each key."""

    def dataclass_schema(self, schema: Any) -> Node:
        node, cls = super().dataclass_schema(schema), schema["cls"]
        node.pop("description", None)
        about = docstrings(cls)
        for part in fields(cls):
            key = node["properties"][part.name]
            key.pop("default", None)
            default = part.default if part.default_factory is MISSING else part.default_factory()
            if default not in (MISSING, None) and not is_dataclass(default):
                key["default"] = default
            if part.name in about:
                key["description"] = about[part.name]
        return node

    def nullable_schema(self, schema: Any) -> Node:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def docstrings(cls: type) -> dict[str, str]:
    """Key -> the text below it, of a class and those that it is made of."""
    found = {}
    for base in reversed(cls.__mro__[:-1]):
        (body,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(body, ast.ClassDef)
        for part, text in pairwise(body.body):
            if isinstance(part, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(part.target, ast.Name)
                found[part.target.id] = PARAGRAPH.sub(" ", str(text.value.value)).strip()
    return found


def spec() -> Node:
    """The schema of one experiment: every table in its place, every key with an example."""
    made = TypeAdapter(Spec).json_schema(schema_generator=Written)
    whole: Node = inlined(made, made.pop("$defs"))
    for dotted, example in EXAMPLES.items():
        for like in (dotted, *(f"{to}{dotted.removeprefix(start)}" for to, start in LIKE if dotted.startswith(start))):
            if (node := at(whole, like)) is not None:
                node["examples"] = [example]
    decay = whole["properties"]["linear"]["properties"]["decay"]
    decay["description"] = "Of `[values]` alone: leave it out here."
    del decay["examples"]
    return whole


def inlined(node: Any, parts: Node) -> Any:
    """A schema with what it refers to in its place."""
    if isinstance(node, list):
        return [inlined(one, parts) for one in node]
    if not isinstance(node, dict):
        return node
    meant = parts[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    whole = {**meant, **{key: one for key, one in node.items() if key != "$ref"}}
    return {key: inlined(one, parts) for key, one in whole.items() if key != "title"}


def at(node: Node, dotted: str) -> Node | None:
    """The part of a schema that is about a key."""
    for key in dotted.split("."):
        node = node.get("properties", {}).get(key)
        if node is None:
            return None
    return node


def loose(node: Node) -> Node:
    """The same, with every key left to choice."""
    inner = {key: loose(one) for key, one in node.get("properties", {}).items()}
    return {key: one for key, one in node.items() if key != "required"} | ({"properties": inner} if inner else {})


def needed(node: Node) -> Node:
    """What must be there, and nothing else."""
    inner = {key: found for key, one in node.get("properties", {}).items() if (found := needed(one))}
    return ({"required": node["required"]} if "required" in node else {}) | ({"properties": inner} if inner else {})


def schema() -> Node:
    """The schema of a file: an experiment, or several that each set some keys of it anew."""
    one = spec()
    free = loose(one)
    each = {**free, "required": ["name"], "description": "Its name goes behind that of the spec."}
    several = {
        "type": "array",
        "items": each,
        "minItems": 1,
        "description": "Experiments that are this spec with some keys set anew, each with a name of its own.",
        "examples": [EXAMPLES["experiments"]],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A spec of dkvb",
        **free,
        "properties": {**free["properties"], "experiments": several},
        "if": {"not": {"required": ["experiments"]}},
        "then": needed(one),
    }


def schema_text() -> str:
    """The file that comes with the package."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def keys() -> str:
    """Every table and key, for docs/spec.md."""
    whole = spec()
    whole["properties"]["experiments"] = schema()["properties"]["experiments"]
    return "\n".join(tables("", whole))


def tables(name: str, node: Node) -> Iterator[str]:
    """A table, its keys, and the tables within it."""
    if name:
        yield f"### `[{name}]`\n\n{node['description']}\n"
    rows = [row(key, one, must=key in node.get("required", ())) for key, one in node["properties"].items()]
    yield "\n".join(["| key | value | unless given | meaning | example |", "|---|---|---|---|---|", *rows, ""])
    for key, one in node["properties"].items():
        if key == "other":
            yield f"### `[other]`\n\n{one['description']} Its keys are those of `[images]`.\n"
        elif "properties" in one:
            yield from tables(f"{name}.{key}".removeprefix("."), one)


def row(key: str, node: Node, *, must: bool) -> str:
    """A key of a table."""
    default = "required" if must else f"`{value(node['default'])}`" if "default" in node else ""
    example = f"`{key} = {value(node['examples'][0])}`" if "examples" in node and key != "experiments" else ""
    return f"| `{key}` | {words(node)} | {default} | {node['description'].replace('|', '/')} | {example} |"


def value(found: Any) -> str:
    """A value as TOML."""
    if isinstance(found, dict):
        return f"{{ {', '.join(f'{key} = {value(one)}' for key, one in found.items())} }}" if found else "{}"
    return f"[{', '.join(map(value, found))}]" if isinstance(found, list) else toml(found)
