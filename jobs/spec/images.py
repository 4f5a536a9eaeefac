"""The part of a spec that says which images."""

from dataclasses import dataclass, field

from jobs.errors import nearest
from jobs.spec.bounds import check, check_choice, check_range
from jobs.step import IF_SET
from store.decoding import ALPHAS, ORIENTATIONS, Decoding
from store.images import KINDS, Images, open_images

MOST_SHARD_ITEMS = 1_000_000


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

    @property
    def skip(self) -> bool:
        """Whether bad items are left out; otherwise they fail their shard."""
        return self.on_error == "skip"

    def open(self, location: str) -> Images:
        """The images, which lie there; raises: as `open_images`."""
        return open_images(
            self.kind,
            location,
            pattern=self.pattern,
            shard_items=self.shard_items,
            class_file=self.class_file,
            columns=self.columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSpec:
    """Which images, in which form."""

    kind: str
    """folder, webdataset, parquet, cifar10, cifar100 or digits."""
    train: str = "train"
    """The training split: a folder, a glob, or a brace range of shards."""
    test: str = "test"
    """The test split."""
    classes: str | None = None
    """File of class names below the images' location, one a line, where the data have none."""
    image: str | None = None
    """Parquet: the column of images, where metadata and names do not tell it."""
    label: str | None = None
    """Parquet: the column of labels, likewise."""
    shard_items: int = 1000
    """Items of a shard, where the data come without shards."""
    orientation: str = "ignore"
    """ "apply" turns images as their EXIF entry says, "ignore" takes pixels as they are stored."""
    alpha: str = "drop"
    """Transparent images: "drop" takes their colours as they are stored, "white" and "black" give them that ground."""
    on_error: str = "fail"
    """ "fail": a bad image or label fails its shard, and the run once the other shards are done; "skip" leaves it out
    and counts it."""
    expect: dict[str, int] = field(default_factory=dict)
    """Items of "train" and "test" and number of "classes", checked before anything is embedded; used by the plan."""

    def __post_init__(self) -> None:
        near = nearest(self.kind, KINDS)
        check(self.kind in KINDS, f"images.kind: found {self.kind!r}, expected one of {', '.join(KINDS)}{near}")
        check_choice("images.on_error", self.on_error, ("fail", "skip"))
        check_choice("images.orientation", self.orientation, ORIENTATIONS)
        check_choice("images.alpha", self.alpha, ALPHAS)
        check(self.train != self.test, f"images.train and images.test: both are {self.train!r}, expected two splits")
        check_range("images.shard_items", self.shard_items, least=1, most=MOST_SHARD_ITEMS)
        for key in ("image", "label"):
            named = getattr(self, key)
            check(
                named is None or (self.kind == "parquet" and named != ""),
                f"images.{key}: found {named!r}, expected the name of a column, of images of kind 'parquet' alone",
            )
        for key, number in self.expect.items():
            check(
                key in ("train", "test", "classes"),
                f"images.expect: unknown key {key!r}; known: train, test, classes",
            )
            check_range(f"images.expect.{key}", number, least=1)

    @property
    def decoding(self) -> Decoding:
        """What is made of that which RGB pixels cannot hold."""
        return Decoding(orientation=self.orientation, alpha=self.alpha)

    def split(self, name: str) -> SplitImages:
        """The images of the "train" or the "test" split."""
        named = {"image": self.image, "label": self.label}
        return SplitImages(
            kind=self.kind,
            pattern={"train": self.train, "test": self.test}[name],
            shard_items=self.shard_items,
            class_file=self.classes,
            on_error=self.on_error,
            columns={key: column for key, column in named.items() if column is not None} or None,
        )
