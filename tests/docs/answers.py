"""Answers of a page, printed anew: ``python -m tests.docs.answers PAGE FOLDER`` runs its commands in FOLDER.

Only below commands of `digits` blocks that show an answer already, "..." being one; standard output alone.
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import FENCE, MARK, Block, blocks


def anew(block: Block, folder: Path) -> str:
    """The text of a block with its answers printed anew."""
    parts = []
    for part in filter(None, re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE)):
        command, _, output = re.sub(r"\\\n\s*", "", part).removeprefix("$ ").partition("\n")
        words = ["bash", "-c", command]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=600, check=True)
        said = "".join(f"{line.rstrip()}\n" for line in done.stdout.strip("\n").splitlines())
        shown = part.rstrip("\n").splitlines()[: len(part.splitlines()) - len(output.splitlines())]
        parts.append("\n".join(shown) + "\n" + (said if output.strip() else ""))
    return "".join(parts)


def main(page: Path, folder: Path) -> None:
    """Write the page."""
    found = {(block.line, block.language): block for block in blocks(page.resolve())}
    text = page.read_text(encoding="utf-8")

    def filled(fence: re.Match[str]) -> str:
        mark = MARK.search(text[: fence.start()])
        block = found[text.count("\n", 0, fence.start()) + 1, fence["language"]]
        if mark is None or mark["what"] != "digits" or block.language != "console":
            return fence[0]
        return f"```console\n{anew(block, folder)}```"

    page.write_text(FENCE.sub(filled, text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
