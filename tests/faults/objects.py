"""Faults of a run on an object store: the server killed and started again, and the driver killed."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.places import Place, place
from tests.faults.measures import Measures, measure, moment, next_done, until
from tests.faults.seaweed import Seaweed, seaweed
from tests.faults.stage import UNITS, Stage, draw, let_pass


@contextmanager
def object_store(stage: Stage) -> Iterator[tuple[Seaweed, Place]]:
    """A server, and a root on it; this process finds it too."""
    import s3fs

    with seaweed(stage.folder()) as server:
        before = {name: os.environ.get(name) for name in server.variables}
        os.environ.update(server.variables)
        try:
            s3fs.S3FileSystem.clear_instance_cache()
            s3fs.S3FileSystem().mkdir("faults")
            yield server, place("s3://faults/root")
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            s3fs.S3FileSystem.clear_instance_cache()


def copied(stage: Stage, root: Place) -> Path:
    """The root on a disk."""
    folder = stage.folder() / "copy"
    assert not isinstance(root, Path)
    root.fs.get(root.path, str(folder), recursive=True)
    return folder


def kill_server(stage: Stage, seed: int) -> Measures:
    """kill -9 of the server, which comes back seconds later; recovered, from then on, with the next unit."""
    chance = draw(seed)
    with object_store(stage) as (server, root):
        began = time.time()
        run = stage.start(stage.words(root), **server.variables)
        until(root, chance.randint(2, UNITS - 6), run)
        struck = moment(root)
        server.kill()
        let_pass(chance, 8, least=1)
        server.start()
        back = time.time()
        code = run.ended()
        says = f"exit {code}: {run.said()}".removesuffix(": ")
        if code != 0:
            assert code == 1, run.err
            assert str(root) in run.err
            stage.resume(root, **server.variables)
        recovered = next_done(root, back)
        return measure(stage, root, struck, began=began, recovered=recovered, says=says, copy=copied(stage, root))


def kill_driver_of_remote_run(stage: Stage, seed: int) -> Measures:
    """kill -9 of a driver whose root is on the server; recovered with the first unit of the same command."""
    chance = draw(seed)
    with object_store(stage) as (server, root):
        began = time.time()
        run = stage.start(stage.words(root), **server.variables)
        until(root, chance.randint(2, UNITS - 6), run)
        let_pass(chance, 0.3)
        struck = moment(root)
        run.kill()
        killed = time.time()
        again = stage.resume(root, **server.variables)
        says = f"killed; again: exit {again.process.returncode}"
        copy = copied(stage, root)
        recovered = next_done(root, killed)
        return measure(stage, root, struck, began=began, recovered=recovered, says=says, copy=copy)
