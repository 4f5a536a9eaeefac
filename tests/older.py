"""A finished root as versions before coordinates left it: format dkvb-root/1."""

import json
import shutil
from pathlib import Path

from store.chunks import METADATA
from store.coordinates import made_when_closed
from store.recording import stamp

GROUP = json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2)
OLDER_AXES = {"item_train": "item", "item_test": "item"}


def as_version_1(root: Path) -> None:
    """Take away what newer versions write, and list what is left as they listed it."""
    for group in sorted(root.glob("*/*/data.zarr")):
        for inside in sorted(group.iterdir()):
            if inside.is_dir() and made_when_closed(inside.name):
                shutil.rmtree(inside)
            elif inside.name.startswith("oracle"):
                about = json.loads((inside / METADATA).read_text())
                about["dimension_names"] = [OLDER_AXES.get(axis, axis) for axis in about["dimension_names"]]
                (inside / METADATA).write_text(json.dumps(about, indent=2))
        (group / METADATA).write_text(GROUP)
        if group.parent.parent.name == "manifest":
            shutil.rmtree(group)
        if (group.parent / "checksums.json").exists():
            list_anew(group.parent)
    (root / "dkvb-root.json").write_text(json.dumps({"format": "dkvb-root/1"}, indent=2) + "\n")


def list_anew(folder: Path) -> None:
    """Bring the markers and checksums of an artefact in line with what is there."""
    for marker in (folder / "units").glob("*.json"):
        about = json.loads(marker.read_text())
        about["files"] = {name: text for name, text in about["files"].items() if (folder / name).exists()}
        marker.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    listed = json.loads((folder / "checksums.json").read_text())
    there = sorted(name for name in listed["files"] if (folder / name).exists())
    listed["files"] = {name: stamp((folder / name).read_bytes()) for name in there}
    (folder / "checksums.json").write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
    (folder / "DONE").write_text(f"sha256 {stamp((folder / 'checksums.json').read_bytes())}\n")
