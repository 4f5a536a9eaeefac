"""One request to learn exactly: new images join the sums, of classes that are there or of new ones; nothing is trained.

What results equals, to the last bit, what heads are that had these codes and embeddings from the beginning, on the same
keys. Requests to learn and to forget exactly (`jobs.exact`) follow each other.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.limits import nearest
from jobs import destroying
from jobs.certificate import Asker, private_key
from jobs.certified import certify, prepared
from jobs.chain import State, state
from jobs.errors import BadRequest
from jobs.inputs import differences
from jobs.item_files import some
from jobs.known import Known
from jobs.learned import METHOD, Learned
from jobs.printable import kinds, number, shown
from jobs.query.images import check_problems, embed_images
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from jobs.step import to_json
from jobs.summed_heads import (
    TRAINED,
    Change,
    Changes,
    Done,
    head_steps,
    model_before,
    summed,
    summed_heads,
    sums_before,
    trained_heads,
)
from jobs.unlearned import VERSION
from store.artefacts import Artefact, digest
from store.checksums import checked_on_disk
from store.files import write_atomic
from store.images import Encoded, Images, Manifest, Shard, open_images
from store.layout import LEARNED
from store.locations import Source
from store.names import one_form
from store.places import Place
from store.recording import recording, sha256

LIMITS = (
    "Keys were fitted without the new images, and stay as they were.",
    "That the images are what their folders say was taken on trust.",
    "The request keeps codes, embeddings and labels of the images, which forgetting them needs; forgetting takes the "
    "images out of the heads, and leaves what the request keeps until a request commits.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnRequest:
    """What is to be learned."""

    images: str
    """A folder, as path or fsspec URL, that holds a folder of images for each class, named as the class."""
    classes: Sequence[str] = ()
    """Names of the class folders that are read; all of them unless given."""
    weights: str | None = None
    """Where the backbone's weights are, if they came from a file or folder that is elsewhere now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSpec:
    """A request, as `spec.json` of its artefact."""

    version: int
    method: str
    classes: list[str]
    """Names of the classes of the images."""
    new: list[str]
    """Those of them that were not there before, in the order in which they join the others."""
    items: int
    """Images that join the sums."""
    learned: str
    """SHA-256 of the file with their keys, labels, codes and embeddings."""
    differs: list[str]
    """In what the backbone that embedded them differs from the experiment's own: versions of libraries, the device."""
    previous: str | None
    """The request before it, by the name of its folder; None: it is the first."""
    bottleneck: str
    """Digest of the values step."""
    sums: str | None
    """Digest of the sums step; None: values are trained, and not changed."""
    linear: str | None
    """Digest of the linear step; None: it is trained, and not changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedExactly(Done):
    """What a request to learn did; heads that are trained lack the images."""

    spec: LearnSpec
    certificate: str
    """Where the certificate of this request is, in the log of the root."""

    def text(self) -> str:
        """For people."""
        spec = self.spec
        known = [name for name in spec.classes if name not in spec.new]
        of = [*map(shown, known), *(f"{shown(name)} (a new class)" for name in spec.new)]
        differs = [f"  embedded by   a backbone that differs in: {', '.join(map(shown, spec.differs))}"]
        return "\n".join(
            [
                f"learned exactly: {spec.items} images of {', '.join(of)}; heads are of {self.left} items now",
                *self.written_lines(),
                f"  certificate   {self.certificate} ({1000 * self.seconds:.0f} ms in all)",
                *(f"  not changed   {TRAINED[head]}, and made without the images" for head in self.trained),
                *(differs if spec.differs else []),
            ]
        )


class SomeClasses(Images):
    """Class folders, of which only some are read."""

    def __init__(self, source: Source, wanted: Collection[int]) -> None:
        super().__init__(source)
        self._wanted = wanted

    def encoded(self, shard: Shard) -> Iterator[Encoded]:
        """See `Images`; the items of the wanted classes alone."""
        return (item for item in super().encoded(shard) if item.label in self._wanted)


def learn(
    experiment: Experiment,
    request: LearnRequest,
    *,
    asker: Asker | None = None,
    key_file: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> LearnedExactly:
    """Embed images, and write new sums, the heads that they make, and a certificate.

    asker: who asks, as the certificate says it; key_file: an Ed25519 private key (PEM) that signs it.
    tell: is told what is about to be embedded.
    raises: BadRequest; ImageDataError, ImagesMissing; BackboneWeightsInvalid, BackboneWeightsMissing; BadSums,
        BadCheckpoint, StoreError.
    """
    clock = time.perf_counter()
    if key_file is not None:
        private_key(key_file)  # one that is none is told before anything is embedded
    with destroying.one_at_a_time(experiment.root):
        destroying.finish(experiment.root)
        return _learn(experiment, request, asker=asker or Asker(), key_file=key_file, tell=tell, clock=clock)


def _learn(
    experiment: Experiment,
    request: LearnRequest,
    *,
    asker: Asker,
    key_file: Path | None,
    tell: Callable[[str], None],
    clock: float,
) -> LearnedExactly:
    """Learn, while nobody else changes the root; clock: when the request came."""
    stored = Stored(experiment)
    past = state(experiment, len(stored.labels("train")))
    heads = summed_heads(experiment, past.previous)
    known = Known(stored, past.learned)
    images = open_images("folder", request.images, pattern="")
    manifest = images.scan(on_error="skip")
    wanted = wanted_folders(manifest, request)
    check_keys(known, past, keys_of(manifest, wanted))
    names = [one_form(manifest.classes[k]) for k in wanted]
    there = {one_form(name): k for k, name in enumerate(known.classes)}
    new = [name for name in names if name not in there]
    tell(announced(known.classes, manifest, wanted, new))
    with checked_on_disk(model_before(experiment, past.previous)) as file:
        model = Bottleneck.load(file)
    some_classes = SomeClasses(images.source, wanted)
    made = embed_images(stored, model, some_classes, manifest, weights=request.weights, fill=True)
    index = there | {name: len(there) + k for k, name in enumerate(new)}
    items = Learned(
        keys=keys_of(manifest, wanted),
        new=new,
        labels=np.array([index.get(one_form(name), -1) for name in manifest.classes], np.int64)[made.labels],
        codes=encode(made.z, model.projection, model.keys).numpy(),  # of all keys, as those of training items
        embeddings=made.z.numpy(),
    )
    after = Known(stored, (*past.learned, items))
    rows = np.arange(len(known.labels), len(after.labels))
    changes = []
    for head in heads:
        before = sums_before(head, known, past.forgotten)
        added = summed(head, after, rows)
        changes.append(Change(head, before, before.with_classes(len(after.classes)) + added))
    data = items.to_bytes()
    spec = LearnSpec(
        version=VERSION,
        method=METHOD,
        classes=[name if name in new else known.classes[there[name]] for name in names],
        new=new,
        items=len(rows),
        learned=sha256(data),
        differs=differences(model.header["backbone"], made.backbone),
        previous=None if past.previous is None else past.previous.digest,
        bottleneck=experiment.steps["values"],
        **head_steps(heads),
    )
    whole = Changes(after, after.rest([*past.forgotten]), changes)
    output, log = write_request(experiment, spec, data, whole, asker=asker, key_file=key_file)
    return LearnedExactly(
        spec=spec,
        left=whole.left,
        **whole.paths(output),
        trained=trained_heads(experiment),
        seconds=round(time.perf_counter() - clock, 4),
        certificate=str(log),
    )


def write_request(
    experiment: Experiment, spec: LearnSpec, items: bytes, changes: Changes, *, asker: Asker, key_file: Path | None
) -> tuple[Place, Place]:
    """Write what a request learned, its sums and heads, and its certificate; it counts once it is certified.

    items: the file of what is learned.
    returns: its folder, and its certificate in the log.
    raises: BadSums, BadCheckpoint, StoreError.
    """
    said = to_json(spec)
    output = Artefact(experiment.root, "unlearned", digest(said))
    trained = [f"Not changed: {TRAINED[head]}, and made without the images." for head in trained_heads(experiment)]
    output.reopen()
    with prepared(output, said):
        with recording(output.path) as files:
            write_atomic(output.path / LEARNED, items)
            changes.write(output.path, said)
        log = certify(
            experiment,
            output,
            files,
            request={**said, "left": changes.left, **changes.said(files)},
            facts={"left": changes.left},
            origins=changes.origins(),
            limits=[*LIMITS, *trained],
            asker=asker,
            key_file=key_file,
        )
    return output.path, log


def wanted_folders(manifest: Manifest, request: LearnRequest) -> list[int]:
    """Places of the class folders that are learned, in the manifest; all in them is as expected.

    raises: BadRequest.
    """
    places = {one_form(name): k for k, name in enumerate(manifest.classes)}
    for name in request.classes:
        if one_form(name) not in places:
            names = ", ".join(map(shown, manifest.classes))
            raise BadRequest(
                f"{request.images}: no class folder {name!r}{nearest(name, manifest.classes)} (there: {names})"
            )
    wanted = sorted({places[one_form(name)] for name in request.classes or manifest.classes})
    folders = {manifest.classes[k] for k in wanted}
    check_problems(
        [each for each in manifest.problems if not request.classes or one_form(each.item.partition("/")[0]) in folders],
        request.images,
    )
    return wanted


def keys_of(manifest: Manifest, wanted: Collection[int]) -> list[str]:
    """Keys of the items of some classes, in order."""
    return [
        key
        for shard in manifest.shards
        for label, key in zip(shard.labels, shard.item_keys, strict=True)
        if label in wanted
    ]


def check_keys(known: Known, past: State, keys: Sequence[str]) -> None:
    """Whether no item that heads are made of has one of these keys, by which it is forgotten; raises: BadRequest."""
    if again := known.there({*keys}, past.forgotten):
        raise BadRequest(
            f"{some(again)} learned already: forget what is there first; or, where these are other images, rename the "
            "files, or put them into a folder of their own below that of their class, which becomes part of their keys"
        )


def announced(classes: Sequence[str], manifest: Manifest, wanted: Sequence[int], new: Sequence[str]) -> str:
    """What is about to be learned, for people."""
    images = sum(manifest.histogram[k] for k in wanted)
    joins = "; ".join(f"{shown(name)!r} is new{nearest(name, classes)}" for name in new)
    left = kinds(manifest.left_alone or {})
    return "".join(
        [
            f"{number(images, 'image', 'images')} of {number(len(wanted), 'class', 'classes')}",
            f": {joins}" * bool(joins),
            f"; left alone, as no data: {left}" * bool(left),
        ]
    )
