"""WebDataset tars: every member is taken, a problem, or left alone and counted."""

import gzip
import io
import tarfile

import pytest

from store.errors import ImageDataError
from store.images import open_images
from tests.store.made import everything, picture, reasons, tar_samples, write_tar


def scanned(path, on_error="fail"):
    images = open_images("webdataset", str(path.parent), pattern=path.name)
    return images, images.scan(on_error=on_error)


def kept(path, on_error="fail"):
    """(key, label) of the samples."""
    images, manifest = scanned(path, on_error)
    return [(key, label) for _, key, label in everything(images, manifest)]


def test_samples_whose_names_have_dots_are_all_taken(tmp_path):
    names = ["IMG.000", "IMG.001", "v1.2.7", "plain", "a.b/c.d"]
    members = [m for n, name in enumerate(names) for m in ((f"{name}.png", picture(n)), (f"{name}.cls", b"%d" % n))]
    path = write_tar(tmp_path / "t.tar", members)
    assert kept(path) == [(name, n) for n, name in enumerate(names)]
    assert scanned(path)[1].left_alone == {}


def test_fields_of_two_parts_are_one_sample_by_the_rule_of_webdataset(tmp_path):
    members = [
        ("1.input.png", picture(1)), ("1.target.cls", b"1"), ("1.note.txt", b"x"),
        ("2.image.png", picture(2)), ("2.cls", b"2"),
        ("3.png", picture(3)), ("3.cls", b"3"), ("3.mask.png", picture(9)), ("3.json", b"{}"),
    ]  # fmt: skip
    path = write_tar(tmp_path / "t.tar", members)
    assert kept(path) == [("1", 1), ("2", 2), ("3", 3)]
    further = "further fields of samples (.{})".format
    assert scanned(path)[1].left_alone == {further("json"): 1, further("mask.png"): 1, further("note.txt"): 1}


def test_an_image_and_a_label_that_belong_to_no_one_are_never_joined(tmp_path):
    members = [
        ("IMG.1.png", picture(1)), ("IMG.1.cls", b"1"), ("IMG.2.png", picture(2)), ("IMG.3.cls", b"0"),
        ("IMG.4.png", picture(4)), ("IMG.4.cls", b"1"),
    ]  # fmt: skip
    path = write_tar(tmp_path / "t.tar", members)
    assert reasons(scanned(path, "skip")[1]) == [
        ("t.tar", "IMG.2", "label missing (no cls member; fields met: png)"),
        ("t.tar", "IMG.3", "no image (fields met: cls)"),
    ]


def test_many_images_of_one_key_without_labels_are_each_a_problem(tmp_path):
    path = write_tar(tmp_path / "t.tar", [*tar_samples(0, 2), *((f"IMG.{n}.png", picture(n)) for n in range(131))])
    manifest = scanned(path, "skip")[1]
    assert len(manifest.problems) == 131
    assert {item for _, item, _ in reasons(manifest)} == {f"IMG.{n}" for n in range(131)}


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_are_followed_to_members_before_them_and_named_where_there_is_none(kind, tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:

        def add(name, content=None, target=""):
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = kind, target
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))

        deep = "d/" if kind == tarfile.LNKTYPE else ""  # a hard link's target begins at the archive's root
        add("d/1.png", picture(7))
        add("d/1.cls", b"1")
        add("d/2.png", target=f"{deep}1.png")
        add("d/2.cls", target=f"{deep}1.cls")
        add("d/3.png", target=f"{deep}2.png")
        add("d/3.cls", b"0")
        add("d/4.png", target="elsewhere.png")
        add("d/4.cls", b"0")
    images, manifest = scanned(path, "skip")
    assert kept(path, "skip") == [("d/1", 1), ("d/2", 1), ("d/3", 0)]
    assert [item.image.getpixel((0, 0))[0] for item in images.read(manifest.shards[0])] == [7, 7, 7]
    (link, sample) = reasons(manifest)
    assert link == ("t.tar", "d/4.png", "a link to 'elsewhere.png', no member before it: put the file itself there")
    assert sample[1:] == ("d/4", "no image (fields met: cls)")


def sparse(name, parts, size):
    """A sparse member in GNU's old form: parts are (offset, bytes)."""
    data = b"".join(part for _, part in parts)
    info = tarfile.TarInfo(name)
    info.size = len(data)
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    for n, (offset, part) in enumerate(parts):
        head[386 + 24 * n : 386 + 24 * n + 24] = b"%011o\0%011o\0" % (offset, len(part))
    head[483:495] = b"%011o\0" % size
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + 8 * 32 + sum(head[156:]))
    return bytes(head) + data + bytes(-len(data) % 512)


def test_sparse_members_are_read_with_their_holes(tmp_path):
    image = picture(5, "BMP")
    whole = bytearray(image + bytes(4096))
    first = sparse("1.bmp", [(0, image)], len(whole))
    rest = write_tar(tmp_path / "rest.tar", [("1.cls", b"1"), ("2.png", picture(6)), ("2.cls", b"0")]).read_bytes()
    path = tmp_path / "t.tar"
    path.write_bytes(first + rest)
    assert kept(path) == [("1", 1), ("2", 0)]
    images, manifest = scanned(path)
    assert [item.image.getpixel((0, 0))[0] for item in images.read(manifest.shards[0])] == [5, 6]


def test_a_sparse_member_that_says_it_is_huge_is_named_and_not_unpacked(tmp_path):
    first = sparse("1.cls", [(0, b"1")], 2**33 - 1)
    path = tmp_path / "t.tar"
    path.write_bytes(first + write_tar(tmp_path / "rest.tar", tar_samples(2, 3)).read_bytes())
    ((_, item, reason),) = reasons(scanned(path, "skip")[1])
    assert (item, "says it holds 8589934591 bytes" in reason) == ("1.cls", True)


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "gzip"), (lambda data: b"PK\3\4" + data, "zip")])
def test_a_packed_tar_is_said_to_be_packed_and_by_what(pack, name, tmp_path):
    path = write_tar(tmp_path / "t.tar", tar_samples(0, 3))
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(ImageDataError, match=rf"t\.tar: unreadable: packed by {name}; unpack it") as caught:
        scanned(path)
    assert "truncated" not in str(caught.value)


def test_images_of_every_kind_are_taken_from_tars(tmp_path):
    forms = {"gif": "GIF", "tif": "TIFF", "jfif": "JPEG", "JPE": "JPEG", "ppm": "PPM", "bmp": "BMP"}
    members = [
        m for n, (ending, form) in enumerate(forms.items())
        for m in ((f"{n}.{ending}", picture(n + 1, form)), (f"{n}.cls", b"%d" % n))
    ]  # fmt: skip
    path = write_tar(tmp_path / "t.tar", members)
    images, manifest = scanned(path)
    assert manifest.items == 6
    assert [item.problem for item in images.read(manifest.shards[0])] == [None] * 6


def test_what_is_no_data_in_a_tar_is_counted(tmp_path):
    members = [("README", b"hi"), ("notes.txt", b"hi"), ("__MACOSX/x.png", picture(1)), ("./._s000.png", b"\0\5\x16\7")]
    path = write_tar(tmp_path / "t.tar", [*members, *tar_samples(0, 2)])
    assert scanned(path)[1].left_alone == {
        "without an ending": 1,
        ".txt": 1,
        "in __MACOSX folders": 1,
        "hidden (._*, .DS_Store and the like)": 1,
        "further fields of samples (.json)": 2,
    }


def test_a_sample_in_a_kind_of_image_that_is_not_read_says_which_fields_there_were(tmp_path):
    path = write_tar(tmp_path / "t.tar", [*tar_samples(0, 2), ("x.heic", b"?"), ("x.cls", b"0")])
    assert reasons(scanned(path, "skip")[1]) == [("t.tar", "x", "no image (fields met: cls, heic)")]
