"""Inputs by the thousand that nobody meant: ``python -m tests.faults.fuzz specs|images|roots|queues [--count N]``.

Each case is made of its own seed and tried in a forked child that is held to its time and memory. How to read it: cases
by their worst. answered; refused: exit 1 or 2 and a message of ours; traceback: anything else that ends; hang; raw:
control characters printed as they came; memory: more than is allowed. All but the first two are listed with their
seeds, and make the script fail; ``--only SEED`` does one of them again and shows what it printed.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.children import Ended, forked, warm
from tests.faults.fuzz_images import Images
from tests.faults.fuzz_specs import Specs
from tests.faults.fuzz_trees import Queues, Roots

WORSE = ("answered", "refused", "memory", "raw", "traceback", "hang")
BAD = WORSE[2:]

RAW = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""What no terminal should be given: control characters but tabs and ends of lines."""


@dataclass(frozen=True)
class Kind:
    """What is made, how often, and what it may take."""

    maker: Any
    count: int
    limit: float
    """Seconds of one command."""
    memory: int
    """Bytes of memory beyond what a child begins with."""


KINDS = {
    "specs": Kind(Specs, 5000, 30.0, 2**30),
    "images": Kind(Images, 1000, 30.0, 2**29),
    "roots": Kind(Roots, 500, 30.0, 2**30),
    "queues": Kind(Queues, 500, 60.0, 2**29),
}


def verdict(ended: Ended, kind: Kind) -> str:
    """How bad it is."""
    if ended.verdict in ("answered", "refused"):
        if RAW.search(ended.out) or RAW.search(ended.err.encode()):
            return "raw"
        if ended.grown > kind.memory:
            return "memory"
    return ended.verdict


def why(ended: Ended, found: str) -> str:
    """A line about what is bad."""
    if found == "traceback":
        return (
            ended.blame
            if ended.code != 1 and ended.code != 2
            else f"exit {ended.code} without a message: {ended.err[-150:]}"
        )
    if found == "memory":
        return f"{ended.grown / 2**20:.0f} MiB"
    return repr(ended.err[-150:] or ended.out[-150:]) if found == "raw" else f"{ended.seconds:.0f} s"


def main() -> None:
    """Try, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument(
        "--count", type=int, help="of cases; 5000 specs, 1000 images, 500 roots and 500 queues by default"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each has the next one")
    parser.add_argument("--only", type=int, metavar="SEED", help="one case alone, with all that it prints")
    asked = parser.parse_args()
    kind = KINDS[asked.kind]
    warm()
    first = asked.seed if asked.only is None else asked.only
    count = 1 if asked.only is not None else kind.count if asked.count is None else asked.count
    worst, blamed, commands, most = Counter[str](), Counter[str](), Counter[str](), 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dkvb-fuzz-") as made:
        (output := Path(made, "output")).mkdir()
        (inputs := Path(made, "inputs")).mkdir()
        maker = kind.maker(inputs)
        with suppress(KeyboardInterrupt):  # what was tried so far is told
            for seed in range(first, first + count):
                about, calls = maker.case(random.Random(f"{asked.kind} {seed}"))
                ended = dict(zip(calls, forked(list(calls.values()), output, limit=kind.limit), strict=True))
                found = {name: verdict(one, kind) for name, one in ended.items()}
                worst[max(found.values(), key=WORSE.index)] += 1
                most = max(most, *(one.grown for one in ended.values()))
                for name, one in ended.items():
                    commands[f"{name}: {found[name]}"] += 1
                    if asked.only is not None:
                        print(f"-- {name}: {found[name]}, exit {one.code}\n{one.out.decode(errors='replace')}{one.err}")
                    if found[name] in BAD:
                        blamed[f"{found[name]}: {why(one, found[name])}"] += 1
                        print(
                            f"{seed} | {found[name]} | {name} | {about[:300]!r} | {why(one, found[name])}", flush=True
                        )
    for reason, times in blamed.most_common(40):
        print(f"{times} x {reason}")
    told = {
        "kind": asked.kind,
        "cases": sum(worst.values()),
        "seed": first,
        "worst": worst,
        "commands": dict(sorted(commands.items())),
    }
    print(json.dumps({**told, "most MiB": most >> 20, "seconds": round(time.monotonic() - began)}))
    sys.exit(any(worst[name] for name in BAD))


if __name__ == "__main__":
    main()
