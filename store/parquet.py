"""Parquet as Hugging Face writes it: each file is a shard, with a column of encoded images and one of labels."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from store.errors import ImageDataError, ImageSourceError
from store.json import from_json
from store.names import one_form
from store.samples import Entry, Sample
from store.shards import ShardReader

BATCH = 256  # rows decoded at a time within a row group
IMAGES = ("image", "img", "jpg", "png", "picture")
LABELS = ("label", "labels", "fine_label", "class", "target", "category", "class_label", "cls")
"""Names by which columns are recognised, the first that is there; any other column must be named by the user."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold images and labels, and in what form."""

    image: str
    label: str
    names: tuple[str, ...] | None
    """Class names in the metadata."""
    texts: bool
    """Whether labels are texts, not numbers."""
    bare: bool
    """Whether the image column holds bytes, not structs of bytes and path."""


class ParquetReader(ShardReader):
    """Parquet files; labels are integers or texts."""

    def classes(self) -> tuple[str, ...] | None:
        """The names in the metadata, or in the class file, or the distinct label texts of all shards, sorted."""
        first = self._first
        if first is not None and first.names:
            return tuple(map(one_form, first.names))
        if first is None or not first.texts or self.place.named_classes:
            return self.place.named_classes
        return self._texts

    def columns(self) -> dict[str, str]:
        """The names of the columns that are read."""
        return {} if self._first is None else {"image": self._first.image, "label": self._first.label}

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The rows of a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        row = 0
        try:
            with self.open(shard) as file:
                table = pq.ParquetFile(file)
                columns = self._columns(table.schema_arrow)
                if self._first is not None and columns.names != self._first.names:
                    raise ImageDataError("its class names differ from those of the shards before it")
                if self._first is not None and columns != self._first:
                    raise ImageDataError(
                        f"its columns {columns.image!r} and {columns.label!r} differ from those of the shards before "
                        "it, in name or in type"
                    )
                if no_bytes(table.metadata, columns):
                    raise ImageDataError(
                        f"its column {columns.image!r} holds paths and no bytes; embed the images in the file, or give "
                        "them as class folders"
                    )
                label_of = self._labels(columns)
                wanted = [columns.image, columns.label] if pixels else [columns.label]
                for group in range(table.num_row_groups):
                    for batch in table.iter_batches(BATCH, row_groups=[group], columns=wanted):
                        images = batch.column(columns.image).to_pylist() if pixels else itertools.repeat(None)
                        for value, image in zip(batch.column(columns.label).to_pylist(), images, strict=False):
                            label, fault = label_of(value)
                            content = image if columns.bare or image is None else image["bytes"]
                            yield Sample(f"row-{row}", label, content, fault)
                            row += 1
        except (pa.ArrowException, ValueError) as error:  # ValueError: its JSON, and our own
            raise ImageDataError(f"at row {row}: {error}" if row else str(error)) from error

    def _labels(self, columns: Columns) -> Callable[[Any], tuple[int | None, str | None]]:
        """A function from a value of the label column to the label, or None and what is wrong with it."""
        known = {name: index for index, name in enumerate(self.classes() or ())} if columns.texts else {}

        def label_of(value: Any) -> tuple[int | None, str | None]:
            if value is None or value == "":
                return None, "label missing"
            if not columns.texts:
                return value, None
            label = known.get(one_form(value))
            return label, None if label is not None else f"label {value[:50]!r} is not among the class names"

        return label_of

    @cached_property
    def _first(self) -> Columns | None:
        """The columns of the first shard whose schema can be read; None where there is none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for shard in self.place.matches():
            try:
                with self.open(shard) as file:
                    return self._columns(pq.ParquetFile(file).schema_arrow)
            except ImageSourceError:
                raise  # it is about the user's choice of columns, not about this shard
            except (pa.ArrowException, OSError, ValueError):
                continue  # the scan comes to the same shard and reports it
        return None

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        """The distinct texts of the label column in all shards that can be read, sorted."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts: set[str] = set()
        for shard in self.place.matches():
            try:
                with self.open(shard) as file:
                    table = pq.ParquetFile(file)
                    label = self._columns(table.schema_arrow).label
                    for batch in table.iter_batches(columns=[label]):
                        texts.update(one_form(str(text)) for text in batch.column(0).unique().to_pylist() if text)
            except (pa.ArrowException, OSError, ValueError):
                continue
        return tuple(sorted(texts))

    def _columns(self, schema: Any) -> Columns:
        source = self.place.source
        return parquet_columns(schema, image=source.image, label=source.label)


def parquet_columns(schema: Any, *, image: str | None = None, label: str | None = None) -> Columns:
    """Which columns of an Arrow schema hold images and labels.

    image, label: columns that the user names. Otherwise Hugging Face's metadata decides, then names (IMAGES, LABELS).
        A single column that can hold images is taken whatever its name; a label column never, as not every number is a
        label.
    raises: ImageSourceError naming the candidates when none or several would do.
    """
    from pyarrow import types

    try:
        info = from_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = {k: v for k, v in info.get("info", {}).get("features", {}).items() if isinstance(v, dict)}
    except (AttributeError, ValueError) as error:
        raise ImageDataError(f"its metadata entry 'huggingface' is not readable: {error}") from error
    kinds = {field.name: _kind(field.type) for field in schema}
    images = [name for name, kind in kinds.items() if kind in ("struct", "bytes")]
    labels = [name for name, kind in kinds.items() if kind in ("number", "text")]
    marked = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    named = [name for name in labels if features.get(name, {}).get("_type") == "ClassLabel"]
    there = ", ".join(
        f"{field.name} ({field.type if not types.is_struct(field.type) else 'struct'})" for field in schema
    )
    images_in = _checked(image, images, "image", there) if image else _image(marked or images, kinds, there)
    labels_in = _checked(label, labels, "label", there) if label else _label(named, labels, kinds, there)
    names = features.get(labels_in, {}).get("names")
    if names and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ImageDataError(f"the class names of its label column {labels_in!r} are not a list of strings")
    if twice := [name for name, times in Counter(names or ()).items() if times > 1]:
        raise ImageDataError(
            f"the class names of its label column {labels_in!r} hold {twice[0]!r} twice; give each class one"
        )
    classes = tuple(names) if names and kinds[labels_in] == "number" else None
    return Columns(images_in, labels_in, classes, texts=kinds[labels_in] == "text", bare=kinds[images_in] == "bytes")


def _kind(kind: Any) -> str:
    """What a column can hold: images as "struct" or "bytes", labels as "number" or "text", or "" for neither."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return "struct" if index >= 0 and _kind(kind.field(index).type) == "bytes" else ""
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "bytes"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "number" if types.is_integer(kind) else ""


def _checked(name: str, candidates: Sequence[str], what: str, there: str) -> str:
    """The column that the user names; raises: ImageSourceError where it cannot hold what it is named for."""
    if name in candidates:
        return name
    expected = "bytes, or a struct with bytes" if what == "image" else "integers or texts"
    raise ImageSourceError(f"images.{what} = {name!r}: no column of {expected} has that name; its columns: {there}")


def _image(candidates: Sequence[str], kinds: dict[str, str], there: str) -> str:
    """The column of images; raises: ImageSourceError."""
    structs = [name for name in candidates if kinds[name] == "struct"] or list(candidates)
    if len(structs) == 1:
        return structs[0]
    if known := next((name for name in IMAGES if name in structs), None):
        return known
    which = f"several that may be it ({', '.join(structs)})" if structs else "none"
    raise ImageSourceError(
        f"expected one column of images (bytes, or a struct with bytes), found {which}; its columns: {there}"
        + ('; name one: images.image = "..." in the spec' if structs else "")
    )


def _label(named: Sequence[str], candidates: Sequence[str], kinds: dict[str, str], there: str) -> str:
    """The column of labels; raises: ImageSourceError."""
    if len(named) == 1:
        return named[0]
    known = next((name for name in LABELS if name in (named or kinds)), None)
    if known in candidates:
        return str(known)
    remedy = 'name one: images.label = "..." in the spec'
    if known is not None:
        raise ImageSourceError(
            f"its column {known!r} holds neither integers nor strings, so it is not a label; its columns: {there}; "
            f"write it as integers or strings, or {remedy}"
        )
    which = (
        f"candidates: {', '.join(named or candidates)}; {remedy}" if candidates else "and no column that could be one"
    )
    raise ImageSourceError(
        f"expected a column of labels named {', '.join(LABELS[:-1])} or {LABELS[-1]}, found none, {which}; its "
        f"columns: {there}"
    )


def no_bytes(metadata: Any, columns: Columns) -> bool:
    """Whether a file's statistics say that the image column has no bytes in any row."""
    path = columns.image if columns.bare else f"{columns.image}.bytes"
    nulls = rows = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema == path:
                if column.statistics is None or not column.statistics.has_null_count:
                    return False
                nulls, rows = nulls + column.statistics.null_count, rows + column.num_values
    return rows > 0 and nulls == rows
