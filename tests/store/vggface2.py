"""Trees of VGGFace2's form, and what must hold for a set that is built of one."""

import hashlib
import io
import json
from collections import Counter

from PIL import Image

from store.images import open_images
from store.lacuna import Shape

SMALL = Shape(identities=3, train=5, test=2)


def picture(number):
    """An image of its own for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (2, 3), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder, first, count):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (folder / f"{n:04d}_01.jpg").write_bytes(picture(first + n))
    return folder


def contents(out):
    """(split, identity) of every file by the SHA-256 of its content."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(out.glob("*/*/*")):
        assert path.is_file()
        assert not path.is_symlink()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.setdefault(digest, []).append((path.parts[-3], path.parts[-2]))
    return found


def assert_whole(out, shape=SMALL):
    """The set has its numbers, every image once, and the record and the reader say the same."""
    found = contents(out)
    assert {len(places) for places in found.values()} == {1}, "an image is there twice"
    sizes = Counter(place for (place,) in found.values())
    identities = {identity for _, identity in sizes}
    assert len(identities) == shape.identities
    assert sizes == {(split, identity): getattr(shape, split) for split in ("train", "test") for identity in identities}
    record = json.loads((out / "lacuna.json").read_text(encoding="utf-8"))
    named = {
        digest: [(split, identity)]
        for identity, about in record["drawn"].items()
        for split in ("train", "test")
        for digest in about[split].values()
    }
    assert named == found
    for split in ("train", "test"):
        manifest = open_images("folder", str(out), pattern=split).scan(on_error="fail")
        assert manifest.classes == tuple(sorted(identities))
        assert set(manifest.histogram) == {getattr(shape, split)}
    return record


def nothing_left(tmp_path, *, but=("vggface2",)):
    return sorted(path.name for path in tmp_path.iterdir()) == sorted(but)
