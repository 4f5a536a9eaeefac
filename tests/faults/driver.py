"""`dkvb` with something changed for a fault: ``python -m tests.faults.driver NAME=VALUE... -- WORDS...``.

lease: seconds of a lease of a shard. slow: seconds that a shard of the training images takes longer, so that a fault
finds it at work. poison: name of the one that kills its worker, each time. epoch: seconds that each epoch of a training
takes longer; then each is saved.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jobs.kinds.embeddings
import jobs.run.run
from jobs.cli.main import main


def changed(asked: Mapping[str, str], tasks: Mapping[str, Any]) -> Callable[[str], Any]:
    """In a worker: the usual work, but for the shards of the training images."""
    from jobs.run.run import open_units
    from jobs.steps import embeddings

    if "epoch" in asked:
        save_every_epoch(float(asked["epoch"]))
    usual = vars(embeddings).setdefault("usual", embeddings.open_work)  # the last map in this process changed it too

    def open_work(task: Any) -> Callable[[str], Any]:
        work = usual(task)

        def do(unit: str) -> Any:
            time.sleep(float(asked.get("slow", 0)))
            if unit == asked.get("poison"):
                os.kill(os.getpid(), signal.SIGKILL)
            return work(unit)

        return do if len(task.output.units()) > 1 else work

    embeddings.open_work = open_work
    return open_units(tasks)


def save_every_epoch(seconds: float) -> None:
    """In a worker: the usual training, but saved after every epoch, and slower."""
    from jobs import saves

    usual = vars(saves).setdefault("usual", saves.TrainingSaves.save)
    saves.EVERY_S = saves.SHARE = 0.0

    def save(self: Any, state: Any, reached: Any) -> None:
        usual(self, state, reached)
        time.sleep(seconds)

    saves.TrainingSaves.save = save  # type: ignore[method-assign]


if __name__ == "__main__":
    split = sys.argv.index("--")
    asked = dict(word.split("=") for word in sys.argv[1:split])
    jobs.kinds.embeddings.LEASE_S = int(asked.get("lease", jobs.kinds.embeddings.LEASE_S))
    jobs.run.run.open_units = partial(changed, asked)
    sys.argv = ["dkvb", *sys.argv[split + 1 :]]
    main()
