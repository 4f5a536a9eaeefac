"""A whole run on a cluster of two nodes with one CPU each, and on one of them: seconds from start to end, and by step.

The images are some tars of the Tiny-ImageNet subset, four for training to one for testing; the experiment is the
shipped `tiny-imagenet`. Read `ratio` as how much sooner two nodes are done. Both roots are compared byte by byte.
"""

import argparse
import re
import sys
import time
import tomllib
from pathlib import Path

from timing import report

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.measures import same
from tests.faults.raylets import ended, head, member, token
from tests.faults.stage import Stage, stage
from tests.tiny import toml

SHIPPED = Path(__file__).parents[2] / "jobs" / "spec" / "shipped" / "tiny-imagenet.toml"


def experiment(held: Stage, source: Path, tars: int) -> tuple[Path, Path]:
    """The spec's file and a folder of links to these tars."""
    images = held.folder()
    trained = sorted(source.glob("train-*.tar"))[: tars * 4 // 5]
    for path in [*trained, *sorted(source.glob("validation-*.tar"))[: tars // 5], source / "classnames.txt"]:
        (images / path.name).symlink_to(path.resolve())
    spec = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    del spec["images"]["expect"]
    path = held.folder() / "tiny-imagenet.toml"
    path.write_text(toml(spec), encoding="utf-8")
    return path, images


def timed(held: Stage, spec: Path, images: Path, nodes: int) -> tuple[float, dict[str, float], Path]:
    """Seconds in all, those of each step, and the root."""
    root = held.folder() / "root"
    first = head(held, token(held), cpus=1)
    others = [member(held, first, host="127.0.0.1") for _ in range(nodes - 1)]
    with ended(first, *others):
        for node in (first, *others):
            node.start()
        begin = time.monotonic()
        words = held.dkvb("run", spec, "--root", root, "--images", images, "--address", first.address)
        run = held.done(words, 0, **first.variables)
        seconds = time.monotonic() - begin
    steps = re.findall(r"^([\w\[\]]+): \d+ of \d+ units, ([\d.]+) s$", run.err, re.MULTILINE)
    return seconds, {step: float(taken) for step, taken in steps}, root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the subset's tars")
    parser.add_argument("--tars", type=int, default=5, help="of its 25")
    asked = parser.parse_args()
    with stage() as held:
        spec, images = experiment(held, asked.images, asked.tars)
        one, by_one, root = timed(held, spec, images, 1)
        two, by_two, other = timed(held, spec, images, 2)
        assert same(root, other), "two nodes gave other bytes than one"
    taken = {**{step: (by_one[step], by_two[step]) for step in by_one}, "start to end": (one, two)}
    rows = [{"work": name, "one node s": a, "two nodes s": b, "ratio": a / b} for name, (a, b) in taken.items()]
    report("nodes", rows, tars=asked.tars)


if __name__ == "__main__":
    main()
