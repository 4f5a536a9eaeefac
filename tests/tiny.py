"""A tiny real pipeline: class folders of coloured noise, a real backbone at 32 pixels, 11 x 13 pairs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from store.artefacts import Artefact

TRAIN = {"ant": 11, "bee": 13, "cat": 17}
TEST = {"ant": 7, "bee": 3, "cat": 5}
COLOURS = np.array([[200, 60, 50], [60, 190, 70], [50, 70, 210], [190, 180, 60]])

TINY = {
    "name": "tiny",
    "images": {"kind": "folder", "shard_items": 11},
    "backbone": {"library": "efficientnet-lite", "name": "lite0", "image_size": 32},
    "bottleneck": {"c": 11, "m": 13, "d_k": 3},
    "keys": {"epochs": 2, "batch": 19},
    "values": {"epochs": 7},
    "linear": {"epochs": 7},
    "sweep": {"uva": {"shares": [0.2, 0.5, 1.0]}, "uve": {"examples": [1, 5, 11], "seeds": [0, 3]}},
}


def picture(label: int, number: int, size: int) -> Image.Image:
    """Noise around the colour of a class, the same for the same arguments."""
    noise = np.random.default_rng([label, number]).integers(-50, 50, (size, size, 3))
    return Image.fromarray((COLOURS[label] + noise).clip(0, 255).astype(np.uint8))


def paint(folder: Path, counts: dict[str, int], size: int = 32, first: int = 0) -> None:
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            picture(label, number, size).save(folder / name / f"{number:04d}.png")


def toml(table: dict[str, Any], where: str = "") -> str:
    """A nested dict as TOML; JSON's texts, numbers and lists are TOML too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    inner = {f"{where}{key}": value for key, value in table.items() if isinstance(value, dict)}
    heads = [f"\n[{key}]\n{toml(value, f'{key}.')}" for key, value in inner.items()]
    return "\n".join([*plain, *heads]) + "\n"


def changed(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with dotted keys set; the value None takes a key away."""
    table = json.loads(json.dumps(table))
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = table
        for key in path:
            place = place.setdefault(key, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return table


@dataclass
class Watched:
    """A run's progress, kept to be looked at."""

    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Label -> (units, units that done already)."""
    units: list[Any] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)

    def step(self, label: str, total: int, standing: int) -> None:
        self.steps[label] = (total, standing)

    def worker(self, label: str, event: Any) -> None:
        self.events.append((label, event))

    def unit(self, label: str, outcome: Any) -> None:
        self.units.append(outcome)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def done(self, label: str, seconds: float) -> None:
        self.ended[label] = seconds


def data_files(root: Path) -> dict[str, bytes]:
    """Every file that must have equal bytes in equal runs, by its path below the root; nothing half written."""
    suffixes = (".parquet", ".safetensors")
    names = ("spec.json", "units.json", "manifest.json")
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name[0] != "."]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if "data.zarr" in path.parts or path.suffix in suffixes or path.name in names
    }


def without_checksums(root: Path) -> None:
    """Make of a root what a version without checksums wrote, or somebody who takes them away with what he changes."""
    for done in root.rglob("DONE"):
        done.write_bytes(b"")
        (done.parent / "checksums.json").unlink(missing_ok=True)
        for marker in (done.parent / "units").glob("*.json"):
            facts = json.loads(marker.read_bytes())
            facts.pop("files", None)
            marker.write_text(json.dumps(facts))


def unfinish(artefact: Artefact) -> None:
    """Make of a finished artefact one that its run has not closed yet."""
    for name in ("DONE", "checksums.json"):
        (artefact.path / name).unlink()
