"""What a user does with a finished root, and whether what came of it is what comes of the undamaged one."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.children import Ended, dkvb, forked
from tests.faults.finished import Copy, Source, require

LATE_S = 60.0
"""Seconds after which a command hangs."""

REMEDY = re.compile(r"\b(run|repair|delete|restore|give|use|take|make|choose|expected|say which)\b")
"""A message without one of these words does not say what to do."""

Answers = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """What one command made of a damaged root: harmless, refused, vague, wrong, traceback, hang."""

    command: str
    verdict: str
    why: str = ""


def commands(source: Source) -> dict[str, list[object]]:
    """Words of the commands by their names, without the root, which comes second."""
    one, other = source.classes
    both: list[object] = ["unlearn", "--class", one, "--class", other, "--json"]
    return {
        # Before the requests: they write anew what an earlier one wrote.
        **({"verify": ["status", "--verify"]} if has("status", "--verify") else {}),
        "status": ["status"],
        "table": ["table", "--format", "json"],
        "table classes": ["table", "--table", "classes", "--format", "json"],
        "table sweep": ["table", "--table", "sweep", "--format", "json"],
        "mask": ["unlearn", "--class", one, "--mask-only", "--json"],
        "mask by examples": [*both, "--mask-only", "--method", "uve", "--share", "0.5"],
        "unlearn": ["unlearn", "--class", one, "--json"],
        "unlearn two": both,
    }


def has(command: str, option: str = "--help") -> bool:
    """Whether a command is there, and has an option."""
    from click import Context

    from jobs.cli.main import cli

    found = cli.commands.get(command)
    return found is not None and any(option in one.opts for one in found.get_params(Context(found)))


def ask(copy: Copy, words: Mapping[str, list[object]], folder: Path) -> dict[str, Ended]:
    """Do all of it on a copy."""
    calls = [dkvb(first, copy.path, *rest) for first, *rest in words.values()]
    return dict(zip(words, forked(calls, folder, limit=LATE_S), strict=True))


def answers(ended: Mapping[str, Ended]) -> dict[str, Answers]:
    """What commands that must answer have answered."""
    for name, one in ended.items():
        require(one, name)
    return {name: answer(one) for name, one in ended.items()}


def answer(ended: Ended) -> Answers:
    """What a command printed without its times, and the SHA-256 of the files that it named."""
    try:
        said = json.loads(ended.out)
    except ValueError:
        return {"text": ended.out}
    if not isinstance(said, dict):
        return {f"row {number}": rounded(row) for number, row in enumerate(said)}
    kept = {name: value for name, value in said.items() if not name.endswith("seconds") and name != "certificate"}
    if "still_there" in kept:  # besides other requests, which the damage may have had refused
        kept["still_there"] = sorted(name for name in said["still_there"] if not name.startswith("unlearned/"))
    for name in ("mask", "checkpoint"):
        path = said.get(name)
        kept[f"{name} file"] = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    return kept


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table; the last digits of a mean differ between two runs."""
    return {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()}


def judge(name: str, ended: Ended, expected: Answers, root: Path) -> Judged:
    """What one command made of it."""
    if ended.verdict in ("traceback", "hang"):
        return Judged(name, ended.verdict, ended.blame if ended.verdict == "traceback" else "")
    if ended.verdict == "refused":
        return refused(name, ended, root)
    if name in ("status", "verify"):  # their answer is the state of the root, which is another now
        return Judged(name, "harmless")
    found = answer(ended)
    other = sorted(key for key in expected.keys() | found.keys() if not agrees(key, expected.get(key), found.get(key)))
    if not other:
        return Judged(name, "harmless")
    return Judged(name, "wrong", "; ".join(differs(key, expected.get(key), found.get(key)) for key in other[:5]))


def agrees(key: str, expected: Any, found: Any) -> bool:
    """Whether it is the same answer; a folder whose spec is damaged may hold the items, and is then listed too."""
    return bool({*expected} <= {*found} if key == "still_there" and found else expected == found)


def refused(name: str, ended: Ended, root: Path) -> Judged:
    """Whether a refusal names a place and says what to do."""
    if str(root) not in ended.message:
        return Judged(name, "vague", f"names no file: {ended.message[:200]}")
    if not REMEDY.search(ended.message):
        return Judged(name, "vague", f"no remedy: {ended.message[:200]}")
    return Judged(name, "refused", ended.message[:200])


def differs(key: str, expected: Any, found: Any) -> str:
    """How an answer differs, in a few words."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return f"{key} {', '.join(name for name in expected if expected[name] != found.get(name))}"
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return f"{key} {found:.6g} for {expected:.6g}"
    return f"{key} differs"


def later(source: Source, name: str) -> list[str]:
    """The artefacts, as step/digest, that come after the one that a file belongs to; none where it belongs to none."""
    (about,) = (source.root / "experiments").glob("*.json")
    steps = json.loads(about.read_text())["steps"]
    artefacts = [f"{label.partition('[')[0]}/{digest}" for label, digest in steps.items()]
    at = next((i for i, artefact in enumerate(artefacts) if name.startswith(f"{artefact}/")), len(artefacts))
    return artefacts[at + 1 :]


def resume(source: Source, copy: Copy, name: str, folder: Path) -> Judged:
    """Run again where everything after the damaged artefact is to be made; its data must be the bytes they were."""
    gone = later(source, name)
    for artefact in gone:
        copy.drop(artefact)
    (ended,) = forked([dkvb(*source.run(copy.path))], folder, limit=30 * LATE_S, room=2**40)
    if ended.verdict != "answered":
        return judge("run", ended, {}, copy.path)
    made = [file for file in copy.files() if is_data(file) and file.startswith(tuple(gone)) and file != name]
    other = [file for file in made if not same(source.root / file, copy.path / file)]
    return Judged("run", "wrong" if other else "harmless", f"{len(other)} files differ: {other[0]}" if other else "")


def repair(source: Source, copy: Copy, name: str, folder: Path) -> Judged:
    """Repair, run, verify: all that the run made must be the bytes they were."""
    words = [("repair", copy.path), source.run(copy.path), ("status", copy.path, "--verify")]
    every = forked([dkvb(*one) for one in words], folder, limit=30 * LATE_S, room=2**40)
    for ended, (command, *_) in zip(every, words, strict=True):
        if ended.verdict != "answered":
            found = judge("repair", ended, {}, copy.path)
            return Judged("repair", "wrong" if command == "status" else found.verdict, f"{command}: {found.why}")
    made = [file for file in copy.files() if is_data(file) and not file.startswith("unlearned/")]
    other = [file for file in made if not same(source.root / file, copy.path / file)]
    return Judged("repair", "wrong" if other else "harmless", f"{len(other)} files differ: {other[0]}" if other else "")


def is_data(file: str) -> bool:
    """Whether equal runs give equal bytes of it."""
    return "data.zarr" in file or file.endswith((".parquet", ".safetensors", "manifest/manifest.json"))


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same."""
    return other.is_file() and one.read_bytes() == other.read_bytes()
