"""Faults of nodes: one killed whole, one cut off."""

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from tests.faults.measures import Measures, at_work, events, lost_done, measure, pid_of, until
from tests.faults.raylets import QUICK, Node, ended, head, link, member, token
from tests.faults.stage import WITHIN, Command, Stage, draw
from tests.processes import wait_until

CUT_S = 30.0
"""Seconds a node is cut off."""


def kill_node(stage: Stage, seed: int) -> Measures:
    """kill -9 of all processes of the node that a worker is at work on; recovered when what it had in hand is done."""
    chance, root = draw(seed), stage.folder() / "root"
    first = head(stage, {**token(stage), **QUICK}, cpus=1)
    second = member(stage, first, host="127.0.0.2")
    with ended(first, second):
        first.start()
        second.start()
        began = time.time()
        words = stage.words(root, "--workers", 2, "--address", first.address)
        run = stage.start(stage.changed(words, slow=1), **first.variables)
        until(root, chance.randint(3, 5), run)
        struck = at_work(root, run, on(second))
        second.kill()
        code = run.ended()
        assert code == 0, run.err
        assert events(root, "worker_lost")
        recovered = lost_done(root, struck)
        return measure(stage, root, struck, began=began, recovered=recovered, says=f"exit {code}")


def on(node: Node) -> Callable[[str], bool]:
    """Whether a worker is one of a node's."""
    return lambda worker: pid_of(worker) in node.processes()


def alive_there(node: Node) -> list[str]:
    """A node's raylet and workers; its agents and its log monitor hold nothing."""
    return [command for command in node.processes().values() if "raylet/raylet " in command or "UnitWorker" in command]


@cache
def no_namespaces() -> str:
    """Why no node can be cut off here; empty where it can."""
    if shutil.which("ip") is None:
        return "needs the command ip"
    with suppress(subprocess.CalledProcessError), link():
        return ""
    return "may not make network namespaces; root may"


def partition_node(stage: Stage, seed: int) -> Measures:
    """A node cut off for 30 s while a worker is at work there; recovered when what it had in hand is done.

    Its disk is reached all the time, so that what it finishes in the dark lies on the root too.
    """
    chance, root = draw(seed), stage.folder() / "root"
    with link() as way:
        first = head(stage, {**token(stage), **QUICK}, cpus=1, host=way.near)
        second = member(stage, first, host=way.far, inside=way.namespace)
        with ended(first, second):
            first.start()
            second.start()
            began = time.time()
            words = stage.words(root, "--workers", 2, "--address", first.address)
            run = stage.start(stage.changed(words, slow=3), **first.variables)
            until(root, chance.randint(3, 5), run)
            struck = at_work(root, run, on(second))
            way.cut()
            cut_off(run, struck.time)
            way.mend()
            code = run.ended()
            assert code == 0, run.err
            recovered = lost_done(root, struck)
            # It ends when it hears that it was given up.
            wait_until(lambda: not alive_there(second), "the end of the far node", WITHIN)
            return measure(stage, root, struck, began=began, recovered=recovered, says=f"exit {code}")


def cut_off(run: Command, since: float) -> None:
    """Wait until the time is over, whether or not the run goes on that long."""
    wait_until(lambda: time.time() > since + CUT_S, "the end of the cut")
    assert run.process.poll() in (None, 0), run.err
