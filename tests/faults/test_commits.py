"""kill -9 of `dkvb unlearn --method exact --commit --purge` at random moments: before or after, never between."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dkvb.bottleneck import Bottleneck
from jobs.chain import state
from jobs.integrity import verify
from jobs.results.experiment import find
from tests.jobs.forgotten import (
    LDA,
    decoded,
    embeddings_of,
    found,
    is_without,
    labels_of,
    pieces_of_embeddings,
    pieces_of_sums,
    rows_of,
    without,
)
from tests.paths import REPOSITORY

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

BEE, SEED, TIMES = 1, 15, 20
WORDS = ("--method", "exact", "--class", "bee", "--commit", "--purge", "--serial")
READY = "import jobs.cli.root, jobs.cli.exact, jobs.purge, zarr, sys\nprint('ready', flush=True)\n"
MAIN = "from jobs.cli.main import main\nmain()\n"


@pytest.fixture(scope="module")
def solved(run_tiny, images, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("solved") / "root", images, LDA)


def started(root):
    """The command in a process of its own, when all is imported."""
    command = [sys.executable, "-c", READY + MAIN, "unlearn", str(root), *WORDS]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def reached(root, old, gone):
    """Which state a root is in, all of it checked: "before", "forgotten" or "purged"."""
    now = find(root, None)
    if now.steps["values"] != old.steps["values"]:
        assert (labels_of(now)[gone] == -1).all()
        assert is_without(now, (), sums=None, checkpoint=now.artefact("values").path / "bottleneck.safetensors")
        return "purged"
    past = state(now, 41)
    if past.previous is None:
        values = without(old, ())[1]
        model = Bottleneck.load(root / "values" / now.steps["values"] / "bottleneck.safetensors")
        assert (model.values == values).all()
        return "before"
    made = past.previous.path
    assert is_without(now, gone, sums=made / "sums.safetensors", checkpoint=made / "bottleneck.safetensors")
    return "forgotten"


def test_a_purge_that_is_killed_at_twenty_moments_is_before_or_after(solved, tmp_path):
    gone, z = rows_of(solved, BEE), embeddings_of(solved)
    pieces = [*pieces_of_sums(solved, gone), *pieces_of_embeddings(z, gone)]
    calm = Path(shutil.copytree(solved.root, tmp_path / "calm"))
    process, began = started(calm), time.monotonic()
    process.communicate()
    assert process.returncode == 0
    seconds = time.monotonic() - began
    chance, states = random.Random(SEED), []
    for number in range(TIMES):
        root = Path(shutil.copytree(solved.root, tmp_path / str(number)))
        process = started(root)
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        states.append(reached(root, solved, gone))
        again = subprocess.run(
            [sys.executable, "-c", MAIN, "unlearn", str(root), *WORDS],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in again.stderr, again.stderr
        assert again.returncode == 0 or "has no training items to forget" in again.stderr, again.stderr
        assert reached(root, solved, gone) == "purged"
        assert found(root, pieces) == []
        assert decoded(root, z[gone]) == []
        assert verify(root).sound
        shutil.rmtree(root)
    print(f"{TIMES} kills within {seconds:.1f} s: {', '.join(states)}")
    assert {"before", "forgotten"} <= {*states}
