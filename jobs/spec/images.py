"""The part of a spec that says which images."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from dkvb.extensions import READERS, Extension, find, named
from dkvb.limits import Limit, one_of, whole
from jobs.spec.bounds import Wrong, refuse
from jobs.spec.readers import ExtendedReader
from jobs.step import IF_SET
from store.decoding import ALPHAS, ORIENTATIONS, Decoding
from store.images import KINDS, PUBLISHED, Images, Part, open_images

DECODERS = ("pil", "torchvision")
MOST_SHARD_ITEMS = 1_000_000
DIGEST = "[0-9a-f]{16}"

DigestText = Annotated[
    str,
    Limit(
        "the digest of an item, 16 hexadecimal digits",
        lambda text: bool(re.fullmatch(DIGEST, text)),
        {"pattern": f"^{DIGEST}$"},
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitImages:
    """The images of one split, as the steps that read them are told of them: part of digests."""

    kind: str
    pattern: str
    """A folder, a glob, or a brace range of shards."""
    shard_items: int
    class_file: str | None
    on_error: str
    columns: dict[str, str] | None = field(default=None, metadata=IF_SET)
    without: list[str] | None = field(default=None, metadata=IF_SET)
    """Digests of items that are left out (`jobs.excluded`): they were forgotten for good."""
    part: Part | None = field(default=None, metadata=IF_SET)
    """Which part of images that come without splits."""
    extension: str | None = field(default=None, metadata=IF_SET)
    """Distribution and version of the reader, where it is an extension's."""

    @classmethod
    def from_json(cls, asked: Mapping[str, Any]) -> Self:
        """As a step's spec.json has them."""
        part = asked.get("part")
        return cls(**{**asked, "part": None if part is None else Part(**part)})

    @property
    def skip(self) -> bool:
        """Whether bad items are left out; otherwise they fail their shard."""
        return self.on_error == "skip"

    def open(self, location: str) -> Images:
        """The images, which lie there; raises: as `open_images`, and as `ExtendedReader.load`."""
        reader = None
        if self.extension is not None:
            reader = ExtendedReader(Extension(READERS, self.kind, self.extension))
            reader.load()  # before anything else is: the version of the plan is what this machine must have
        return open_images(
            self.kind,
            location,
            pattern=self.pattern,
            shard_items=self.shard_items,
            class_file=self.class_file,
            columns=self.columns,
            part=self.part,
            reader=reader,
        )


SHARE = Limit("a share between 0 and 1", lambda share: 0 < share < 1, {"exclusiveMinimum": 0, "exclusiveMaximum": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSpec:
    """Which images, in which form."""

    kind: Annotated[str, named(READERS, *KINDS)]
    """Their form: class folders, WebDataset tars, Parquet as Hugging Face writes it, CIFAR as published, the digits of
    scikit-learn, or files that an extension reads (docs/extend.md)."""
    train: str = "train"
    """The training split: a folder, a glob, or a brace range of shards."""
    test: str = "test"
    """The test split."""
    test_share: Annotated[float, SHARE] | None = None
    """Where the images come without a test split: the share of `train`, between 0 and 1, that is held out as one, drawn
    by names; of class folders as much of each class."""
    classes: str | None = None
    """File of class names below the images' location, one a line, where the data have none."""
    image: str | None = None
    """Parquet: the column of images, where metadata and names do not tell it."""
    label: str | None = None
    """Parquet: the column of labels, likewise."""
    shard_items: Annotated[int, whole(1, MOST_SHARD_ITEMS)] = 1000
    """Items of a shard, where the data come without shards."""
    orientation: Annotated[str, one_of(*ORIENTATIONS)] = "ignore"
    """ "apply" turns images as their EXIF entry says, "ignore" takes pixels as they are stored."""
    alpha: Annotated[str, one_of(*ALPHAS)] = "drop"
    """Transparent images: "drop" takes their colours as they are stored, "white" and "black" give them that ground."""
    decode: Annotated[str, one_of(*DECODERS)] = "pil"
    """By what pixels are read: "pil", or "torchvision" (JPEG, PNG and WEBP; other images are an error)."""
    on_error: Annotated[str, one_of("fail", "skip")] = "fail"
    """ "fail": a bad image or label fails its shard, and the run once the other shards are done; "skip" leaves it out
    and counts it."""
    expect: dict[Annotated[str, one_of("train", "test", "classes")], Annotated[int, whole(1)]] = field(
        default_factory=dict
    )
    """Items of "train" and "test" and number of "classes", checked before anything is embedded; used by the plan."""
    without: list[DigestText] | None = None
    """Digests of training items that are left out; written by `dkvb unlearn --purge`, and kept by runs on that root."""

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        if self.decode != "pil" and self.kind in PUBLISHED:
            text = f'found {self.decode!r}, expected "pil": images of kind {self.kind!r} come as pixels'
            yield Wrong(text, ("decode",))
        for name in ("train", "test") if self.kind in PUBLISHED else ():
            if (split := getattr(self, name)) not in ("train", "test"):
                text = f'found {split!r}, expected "train" or "test": images of kind {self.kind!r} have these splits'
                yield Wrong(text, (name,))
        if self.classes is not None and self.kind in ("folder", *PUBLISHED):
            text = f"found {self.classes!r}, but images of kind {self.kind!r} bring their class names: leave it out"
            yield Wrong(text, ("classes",))
        if self.test_share is not None and (self.kind in PUBLISHED or self.test != "test"):
            text = f"found {self.test_share}, but these images have a test split: leave it out"
            yield Wrong(text, ("test_share",))
        if self.train == self.test:
            yield Wrong(f"both are {self.train!r}, expected two splits", ("train", "test"))
        for key, column in self._columns.items():
            if self.kind != "parquet" or column == "":
                text = f"found {column!r}, expected the name of a column, of images of kind 'parquet' alone"
                yield Wrong(text, (key,))

    @property
    def _columns(self) -> dict[str, str]:
        named = {"image": self.image, "label": self.label}
        return {key: column for key, column in named.items() if column is not None}

    @property
    def decoding(self) -> Decoding:
        """What is made of that which RGB pixels cannot hold."""
        return Decoding(orientation=self.orientation, alpha=self.alpha)

    def split(self, name: str) -> SplitImages:
        """The images of the "train" or the "test" split; raises: ExtensionMissing."""
        part = None if self.test_share is None else Part(split=name, test_share=self.test_share)
        return SplitImages(
            kind=self.kind,
            pattern=self.train if part is not None else {"train": self.train, "test": self.test}[name],
            shard_items=self.shard_items,
            class_file=self.classes,
            on_error=self.on_error,
            columns=self._columns or None,
            without=self.without if name == "train" else None,
            part=part,
            extension=None if self.kind in KINDS else find(READERS, self.kind).release,
        )
