"""Each file of a finished root damaged in turn: ``python -m tests.faults.damage [--seed 0] [--root ROOT | --tiny]``.

A file is deleted, emptied, cut to half or by one byte, filled with zeros, exchanged with another of its kind, or one
bit of it is flipped. Then a user asks for the state, for tables, and to forget classes (see `requests`), and the file
is put back. ROOT is a finished root of the spec `digits`, copied and never touched; without one it is run, for minutes.
--tiny takes the tiny experiment of the tests. --resume N also runs the experiment again after N of the damages, by
turns with all gone that was made of the damaged artefact, and after `dkvb repair`.

How to read it: one line per kind of file and damage, each damage counted under the worst that any command made of it.
harmless: every number as before. refused: a message that names a place and a remedy. vague: one that lacks either.
wrong: exit 0 and another number. missed: not found by `dkvb status --verify`. All from vague on are listed as they are
found, and refusals of --resume; wrong, traceback, hang and missed make the script fail.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle
from pathlib import Path
from statistics import median

from jobs.certificate import LOG
from tests.faults.answers import Judged, answers, ask, commands, has, judge, repair, resume
from tests.faults.children import warm
from tests.faults.finished import Copy, Source, digits, tiny

Again = Callable[[Source, Copy, str, Path], Judged]

BAD = ("wrong", "traceback", "hang", "missed")
WORSE = ("harmless", "refused", "vague", *BAD)

NO_NUMBERS = ("events.jsonl", "progress.json", ".png")
"""Logs and pictures: nothing is read off them, and so nothing needs to find that they changed."""


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The data with one bit flipped."""
    at = rng.randrange(8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "deleted": lambda data, rng: None,
    "emptied": lambda data, rng: b"",
    "cut to half": lambda data, rng: data[: len(data) // 2],
    "cut by a byte": lambda data, rng: data[:-1],
    "zeroed": lambda data, rng: bytes(len(data)),
    "flipped": lambda data, rng: flipped(data, rng) if data else data,
}
"""What becomes of the bytes of a file; None: there is no file. An exchange needs the other files: see `damaged`."""

SWAPPED = "swapped"


@cache
def kind(file: str) -> str:
    """What kind of file it is: its step, and its name without numbers; the array, of a chunk."""
    step, _, rest = file.partition("/")
    rest = re.sub(r"^[0-9a-f]{16}/", "", rest)
    if chunk := re.match(r"data\.zarr/(\w+)(/\d+)?/c/", rest):
        return f"{step}: chunk of {chunk[1]}"
    return f"{step}: {re.sub(r'[0-9]+', 'N', rest)}" if rest else step


def damaged(copy: Copy, file: str, name: str, *, seed: int) -> bytes | None:
    """What a file holds after a damage."""
    rng, data = random.Random(f"{seed} {file} {name}"), (copy.path / file).read_bytes()
    if name != SWAPPED:
        return DAMAGES[name](data, rng)
    others = [other for other in copy.files() if Path(other).suffix == Path(file).suffix]
    rng.shuffle(others)
    others.sort(key=lambda other: (kind(other) != kind(file), Path(other).name != Path(file).name))
    contents = ((copy.path / other).read_bytes() for other in others)
    return next((content for content in contents if content != data), data)


def damages(copy: Copy, *, seed: int) -> Iterator[tuple[str, str]]:
    """Every file with every damage that changes it."""
    for file in copy.files():
        data = (copy.path / file).read_bytes()
        yield from ((file, name) for name in (*DAMAGES, SWAPPED) if damaged(copy, file, name, seed=seed) != data)


class Tried:
    """All damages tried so far."""

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.copy = Copy(source.root, folder / "copy")
        self.words = commands(source)
        self.expected = answers(ask(self.copy, self.words, folder))
        self.copy.put_back()
        self.table: dict[tuple[str, str], Counter[str]] = {}
        self.bad: list[dict[str, str]] = []
        self.seen: Counter[str] = Counter()

    def damage(self, file: str, name: str, holds: bytes | None, *, again: Again | None) -> None:
        """Damage one file, do what a user does, judge, and put it back."""
        path = self.copy.path / file
        path.unlink()  # a run may still hold the file that was there
        if holds is not None:
            path.write_bytes(holds)
        ended = ask(self.copy, self.words, self.folder)
        found = [judge(command, one, self.expected[command], self.copy.path) for command, one in ended.items()]
        # The artefact, whichever of its files is blamed; of the log what is beside a removed entry.
        of_log = file.startswith(f"{LOG}/")
        where = LOG if of_log else "/".join(file.split("/")[:2])
        if "verify" in ended and where not in ended["verify"].message and not file.endswith(NO_NUMBERS):
            found.append(Judged("verify", "missed", f"found: {ended['verify'].message[:200] or 'nothing'}"))
        if again is not None and not of_log:  # which nothing makes again
            found.append(again(self.source, self.copy, file, self.folder))
        self.copy.put_back()
        self.count(file, name, found)

    def count(self, file: str, name: str, found: list[Judged]) -> None:
        """Put it into the table, and tell what is bad."""
        worst = max((one.verdict for one in found), key=WORSE.index)
        self.table.setdefault((kind(file), name), Counter())[worst] += 1
        self.seen.update(f"{one.command}: {one.verdict}" for one in found)
        for one in found:
            about = {"verdict": one.verdict, "file": file, "damage": name, "command": one.command, "why": one.why}
            if one.verdict in BAD:
                self.bad.append(about)
            if one.verdict in (*BAD, "vague") or (one.verdict == "refused" and one.command in ("run", "repair")):
                print(" | ".join(about.values()), flush=True)

    def show(self) -> None:
        """The table."""
        shown = [verdict for verdict in WORSE if any(verdict in row for row in self.table.values())]
        print(f"\n| kind of file | damage | {' | '.join(shown)} |\n|---|---|{'---:|' * len(shown)}")
        for (what, name), row in sorted(self.table.items()):
            print(f"| {what} | {name} | {' | '.join(str(row[verdict] or '') for verdict in shown)} |")


def cost(tried: Tried) -> dict[str, float]:
    """Seconds of each command, median of five after one, and of reading every byte."""
    rounds = [ask(tried.copy, tried.words, tried.folder) for _ in range(6)][1:]
    taken = {name: round(median(one[name].seconds for one in rounds), 4) for name in tried.words}
    began = time.perf_counter()
    for file in tried.copy.files():
        (tried.copy.path / file).read_bytes()
    tried.copy.put_back()
    return {**taken, "reading all bytes": round(time.perf_counter() - began, 4)}


def main() -> None:
    """Damage, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, help="a finished root of the spec digits")
    parser.add_argument("--tiny", action="store_true", help="the tiny experiment of the tests")
    parser.add_argument("--share", type=float, default=1.0, help="of the damages that are tried")
    parser.add_argument("--resume", type=int, default=0, metavar="N", help="runs after a damage")
    parser.add_argument("--cost", action="store_true", help="time the commands")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    warm()
    with tempfile.TemporaryDirectory(prefix="dkvb-damage-") as made:
        folder = Path(made)
        source = tiny(folder) if asked.tiny else digits(folder, asked.root)
        tried, began = Tried(source, folder), time.monotonic()
        every = [one for one in damages(tried.copy, seed=asked.seed) if rng.random() < asked.share]
        turns = cycle((resume, repair) if has("repair") else (resume,))
        again = dict(zip(rng.sample(range(len(every)), min(asked.resume, len(every))), turns, strict=False))
        with suppress(KeyboardInterrupt):  # what was tried so far is told
            for number, (file, name) in enumerate(every):
                holds = damaged(tried.copy, file, name, seed=asked.seed)
                tried.damage(file, name, holds, again=again.get(number))
                if number % 100 == 99:
                    print(f"{number + 1} of {len(every)}, {time.monotonic() - began:.0f} s", file=sys.stderr)
        tried.show()
        worst = sum(tried.table.values(), Counter[str]())
        about = {"seed": asked.seed, "files": len(tried.copy.files()), "damages": sum(worst.values()), "worst": worst}
        costs = {"cost": cost(tried)} if asked.cost else {}
        seconds = round(time.monotonic() - began)
        print(
            json.dumps(
                {**about, "commands": dict(sorted(tried.seen.items())), "bad": tried.bad, "seconds": seconds, **costs}
            )
        )
    sys.exit(any(worst[verdict] for verdict in BAD))


if __name__ == "__main__":
    main()
