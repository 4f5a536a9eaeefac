"""Image data sets in every form, made by tests, and what is found in them and in folders."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from PIL import Image

from store.images import Images, Manifest

NAMES = st.text("abcXYZ019-_ éß", min_size=1, max_size=6).map(lambda text: text.strip() or "n")
"""Names of images."""


def picture(shade: int, form: str = "PNG", mode: str = "RGB", **save: object) -> bytes:
    """An encoded image of 5 x 3 pixels; PNG keeps its shade exactly."""
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3), (shade, shade // 2, 7)).convert(mode).save(buffer, form, **save)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(archive: tarfile.TarFile) -> dict[str, bytes]:
    """What the files of a tar hold, by their names."""
    files = {member.name: archive.extractfile(member) for member in archive}
    return {name: file.read() for name, file in files.items() if file is not None}


def tar_samples(first: int, count: int, classes: int = 3) -> list[tuple[str, bytes]]:
    members = []
    for n in range(first, first + count):
        members += [
            (f"s{n:03d}.png", picture(n)),
            (f"s{n:03d}.cls", str(n % classes).encode()),
            (f"s{n:03d}.json", b"{}"),
        ]
    return members


def write_parquet(
    path: Path, labels: dict[str, list[int | None]], *, names: list[str] | None = None, **options: Any
) -> Path:
    count = len(next(iter(labels.values())))
    rows = [{"bytes": picture(n), "path": None} for n in range(count)]
    columns = {"image": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    columns |= {name: pa.array(values, pa.int64()) for name, values in labels.items()}
    table = pa.table(columns)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, **options)
    return path


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def every_name(folder: Path) -> list[str]:
    """What lies in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def everything(images: Images, manifest: Manifest) -> list[tuple[str, str, int]]:
    """(shard, key, label) of all items read, after checking them against the manifest."""
    found = []
    for shard in manifest.shards:
        items = list(images.read(shard))
        assert [item.index for item in items] == list(range(shard.items))
        assert tuple(item.label for item in items) == shard.labels
        assert all((item.image is None) <= (item.problem is not None) for item in items)
        assert all(item.image is None or item.image.mode == "RGB" for item in items)
        found += [(shard.name, item.key, item.label) for item in items]
    return found


def reasons(manifest: Manifest) -> list[tuple[str, str, str]]:
    return [(p.shard, p.item, p.reason) for p in manifest.problems]
