"""Blocks of the pages that need a cluster, run beside a real one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import sandbox
from tests.docs.blocks import BLOCKS
from tests.tiny import TINY, changed, paint, toml

SOME = [block for block in BLOCKS if block.runner == "cluster"]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that stands for the one that all machines reach."""
    folder = tmp_path_factory.mktemp("shared")
    paint(folder / "cifar10" / "train", sandbox.TRAIN)
    paint(folder / "cifar10" / "test", sandbox.TEST, first=1000)
    (folder / "cifar10.toml").write_text(toml(changed(TINY, {"name": "cifar10"})))
    return folder


def ended(command, head, folder):
    """Run a command of a page beside the head, at home in a folder."""
    env = {**head.environment, "HOME": str(folder)}
    if not command.startswith(sys.executable):  # what makes a token
        env = {name: value for name, value in env.items() if not name.startswith("RAY_AUTH_")}
    words = ["bash", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=env, timeout=600, check=False)
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"


def here(command, head, shared):
    """A command of a page with the names of this cluster, and of the jobs in its queue."""
    jobs = {path.parent.name for path in (shared / "roots" / "dkvb-queue").glob("*/job.json")}
    command = re.sub(r"(?<= )/shared\b", str(shared), command.replace("http://127.0.0.1:8265", head.address))
    for shown, own in {
        "dkvb submit cifar10": f"dkvb submit {shared / 'cifar10.toml'}",
        "--workers 8": "--workers 1",
        "JOB": next((name for name in jobs if name.startswith("cifar10-")), ""),
        "AGAIN": next((name for name in jobs if name.startswith("again-")), ""),
    }.items():
        command = command.replace(shown, own)
    return re.sub(r"^dkvb ", f"{sys.executable} -m jobs.cli ", command)


@pytest.mark.parametrize("page", sorted({block.page for block in SOME}))
def test_the_blocks_of_a_page_run_beside_a_cluster(page, head, shared, tmp_path):
    folder = Path(shutil.copytree(shared, tmp_path / "shared"))
    for block in SOME:
        for command, _ in block.commands() if block.page == page else []:
            if command.startswith(("export ", "ray start ")):  # `Head` has done it, at ports of its own
                continue
            ended(here(command, head, folder), head, tmp_path)
