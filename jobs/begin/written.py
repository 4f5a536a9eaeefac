"""The spec that was chosen, as TOML that says of every key what it is for, and what else could stand there."""

import tomllib
from collections.abc import Mapping
from typing import Any

from jobs.begin.begun import Begun, found_lines
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.report.toml import key, value

ABOUT = {
    "name": "Of the experiment, in tables and on the command line.",
    "images.kind": "folder, webdataset, parquet, cifar10 or cifar100.",
    "images.train": "Below the folder that --images names.",
    "images.test": "Likewise; it must have the same classes.",
    "images.test_share": "No test images lie there: this share is held out, drawn by the names of the images.",
    "images.classes": "Class names, one a line; the number of the line, from 0, is the label.",
    "images.shard_items": "Images that a worker takes at a time.",
    "images.on_error": '"fail" stops at an image that cannot be read; "skip" leaves it out and counts it.',
    "images.expect": "What was found; a run that finds something else stops. Take it out where images come and go.",
    "backbone.image_size": "Pixels that images are scaled to. Larger ones tell more and take longer.",
    "embeddings.batch": "Of a forward pass; a GPU is quicker with 256.",
    "bottleneck.c": "Codebooks.",
    "bottleneck.m": "Key-value pairs of each.",
    "keys.sample": "Images that keys are fitted on, drawn by the seed.",
    "sweep.uva.shares": "Of the pairs that the class activates.",
    "sweep.uve.shares": "Of the class's training images.",
}
"""What a key means, by its path."""

HEADS = {
    "images": "Which images. Nothing of them is copied or changed.",
    "backbone": "The network that sees the images. It is never trained.",
    "embeddings": "How many images go through it at a time.",
    "bottleneck": "What learns and forgets.",
    "keys": "How keys are fitted.",
    "sweep.uva": "Unlearning via Activations: the most activated pairs go first. How many, step by step.",
    "sweep.uve": "Unlearning via Examples: the pairs of one image after another.",
}
"""What a table is, by its path."""

OTHERWISE = {
    "images": ('on_error = "skip"  # Leaves images out that cannot be read; unless given, the first stops the run.',),
    "backbone": (
        "Others, which the Hugging Face hub has, and which are slow without a GPU, in place of these lines:",
        '{ library = "open_clip", name = "ViT-B-32-quickgelu", weights = "openai" } is CLIP,',
        '{ library = "timm", name = "resnet50.a1_in1k", weights = "pretrained" } a ResNet-50.',
    ),
}
"""What else could be said in a table, by its path; on_error where it is not."""

SWEEP_AND_VALUES = """
# [sweep]
# classes = ["..."]  # Forget these alone; all unless given.
# sizes = [2, 5]     # Also random sets of so many classes, each forgotten together.

# [values]
# method = "lda"     # Values that are not trained, and forget single images exactly (`dkvb unlearn --method exact`).
"""

COMPARE = """
# Masks beside a retrained model, SCRUB, NegGrad+ and other baselines, and attacks: much longer (docs/comparison.md).
# [compare]
# classes = {classes}  # Each forgotten by itself, on the model of each seed; all unless given.
# seeds = [0, 1, 2]  # With fewer, intervals are too narrow.
# heads = ["linear", "values"]  # Baselines on both; ["values-lda"] compares exact forgetting, without any baseline.
# lira_heads = 0  # Leaves out U-LiRA, the longest of the attacks; 64 is usual.
"""


def _at_the_end(begun: Begun) -> str:
    """Tables that the spec could have and has not, commented out."""
    have = _plain_tables(begun.table)
    classes = value(list(begun.counted.classes[:3]))
    return (SWEEP_AND_VALUES if {"sweep", "values"}.isdisjoint(have) else "") + (
        "" if "compare" in have else COMPARE.format(classes=classes)
    )


def as_toml(begun: Begun) -> str:
    """The spec; raises: BadRequest for a change that set what these pages of TOML cannot hold."""
    found = "".join(f"# {line.rstrip()}\n" for line in found_lines(begun))
    head = f"# A spec for the images of {shown(begun.location)}, as `dkvb init` found them:\n#\n{found}\n"
    text = head + _table(begun.table, "") + _at_the_end(begun)
    try:
        same = tomllib.loads(text) == begun.table
    except ValueError:
        same = False
    if not same:
        raise BadRequest("--set: found a value that cannot be written here; set it in the file that `dkvb init` writes")
    return text


def _plain_tables(table: Mapping[str, Any]) -> set[str]:
    """Tables that have keys of their own, which a comment must not seem to begin again."""
    return {
        name for name, one in table.items() if isinstance(one, dict) and any(not _is_table(x) for x in one.values())
    }


def _is_table(one: Any) -> bool:
    return isinstance(one, dict)


def _table(table: Mapping[str, Any], where: str) -> str:
    """A table and those in it, each key with what it means."""
    lines: list[str] = []
    inner = {name: one for name, one in table.items() if _is_table(one) and _path(where, name) != "images.expect"}
    for name, one in table.items():
        if name not in inner:
            about = ABOUT.get(_path(where, name), "")
            lines.append(f"{key(name)} = {_value(one)}{f'  # {about}' if about else ''}")
    if "on_error" not in table:
        lines += [f"# {text}" for text in OTHERWISE.get(where, ())]
    parts = ["".join(f"{line}\n" for line in lines)]
    for name, one in inner.items():
        path = _path(where, name)
        has_keys = any(not _is_table(x) for x in one.values()) or not one
        title = f"\n# {HEADS[path]}\n" if path in HEADS else "\n"
        parts.append((f"{title}[{_path(where, key(name))}]\n" if has_keys else "") + _table(one, path))
    return "".join(parts)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(one: Any) -> str:
    """A value in one line; a small table in braces."""
    if isinstance(one, dict):
        return f"{{ {', '.join(f'{key(name)} = {value(x)}' for name, x in one.items())} }}"
    return value(one)
