"""A cluster of our own: who can reach it, what it leaves behind, and what is said when it does not start or is lost."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster import local
from cluster.errors import ClusterUnreachable
from cluster.folders import LOCK, private_folder, remove_orphans
from cluster.health import GONE_S, LOOK_S, Head
from cluster.session import session
from cluster.signals import termination_in_order
from tests.processes import members, wait_until

PATIENCE_S = 120

# Prints "up" inside a session, then the result of a unit a second for as long as it may.
WORKING = """
    import sys
    from cluster.errors import ClusterError
    from cluster.session import session
    from cluster.unit_map import Policy
    def factory():
        import time
        def work(unit):
            time.sleep(1)
            return unit
        return work
    try:
        with session(workers=1) as executor:
            print("up", flush=True)
            for outcome in executor.map(factory, [str(i) for i in range(int(sys.argv[1]))], policy=Policy(),
                                        on_event=lambda event: None):
                print("unit", outcome.unit, outcome.ok, flush=True)
            print("over", flush=True)
    except ClusterError as error:
        sys.exit(f"told: {error}")
"""


@pytest.fixture
def temporary():
    """A folder for temporary files; short, for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="dk", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def working(temporary, units, **variables):
    words = [sys.executable, "-c", textwrap.dedent(WORKING), str(units)]
    env = os.environ | {"TMPDIR": str(temporary)} | variables
    return subprocess.Popen(
        words, text=True, start_new_session=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def find(login_session, word):
    """Wait for a process of the session with that word in its command; returns its id."""
    return wait_until(
        lambda: next((pid for pid, command in members(login_session).items() if word in command), None),
        f"a process with {word}",
    )


def wait_until_gone(login_session):
    """Wait for the end of its processes."""
    wait_until(lambda: not members(login_session), "the end of all processes")


def listening(pids):
    """The addresses at which processes accept TCP connections, as the kernel writes them."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets |= set(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
            except OSError:
                continue
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [fields[1].partition(":")[0] for fields in lines if fields[3] == "0A" and fields[9] in sockets]


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.ray
def test_a_local_cluster_has_a_token_and_listens_on_loopback_alone_whatever_the_users_mode(temporary):
    with working(temporary, 40, RAY_AUTH_MODE="disabled", HOME=str(temporary)) as process:
        assert process.stdout.readline() == "up\n"
        assert process.stdout.readline() == "unit 0 True\n"  # all that listens does so by now
        found = listening(members(process.pid))
        environment = Path(f"/proc/{find(process.pid, 'raylet/raylet')}/environ").read_text()
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert len(found) > 5
    assert set(found) <= LOOPBACK
    assert "RAY_AUTH_MODE=token" in environment.split("\0")
    assert "RAY_AUTH_TOKEN_PATH=" in environment


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("when", ["start", "end"])
def test_sigterm_while_a_cluster_starts_or_ends_is_kept_until_that_is_over(temporary, when):
    with working(temporary, 1) as process:
        if when == "start":
            find(process.pid, "gcs/gcs_server")
        else:
            while process.stdout.readline() != "over\n":
                assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143
    assert said == ""
    wait_until_gone(process.pid)
    assert not list(temporary.glob("dkvb-*"))


def test_a_second_sigterm_does_not_disturb_the_end_that_the_first_began():
    steps = []

    def session():
        with termination_in_order() as open_to_it:
            try:
                with open_to_it():
                    signal.raise_signal(signal.SIGTERM)
                    steps.append("not reached")
            finally:
                signal.raise_signal(signal.SIGTERM)
                steps.append("closed")

    with pytest.raises(SystemExit) as ended:
        session()
    assert (ended.value.code, steps) == (143, ["closed"])


@pytest.mark.ray
@pytest.mark.slow
def test_what_a_killed_driver_leaves_is_swept_at_the_next_start_and_what_a_living_one_uses_is_not(temporary):
    variables = {"HOME": str(temporary)}
    with working(temporary, 900, **variables) as living, working(temporary, 900, **variables) as killed:
        for process in (living, killed):
            assert process.stdout.readline() == "up\n"
        assert len(list(temporary.glob("dkvb-*"))) == 4
        killed.kill()
        killed.communicate(timeout=PATIENCE_S)
        wait_until_gone(killed.pid)  # its Ray writes on for a while
        with working(temporary, 1, **variables) as third:
            _, said = third.communicate(timeout=PATIENCE_S)
            assert third.returncode == 0, said  # a busy machine may be told that Ray is started once more
        assert len(list(temporary.glob("dkvb-*"))) == 2  # the living one's
        assert living.poll() is None
        living.terminate()
        living.communicate(timeout=PATIENCE_S)
    assert list(temporary.glob("dkvb-*")) == []


def test_only_folders_of_ours_without_an_owner_are_swept(tmp_path):
    with private_folder("dkvb-", tmp_path) as held:
        orphan = tmp_path / "dkvb-0123abcd"
        unlocked, named, linked = tmp_path / "dkvb-00000000", tmp_path / "dkvb-demo", tmp_path / "dkvb-token-11111111"
        for folder in (orphan, unlocked, named):
            folder.mkdir()
            (folder / "file").touch()
        for folder in (orphan, named):
            (folder / LOCK).touch()
        linked.symlink_to(named)
        (unlocked / LOCK).symlink_to(orphan / LOCK)
        remove_orphans(tmp_path)
        assert not orphan.exists()
        assert all(path.exists() for path in (held, unlocked / "file", named / "file", linked / "file"))
        with (held / LOCK).open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not held.exists()
    remove_orphans(tmp_path / "nowhere")


@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_head_is_told_in_one_line_before_ray_ends_the_process(temporary):
    with working(temporary, 900) as process:
        assert process.stdout.readline() == "up\n"
        assert process.stdout.readline() == "unit 0 True\n"
        os.kill(find(process.pid, "gcs/gcs_server"), signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert re.fullmatch(r"told: map: the cluster's head \(127\.0\.0\.1:\d+\) has not answered for 3\d s: .*\n", said), (
        said
    )
    assert "the same command goes on from there" in said
    wait_until_gone(process.pid)


def test_a_head_that_comes_back_in_time_is_not_given_up(monkeypatch):
    from cluster import health

    clock, answers = [1000.0], [True]
    monkeypatch.setattr("cluster.health.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(health, "head_address", lambda: "127.0.0.1:1")
    monkeypatch.setattr(health, "_answers", lambda address: answers[0])
    head = Head(last_looked=clock[0], last_seen=clock[0])
    for answers[0] in [False] * int(GONE_S / LOOK_S) + [True] + [False] * int(GONE_S / LOOK_S):
        clock[0] += LOOK_S
        head.check()
    clock[0] += 100 * GONE_S  # the caller was away: that says nothing about the head
    head.check()
    for _ in range(int(GONE_S / LOOK_S)):
        clock[0] += LOOK_S
        head.check()
    clock[0] += LOOK_S
    with pytest.raises(ClusterUnreachable, match="has not answered"):
        head.check()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_cluster_that_starts_too_slowly_is_started_once_more_and_then_told_in_a_line(temporary, times):
    stopped = []

    def hold(process):
        def enough():
            for pid, command in members(process.pid).items():
                if "raylet/raylet" in command and pid not in stopped:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
            return len(stopped) == times or process.poll() is not None

        wait_until(enough, "Ray's start", 280, every=0.005)

    with working(temporary, 1) as process:
        holder = threading.Thread(target=hold, args=(process,))
        holder.start()
        out, said = process.communicate(timeout=280)
        holder.join()
    assert len(stopped) == times
    note = "note: session: Ray did not start on this machine (The current node timed out during startup."
    first, *more = said.splitlines()
    assert first.startswith(note)
    assert first.endswith("; trying once more")
    if times == 1:
        assert (process.returncode, out.splitlines()[-1], more) == (0, "over", [])
    else:
        assert process.returncode == 1
        (line,) = more
        assert line.startswith("told: session: Ray did not start on this machine")
        assert "--serial" in line
    wait_until_gone(process.pid)
    assert not list(temporary.glob("dkvb-*"))


def test_too_little_room_for_rays_files_is_told_before_it_starts(monkeypatch, tmp_path):
    free = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr("cluster.local.shutil.disk_usage", lambda path: free)
    with (
        pytest.raises(
            ClusterUnreachable, match=r"has 1 MB free, and a Ray cluster needs \d+ MB there; .*TMPDIR.*--serial"
        ),
        session(workers=1),
    ):
        pass


def test_no_folder_for_temporary_files_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr("cluster.local.tempfile.tempdir", "/nowhere/at/all")
    with (
        pytest.raises(
            ClusterUnreachable, match=r"in /nowhere/at/all: No such file or directory; .*TMPDIR.*--serial"
        ) as told,
        ExitStack() as stack,
    ):
        local.temporary_folder(stack, "dkvb-")
    assert "\n" not in str(told.value)


@pytest.mark.ray
def test_a_temporary_folder_with_a_long_path_is_not_used_for_sockets(temporary):
    long = temporary / ("long" * 30)
    long.mkdir()
    with working(long, 1) as process:
        out, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert out.endswith("over\n")
