"""What a queue says of drivers that never began, on a real cluster; and whose interpreter runs driver and workers."""

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.live_queue import PATIENCE_S
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LOGGED = '#!/bin/sh\necho "$1 $2" >> "$(dirname "$0")/started.txt"\n{first}\nexec "{python}" "$@"\n'
"""An interpreter that says what it was started with."""


@pytest.fixture
def listed(queue):
    """The row of a job in a list, once its cluster has come to tell of it."""

    def do(name, *states):
        def come():
            rows = json.loads(queue.run("jobs", "list", "--json").stdout)
            (row,) = [row for row in rows if row["job"] == name]
            return row if row["state"] in states else None

        return wait_until(come, f"{name} to be listed as {states}", PATIENCE_S, every=1)

    return do


def interpreter(folder: Path, *, first: str = "") -> Path:
    """A program that runs this Python and tells of each start; its path has a space in it."""
    folder.mkdir()
    path = folder / "my python"
    path.write_text(LOGGED.format(first=first, python=sys.executable))
    path.chmod(0o755)
    return path


def test_a_driver_whose_code_cannot_be_unpacked_is_lost_in_rays_words_and_another_attempt_helps(
    queue, listed, images, finished
):
    """The first of this module: afterwards the head has the code unpacked already."""
    (session,) = (path for path in (queue.head.folder / "ray").glob("session_*") if not path.is_symlink())
    unpacked = session / "runtime_resources" / "working_dir_files"
    wait_until(unpacked.is_dir, "the head's agent that unpacks code", PATIENCE_S)
    unpacked.rename(unpacked.with_name("away"))
    unpacked.touch()
    root = shutil.copytree(finished.root, queue.folder / "unpacked")
    name = queue.submit(root, images, name="unpacked")
    why = listed(name, "lost")["why"]
    assert why.startswith("attempt 1: its driver never began: FAILED: FileExistsError: "), why
    unpacked.unlink()
    unpacked.with_name("away").rename(unpacked)
    queue.run("jobs", "reconcile")
    queue.run("jobs", "wait", name, "--timeout", PATIENCE_S)
    assert [attempt.end.state for attempt in queue.job(name).attempts] == ["lost", "succeeded"]


@pytest.mark.parametrize(
    ("python", "says"),
    [
        (
            "bare",
            r"attempt 1: ModuleNotFoundError: No module named '\w+' \(its driver died at import\); on the cluster",
        ),
        (
            "/nowhere/python",
            r"attempt 1: .*/nowhere/python: (No such file or directory|not found) \(its driver was not",
        ),
        ("/bin/false", r"attempt 1: .* \(its driver died before it began, exit code 1\)"),
        ("/bin/true", r"attempt 1: /bin/true ended at once and never began"),
    ],
)
def test_a_driver_that_cannot_begin_has_failed_at_the_next_list_and_is_not_tried_again(
    python, says, queue, listed, images, finished
):
    if python == "bare":
        venv.create(queue.folder / "bare")
        python = str(queue.folder / "bare" / "bin" / "python")
    name = queue.submit(shutil.copytree(finished.root, queue.folder / "x", dirs_exist_ok=True), images, python=python)
    row = listed(name, "failed")
    assert re.match(says, row["why"]), row["why"]
    offline = json.loads(queue.run("jobs", "list", "--json", "--offline").stdout)
    assert ("running", "starting") in [(row["state"], row["why"]) for row in offline if row["job"] == name]
    assert queue.run("jobs", "wait", name, code=1).stdout.count("\n") == 1
    for _ in range(2):
        queue.run("jobs", "reconcile")
    (attempt,) = queue.job(name).attempts
    assert (attempt.end.state, attempt.end.final) == ("failed", True)
    assert attempt.start is None


def test_driver_and_workers_run_by_the_interpreter_that_was_named_and_ray_lists_name_and_root(queue, images):
    python = interpreter(queue.folder / "logged")
    name = queue.submit(queue.folder / "root", images, name="named", python=str(python))
    told = queue.run("jobs", "wait", name, "--timeout", PATIENCE_S).stdout
    assert told.endswith(f"{name}  succeeded\n")
    started = (python.parent / "started.txt").read_text().splitlines()
    assert started.count("-m jobs.queue.driver") == 1
    assert any("default_worker.py" in line for line in started)
    assert f"  python     {python}\n" in queue.run("jobs", "show", name).stdout
    ray = [str(Path(sys.executable).with_name("ray")), "job", "list", "--address", queue.head.address]
    shown = subprocess.run(ray, env=queue.head.environment, capture_output=True, text=True, check=True)
    assert f"'job_name': 'named', 'root': '{queue.folder / 'root'}', 'queue': '{queue.place}'" in " ".join(
        shown.stdout.split()
    )


def test_a_driver_that_is_killed_before_it_begins_is_lost_and_gets_another_attempt(queue, listed, images, finished):
    once = '[ -e "$(dirname "$0")/killed" ] || { touch "$(dirname "$0")/killed"; kill -9 $$; }'
    python = interpreter(queue.folder / "killed", first=once)
    root = shutil.copytree(finished.root, queue.folder / "killed-root")
    name = queue.submit(root, images, name="killed", python=str(python))
    assert listed(name, "lost")["why"].startswith("attempt 1: its driver was killed by SIGKILL before it began")
    queue.run("jobs", "reconcile")
    assert queue.run("jobs", "wait", name, "--timeout", PATIENCE_S).returncode == 0
    assert [attempt.end.state for attempt in queue.job(name).attempts] == ["lost", "succeeded"]
