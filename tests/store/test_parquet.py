"""Which columns of a parquet file are image and label: told by metadata, name or spec, and never guessed."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.errors import ImageDataError, ImageSourceError
from store.images import open_images
from tests.store.made import everything, picture, write_folder, write_parquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, columns, *, image="image", form=STRUCT, features=None):
    """A file with one column of images and the given others."""
    count = len(next(iter(columns.values())))
    encoded = [picture(n) for n in range(count)]
    rows = encoded if form == pa.binary() else [{"bytes": data, "path": None} for data in encoded]
    table = pa.table({image: pa.array(rows, form), **columns})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)


def scanned(folder, **columns):
    images = open_images("parquet", str(folder), pattern="*.parquet", columns=columns)
    return images, images.scan(on_error="fail")


@pytest.mark.parametrize("name", ["label", "labels", "fine_label", "class", "target", "category"])
def test_a_label_is_known_by_its_name_beside_other_numbers(name, tmp_path):
    write(tmp_path / "p.parquet", {"fold": [3, 4, 3], name: [1, 0, 2], "id": [7, 8, 9]})
    _, manifest = scanned(tmp_path)
    assert manifest.shards[0].labels == (1, 0, 2)
    assert manifest.columns == {"image": "image", "label": name}


def test_a_text_label_is_taken_before_any_number_and_its_classes_are_the_sorted_texts_of_all_shards(tmp_path):
    write(tmp_path / "a.parquet", {"label": ["owl", "ant", "owl"], "fold": [0, 1, 2]})
    write(tmp_path / "b.parquet", {"label": ["bee", "owl"], "fold": [0, 1]})
    images, manifest = scanned(tmp_path)
    assert manifest.classes == ("ant", "bee", "owl")
    assert [label for *_, label in everything(images, manifest)] == [2, 0, 2, 1, 2]


def test_text_labels_in_dictionary_form_or_with_gaps_are_read_too(tmp_path):
    write(tmp_path / "p.parquet", {"label": pa.array(["b", None, "a", ""]).dictionary_encode()})
    manifest = open_images("parquet", str(tmp_path), pattern="*.parquet").scan(on_error="skip")
    assert manifest.shards[0].labels == (1, -1, 0, -1)
    assert [(p.item, p.reason) for p in manifest.problems] == [("row-1", "label missing"), ("row-3", "label missing")]


def test_text_labels_follow_the_class_file_where_there_is_one(tmp_path):
    write(tmp_path / "p.parquet", {"label": ["bee", "cow"]})
    write_folder(tmp_path, {"names.txt": b"\xef\xbb\xbfowl\r\nbee\r\n"})
    images = open_images("parquet", str(tmp_path), pattern="*.parquet", class_file="names.txt")
    manifest = images.scan(on_error="skip")
    assert (manifest.classes, manifest.shards[0].labels) == (("owl", "bee"), (1, -1))
    assert manifest.problems[0].reason == "label 'cow' is not among the class names"


def test_metadata_decide_before_names(tmp_path):
    features = {"kind": {"_type": "ClassLabel", "names": ["x", "y"]}, "shot": {"_type": "Image"}}
    write(tmp_path / "p.parquet", {"label": [7, 8], "kind": [1, 0]}, image="shot", features=features)
    _, manifest = scanned(tmp_path)
    assert (manifest.columns, manifest.classes) == ({"image": "shot", "label": "kind"}, ("x", "y"))


@pytest.mark.parametrize("columns", [{"fold": [0, 1]}, {"coarse_label": [0, 1], "id": [5, 6]}, {"word": ["a", "b"]}])
def test_a_column_of_another_name_is_no_label_unless_the_spec_names_it(columns, tmp_path):
    write(tmp_path / "p.parquet", columns)
    name = next(iter(columns))
    with pytest.raises(ImageSourceError, match=rf"candidates: {', '.join(columns)}; name one: images\.label"):
        scanned(tmp_path)
    assert scanned(tmp_path, label=name)[1].shards[0].labels == (0, 1)


@pytest.mark.parametrize(
    ("label", "kind"), [([0.0, 1.0], "double"), ([True, False], "bool"), ([[0], [1]], "list<element: int64>")]
)
def test_a_label_that_is_neither_whole_number_nor_text_is_refused_by_its_type(label, kind, tmp_path):
    write(tmp_path / "p.parquet", {"label": label, "fold": [0, 1]})
    with pytest.raises(ImageSourceError, match="neither integers nor strings") as caught:
        scanned(tmp_path)
    assert f"label ({kind})" in str(caught.value)


def test_a_named_column_that_is_not_there_or_does_not_fit_is_refused_with_what_is_there(tmp_path):
    write(tmp_path / "p.parquet", {"label": [0, 1], "ratio": [0.5, 0.7]})
    for asked in ({"label": "lable"}, {"label": "ratio"}, {"image": "label"}):
        ((what, name),) = asked.items()
        with pytest.raises(ImageSourceError, match=rf"images\.{what} = '{name}'.*image \(struct\), label \(int64\)"):
            scanned(tmp_path, **asked)


def test_plain_bytes_are_images_and_one_of_several_is_taken_by_name_or_as_the_spec_says(tmp_path):
    write(tmp_path / "p.parquet", {"label": [0, 1]}, image="shot", form=pa.binary())
    images, manifest = scanned(tmp_path)
    assert [item.image.getpixel((0, 0))[0] for item in images.read(manifest.shards[0])] == [0, 1]
    other = pa.array([{"bytes": picture(50 + n), "path": None} for n in range(2)], STRUCT)
    write(tmp_path / "p.parquet", {"label": [0, 1], "mask": other}, image="shot")
    with pytest.raises(ImageSourceError, match=r"several that may be it \(shot, mask\).*images\.image"):
        scanned(tmp_path)
    images, manifest = scanned(tmp_path, image="mask")
    assert next(images.read(manifest.shards[0])).image.getpixel((0, 0))[0] == 50


def test_shards_with_other_columns_than_the_first_are_named(tmp_path):
    write(tmp_path / "a.parquet", {"label": [0, 1]})
    write(tmp_path / "b.parquet", {"label": ["x", "y"]})
    with pytest.raises(ImageDataError, match=r"b\.parquet: unreadable: its columns 'image' and 'label' differ"):
        scanned(tmp_path)


def test_columns_are_refused_for_images_that_have_none(tmp_path):
    with pytest.raises(ImageSourceError, match="folder images have no columns; leave out label"):
        open_images("folder", str(tmp_path), pattern="", columns={"label": "x"})


def test_parquet_rows_come_in_order_over_row_groups_and_files(tmp_path):
    names = ["cat", "dog", "eel"]
    for part, count in enumerate((7, 11)):
        write_parquet(
            tmp_path / f"p-{part}.parquet", {"label": [n % 3 for n in range(count)]}, names=names, row_group_size=3
        )
    images = open_images("parquet", str(tmp_path), pattern="p-*.parquet")
    manifest = images.scan(on_error="fail")
    assert manifest.classes == ("cat", "dog", "eel")
    expected = [(f"p-{p}.parquet", f"row-{n}", n % 3) for p, count in enumerate((7, 11)) for n in range(count)]
    assert everything(images, manifest) == expected
    shades = [np.asarray(item.image)[0, 0, 0] for item in images.read(manifest.shards[1])]
    assert shades == list(range(11))


def test_what_is_wrong_in_parquet_files_is_named(tmp_path):
    write_folder(tmp_path, {"0-broken.parquet": b"PAR1 not really PAR1"})
    write_parquet(tmp_path / "1-ok.parquet", {"label": [0, None, 2, -1, 1]}, names=["a", "b"])
    write_parquet(tmp_path / "2-other.parquet", {"label": [0]}, names=["b", "a"])
    write_parquet(tmp_path / "3-empty.parquet", {"label": []}, names=["a", "b"])
    table = pq.read_table(tmp_path / "1-ok.parquet")
    rows = [{"bytes": None, "path": "x.png"}, {"bytes": picture(1), "path": "y.png"}]
    for name, some in (("4-bare.parquet", rows[:1]), ("5-half.parquet", rows)):
        image = pa.array(some, table.schema.field("image").type)
        pq.write_table(pa.table({"image": image, "label": [1] * len(some)}, schema=table.schema), tmp_path / name)
    images = open_images("parquet", str(tmp_path), pattern="*.parquet")
    manifest = images.scan(on_error="skip")
    assert [(p.shard, p.item) for p in manifest.problems] == [
        ("0-broken.parquet", ""), ("1-ok.parquet", "row-1"), ("1-ok.parquet", "row-2"), ("1-ok.parquet", "row-3"),
        ("2-other.parquet", ""), ("3-empty.parquet", ""), ("4-bare.parquet", ""),
    ]  # fmt: skip
    assert "class names differ" in manifest.problems[4].reason
    assert "its column 'image' holds paths and no bytes" in manifest.problems[6].reason
    assert manifest.shards[0].labels == (0, -1, -1, -1, 1)
    assert [label for *_, label in everything(images, manifest)] == [0, -1, -1, -1, 1, 1, 1]
    assert next(images.read(manifest.shards[1])).problem == "no image bytes"


def test_parquet_row_groups_are_read_one_by_one(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"label": [0, 1] * 5}, row_group_size=5, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1)
    start = next(c.data_page_offset for c in map(group.column, range(3)) if c.path_in_schema == "image.bytes")
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    images = open_images("parquet", str(tmp_path), pattern="p.parquet")
    items = images.read(images.scan(on_error="fail").shards[0])
    assert [next(items).label for _ in range(5)] == [0, 1, 0, 1, 0]
    with pytest.raises(ImageDataError, match=r"shard 'p\.parquet' cannot be read"):
        next(items)


def test_parquet_without_class_names_takes_the_class_file(tmp_path):
    write_parquet(tmp_path / "p.parquet", {"label": [1, 0]})
    (tmp_path / "names.txt").write_text("hen\nowl\nyak\n")
    images = open_images("parquet", str(tmp_path), pattern="p.parquet", class_file="names.txt")
    assert images.scan(on_error="fail").classes == ("hen", "owl", "yak")


def test_class_names_that_repeat_are_refused_since_no_name_may_mean_two_classes(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["owl", "bee", "owl"]}}
    write(tmp_path / "p.parquet", {"label": [0, 1, 2]}, features=features)
    with pytest.raises(ImageDataError, match="'label' hold 'owl' twice"):
        scanned(tmp_path)


def test_an_item_is_known_by_its_row(tmp_path):
    write(tmp_path / "a.parquet", {"label": ["owl", "ant", "owl"]})
    write(tmp_path / "b.parquet", {"label": ["bee"]})
    _, manifest = scanned(tmp_path)
    assert [shard.item_keys for shard in manifest.shards] == [("row-0", "row-1", "row-2"), ("row-0",)]
