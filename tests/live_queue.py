"""A queue beside a real head, and the command line in front of it."""

import subprocess
import sys
import time

from jobs.queue.commands import submit
from jobs.queue.files import find_job
from jobs.spec.reading import load_specs
from tests.processes import wait_until

DKVB = [sys.executable, "-m", "jobs.cli"]
PATIENCE_S = 800


class Queue:
    """A queue on the head, and the command line in front of it."""

    def __init__(self, head, folder, spec):
        self.head, self.folder, self.spec = head, folder, spec
        self.place, self.told = folder / "queue", []

    def environment(self, **variables):
        return {**self.head.environment, "DKVB_QUEUE": str(self.place), **variables}

    def run(self, *words, code=0, **variables):
        """Run `dkvb ...` as a user of the head does."""
        env = self.environment(**variables)
        command = [*DKVB, *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600, check=False)
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    def submit(self, root, images, **more):
        """Submit; returns the job's id."""
        asked = {"name": None, "priority": 0, "attempts": 3, "workers": 1, "gpus": 0, **more}
        where = {"address": self.head.address, "queue": self.place, "images": str(images)}
        return submit(load_specs(str(self.spec)), root, **where, tell=self.told.append, **asked).id

    def job(self, name):
        return find_job(self.place, name)

    def until(self, name, *states):
        """Wait until a job is in one of the states; returns its state."""

        def come():
            state = self.job(name).state(time.time())
            return state if state.name in states else None

        return wait_until(come, f"{name} to be {' or '.join(states)}", PATIENCE_S, every=0.3)

    def until_started(self, name):
        """Wait until the last attempt of a job has a driver; returns its process id."""

        def started():
            attempts = self.job(name).attempts
            return attempts[-1].start if attempts else None

        return int(wait_until(started, f"a driver of {name}", PATIENCE_S, every=0.1).by.partition(":")[2])
