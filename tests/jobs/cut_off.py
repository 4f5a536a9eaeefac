"""A command that is killed at one of its writes: python -m tests.jobs.cut_off ROOT NUMBER WORDS..."""

import os
import signal
import sys

CHANGES = {"os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir"}
FLAGS = os.O_WRONLY | os.O_RDWR


def main() -> None:
    root, number, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    from jobs.cli.main import main as dkvb

    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & FLAGS
        if (event in CHANGES or writes) and str(arguments[0]).startswith(root):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    sys.argv = ["dkvb", *words]
    try:
        dkvb()
    finally:
        print(f"writes: {seen}", file=sys.stderr)


if __name__ == "__main__":
    main()
