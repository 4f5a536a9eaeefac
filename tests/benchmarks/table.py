"""Run every benchmark at one size, each in a process of its own, and print one table: what, seconds or rate, ratios."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import SIZES

SHOWN = ("what", "ratio", "of limit")


def run(script: Path, size: str) -> dict[str, Any]:
    """One benchmark's JSON."""
    found = subprocess.run([sys.executable, script, "--size", size], capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"{script.name}: {found.stderr}")
    return dict(json.loads(found.stdout.splitlines()[-1]))


def main() -> None:
    """All of them, or the ones named."""
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("names", nargs="*", choices=[*scripts, []], default=[])
    asked = parser.parse_args()
    print(f"{'benchmark':<12}{'what':<16}{'ratio':>9}{'of limit':>10}{'peak MB':>9}  the rest")
    for name in asked.names or scripts:
        told = run(scripts[name], asked.size)
        for row in told["rows"]:
            rest = ", ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in SHOWN)
            cells = "".join(
                f"{row.get(key, float('nan')):>{width}.3g}" for key, width in (("ratio", 9), ("of limit", 10))
            )
            print(f"{name:<12}{row.get('what', ''):<16}{cells}{told['peak_bytes'] / 2**20:>9.0f}  {rest}", flush=True)


if __name__ == "__main__":
    main()
