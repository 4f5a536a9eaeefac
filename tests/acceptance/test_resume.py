"""Kill it anywhere, start it again: real processes, real signals, and the bytes of a run that nobody disturbed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store.artefacts import Artefact
from tests.processes import wait_until

pytestmark = pytest.mark.ray

DKVB = Path(sys.executable).with_name("dkvb")
TRAIN = {"ant": 61, "bee": 97, "cat": 71}
TEST = {"ant": 2, "bee": 3, "cat": 5}
SHARDS = 13
AGENT = "Agent"
"""Ray's agents notice late that a driver died without a word; they hold neither CPUs nor data."""
CHANGES = {"images.shard_items": 19, "backbone.image_size": 128, "keys.epochs": 1}
STEP = "embeddings[train]"


@dataclass
class Disturbed:
    """A root on which one step is to be done, and the process that does it."""

    root: Path
    artefact: Artefact
    words: list[str]
    process: subprocess.Popen[str] = field(init=False)

    def marked(self) -> dict[str, int]:
        """When each unit that is done was marked."""
        return {
            unit: (self.artefact.path / "units" / f"{unit}.json").stat().st_mtime_ns
            for unit in self.artefact.done_units()
        }

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.artefact.events() if event["kind"] == kind]

    def until(self, count: int) -> set[str]:
        """Wait until so many units are done, and not all; returns them."""

        def come():
            done = self.artefact.done_units()
            return done if len(done) >= count else None

        def in_vain():
            return "" if self.process.poll() is None else f"the run ended: {self.process.communicate()}"

        done = wait_until(come, f"{count} units", 300, every=0.005, in_vain=in_vain)
        assert len(done) < SHARDS, "too late to disturb it"
        return done

    def at_work(self) -> str:
        """A worker with a unit that began and is not done; on a busy machine the log lags behind the markers."""

        def busy():
            workers = {event["unit"]: event["worker"] for event in self.events("started")}
            done = self.artefact.done_units()
            assert len(done) < SHARDS, "too late to disturb it"
            return [worker for unit, worker in workers.items() if unit not in done]

        return wait_until(busy, "a worker at work", every=0.005)[-1]

    def ended(self, within: float) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=within)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def many_images(tmp_path_factory, painted):
    folder = tmp_path_factory.mktemp("many")
    painted(folder / "train", TRAIN)
    painted(folder / "test", TEST, first=1000)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, run_tiny, many_images):
    return run_tiny(tmp_path_factory.mktemp("undisturbed") / "root", many_images, CHANGES)


@pytest.fixture
def started(undisturbed, many_images, spec_file, processes, tmp_path):
    """`dkvb run` with two workers, in a process group of its own, on a root where only the embeddings are missing."""
    root = Path(shutil.copytree(undisturbed.root, tmp_path / "root"))
    shutil.rmtree(root / "embeddings" / undisturbed.steps[STEP])
    artefact = Artefact(root, "embeddings", undisturbed.steps[STEP])
    words = [DKVB, "run", spec_file(CHANGES), "--root", root, "--images", many_images, "--workers", "2"]
    run = Disturbed(root, artefact, [str(word) for word in words])
    run.process = subprocess.Popen(
        run.words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=processes.environment,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()


@pytest.fixture
def resumed(run_tiny, many_images, undisturbed, unlike, watched):
    """Run again in this process; every unit that was done must be left alone, and the bytes those of a calm run."""

    def again(run):
        before = run.marked()
        assert 0 < len(before) < SHARDS
        starts = len(run.events("started"))
        run_tiny(run.root, many_images, CHANGES, progress=watched)
        assert watched.steps[STEP] == (SHARDS, len(before))
        assert len(watched.units) == SHARDS - len(before)
        assert before.items() <= run.marked().items()
        fresh = {event["unit"] for event in run.events("started")[starts:]}
        assert fresh == run.marked().keys() - before.keys()
        assert unlike(run.root, undisturbed.root) == []

    return again


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_process_and_its_work_is_gone_on_with(started, processes, resumed):
    started.until(3)
    os.kill(started.process.pid, signal.SIGKILL)
    assert started.ended(300)[0] == -signal.SIGKILL
    processes.wait_until_gone(but=AGENT)
    resumed(started)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(started, undisturbed, processes, unlike):
    early = started.until(2)
    marks = {unit: stamp for unit, stamp in started.marked().items() if unit in early}
    worker = started.at_work()
    os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)
    code, out, err = started.ended(300)
    assert code == 0, err
    assert "| uva" in out
    assert [event["worker"] for event in started.events("worker_lost")] == [worker]
    assert {event["worker"] for event in started.events("worker_ready")} > {worker}
    assert marks.items() <= started.marked().items(), "a unit was done twice"
    done = [event["unit"] for event in started.events("done")]
    assert sorted(done) == sorted(started.artefact.units())
    assert unlike(started.root, undisturbed.root) == []
    processes.wait_until_gone()


@pytest.mark.slow
def test_one_interrupt_ends_in_order_and_can_be_gone_on_from(started, processes, resumed):
    started.until(3)
    os.killpg(started.process.pid, signal.SIGINT)
    code, out, err = started.ended(300)
    assert code == 130
    assert re.search("^dkvb: interrupted; what was finished is kept", err, flags=re.M)
    assert "Traceback" not in err
    assert out == ""
    processes.wait_until_gone()
    assert not started.artefact.done
    assert json.loads((started.root / "progress.json").read_text())["step"] == STEP
    resumed(started)


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait(started, processes):
    started.until(2)
    os.killpg(started.process.pid, signal.SIGINT)
    time.sleep(0.2)
    os.killpg(started.process.pid, signal.SIGINT)
    code, _, err = started.ended(300)
    assert code == 130
    assert "Traceback" not in err
    assert re.search("^dkvb: interrupted", err, flags=re.M)
    processes.wait_until_gone(but=AGENT)


def libraries_of(process):
    try:
        return Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25, 0.5, 0.8])
def test_an_interrupt_while_libraries_load_is_no_crash(seconds, spec_file, many_images, processes, tmp_path):
    words = [DKVB, "run", spec_file(CHANGES), "--root", tmp_path / "root", "--images", many_images, "--serial"]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=processes.environment
    ) as process:
        wait_until(lambda: "_multiarray_umath" in libraries_of(process), "numpy", 300, every=0.002)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert re.search("^dkvb: interrupted", err, flags=re.M)


def test_an_interrupt_while_ray_starts_leaves_no_process(started, processes):
    wait_until(lambda: any("raylet/raylet" in command for command in processes.left().values()), "a raylet", 300)
    time.sleep(0.6)
    os.killpg(started.process.pid, signal.SIGINT)
    code, _, err = started.ended(300)
    assert code == 130, err
    assert "Traceback" not in err
    processes.wait_until_gone()
