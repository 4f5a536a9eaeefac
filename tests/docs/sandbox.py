"""A folder with what the pages speak of, made of the tiny experiment: roots, images, specs, requests to name.

Commands and snippets of the pages run in it as they stand, but for what SHOWN names.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jobs.certificate import LOG
from store import checksums
from tests.docs.blocks import Block
from tests.processes import Ended
from tests.tiny import TINY, changed, paint, picture, toml

TRAIN = {"cat": 17, "dog": 13, "horse": 11}
OKAPI = 3
TEST = {"cat": 5, "dog": 3, "horse": 7}
LDA = {"name": "mine", "values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}
SETS = {"name": "sets", "sweep.sizes": [1, 2], "sweep.draws": 2}

REQUEST = re.compile(r"\b(?:d14c25ee5686df29|3fa2c61b7d90e5a4|d14c|3fa2)\b")
"""Requests as the pages name them: here the one that forgot the cat."""

SHOWN = {
    "m = 256": "m = 13",
    "image_size = 128": "image_size = 32",
    "dkvb diff roots/cifar10 roots/cifar10": "dkvb diff roots/seeds roots/seeds",
    "dkvb run cifar10 ": "dkvb run cifar10.toml --serial ",
    "dkvb run mine.toml ": "dkvb run mine.toml --serial ",
    "dkvb run solved.toml ": "dkvb run solved.toml --serial ",
    "dkvb run photos": "dkvb run --serial photos",
    "dkvb query roots/cifar10 classes 46 701": "dkvb query roots/cifar10 classes 4 7",
    "test:4943": "test:3",
    "test:17": "test:3",
    "roots/cifar10 --table compare ": "roots/cifar10 --table summary ",
    "learn roots/mine --images photos": "learn roots/mine --images new-photos",
    'study.learn("photos"': 'study.learn("new-photos"',
    "--commit --purge": "--commit --purge --serial",
    '.to("cuda")': '.to("cpu")',
    "--root /tmp/demo": "--root dkvb-demo",
    "roots/digits": "dkvb-demo",
}
"""Text of a page -> what stands for it here: sizes of the tiny experiment, and names on its roots."""

Command = Callable[..., Ended]


def prepare(folder: Path, run_tiny: Callable[..., Any]) -> None:
    """Fill a folder with all of it: some tiny experiments are run."""
    images = folder / "images"
    paint(images / "train", TRAIN)
    paint(images / "test", TEST, first=1000)
    for name in ("data/cifar10", "shared/cifar10"):
        shutil.copytree(images, folder / name)
    paint(folder / "photos", {"cat": 2, "dog": 3}, first=2000)
    shutil.copytree(folder / "photos", folder / "new-photos")
    (folder / "new-photos" / "okapi").mkdir()
    for number in range(4):
        picture(OKAPI, number, 32).save(folder / "new-photos" / "okapi" / f"{number:04d}.png")
    shutil.copy(images / "test" / "cat" / "1000.png", folder / "photo.png")
    (folder / "gone.txt").write_text("cat/0001.png\ncat/0003.png\n")
    (folder / "cifar10.toml").write_text(toml(changed(TINY, {"name": "cifar10"})))
    (folder / "solved.toml").write_text(toml(changed(TINY, LDA)))
    run_tiny(folder / "roots" / "cifar10", images, {"name": "cifar10"})
    run_tiny(folder / "roots" / "mine", images, LDA)
    run_tiny(folder / "roots" / "sets", images, SETS)
    for seed in (0, 1):
        run_tiny(folder / "roots" / "seeds", images, {"name": f"seed{seed}", "seed": seed})
    key = Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "auditor.pub").write_bytes(public)


def here(text: str, folder: Path) -> str:
    """A command or snippet with the names of this folder."""
    for shown, own in SHOWN.items():
        text = text.replace(shown, own)
    text = text.replace("unlearned/<digest>", "unlearned/d14c25ee5686df29")
    if "requests/<entry>" in text:
        request(folder)
        text = text.replace("<entry>", min((folder / "roots" / "cifar10" / LOG).glob("*.json")).stem)
    if REQUEST.search(text):
        made = request(folder)
        text = REQUEST.sub(lambda found: made[: len(found[0])], text)
    return re.sub(r"(roots/\w+/\w+)/<digest>", lambda found: str(*(folder / found[1]).iterdir()), text)


def request(folder: Path) -> str:
    """The first request on the root that pages call roots/cifar10: to forget the cat, made if there is none."""
    root = folder / "roots" / "cifar10"
    if not (root / LOG).exists():
        from jobs.results.experiment import find
        from jobs.unlearn import Request, unlearn

        unlearn(find(root, None), Request(classes=["cat"]), key_file=folder / "key.pem")
    return min((root / LOG).glob("*.json")).stem.split("-")[-2]  # TIME-FOLDER-SHA256


def run_block(block: Block, folder: Path, names: dict[str, Any], dkvb: Command) -> None:
    """Run a block in a folder that is the current one; a test fails where it does.

    names: of the snippets of its page so far.
    """
    if block.language == "console":
        for command, output in block.commands():
            run_command(here(command, folder), output, dkvb)
    elif block.language == "python":
        exec(compile(here(block.text, folder), str(block), "exec"), names)
    elif block.language == "pycon":
        code = "\n".join(re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", block.text, re.MULTILINE))
        exec(compile(here(code, folder), str(block), "exec"), names)
    elif block.file:
        Path(block.file).write_text(here(block.text, folder))


def run_command(command: str, output: str, dkvb: Command) -> None:
    """Run one command; its answer has the head of what the page shows."""
    words = shlex.split(command, comments=True)
    if words[0] == "dkvb":
        checksums._ledgers.clear()  # by path, and a folder of the same names is another one here
        ended = dkvb(*(found for word in words[1:] for found in filled_in(word)))
        assert ended.code == 0, f"$ {command}\n{ended.out}{ended.err}"
        said = ended.out + ended.err
    else:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"$ {command}\n{done.stderr}"
        said = done.stdout
    assert heads(said) == heads(output) or not output, f"$ {command}\n{said}"


def filled_in(word: str) -> list[str]:
    """The files that a pattern names, as a shell has them; of no pattern, and of one without files, the word itself."""
    return sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]


def heads(output: str) -> list[str]:
    """The heads of the first table of an answer, or how its first line begins."""
    lines = output.strip().splitlines() or [""]
    table = [line for line in lines if line.startswith("|")]
    return [cell.strip() for cell in table[0].split("|")] if table else [re.split(r"[:,]| {2}", lines[0])[0]]
