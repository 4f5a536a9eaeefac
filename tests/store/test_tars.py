"""WebDataset tars: every member is taken, a problem, or left alone and counted."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.errors import ImageDataError, ImagesMissing
from store.images import open_images
from tests.store.made import NAMES, everything, picture, reasons, tar_samples, write_folder, write_tar


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
    assert link == (
        "t.tar",
        "d/4.png",
        "a link to 'elsewhere.png', which is not an earlier member: store the file itself",
    )
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
    assert (item, "its header claims 8589934591 bytes" in reason) == ("1.cls", True)


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


def test_tar_shards_of_a_brace_range_are_read_in_order(tmp_path):
    for shard in range(8, 11):
        write_tar(tmp_path / f"t-{shard:02d}.tar", tar_samples(10 * shard, shard - 5))
    write_tar(tmp_path / "t-11.tar", tar_samples(0, 1))
    images = open_images("webdataset", str(tmp_path), pattern="t-{08..10}.tar")
    manifest = images.scan(on_error="fail")
    expected = [(f"t-{s:02d}.tar", f"s{n:03d}", n % 3) for s in (8, 9, 10) for n in range(10 * s, 11 * s - 5)]
    assert everything(images, manifest) == expected
    assert manifest.classes == ("0", "1", "2")
    assert (manifest.items, sum(manifest.histogram)) == (12, 12)
    assert [f.name for f in images.listing()] == ["t-08.tar", "t-09.tar", "t-10.tar"]
    mixed = open_images("webdataset", str(tmp_path), pattern="t-*.tar")
    assert [s.name for s in mixed.scan(on_error="fail").shards] == ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]
    mixed = open_images("webdataset", str(tmp_path), pattern="?-{9..11}.t*")
    with pytest.raises(ImagesMissing, match=r"\?-9\.t\*"):
        mixed.scan(on_error="fail")
    mixed = open_images("webdataset", str(tmp_path), pattern="?-{10..11}.t*")
    assert [s.name for s in mixed.scan(on_error="fail").shards] == ["t-10.tar", "t-11.tar"]


def test_a_shard_missing_from_a_brace_range_is_named(tmp_path):
    write_tar(tmp_path / "t-0.tar", tar_samples(0, 2))
    with pytest.raises(ImagesMissing, match=r"no file t-1\.tar, t-2\.tar; .* holds t-0\.tar\. Check"):
        open_images("webdataset", str(tmp_path), pattern="t-{0..2}.tar").listing()


def test_tars_in_folders_with_glob_characters_and_dotted_members_are_read(tmp_path):
    folder = tmp_path / "[odd] *name"
    (folder / "sub").mkdir(parents=True)
    members = [("README.txt", b"hi"), ("./a/x.seg.png", picture(9)), ("./a/x.JPG", picture(1, "JPEG"))]
    members += [("./a/x.cls", b" 2\n"), ("b/x.cls", b"0"), ("b/x.webp", picture(2, "WEBP"))]
    write_tar(folder / "sub" / "one.tar", members)
    images = open_images("webdataset", str(folder), pattern="sub/*.tar")
    assert everything(images, images.scan(on_error="fail")) == [("sub/one.tar", "a/x", 2), ("sub/one.tar", "b/x", 0)]
    write_tar(folder / "top.tar", tar_samples(0, 1))
    deep = open_images("webdataset", str(folder), pattern="**/*.tar").scan(on_error="fail")
    assert [shard.name for shard in deep.shards] == ["sub/one.tar", "top.tar"]


def test_class_names_come_from_the_class_file(tmp_path):
    write_tar(tmp_path / "t.tar", tar_samples(0, 4))
    lines = ["n01\ttench, Tinca tinca", "n02\tcrane", "n03\tcrane, derrick", "plain, whole line", ""]
    (tmp_path / "names.txt").write_text("\n".join(lines))
    images = open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt")
    assert images.scan(on_error="fail").classes == ("tench", "crane (n02)", "crane (n03)", "plain, whole line")
    assert [f.name for f in images.listing()] == ["t.tar", "names.txt"]
    (tmp_path / "names.txt").write_text("cat\n\ncat\n")
    with pytest.raises(ImageDataError, match=r"names\.txt.*line 1: the name 'cat'.*twice"):
        open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt").scan(on_error="skip")
    with pytest.raises(ImagesMissing, match=r"no class file 'other\.txt'.*names\.txt, t\.tar"):
        open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="other.txt").scan(on_error="skip")


def test_broken_samples_of_a_tar_are_named_and_positions_hold(tmp_path):
    png = picture(3)
    members = [
        ("ok.png", png), ("ok.cls", b"1"), ("word.png", png), ("word.cls", b"cat"),
        ("high.png", png), ("high.cls", b"7"),
        ("low.png", png), ("low.cls", b"-1"), ("bare.png", png), ("lost.cls", b"0"),
        ("lost.json", b"{}"), ("meta.json", b"{}"),
        ("two.png", png), ("two.jpg", png), ("two.cls", b"0"),
        ("ok.png", png), ("ok.cls", b"0"), ("last.png", b"?"), ("last.cls", b"0"),
        ("last.png", png), ("last.cls", b"0"),
    ]  # fmt: skip
    write_tar(tmp_path / "t.tar", members)
    (tmp_path / "names.txt").write_text("x\ny")
    images = open_images("webdataset", str(tmp_path), pattern="t.tar", class_file="names.txt")
    manifest = images.scan(on_error="skip")
    assert reasons(manifest) == [
        ("t.tar", "word", "label 'cat' is not an integer"),
        ("t.tar", "high", "label 7 is outside the classes 0 to 1"),
        ("t.tar", "low", "label -1 is outside the classes 0 to 1"),
        ("t.tar", "bare", "label missing (no cls member; fields met: png)"),
        ("t.tar", "lost", "no image (fields met: cls, json)"),
        ("t.tar", "meta", "no image (fields met: json)"),
        ("t.tar", "two", "two images (png, jpg)"),
        ("t.tar", "ok", "duplicate key; the first sample of that key is kept"),
        ("t.tar", "last", "duplicate key; the first sample of that key is kept"),
    ]
    kept = [("ok", 1), ("word", -1), ("high", -1), ("low", -1), ("bare", -1), ("last", 0)]
    assert [(key, label) for _, key, label in everything(images, manifest)] == kept
    assert (manifest.items, manifest.histogram) == (6, [1, 1])
    problems = [item.problem for item in images.read(manifest.shards[0])]
    assert problems[:2] == [None, "label 'cat' is not an integer"]
    assert "not a readable image" in str(problems[5])
    with pytest.raises(ImageDataError, match=r'9 problems(?s:.*)t\.tar: word: label(?s:.*)on_error = "skip"'):
        images.scan(on_error="fail")


@pytest.mark.parametrize("image_first", [True, False])
def test_a_tar_cut_anywhere_keeps_exactly_the_complete_samples_before_the_cut(tmp_path, image_first):
    members = tar_samples(0, 5)
    if not image_first:  # then the last bytes of a sample are pixels, which a scan does not read
        members = [member for n in range(0, 15, 3) for member in (members[n + 1], members[n])]
    whole = write_tar(tmp_path / "t.tar", members)
    content = whole.read_bytes()
    with tarfile.open(whole) as archive:
        ends = {m.name: m.offset_data + m.size for m in archive}
        end_marker = archive.offset
    images = open_images("webdataset", str(tmp_path), pattern="t.tar")
    for cut in [*range(0, end_marker + 512, 257), *ends.values(), *(end - 1 for end in ends.values()), end_marker]:
        whole.write_bytes(content[:cut])
        complete = [f"s{n:03d}" for n in range(5) if ends[f"s{n:03d}.png"] <= cut and ends[f"s{n:03d}.cls"] <= cut]
        with pytest.raises(ImageDataError, match=r"t\.tar: truncated or damaged tar"):
            images.scan(on_error="fail")
        if complete:
            manifest = images.scan(on_error="skip")
            assert [key for _, key, _ in everything(images, manifest)] == complete, cut
            assert [(p.shard, p.item) for p in manifest.problems] == [("t.tar", "")]


def test_tars_that_tarfile_would_end_silently_are_named(tmp_path):
    good = write_tar(tmp_path / "a-good.tar", tar_samples(0, 5)).read_bytes()
    damaged = bytearray(good)
    damaged[good.index(b"s003.png")] ^= 1
    contents = {
        "b-damaged.tar": bytes(damaged), "c-joined.tar": good + good,
        "d-garbage.tar": b"garbage" * 999, "e-zero.tar": b"",
        "f-empty.tar": bytes(10240),
    }  # fmt: skip
    write_folder(tmp_path, contents)
    images = open_images("webdataset", str(tmp_path), pattern="*.tar")
    manifest = images.scan(on_error="skip")
    assert [(s.name, s.items) for s in manifest.shards] == [
        ("a-good.tar", 5),
        ("b-damaged.tar", 3),
        ("c-joined.tar", 5),
    ]
    texts = {p.shard: p.reason for p in manifest.problems}
    assert texts.keys() == contents.keys()
    assert "no end marker" in texts["b-damaged.tar"]
    assert "data behind the end marker" in texts["c-joined.tar"]
    assert texts["f-empty.tar"] == "holds no items"
    assert len(everything(images, manifest)) == 13


def test_labels_without_class_names_that_no_data_set_has_are_taken_for_broken(tmp_path):
    write_tar(tmp_path / "t.tar", [*tar_samples(0, 2), ("x.png", picture(1)), ("x.cls", b"123456789012")])
    manifest = open_images("webdataset", str(tmp_path), pattern="t.tar").scan(on_error="skip")
    assert manifest.classes == ("0", "1")
    assert manifest.shards[0].labels == (0, 1, -1)


@settings(max_examples=30, deadline=None)
@given(samples=st.lists(st.tuples(NAMES, st.integers(0, 6)), min_size=1, max_size=9, unique_by=lambda s: s[0]))
def test_keys_and_labels_of_a_tar_come_back_in_order(tmp_path_factory, samples):
    root = tmp_path_factory.mktemp("tar")
    write_tar(
        root / "t.tar", [m for key, n in samples for m in ((f"{key}.cls", b"%d" % n), (f"{key}.png", picture(n)))]
    )
    images = open_images("webdataset", str(root), pattern="*.tar")
    assert [(key, label) for _, key, label in everything(images, images.scan(on_error="fail"))] == samples


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_tar_never_escapes_the_report(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("tar")
    content = bytearray(write_tar(root / "t.tar", tar_samples(0, 4)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (root / "t.tar").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images = open_images("webdataset", str(root), pattern="*.tar")
    try:
        manifest = images.scan(on_error="skip")
    except ImageDataError:
        return
    everything(images, manifest)
