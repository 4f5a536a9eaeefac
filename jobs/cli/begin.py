"""The beginning: a look at a folder of images, a spec for it, and the specs that are shipped."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dkvb.limits import nearest
from jobs.cli.options import JSON, SET
from jobs.cli.output import say_written, write_new
from jobs.errors import BadRequest, BadSpec
from jobs.printable import say
from store.addresses import written_out
from store.places import Place, is_address, is_local, place, quoted

if TYPE_CHECKING:
    from jobs.begin.begun import Begun
    from jobs.plan.cost import Planned
    from jobs.plan.minutes import Minutes
    from jobs.spec.schema import Spec

SPEC_FILE = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A new file; standard output unless given."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a command is to plan or to run."""

    specs: "list[Spec]"
    images: str | None
    """Where they lie."""
    begun: "Begun | None"
    """What was found and chosen, where a folder of images stands in the place of a spec."""


def choose(spec: str, images: str | None, changes: Sequence[str]) -> Chosen:
    """The experiments of a spec file, of a shipped spec, or of one that is chosen for a folder of images.

    raises: BadSpec; BadRequest; StoreError.
    """
    from jobs.spec.library import shipped

    path = Path(written_out(spec))
    if spec not in shipped() and not is_address(spec) and not path.exists():
        here = [one.name for one in Path.cwd().iterdir() if one.is_dir() or one.suffix == ".toml"]
        near = nearest(spec, [*shipped(), *here])
        raise BadSpec(
            f"{spec}: neither a spec file, nor a folder of images, nor a shipped spec{near} (shipped: "
            f"{', '.join(shipped())})"
        )
    if spec in shipped() or not (is_address(spec) or path.is_dir()):
        from jobs.spec.reading import load_specs

        return Chosen(specs=load_specs(spec, changes), images=images, begun=None)
    if images is not None:
        raise BadRequest(
            f"{spec}: is a folder, of images if anything, and --images names another; give the name or the file of a "
            "spec, or leave out --images"
        )
    from jobs.begin.begun import begin

    begun = begin(spec, changes)
    return Chosen(specs=begun.specs, images=begun.location, begun=begun)


def default_root(begun: "Begun") -> Place:
    """Where a run goes that names no root: here, or beside the images where this is their folder."""
    name = f"dkvb-{begun.name}"
    if is_address(begun.location):
        return place(name)
    images, here = Path(begun.location).resolve(), Path.cwd()
    return images.parent / name if images == here or images in here.parents else place(name)


def check_outside(root: Place, chosen: Chosen) -> None:
    """Whether a root lies outside of class folders, where it would be taken for a class; raises: BadRequest."""
    if not is_local(root) or chosen.images is None or is_address(chosen.images):
        return
    for spec in chosen.specs:
        for split in ("train", "test") if spec.images.kind == "folder" else ():
            folder = (Path(chosen.images) / spec.images.split(split).pattern).resolve()
            resolved = Path(str(root)).resolve()
            if folder == resolved or folder in resolved.parents:
                raise BadRequest(
                    f"{root}: lies among the class folders in {folder}, and would be taken for a class; name another "
                    "--root"
                )


def forecast(plans: "Sequence[Planned]", *, cpus: int, memory: float) -> "Minutes | None":
    """How long what is left of some plans takes, by a measurement of about two seconds for each backbone.

    returns: None where it is not known how many images there are.
    """
    from jobs.plan.minutes import NOTHING, Speed, minutes

    measured: dict[object, Speed] = {}
    for planned in plans:
        if planned.sizes is None:
            return None
        if planned.is_done:
            continue
        if (backbone := planned.spec.backbone) not in measured:
            from jobs.plan.machine import measure  # brings torch

            counted = planned.found.counted
            images = planned.spec.images.split("train").open(planned.location or "") if planned.images_seen else None
            measured[backbone] = measure(planned.spec, images, counted.train.manifest.shards if counted else ())
    return minutes(plans, [measured.get(one.spec.backbone, NOTHING) for one in plans], cpus=cpus, memory=memory)


def show_begun(begun: "Begun", *, err: bool) -> None:
    """Say what was found, and what was chosen for it."""
    from jobs.begin.begun import chosen_lines, found_lines

    say("\n".join([f"{begun.location}: found", *found_lines(begun), "chosen", *chosen_lines(begun)]), err=err)


def show_forecast(plans: "Sequence[Planned]", *, err: bool) -> None:
    """Say what a run takes of this machine: time, memory, room on the disk."""
    from cluster.machine import machine_memory, usable_cpus
    from jobs.plan.cost import room
    from jobs.plan.minutes import words

    memory = machine_memory()
    found = forecast(plans, cpus=usable_cpus(), memory=memory)
    lines = [*(words(found) if found is not None else ()), *room(plans, memory=memory)]
    say("\n".join(["a run of it takes", *(f"  {line}" for line in lines)]), err=err)


@click.command(short_help="Look at a folder of images, and write a spec for it.")
@click.option("--images", metavar="DIR", required=True, help="Where the images lie: a folder or an fsspec URL.")
@SPEC_FILE
@SET
@JSON
def init(images: str, *, output: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Look at a folder of images, say what is there and what a run will take, and write a spec that runs as it stands.

    Class folders, with or without folders for training and test images; .tar shards; Parquet files; CIFAR as published.

    Example: dkvb init --images photos -o photos.toml
    """
    from jobs.begin.begun import begin
    from jobs.begin.written import as_toml
    from jobs.plan.cost import look_ahead

    if output is not None and output.exists():
        raise BadRequest(f"{output}: already exists; name another file, or remove it first")
    begun = begin(images, changes)
    text = as_toml(begun)
    if as_json:
        write_new(output, text if output is not None else "")
        say(json.dumps({**begun.to_json(), "toml": text}, indent=2))
        return
    err = output is None
    show_begun(begun, err=err)
    show_forecast([look_ahead(spec, begun.location, None, counted=begun.counted) for spec in begun.specs], err=err)
    write_new(output, text)
    if output is not None:
        words = ("dkvb", "run", str(output), "--images", begun.location, "--root", str(default_root(begun)))
        say_written(output, shlex.join(words))


@click.command(name="spec", short_help="Print a shipped spec, or list them.")
@click.argument("name", required=False)
@SPEC_FILE
@JSON
def show_spec(name: str | None, *, output: Path | None, as_json: bool) -> None:
    """Print a spec that comes with dkvb, to be changed and run; without a NAME, list them.

    Example: dkvb spec cifar10 -o mine.toml
    """
    from jobs.spec.library import about_shipped, shipped_text

    if name is not None:
        text = shipped_text(name)
        if output is not None or not as_json:
            write_new(output, text)
        if as_json:
            import tomllib

            say(json.dumps(tomllib.loads(text), indent=2))
        elif output is not None:
            say_written(output, f"dkvb plan {quoted(output)}")
        return
    rows = about_shipped()
    if as_json:
        say(json.dumps([{"name": name, "about": about} for name, about in rows.items()], indent=2))
        return
    width = max(map(len, rows))
    say("\n".join(f"{name:<{width}}  {about}" for name, about in rows.items()))
