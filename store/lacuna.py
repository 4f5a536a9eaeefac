"""LACUNA-100 out of VGGFace2: 100 identities, 400 training and 100 test images of each, no image in both.

LACUNA-100 (Golatkar et al., arXiv 1911.04933) is 100 of the identities that have at least 500 images in VGGFace2 (Cao
et al., arXiv 1710.08092). The script that is published for it draws identities and images WITH replacement
(``np.random.choice(images, 500)``), then cuts what it drew into 400 and 100: an identity may be two classes, a class
has some 330 different images instead of 500, and about half of its test images are training images too, so that test
accuracy, before and after forgetting, is measured on training images. It sets no seed either, so no two draw one set.
Here everything is drawn without replacement; an image is its bytes (SHA-256), not its file name: what VGGFace2 holds
twice, in one identity or in two, counts once and lies in one split (a copy that was encoded anew is another image to
this module). The script also shrinks images to 32 x 32 pixels; here they are copied as they are, and a backbone's own
preprocessing scales them.

Identities are drawn in the order of the SHA-256 of seed and name, images in that of seed and content: equal trees and
seeds give equal sets with any version of any library.
"""

import hashlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from store.artefacts import as_written, read_json, write_json
from store.decoding import decode
from store.errors import ImageDataError, ImagesMissing, ImageSourceError, NotWritten, PlaceTaken, StoreError
from store.files import named
from store.locations import some
from store.places import is_address

RECORD = "lacuna.json"
FORMAT = "lacuna/1"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "bmp", "webp")
"""A list of its own: a draw stays the same whatever other formats become readable."""
SPLITS = ("train", "test")
"""The splits that are made; also folders of VGGFace2 as published, which hold identities and are none."""
PROGRESS_EVERY = 10  # identities between two lines of progress
SKIPPED_SHOWN = 5
COPY = "the same bytes as "
COPY_OF_OTHER = f"{COPY}an image of "

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much is drawn."""

    identities: int = 100
    """Classes."""
    train: int = 400
    """Training images of each."""
    test: int = 100
    """Test images of each."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ImageSourceError(f"{name} is {value}; expected 1 or more")

    @property
    def needed(self) -> int:
        """Distinct images that an identity must have."""
        return self.train + self.test


LACUNA100 = Shape()


def build(
    tree: Path, out: Path, *, seed: int = 0, shape: Shape = LACUNA100, tell: Callable[[str], None] = lambda _: None
) -> tuple[Record, bool]:
    """Draw the set and copy it to ``out/{train,test}/<identity>/``, laid out as images of kind "folder" are.

    Images are copied, not linked: `out` may lie on another disk, and must last when the tree is removed.
    The set is made under a hidden name beside `out` and renamed when it is complete, with its record.

    tree: holds identity folders (n000001/0001_01.jpg), directly or below train/ and test/; links are followed.
    out: a new or an empty folder; one that holds the same set already is left as it is.
    tell: takes a line of progress now and then.
    returns: the record, which is ``out/lacuna.json``; and whether the set was made by this call.
    raises: ImagesMissing, ImageDataError for the tree; PlaceTaken, NotWritten for `out`.
    """
    for path in (tree, out):
        if is_address(str(path)):
            raise ImageSourceError(f"{path}: an address; LACUNA is made from a folder into a folder of this machine")
    if not tree.is_dir():
        what = "is a file" if tree.exists() else "no such folder"
        raise ImagesMissing(
            f"{tree}: {what}; give the folder that holds VGGFace2's identities, or its train/ and test/"
        )
    out = Path(os.path.realpath(out))
    if (record := _made_before(out, seed, shape)) is not None:
        return record, False
    for left in sorted(out.parent.glob(f".{out.name}.{'[0-9a-f]' * 16}")):
        tell(f"{left}: left by a build that was killed, unless one is running now; remove it")
    with _whole(out) as folder:
        record = draw(tree, seed=seed, shape=shape, tell=tell)
        for number, (identity, about) in enumerate(record["drawn"].items(), start=1):
            for split in SPLITS:
                (folder / split / identity).mkdir(parents=True)
                for name, digest in about[split].items():
                    _copy(tree / about["from"] / name, folder / split / identity / name, digest)
            if number % PROGRESS_EVERY == 0:
                tell(f"copied {number} of {shape.identities} identities")
        write_json(folder / RECORD, record)
    return record, True


def draw(tree: Path, *, seed: int, shape: Shape, tell: Callable[[str], None]) -> Record:
    """Choose identities and images, without writing anything.

    raises: ImageDataError when too few identities have enough images, or something cannot be read.
    """
    tell(f"looking through {tree}")
    folders, skipped = _identities(tree)
    listed = {identity: len(_listed(folder)[0]) for identity, folder in folders.items()}
    where = {identity: folder.relative_to(tree).as_posix() for identity, folder in folders.items()}
    for identity, files in listed.items():
        if files < shape.needed:
            skipped[where[identity]] = f"{files} image files, {shape.needed} needed"
    enough = [identity for identity in folders if listed[identity] >= shape.needed]
    tell(f"{tree}: {len(folders)} identities, {len(enough)} of them with {shape.needed} image files or more")
    drawn: dict[str, Any] = {}
    taken: dict[str, str] = {}
    waiting = sorted(enough, key=lambda identity: _rank(seed, identity)) if len(enough) >= shape.identities else []
    for identity in waiting:
        images, left_out = _distinct(folders[identity], taken)
        if len(images) < shape.needed:
            skipped[where[identity]] = (
                f"{len(images)} distinct images, {shape.needed} needed; left out: {_why(left_out)}"
            )
            continue
        taken |= dict.fromkeys(images, identity)
        drawn[identity] = {"from": where[identity], "distinct": len(images), **_split(images, seed, shape)}
        drawn[identity]["left_out"] = left_out
        if len(drawn) % PROGRESS_EVERY == 0:
            tell(f"drew {len(drawn)} of {shape.identities} identities")
        if len(drawn) == shape.identities:
            break
    if len(drawn) < shape.identities:
        raise _too_few(tree, shape, [len(folders), len(enough), len(drawn)], skipped)
    return {
        "format": FORMAT,
        "seed": seed,
        **asdict(shape),
        "found": {"identities": len(folders), "with_enough_files": len(enough)},
        "drawn": dict(sorted(drawn.items())),
        "skipped": dict(sorted(skipped.items())),
    }


def _identities(tree: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The folder of each identity; and what is no identity, by its path in the tree, with the reason."""
    folders, skipped = dict[str, list[Path]](), dict[str, str]()
    for folder in (tree, *(tree / split for split in SPLITS if (tree / split).is_dir())):
        for name in _names(folder):
            path = folder / name
            with _reading(path):
                is_folder = path.is_dir()
            if folder == tree and name in SPLITS and is_folder:
                continue
            if reason := _odd(name) or ("" if is_folder else "no folder"):
                skipped[_shown(path.relative_to(tree).as_posix())] = reason
            else:
                folders.setdefault(name, []).append(path)
    for paths in folders.values():
        if len(paths) > 1:
            places = [path.relative_to(tree).as_posix() for path in paths]
            skipped |= dict.fromkeys(places, f"the same identity in {' and '.join(places)}; one is expected")
    return {name: paths[0] for name, paths in sorted(folders.items()) if len(paths) == 1}, skipped


def _listed(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names of an identity's image files in order; and what is left out, with the reason."""
    names, left_out = list[str](), dict[str, str]()
    with _reading(folder), os.scandir(folder) as entries:
        for entry in entries:
            if reason := _unfit(entry):
                left_out[_shown(entry.name)] = reason
            else:
                names.append(entry.name)
    return sorted(names), left_out


def _unfit(entry: os.DirEntry[str]) -> str:
    """Why an entry is not taken for an image; "" for one that is."""
    link = entry.is_symlink()
    if odd := _odd(entry.name):
        return odd
    if Path(entry).is_dir() if link else entry.is_dir():
        return "a folder"
    if entry.name.rpartition(".")[2].lower() not in IMAGE_EXTENSIONS:
        return "not named as an image"
    if not (Path(entry).is_file() if link else entry.is_file()):
        return "a link to nothing" if link else "no regular file"
    return ""


def _odd(name: str) -> str:
    if not name.isprintable():
        return "a name with characters that cannot be shown"
    return "hidden" if name.startswith(".") else ""


def _distinct(folder: Path, taken: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Names of an identity's distinct images by SHA-256, the first of each; and what is left out, with the reason.

    taken: by SHA-256, the identity for which an image was drawn already.
    """
    names, left_out = _listed(folder)
    images = dict[str, str]()
    for name in names:
        data = _read(folder / name)
        digest = hashlib.sha256(data).hexdigest()
        if digest in images:
            left_out[name] = f"{COPY}{images[digest]}"
        elif digest in taken:
            left_out[name] = f"{COPY_OF_OTHER}{taken[digest]}"
        elif flaw := decode(data).problem:
            left_out[name] = flaw
        else:
            images[digest] = name
    return images, dict(sorted(left_out.items()))


def _split(images: Mapping[str, str], seed: int, shape: Shape) -> dict[str, dict[str, str]]:
    """The SHA-256 of every file, by split and name."""
    order = sorted(images, key=lambda digest: _rank(seed, digest))
    parts = {"train": order[: shape.train], "test": order[shape.train : shape.needed]}
    return {
        split: {images[digest]: digest for digest in sorted(part, key=images.__getitem__)}
        for split, part in parts.items()
    }


def _rank(seed: int, what: str) -> bytes:
    return hashlib.sha256(f"lacuna {seed} {what}".encode()).digest()


def _why(left_out: Mapping[str, str]) -> str:
    """How many were left out for each reason, as text."""
    reasons = left_out.values()
    copies = (reason.startswith(COPY) and not reason.startswith(COPY_OF_OTHER) for reason in reasons)
    count = Counter(f"{COPY}another" if copy else reason for copy, reason in zip(copies, reasons, strict=True))
    return some([f"{number} x {reason}" for reason, number in count.most_common()]) or "nothing"


def _too_few(tree: Path, shape: Shape, counts: Sequence[int], skipped: Mapping[str, str]) -> ImageDataError:
    found, enough, drawn = counts
    lines = [f"  {path}: {reason}" for path, reason in list(skipped.items())[:SKIPPED_SHOWN]]
    if len(skipped) > SKIPPED_SHOWN:
        lines.append(f"  and {len(skipped) - SKIPPED_SHOWN} more")
    looked = "" if enough < shape.identities else f", {drawn} of those with {shape.needed} distinct images"
    return ImageDataError(
        f"{tree}: found {found} identities, {enough} of them with {shape.needed} image files or more{looked}; "
        f"{shape.identities} are needed\n"
        + "".join(f"{line}\n" for line in lines)
        + "Expected folders such as n000001 with images such as 0001_01.jpg, as they are or below train/ and test/."
    )


def _made_before(out: Path, seed: int, shape: Shape) -> Record | None:
    """The record of the same set at `out`; None where nothing is; raises: PlaceTaken for anything else."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise PlaceTaken(f"{out}: is a file; name a new folder")
    if not _names(out):
        return None
    path = out / RECORD
    if not path.is_file():
        raise PlaceTaken(f"{out}: already exists and holds other files; name a new folder")
    settings = {"format": FORMAT, "seed": seed, **asdict(shape)}
    with as_written(path):
        record: Record = read_json(path)
        if other := {key: record[key] for key in settings if record[key] != settings[key]}:
            wish = {key: settings[key] for key in other}
            raise PlaceTaken(f"{out}: holds a set of {_words(other)}, asked was {_words(wish)}; name a new folder")
        named_files = {
            f"{split}/{identity}/{name}"
            for identity, about in record["drawn"].items()
            for split in SPLITS
            for name in about[split]
        }
    there = {
        f"{split}/{identity}/{name}"
        for split in SPLITS
        for identity in (_names(out / split) if (out / split).is_dir() else [])
        for name in (_names(out / split / identity) if (out / split / identity).is_dir() else [])
    }
    if differing := sorted(named_files ^ there):
        raise PlaceTaken(
            f"{out}: other files than {RECORD} names: {some(differing)}; remove the folder and make it again"
        )
    return record


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well and is removed otherwise."""
    folder = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        folder.mkdir(parents=True)
        yield folder
        os.sync()  # once for all: tens of thousands of fsyncs take minutes
        folder.rename(out)
    except StoreError:
        raise
    except OSError as error:
        raise NotWritten(f"{out}: cannot be written: {error.strerror or error}; nothing of it was left") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, target: Path, digest: str) -> None:
    data = _read(source)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ImageDataError(f"{source}: changed while the set was made; make it again when nobody writes there")
    with named(target), target.open("xb") as file:
        file.write(data)


def _read(path: Path) -> bytes:
    with _reading(path):
        return path.read_bytes()


def _names(folder: Path) -> list[str]:
    with _reading(folder):
        return sorted(os.listdir(folder))  # noqa: PTH208 - names alone, a path of each costs


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn a file that cannot be read into ImageDataError: to leave it out would change what is drawn."""
    try:
        yield
    except OSError as error:
        raise ImageDataError(
            f"{_shown(str(path))}: cannot be read: {error.strerror or error}; make it readable, or move it away"
        ) from error


def _shown(name: str) -> str:
    """A name as text that can be written into a file."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
