"""The entrypoint of a run on Kubernetes: its `dkvb run` as the command reads it, and what its spec needs of pods."""

import re
import shlex
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.files.document import Keys, word
from cluster.files.finding import Notes
from cluster.files.kubernetes import JOB
from cluster.files.render import RAY_DISK
from dkvb.limits import nearest
from jobs.cli.pods import Need, check_gpus, check_mounted, check_room, pods_of
from jobs.errors import BadSpec
from store.places import is_address

if TYPE_CHECKING:
    from jobs.spec.schema import Spec

_END = re.compile(r"\d?[<>].*|[;|&]+")
"""A word of a shell that ends a command, or its arguments."""
_RUN = re.compile(r"\bdkvb\s+run\b")


def check_entrypoint(notes: Notes) -> None:
    """Note what `dkvb run` would not take in the entrypoint of a Kubernetes object, and pods too small for its spec."""
    if (above := JOB.get(word(notes.document.value, "kind"))) is None:
        return
    keys: Keys = (*above, "entrypoint")
    words = _words(word(notes.document.value, *keys))
    if words is None:
        return
    given, wrong = _given(words)
    for found, expected in wrong:
        notes.error(keys, found, expected=expected, remedy="correct it")
    if given is None:
        return
    pods = pods_of(notes.document.value, (*above, "rayClusterSpec"))
    check_gpus(notes, keys, pods[1:], given["gpus"])
    for option in ("root", "images"):
        check_mounted(notes, keys, pods, option, given[option])
    if "$" in (spec := given["spec"]):  # what a shell fills in is not known here
        return
    try:
        specs = _read(spec, given["changes"])
    except BadSpec as error:
        note = notes.warning if Path(spec).is_file() else notes.error  # pods may have what a file names and we lack
        note(keys, f"dkvb run {spec}", expected=f"a spec that it takes: {error}", remedy="correct it")
        return
    kinds = {each.images.kind for each in specs} - {"digits"}
    if kinds and given["images"] is None:
        remedy = f"add it: images of kind {', '.join(kinds)} are read from somewhere"
        notes.error(keys, "no --images", expected="--images", remedy=remedy)
    check_room(notes, pods, needs_of(specs), given["gpus"])


def _words(text: str) -> list[str] | None:
    """The words behind `dkvb run`, also of a command in quotes; None where there are none."""
    if not _RUN.search(text):
        return None
    try:
        words = shlex.split(text.replace(";", " ; "))
    except ValueError:
        return None
    for index, (program, command) in enumerate(pairwise(words), start=2):
        if program.rpartition("/")[2] == "dkvb" and command == "run":
            ends = (end for end in range(index, len(words)) if _END.fullmatch(words[end]))
            return words[index : next(ends, len(words))]
    return next((found for each in words if each != text and (found := _words(each)) is not None), None)


def _given(words: Sequence[str]) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """The parameters that the words give, None where they are none; and what was found and expected instead."""
    words, wrong = [*words], list[tuple[str, str]]()
    while True:
        try:
            return _parsed(words), wrong
        except click.NoSuchOption as error:
            name, near = error.option_name, next(iter(error.possibilities or ()), None)
            where = next((i for i, each in enumerate(words) if each.partition("=")[0] == name), None)
            expected = {"--address": "--address auto"}.get(near or "", near or "an option of `dkvb run`")
            wrong.append((f"no such option: {name}", expected))
            if near is None or where is None:
                return None, wrong
            words[where] = near + words[where].removeprefix(name)  # as it was meant, to find what else is wrong
        except click.UsageError as error:
            if not any("$" in each or "`" in each for each in words):
                wrong.append(("what `dkvb run` refuses", f"what it takes: {error.format_message()}"))
            return None, wrong


def _parsed(words: Sequence[str]) -> dict[str, Any]:
    """The parameters as click reads them; nothing is done that an option would do at once, and no store is opened."""
    from jobs.cli.main import cli

    parameters = [copy(each) for each in cli.commands["run"].params]
    for each in parameters:
        each.callback = None
        if isinstance(each.type, click.types.FuncParamType):
            each.type = click.STRING
    command = click.Command("run", params=parameters, add_help_option=False)
    return command.make_context("dkvb run", [*words]).params


def _read(spec: str, changes: Sequence[str]) -> "list[Spec]":
    """The experiments of a spec; none where it is a file or a folder that only pods have; raises: BadSpec."""
    from jobs.spec.library import shipped
    from jobs.spec.reading import load_specs

    if spec in shipped() or Path(spec).is_file():
        return load_specs(spec, [] if any("$" in each for each in changes) else changes)
    if is_address(spec) or "/" in spec or spec.endswith(".toml"):
        return []
    raise BadSpec(
        f"no shipped spec of that name{nearest(spec, shipped())} (shipped: {', '.join(shipped())}); of a path, "
        f"write ./{spec}"
    )


def needs_of(specs: "Sequence[Spec]") -> list[Need]:
    """What the largest steps of some specs need of pods, with and without a GPU; none where a spec says no sizes."""
    from jobs.kinds import KINDS
    from jobs.plan.cost import RAY_GIB, needed
    from jobs.plan.needs import size
    from jobs.plan.plan import sketch

    largest: dict[tuple[str, bool], Need] = {}
    for spec in specs if all({"train", "test", "classes"} <= each.images.expect.keys() for each in specs) else ():
        steps = sketch(spec).steps
        for step, need in zip(steps, needed(spec, steps, spec.images.expect), strict=True):
            for resource, number, ray in (
                ("memory", need.memory, RAY_GIB),
                ("ephemeral-storage", need.scratch, RAY_DISK),
            ):
                kind = (resource, KINDS[step.kind].ON_GPU)
                gib = ray - (-number >> 30)
                if kind not in largest or gib > largest[kind].gib:
                    why = f"step {step.label} of {spec.name} needs {size(number)}, and Ray {ray} GiB"
                    why = why if number else f"Ray needs {ray} GiB for what it spills, logs and code"
                    largest[kind] = Need(resource=resource, on_gpu=kind[1], gib=gib, why=why)
    return [*largest.values()]
