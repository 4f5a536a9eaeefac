"""Published data sets: fetched from a hub, checked against what their specs expect, and there whole or not at all."""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import BadRequest
from jobs.spec.library import shipped_text
from store.errors import ImageDataError, NotWritten, PlaceTaken
from store.places import is_address, quoted

if TYPE_CHECKING:
    from store.hub import HubFiles

RECORD = "hub.json"
FORMAT = "hub/1"
PART = ".part"
"""What is added to the name of a folder until it is whole."""
SPARE = 2**20 * 64
"""Bytes of a disk that are left free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A data set on a hub."""

    name: str
    about: str
    repository: str
    files: tuple[str, ...]
    """Patterns of the names of its files."""
    terms: str
    spec: str
    """The shipped spec that is for it."""
    images: str = ""
    """What stands in that spec's place of `[images]` where it is laid out in another way than the spec says."""
    imagenet_names: bool = False
    """Whether its class names are those of ImageNet, which its files do not hold."""


IMAGENET = "images of ImageNet, under the terms of access of image-net.org: non-commercial research and education"

SETS = (
    Published(
        name="cifar10",
        about="CIFAR-10, 60,000 images of 32 x 32 pixels in 10 classes",
        repository="uoft-cs/cifar10",
        files=("train-*.parquet", "test-*.parquet"),
        terms="published without a licence; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images",
        spec="cifar10",
    ),
    Published(
        name="cifar100",
        about="CIFAR-100, 60,000 images of 32 x 32 pixels in 100 classes",
        repository="uoft-cs/cifar100",
        files=("train-*.parquet", "test-*.parquet"),
        terms="published without a licence; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images",
        spec="cifar100",
        images="""kind = "parquet"
train = "train-*.parquet"
test = "test-*.parquet"
label = "fine_label"
expect = { train = 50000, test = 10000, classes = 100 }
""",
    ),
    Published(
        name="tiny-imagenet",
        about="Tiny-ImageNet, 110,000 images of 64 x 64 pixels in 200 classes",
        repository="zh-plus/tiny-imagenet",
        files=("train-*.parquet", "valid-*.parquet"),
        terms=IMAGENET,
        spec="tiny-imagenet",
        images="""kind = "parquet"
train = "train-*.parquet"
test = "valid-*.parquet"
expect = { train = 100000, test = 10000, classes = 200 }

[keys]
sample = 20000  # Ten epochs over all 100,000 take five times as long.
""",
    ),
    Published(
        name="imagenet1k",
        about="ImageNet-1k, 1,331,167 images in 1,000 classes",
        repository="timm/imagenet-1k-wds",
        files=("imagenet1k-train-*.tar", "imagenet1k-validation-*.tar"),
        terms=IMAGENET,
        spec="imagenet1k-clip",
        imagenet_names=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A data set that is there."""

    out: Path
    new: bool
    """Whether it was not there before."""
    record: Mapping[str, Any]
    """What its RECORD says."""
    next: str
    """The command that runs the spec for it."""

    def to_json(self) -> dict[str, Any]:
        """In numbers."""
        files = self.record["files"]
        about = {"out": str(self.out), "new": self.new, "next": self.next}
        about |= {key: self.record[key] for key in ("repository", "commit", "train", "test", "classes")}
        return {**about, "files": len(files), "bytes": sum(file["bytes"] for file in files)}

    def text(self) -> str:
        """For people."""
        about = self.to_json()
        sizes = f"{about['train']:,} training and {about['test']:,} test images of {about['classes']:,} classes"
        state = "fetched and checked" if self.new else "already there, nothing was done"
        return f"""{self.out}: {self.record["name"]} of {about["repository"]}, {state}
  {sizes}, {about["files"]:,} files
  commit {about["commit"]}; {RECORD} has the digest of each file
Next: {self.next}"""


def fetch_published(
    wanted: Published, out: Path, *, agree: Callable[[str], bool], tell: Callable[[str], None]
) -> Fetched:
    """Fetch a data set into a folder, or go on where an earlier call ended.

    agree: is told what it is, its terms and its size before anything is fetched; False ends it.
    raises: BadRequest; PlaceTaken; NotWritten for a disk that is too small; PlaceUnreachable; ImagesMissing;
        ImageDataError for damaged files, or other images than the spec expects.
    """
    from store.artefacts import write_json
    from store.hub import fetch, look_up

    if is_address(str(out)):
        raise BadRequest(f"{out}: an address; a data set is fetched into a folder of this machine")
    command = next_command(wanted, out)
    if (record := _there(wanted, out)) is not None:
        return Fetched(out=out, new=False, record=record, next=command)
    part = Path(f"{os.path.realpath(out)}{PART}")
    earlier = _read(part / RECORD) if (part / RECORD).is_file() else {}
    if part.exists() and earlier.get("name") != wanted.name:
        raise PlaceTaken(f"{part}: holds something else; remove it, or name another folder")
    found = look_up(wanted.repository, wanted.files, commit=earlier.get("commit"))
    left = found.left(part)
    size, free = sum(file.bytes for file in left), _free(part)
    about = offer(wanted, out, found, left=size, free=free)
    if earlier:
        tell(f"{about}\ngoing on where an earlier call ended")
    elif not agree(about):
        raise BadRequest("nothing was fetched")
    if size + SPARE > free:
        raise NotWritten(
            f"{out}: needs {_size(size + SPARE)} of disk, {_size(free)} are free; make room, and try again"
        )
    part.mkdir(parents=True, exist_ok=True)
    write_json(part / RECORD, {"format": FORMAT, "name": wanted.name, "commit": found.commit})
    fetch(found, part, tell=tell)
    if wanted.imagenet_names:
        (part / "classnames.txt").write_text(imagenet_names(), encoding="utf-8")
    if wanted.images:
        (part / f"{wanted.name}.toml").write_text(spec_text(wanted, found), encoding="utf-8")
    tell("counting images and labels")
    counts = _counted(wanted, part)
    record = {"format": FORMAT, "name": wanted.name, **counts, **found.to_json()}
    write_json(part / RECORD, record)
    part.replace(os.path.realpath(out))
    return Fetched(out=out, new=True, record=record, next=command)


def next_command(wanted: Published, out: Path) -> str:
    """The command that runs the spec for a data set."""
    spec = str(out / f"{wanted.name}.toml") if wanted.images else wanted.spec
    return shlex.join(["dkvb", "run", spec, "--root", f"roots/{wanted.spec}", "--images", str(out)])


def offer(wanted: Published, out: Path, found: "HubFiles", *, left: int, free: int) -> str:
    """What would be fetched, under which terms, from where, and how large it is."""
    lines = [
        f"{wanted.name}: {wanted.about}",
        f"  licence  {wanted.terms}; its page says: {found.licence or 'nothing'}",
        f"  size     {_size(found.bytes)} in {len(found.files):,} files"
        + (f", of which {_size(left)} are left to fetch" if left < found.bytes else "")
        + f"; {_size(free)} are free",
        f"  from     {found.url}, commit {found.commit}",
        f"  to       {out}",
    ]
    if found.gated:
        lines.append(
            "  gated    log in on that page and accept its terms; then HF_TOKEN, or `hf auth login`, says who you are"
        )
    return "\n".join(lines)


def spec_text(wanted: Published, found: "HubFiles") -> str:
    """The shipped spec, with `[images]` as the data set is laid out on the hub."""
    text = shipped_text(wanted.spec)
    begin, _, rest = text[text.index("name = ") :].partition("[images]\n")
    rest = rest[rest.index("\n[") + 1 :]
    head = f"# {wanted.about}, as {found.repository} has it; otherwise the shipped spec {wanted.spec}.\n"
    return f"{head}{begin}[images]\n{wanted.images}\n{rest}"


def imagenet_names() -> str:
    """The class names of ImageNet-1k by label, a line each: wnid, tab, name and synonyms."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return "".join(f"{wnid}\t{info.index_to_description(k)}\n" for k, wnid in enumerate(info.label_names()))


def _counted(wanted: Published, folder: Path) -> dict[str, int]:
    """Items and classes as a run would find them; raises: ImageDataError where the spec expects others."""
    from jobs.spec.reading import load_specs

    (spec,) = load_specs(str(folder / f"{wanted.name}.toml") if wanted.images else wanted.spec)
    counts: dict[str, int] = {}
    for split in ("train", "test"):
        images = spec.images.split(split)
        manifest = images.open(str(folder)).scan(on_error="skip" if images.skip else "fail")
        counts |= {split: manifest.items, "classes": len(manifest.classes)}
        for key in (split, "classes"):
            if (expected := spec.images.expect[key]) != counts[key]:
                raise ImageDataError(
                    f"{wanted.repository}: found {counts[key]:,} {'classes' if key == 'classes' else f'{split} images'}"
                    f", expected {expected:,}: it is another data set now. It is left in {folder}: look at it with "
                    f"`dkvb init --images {quoted(folder)}`, or remove it"
                )
    return counts


def _there(wanted: Published, out: Path) -> Mapping[str, Any] | None:
    """The record of a data set that is there; raises: PlaceTaken for anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / RECORD).is_file():
        raise PlaceTaken(f"{out}: already exists and holds other files; name a new folder")
    record = _read(out / RECORD)
    if record.get("name") != wanted.name:
        raise PlaceTaken(f"{out}: holds {record.get('name')}, asked was {wanted.name}; name a new folder")
    paths = {out / file["path"].rpartition("/")[2]: file["bytes"] for file in record["files"]}
    wrong = [path.name for path, size in paths.items() if not path.is_file() or path.stat().st_size != size]
    if wrong:
        from store.locations import some

        raise ImageDataError(
            f"{out}: {some(wrong)} is not there, or not as it was fetched; remove the folder, and fetch it again"
        )
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT or not {"name", "commit"} <= record.keys():
            raise ValueError("it is of another format")
    except (KeyError, TypeError, ValueError) as error:
        raise PlaceTaken(f"{path}: is no record of `dkvb data` ({error}); name a new folder") from error
    return dict(record)


def _free(folder: Path) -> int:
    """Bytes that are free on the disk on which a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(number: int) -> str:
    from jobs.plan.needs import size

    return size(number)
