"""Images nobody should have: real ones of every format that Pillow writes, damaged, misnamed, or huge by their word."""

import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.children import Call

MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "I", "F", "LA")
ENDINGS = ("jpg", "png", "bmp", "webp", "tif", "gif", "jpeg", "JPG", "avif", "txt", "")
THIN = ((4000, 1), (1, 4000), (60_000, 1), (1, 60_000), (1, 1), (2, 30_000))


def encoded() -> dict[str, bytes]:
    """A small picture in every format and mode that Pillow writes, by a name of both."""
    Image.init()
    noise = np.random.default_rng(7).integers(0, 256, (37, 29, 3), dtype=np.uint8)
    found = {}
    for form in sorted(Image.SAVE):
        for mode in MODES:
            buffer = io.BytesIO()
            try:
                Image.fromarray(noise).convert("L" if mode in ("I", "F", "I;16") else "RGB").convert(mode).save(
                    buffer, form
                )
            except Exception:  # a format that does not take the mode is left out
                continue
            found[f"{form} {mode}"] = buffer.getvalue()
    return found


def thin(rng: random.Random) -> bytes:
    """One line of pixels, however long."""
    buffer = io.BytesIO()
    Image.new("RGB", rng.choice(THIN), (9, 99, 200)).save(buffer, rng.choice(("PNG", "JPEG", "BMP")))
    return buffer.getvalue()


def wide(rng: random.Random) -> bytes:
    """A PNG that says it is huge, with the right checksum, and holds next to nothing."""
    size = rng.choice(
        ((65_535, 65_535), (2**31 - 1, 2**31 - 1), (9_000, 9_000), (20_000, 8_000), (0, 0), (2**31 - 1, 1))
    )

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 6)), 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(rng.choice((10, 10**6)))))
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


def _flip(data: bytes, rng: random.Random) -> bytes:
    held = bytearray(data)
    for _ in range(rng.choice((1, 1, 8, 64))):
        held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
    return bytes(held)


def _head(data: bytes, rng: random.Random) -> bytes:
    at, word = (
        rng.randrange(min(len(data), 64)),
        struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))),
    )
    return data[:at] + word + data[at + 4 :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "whole": lambda data, rng: data,
    "bits flipped": _flip,
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "head": _head,
    "middle gone": lambda data, rng: data[: len(data) // 3] + data[len(data) // 2 :],
    "more behind": lambda data, rng: data + rng.randbytes(99),
    "twice": lambda data, rng: data + data,
    "zeros behind its head": lambda data, rng: data[:32] + bytes(len(data) - 32 if len(data) > 32 else 0),
    "noise": lambda data, rng: rng.randbytes(len(data)),
    "empty": lambda data, rng: b"",
    "thin": lambda data, rng: thin(rng),
    "huge by its word": lambda data, rng: wide(rng),
}
"""What becomes of an image file."""


class Images:
    """Each case is a data set of good images and the damaged one; it is scanned, read, and made ready to embed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, encoded()
        self.good = self.made["PNG RGB"]

    def case(self, rng: random.Random) -> tuple[str, dict[str, Call]]:
        """One data set; returns what it is, and what is done with it."""
        form, change = rng.choice(list(self.made)), rng.choice(list(CHANGES))
        data = CHANGES[change](self.made[form], rng)
        own = {"JPEG": "jpg", "TIFF": "tif"}.get(form.split()[0], form.split()[0].lower())
        ending = own if rng.random() < 0.6 else rng.choice(ENDINGS)
        kind = rng.choice(("folder", "webdataset", "parquet"))
        put = {"folder": self.in_folder, "webdataset": self.in_tar, "parquet": self.in_parquet}[kind]
        place = self.folder / kind
        place.mkdir(exist_ok=True)
        for old in place.rglob("*"):
            if old.is_file():
                old.unlink()
        path = put(place, data, ending)
        about = f"{form} {change} as .{ending} in {kind}"
        if kind != "folder" and rng.random() < 0.3:  # the container itself
            what = rng.choice(("bits flipped", "cut", "head", "middle gone", "zeros behind its head"))
            path.write_bytes(CHANGES[what](path.read_bytes(), rng))
            about += f", {what}"
        pattern = {"folder": "", "webdataset": "*.tar", "parquet": "*.parquet"}[kind]
        return about, {how: partial(read, kind, place, pattern, how) for how in ("fail", "skip")}

    def in_folder(self, place: Path, data: bytes, ending: str) -> Path:
        """Two class folders."""
        for name in ("ant/0.png", "ant/1.png", "bee/2.png"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(self.good)
        path = place / "bee" / (f"3.{ending}" if ending else "3")
        path.write_bytes(data)
        return path

    def in_tar(self, place: Path, data: bytes, ending: str) -> Path:
        """One tar."""
        with tarfile.open(place / "a.tar", "w") as tar:
            for number, content in enumerate((self.good, self.good, data, self.good)):
                last = (ending or "png") if number == 2 else "png"
                for name, held in ((f"{number}.{last}", content), (f"{number}.cls", str(number % 2).encode())):
                    about = tarfile.TarInfo(name)
                    about.size = len(held)
                    tar.addfile(about, io.BytesIO(held))
        return place / "a.tar"

    def in_parquet(self, place: Path, data: bytes, ending: str) -> Path:
        """One file of a row group for two rows; written in the parent, which is single-threaded for so little."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        held = [{"bytes": one, "path": f"x.{ending}"} for one in (self.good, data, self.good)]
        pq.write_table(pa.table({"image": held, "label": [0, 1, 1]}), place / "a.parquet", row_group_size=2)
        return place / "a.parquet"


def read(kind: str, place: Path, pattern: str, how: str) -> None:
    """Scan, read and transform; what a reader takes it must give again, whatever lies beside it."""
    from timm.data import create_transform

    from dkvb.preprocessing import Preprocessing
    from jobs.printable import say
    from store.errors import StoreError
    from store.images import open_images

    try:
        images = open_images(kind, str(place), pattern=pattern)
        manifest = images.scan(on_error="fail" if how == "fail" else "skip")
        transform = Preprocessing(create_transform((3, 128, 128), is_training=False))  # as a backbone's own
        told = [(problem.item, problem.reason) for problem in manifest.problems]
        for shard in manifest.shards:
            items = list(images.read(shard))
            assert len(items) == shard.items, f"{len(items)} items read, {shard.items} scanned"
            for item in items:
                assert (item.image is None) == (item.problem is not None) or item.label == -1, item
                if item.image is not None:
                    assert item.image.mode == "RGB"
                    transform(item.image)
                else:
                    told.append((item.key, item.problem or ""))
        assert json.dumps(manifest.to_json())
        say(str(told))
    except StoreError as error:
        say(f"dkvb: {error}", err=True)
        raise SystemExit(1) from None
