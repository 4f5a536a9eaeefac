"""What the golden files hold: digests of every step of every shipped spec, and bytes of the digits demo.

``python -m tests.golden.results [ROOT]`` writes them anew, from ROOT where the demo was run. Only where a step's
VERSION changed on purpose, and with the reason in the commit.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.plan.plan import sketch
from jobs.spec.library import shipped
from jobs.spec.reading import load_specs

FOLDER = Path(__file__).parent
DIGESTS = FOLDER / "digests.json"
DIGITS = FOLDER / "digits.json"
TABLES = ("summary", "classes", "sweep")
REQUESTS = {
    "uva of 7": ("--class", "7"),
    "uve of 3": ("--class", "3", "--method", "uve"),
    "uva of 1 and 8, half": ("--class", "1", "--class", "8", "--share", "0.5"),
}
MAIN = "from dkvb_unlearning import main; main()"
ARITHMETIC = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+fsgsbase,+invpcid,+lzcnt,+movbe,+popcnt,+rdrnd,+sse4.2",
}
"""For torch, oneDNN, MKL, OpenBLAS and numba: sums of floats depend on the width of a processor's vectors."""
TIMES = {"seconds"}
"""Columns that no two runs have alike."""


def shipped_digests(name: str) -> dict[str, dict[str, str]]:
    """Experiment -> label -> digest of a shipped spec whose images nobody has seen."""
    return {spec.name: sketch(spec).digests() for spec in load_specs(name)}


def dkvb(*words: object) -> bytes:
    """What the command prints, with arithmetic that is the same on every x86 processor of the last ten years."""
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **ARITHMETIC}).stdout


def digits(root: Path) -> dict[str, str]:
    """SHA-256 by name of what the demo's root holds and tells: data, tables, masks, unlearned checkpoints."""
    found = {
        str(path.relative_to(root)): sha256(path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and ("data.zarr" in path.parts or path.suffix == ".safetensors")
        if "unlearned" not in path.parts
    }
    for name in TABLES:
        rows = json.loads(dkvb("table", root, "--table", name, "--format", "json"))
        found[f"table {name}"] = sha256(json.dumps([timeless(row) for row in rows]).encode())
    for name, words in REQUESTS.items():
        answer = json.loads(dkvb("unlearn", root, *words, "--json"))
        for kind in ("mask", "checkpoint"):
            found[f"{kind}, {name}"] = sha256(Path(answer[kind]).read_bytes())
    return found


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its times."""
    return {key: value for key, value in row.items() if key not in TIMES}


def sha256(data: bytes) -> str:
    """Of some bytes."""
    return hashlib.sha256(data).hexdigest()


def write(path: Path, content: object) -> None:
    """As JSON, a line per entry."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(DIGESTS, {name: shipped_digests(name) for name in shipped()})
    with TemporaryDirectory() as made:
        if sys.argv[1:]:
            write(DIGITS, digits(Path(sys.argv[1])))
        else:
            dkvb("demo", "--root", made)
            write(DIGITS, digits(Path(made)))
