"""Every fault many times, at different moments: ``python tests/faults/table.py [--repeats 5] [--only NAME]``.

How to read it: "units repeated" is work that stood before the fault and was done again (must be 0), "begun twice" are
units that were in flight at the fault. What "seconds to recover" runs from and to is said where the fault is defined.
A run that is not as it must be is told with its reason, and the script then fails at its end.
"""

import argparse
import re
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.catalogue import FAULTS
from tests.faults.measures import Measures
from tests.faults.stage import stage
from tests.processes import kill_all

HEAD = ("fault", "runs", "units repeated", "begun twice", "seconds to recover", "seconds in all", "identical", "says")


def row(name: str, runs: list[Measures]) -> str:
    """A line of the table; numbers as median, max."""

    def both(values: list[float], form: str) -> str:
        return f"{median(values):{form}}, {max(values):{form}}"

    cells = [
        name,
        str(len(runs)),
        both([one.repeated for one in runs], ".0f"),
        both([one.twice for one in runs], ".0f"),
        both([one.recover_s for one in runs], ".1f"),
        both([one.seconds for one in runs], ".0f"),
        f"{sum(one.identical for one in runs)} of {len(runs)}",
        "; ".join(dict.fromkeys(re.sub(r"/tmp/\S*/root/", "ROOT/", one.says) for one in runs)).replace("|", "/"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=[fault.__name__ for fault in FAULTS], action="append")
    asked = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    failed = False
    with stage() as held:
        for fault, why_not in FAULTS.items():
            if asked.only and fault.__name__ not in asked.only:
                continue
            if reason := why_not():
                print(f"| {fault.__name__} | 0 | | | | | | not here: {reason} |", flush=True)
                continue
            runs = []
            for seed in range(asked.repeats):
                began = time.monotonic()
                try:
                    runs.append(fault(held, seed))
                except AssertionError as error:
                    print(f"| {fault.__name__} {seed} | FAILED | | | | | | {error} |", flush=True)
                    failed = True
                    kill_all(held.session.marker)
                    continue
                print(f"{fault.__name__} {seed}: {time.monotonic() - began:.0f} s, {runs[-1]}", file=sys.stderr)
            if runs:
                print(row(fault.__name__, runs), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
