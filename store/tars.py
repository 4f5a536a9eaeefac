"""WebDataset tars: each file is a shard; members that lie side by side and share their name are a sample.

A member's name is cut twice. ``a/IMG.001.target.cls`` has the key ``a/IMG`` by WebDataset's rule (up to the first dot),
and the stem ``a/IMG.001.target`` up to the last. Members of one stem that hold an image and a label are a sample of
that stem, so that names with dots lose nothing. The other members of a key are further fields of its sample
(``IMG.mask.png`` beside ``IMG.jpg`` and ``IMG.cls``), or one sample together (``IMG.input.jpg``, ``IMG.target.cls``),
or a problem.
"""

import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from store.errors import ImageDataError
from store.filetypes import ENDINGS, HEAD, UNREAD, no_data, packed_by
from store.locations import some
from store.samples import Entry, LeftAlone, Problem, Sample
from store.shards import ShardReader

LABEL = "cls"
MOST_OPEN = 64
"""Most incomplete runs of one key that are kept in the hope that they make a sample together."""
MOST_BYTES = 2**30
"""Most bytes that a sparse member may claim: its size is what its header says."""


@dataclass(slots=True)
class Run:
    """Members side by side that share their stem."""

    stem: str
    fields: dict[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name by WebDataset's rule."""
        folder, slash, base = self.stem.rpartition("/")
        return folder + slash + base.partition(".")[0]

    @property
    def images(self) -> list[str]:
        """Its fields that are images."""
        return [name for name in self.fields if name in ENDINGS]

    @property
    def complete(self) -> bool:
        """Whether it is a sample by itself."""
        return bool(self.images) and LABEL in self.fields


@dataclass(slots=True)
class Leftover:
    """The incomplete runs of one key."""

    runs: list[Run] = field(default_factory=list)
    plain: bool = False
    """Whether the key itself is a sample."""
    alone: bool = False
    """Whether each stands for itself, as other runs of the key are samples."""


@dataclass(frozen=True, slots=True)
class Break:
    """Where an archive breaks off, and why."""

    reason: str


class TarReader(ShardReader):
    """WebDataset tars; labels are integers in members named `.cls`."""

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The samples of a tar, in the order in which they are complete."""
        seen: set[str] = set()
        with self.open(shard) as file:
            for run in _grouped(_runs(_members(file, pixels=pixels))):
                if isinstance(run, Break):
                    yield Problem(shard, "", run.reason)
                elif isinstance(run, LeftAlone):
                    yield run
                elif isinstance(run, Problem):
                    yield Problem(shard, run.item, run.reason)
                else:
                    sample = _sample(run, shard, seen, pixels=pixels)
                    yield sample
                    if isinstance(sample, Sample):
                        yield from (_further(run, name) for name in run.fields if name not in (*ENDINGS, LABEL))


def _sample(run: Run, shard: str, seen: set[str], *, pixels: bool) -> Sample | Problem:
    """The sample of a run, or why it is none: its key is not new, or it has no image or two."""
    images = run.images
    if run.stem in seen:
        return Problem(shard, run.stem, "duplicate key; the first sample of that key is kept")
    if len(images) != 1:
        met = f"fields met: {some(sorted(run.fields))}"
        return Problem(shard, run.stem, f"two images ({some(images)})" if images else f"no image ({met})")
    seen.add(run.stem)
    label, fault = _label(run)
    return Sample(run.stem, label, run.fields[images[0]] if pixels else None, fault)


def _label(run: Run) -> tuple[int | None, str | None]:
    content = run.fields.get(LABEL)
    if content is None:
        return None, f"label missing (no cls member; fields met: {some(sorted(run.fields))})"
    if re.fullmatch(rb"\s*[+-]?\d{1,18}\s*", content):
        return int(content), None
    return None, f"label {content[:20].decode(errors='replace')!r} is not an integer"


def _grouped(runs: Iterator[Run | Problem | LeftAlone | Break]) -> Iterator[Run | Problem | LeftAlone | Break]:
    """Samples: complete runs as they come, and what the incomplete runs of a key make together."""
    key, left = "", Leftover()
    for run in runs:
        if isinstance(run, Break):
            yield run  # where the archive breaks off inside a key, only its complete runs count
            return
        if not isinstance(run, Run):
            yield run
            continue
        if run.key != key:
            yield from _rest(key, left)
            key, left = run.key, Leftover()
        if len(left.runs) == MOST_OPEN:
            left.alone = True
            yield from _rest(key, left)
            left.runs = []
        if run.complete:
            left.alone, left.plain = True, left.plain or run.stem == key
            yield run
        else:
            left.runs.append(run)
    yield from _rest(key, left)


def _rest(key: str, left: Leftover) -> Iterator[Run | Problem | LeftAlone]:
    """What the incomplete runs of one key make: further fields, one sample together, problems, or nothing of use."""
    if left.plain:
        yield from (_further(run, name) for run in left.runs for name in run.fields)
        return
    images = [(run, name) for run in left.runs for name in run.images]
    labels = [run for run in left.runs if LABEL in run.fields]
    if not left.alone and len(images) == len(labels) == 1:
        (holder, image), (label,) = images[0], labels
        yield Run(key, {image: holder.fields[image], LABEL: label.fields[LABEL]})
        taken = [(holder.stem, image), (label.stem, LABEL)]
        yield from (_further(run, name) for run in left.runs for name in run.fields if (run.stem, name) not in taken)
        return
    for run in left.runs:
        if run.fields.keys() & {*ENDINGS, *UNREAD, LABEL, "json"}:
            yield run
        else:  # a read-me beside the samples
            yield from (LeftAlone(f".{name}" if name else "without an ending") for name in run.fields)


def _further(run: Run, name: str) -> LeftAlone:
    """A field that is neither image nor label, with its name by WebDataset's rule."""
    return LeftAlone(f"further fields of samples (.{'.'.join(filter(None, (run.stem[len(run.key) + 1 :], name)))})")


def _runs(members: Iterator[tuple[str, str, bytes] | Problem | LeftAlone | Break]) -> Iterator[Any]:
    """Consecutive members that share a stem; an ending that comes a second time starts a new run."""
    run: Run | None = None
    for member in members:
        if isinstance(member, Break):
            # The run inside which the archive breaks off counts if it was complete already.
            if run is not None and run.complete:
                yield run
            yield member
            return
        if isinstance(member, (Problem, LeftAlone)):
            yield member
            continue
        stem, ending, content = member
        if run is None or stem != run.stem or ending in run.fields:
            if run is not None:
                yield run
            run = Run(stem)
        run.fields[ending] = content
    if run is not None:
        yield run


def _members(file: Any, *, pixels: bool) -> Iterator[tuple[str, str, bytes] | Problem | LeftAlone | Break]:
    """(stem, ending, content) of the members of a tar; a Break where it breaks off.

    tarfile takes a bad header or the end of the file for the end of the archive; here only its end marker counts. Links
    are followed to members before them.
    """
    total = file.seek(0, 2)
    file.seek(0)
    if packed := packed_by(file.read(HEAD)):
        raise ImageDataError(f"packed by {packed}; unpack it to a plain tar: one that is packed can only be read whole")
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (the caller closes the file)
        before: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            stored = _stored(member)
            if not 0 <= stored <= total - member.offset_data:
                raise tarfile.ReadError(f"cut off inside {member.name}")
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            if kind := no_data(name):
                yield LeftAlone(kind)
                continue
            if member.islnk() or member.issym():
                linked = _linked(member)
                if linked not in before:
                    yield Problem(
                        "",
                        name,
                        f"a link to {member.linkname!r}, which is not an earlier member: store the file itself",
                    )
                    continue
                source = before[linked]
            elif member.isreg():
                source = member
            else:
                yield LeftAlone("devices and pipes")
                continue
            before[posixpath.normpath(name)] = source
            folder, slash, base = name.rpartition("/")
            stem, ending = base.rsplit(".", 1) if "." in base else (base, "")
            ending = ending.lower()
            wanted = ending == LABEL or (pixels and ending in ENDINGS)
            if wanted and source.size > MOST_BYTES:
                yield Problem("", name, f"its header claims {source.size} bytes, too many for an image; leave it out")
                continue
            content = archive.extractfile(source) if wanted else None
            yield folder + slash + stem, ending, content.read() if content else b""
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"no end marker at byte {archive.offset} of {total}")
        while rest := file.read(1 << 20):
            if rest.strip(tarfile.NUL):
                raise tarfile.ReadError(f"data behind the end marker at byte {archive.offset} of {total}")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        yield Break(f"truncated or damaged tar: {error}; only the complete samples before are kept")


def _stored(member: tarfile.TarInfo) -> int:
    """Bytes that a member takes in the archive; the size of a sparse one is what it unpacks to, with its holes."""
    parts: Any = member.sparse
    return member.size if parts is None else sum(size for _, size in parts)


def _linked(member: tarfile.TarInfo) -> str:
    """The name that a link leads to; a symbolic one begins at its own folder, a hard one at the archive's."""
    folder = posixpath.dirname(member.name) if member.issym() else ""
    return posixpath.normpath(posixpath.join(folder, member.linkname)).removeprefix("./")
