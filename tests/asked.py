"""The commands of docs/query.md and what they print: ``python -m tests.asked ROOT`` prints it anew, of ROOT.

ROOT is a finished root of the spec cifar10, a copy: a request to forget the cat is made there if there is none.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "query.md"
SHOWN = "roots/cifar10"
"""The root as the page calls it."""
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REQUEST = re.compile(r"(?<=roots/cifar10 )[0-9a-f]{4}\b|(?<=collateral )[0-9a-f]{4}\b|(?<=--mask )[0-9a-f]{4}\b")
"""The first letters of the request, where a command names it."""


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of the blocks of a page, and what is printed below it."""
    found = []
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def answer(command: str, root: str) -> str:
    """What a command of the page prints, of a root that is called as there."""
    words = [word if word != SHOWN else root for word in shlex.split(command)[1:]]
    ended = subprocess.run(
        [Path(sys.executable).with_name("dkvb"), *words], capture_output=True, text=True, check=True, timeout=600
    )
    said = "".join(f"{line.rstrip()}\n" for line in (ended.stdout + ended.stderr).splitlines())
    return said.replace(root, SHOWN)


def main(root: str) -> None:
    """Print all answers into the page."""
    unlearned = sorted(Path(root, "unlearned").glob("*"))
    if not unlearned:
        answer(f"dkvb unlearn {SHOWN} --class cat --no-measure", root)
        unlearned = sorted(Path(root, "unlearned").glob("*"))
    text = PAGE.read_text().replace("DIGEST", unlearned[0].name[:4])

    def block(found: re.Match[str]) -> str:
        parts = [f"$ {command}\n{answer(command, root)}" for command, _ in commands(found[0])]
        return "```console\n" + "\n".join(parts) + "```"

    PAGE.write_text(BLOCK.sub(block, text))


if __name__ == "__main__":
    main(sys.argv[1])
