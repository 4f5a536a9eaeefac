"""Check a GPU: does it give the CPU's bits, and how much of what the card can do?

    python -m tests.gpu.check [--json FILE] [--minutes 8] [--only WORD]

runs from the repository's root with torch, Triton, numba, timm and NumPy, without a network; prints a table and JSON.
Exit code: 0 all that is promised to be equal is; 1 something is not, failed, or was not run as no time was left; 2 for
want of a GPU. `--tiny` runs its code on a CPU by Triton's interpreter: it measures nothing.
"""

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.gpu.limits import Limits
    from tests.gpu.parts import Result


def main() -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check a GPU: equal bits, and speed against the limit of the card.")
    parser.add_argument("--tiny", action="store_true", help="run by Triton's interpreter on a CPU; measures nothing")
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no part after so many")
    parser.add_argument("--only", default="", help="run parts whose name contains this word")
    asked = parser.parse_args()
    begin = time.perf_counter()
    if asked.tiny:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    import torch

    if not asked.tiny and not torch.cuda.is_available():
        print("no GPU: torch finds no CUDA device here, so there is nothing to check (--tiny tries the script itself)")
        return 2
    device = torch.device("cpu" if asked.tiny else "cuda")
    facts = machine(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    results: list[dict[str, Any]] = []
    for name, run in parts(device, facts, tiny=asked.tiny):
        if asked.only not in name:
            continue
        spent = time.perf_counter() - begin
        result = (
            row(name, run, device) if spent < 60 * asked.minutes else {"part": name, "error": "not run: no time left"}
        )
        print(line(result), flush=True)
        results.append(result)
    facts["seconds"] = round(time.perf_counter() - begin, 1)
    text = json.dumps({"machine": facts, "results": results}, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    failed = [result["part"] for result in results if result.get("error") or result.get("differ")]
    print(
        f"not equal, failed or not run: {', '.join(failed)}" if failed else "all that is promised to be equal is equal"
    )
    return 1 if failed else 0


def machine(device: Any) -> dict[str, Any]:
    """What the check runs on."""
    import torch
    import triton

    facts = {"torch": torch.__version__, "triton": triton.__version__, "python": platform.python_version()}
    if device.type != "cuda":
        return {"device": "Triton's interpreter on a CPU: times mean nothing", **facts}
    properties = torch.cuda.get_device_properties(device)
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return {"device": properties.name, "memory": memory, "cuda": torch.version.cuda, "CPUs": os.cpu_count(), **facts}


def parts(device: Any, facts: dict[str, Any], *, tiny: bool) -> Iterator[tuple[str, Callable[[], "Result"]]]:
    """Names and work of all parts; the limits of the card are measured before the first, and put among the facts."""
    from tests.gpu.exact_fma import use_exact_fma
    from tests.gpu.limits import Limits
    from tests.gpu.parts import Parts
    from tests.gpu.scene import CIFAR, IMAGENET, TINY, TINY_WIDE, Scene

    if tiny:
        use_exact_fma()
    limits = Limits.of(device, tiny=tiny)
    facts |= asdict(limits)
    print(told(limits), flush=True)
    for size in (TINY, TINY_WIDE) if tiny else (CIFAR, IMAGENET):
        yield from Parts(Scene(size, device), limits).all()
    yield from backbones(device, limits, tiny=tiny)


def backbones(device: Any, limits: "Limits", *, tiny: bool) -> Iterator[tuple[str, Callable[[], "Result"]]]:
    """The parts that embed images."""
    from tests.gpu.images import NAMES, TINY_NAMES, Embedding

    for name in TINY_NAMES if tiny else NAMES:
        embedding = Embedding(name, device, limits, *((2, 2) if tiny else (256, 16)))
        yield f"{name}, decoded", embedding.from_batches
        yield f"{name}, JPEGs", embedding.from_jpegs


def told(limits: "Limits") -> str:
    """The limits for people."""
    return (
        f"limits measured here: {limits.flops / 1e12:.3g} TFLOP/s of multiply-adds, {limits.matrix / 1e12:.3g} of a "
        f"matrix product (both in single precision), {limits.copied / 1e9:.4g} GB/s copied"
    )


def row(name: str, run: Callable[[], "Result"], device: Any) -> dict[str, Any]:
    """The result of a part, with its peak of memory; a part that fails is a row too."""
    import torch

    from tests.gpu.limits import peak

    peak(device, reset=True)
    try:
        result = asdict(run())
    except Exception as error:
        traceback.print_exc()
        result = {"part": name, "error": f"{type(error).__name__}: {error}"}
    result["peak GiB"] = peak(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return result


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    if "error" in result:
        return f"{result['part']:<36} {result['error'].splitlines()[0]}"
    share = "" if result["limit"] is None else f"{result['limit']:.0%} of {result['of']}"
    held = "" if result["peak GiB"] is None else f"{result['peak GiB']:.1f} GiB"
    equal = f"{result['differ']} differ: {result['compared']}" if result["differ"] else f"equal: {result['compared']}"
    columns = (
        f"{result['part']}, {result['size']}",
        result["done"],
        f"{result['seconds']:.3g} s",
        result["rate"],
        share,
        held,
        equal if result["compared"] else "",
    )
    return " | ".join(columns)


if __name__ == "__main__":
    sys.exit(main())
