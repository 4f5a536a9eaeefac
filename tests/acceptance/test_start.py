"""Whose code runs: folders with files named as our packages, and as libraries, where dkvb is started."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dkvb_unlearning
from jobs.queue.files import add, find_job
from tests.head import Head
from tests.jobs.queue.waiting import assignment

REPOSITORY = Path(dkvb_unlearning.__file__).resolve().parent

SCRIPT = """
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""

LIBRARIES = ("random", "torch", "numpy", "json", "secrets", "polars", "ray", "typing")
OURS = ("cluster", "dkvb")

WITNESS = """
import os
with open({witness!r}, "a") as file:
    file.write(__file__ + " by " + str(os.getpid()) + "\\n")
raise SystemExit(77)
"""


@pytest.fixture
def hostile(tmp_path):
    """A folder in which everything that is imported writes that it ran, and ends the process."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    code = WITNESS.format(witness=str(tmp_path / "ran.txt"))
    for name in (*OURS, *LIBRARIES):
        (folder / f"{name}.py").write_text(code)
    for name in ("jobs", "store"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)
    return folder


@pytest.fixture
def ran(tmp_path):
    """What of it ran."""

    def lines():
        path = tmp_path / "ran.txt"
        return path.read_text().splitlines() if path.exists() else []

    return lines


@pytest.fixture
def command(tmp_path):
    """The command as an installer writes it."""
    entry = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]["dkvb"]
    module, _, function = entry.partition(":")
    path = tmp_path / "bin" / "dkvb"
    path.parent.mkdir()
    path.write_text(SCRIPT.format(module=module, function=function))
    return [sys.executable, str(path)]


def done(words, folder, **variables):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | variables
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=folder, env=env, timeout=280, check=False
    )


def test_the_files_are_hostile(hostile, ran):
    ended = done([sys.executable, "-c", "import cluster"], hostile)
    assert ended.returncode == 77
    assert [line.split(" by ")[0] for line in ran()] == [str(hostile / "cluster.py")]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("path", ["", ":/nowhere"])
def test_a_run_from_a_hostile_folder_runs_none_of_it(
    hostile, ran, command, path, spec_file, images, finished, unlike, tmp_path
):
    words = [*command, "run", spec_file(), "--root", tmp_path / "root", "--images", images, "--workers", "2"]
    ended = done(words, hostile, PYTHONPATH=path)
    assert ended.returncode == 0, ended.stderr
    assert ran() == []
    assert unlike(tmp_path / "root", finished.root) == []


def test_what_is_on_pythonpath_before_us_shadows_none_of_our_names(hostile, ran, command, finished):
    """`python -m venv` and editors put folders there by their whole names; other files in them stay importable."""
    for name in LIBRARIES:
        (hostile / f"{name}.py").unlink()
    ended = done([*command, "status", finished.root], "/", PYTHONPATH=str(hostile))
    assert ended.returncode == 0, ended.stderr
    assert ran() == []


@pytest.mark.ray
@pytest.mark.slow
def test_python_m_from_a_hostile_folder_runs_none_of_it_but_jobs_itself(
    hostile, ran, spec_file, images, finished, unlike, tmp_path
):
    shutil.rmtree(hostile / "jobs")  # Python itself would take that for what it was told to run
    (hostile / "typing.py").unlink()  # it imports that before anything of ours
    words = [sys.executable, "-m", "jobs.cli", "run", spec_file(), "--root", tmp_path / "root", "--images", images]
    ended = done(words, hostile)
    assert ended.returncode == 0, ended.stderr
    assert ran() == []
    assert unlike(tmp_path / "root", finished.root) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_submitted_job_runs_nothing_of_where_it_was_submitted_or_the_cluster_started(
    hostile, ran, command, spec_file, images, finished, unlike, tmp_path, processes, monkeypatch
):
    for name in LIBRARIES:  # Ray's own processes would import those: where a head is started is its owner's choice
        (hostile / "head").mkdir(exist_ok=True)
        (hostile / f"{name}.py").rename(hostile / "head" / f"{name}.py")
    monkeypatch.chdir(hostile)
    head = Head(processes.folder)
    try:
        head.start()
        queue, root = tmp_path / "queue", tmp_path / "root"
        where = ["--root", root, "--images", images, "--queue", queue, "--address", head.address, "--workers", 1]
        submitted = done([*command, "submit", spec_file(), *where, "--json"], hostile / "head", **head.environment)
        assert submitted.returncode == 0, submitted.stderr
        name = json.loads(submitted.stdout)["job"]
        followed = done([*command, "jobs", "logs", name, "-f", "--queue", queue], hostile, **head.environment)
        assert followed.returncode == 0, followed.stderr
        assert [attempt.end and attempt.end.state for attempt in find_job(queue, name).attempts] == ["succeeded"], (
            followed.stdout
        )
        assert ran() == []
        assert unlike(root, finished.root) == []
    finally:
        head.kill()


def test_a_name_that_was_taken_already_is_told_with_its_file_and_what_to_do(hostile, tmp_path):
    (hostile / "store" / "__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, '.'); import store; import dkvb_unlearning; dkvb_unlearning.main()"
    for name in LIBRARIES:
        (hostile / f"{name}.py").unlink()
    ended = done([sys.executable, "-c", code], hostile)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"dkvb: {hostile}/store/__init__.py: was imported as 'store' in place of ")
    assert "take that folder off PYTHONPATH, or rename the file" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("content", ["from .cluster import HierarchicalClustering\n", None])
def test_a_package_that_another_was_installed_over_is_told(content, command, tmp_path):
    installed = tmp_path / "installed"
    left_out = shutil.ignore_patterns("__pycache__")
    for name in dkvb_unlearning.PACKAGES:
        shutil.copytree(REPOSITORY / name, installed / name, ignore=left_out)
    shutil.copy(dkvb_unlearning.__file__, installed)
    path = installed / "cluster" / "__init__.py"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    ended = done([*command, "--version"], "/", PYTHONPATH=str(installed))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"dkvb: {path}: is missing or not dkvb's; another package named 'cluster'")
    assert "pip uninstall cluster, then pip install --force-reinstall --no-deps dkvb-unlearning" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_worker_that_cannot_import_us_says_so_and_not_that_libraries_are_missing():
    from cluster.units import died_first

    said = "The actor with name UnitWorker failed to import on the worker. ...\nImportError: no 'units' in 'cluster'"
    reply = died_first(RuntimeError(said))
    assert reply.error is not None
    assert "cannot import dkvb's code (ImportError: no 'units' in 'cluster')" in reply.error
    assert "another `cluster` comes before it" in reply.error


def test_a_command_without_a_session_that_is_told_to_end_says_so_and_exits_with_143(command, tmp_path):
    queue = tmp_path / "queue"
    job = add(queue, assignment())
    words = [*command, "jobs", "reconcile", "--watch", "--queue", str(queue)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "nothing answers" in process.stdout.readline()  # it is at work
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    still = "jobs that run go on; what waits is started once a reconciler is back"
    assert said == f"dkvb: ended by SIGTERM; {still}\n"
    assert find_job(queue, job.id).attempts == []


def test_a_current_folder_that_is_gone_stops_no_command_that_needs_none(tmp_path, finished):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); os.execv(sys.executable, sys.argv[1:])"
    words = [sys.executable, "-P", "-m", "jobs.cli", "status", str(finished.root)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
