"""Sessions: which clusters are used, who may reach them, and that nothing of ours is left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from cluster.address import token_is_configured
from cluster.errors import (
    ClusterError,
    ClusterUnreachable,
    InsecureCluster,
    InvalidRequest,
    NoWorkers,
    SessionClosed,
)
from cluster.session import session
from cluster.unit_map import Policy, RayExecutor, SerialExecutor
from tests.processes import members, wait_until

TOKEN = "5f" * 32

# A cluster of its own in another process: prints where it listens, then waits to be told to end.
HOST = """
    import sys
    import ray
    ray.init(address="local", num_cpus=3, include_dashboard=False, object_store_memory=100_000_000)
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""

# A map that hangs in both workers.
HANGING = """
    import time
    from cluster.session import session
    from cluster.unit_map import Policy
    def factory():
        def work(unit):
            time.sleep(600)
        return work
    def show(event):
        if event.kind == "started":
            print("started", event.unit, flush=True)
    with session(workers=2) as executor:
        list(executor.map(factory, ["a", "b"], policy=Policy(), on_event=show))
"""


@pytest.fixture
def no_token(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def other_cluster(token_file):
    with python(HOST, RAY_AUTH_TOKEN_PATH=str(token_file)) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(timeout=120)


def python(code, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | variables,
    )


def squares(executor, units):
    def factory():
        return lambda unit: int(unit) ** 2

    outcomes = executor.map(factory, units, policy=Policy(), on_event=lambda event: None)
    return {outcome.unit: outcome.value for outcome in outcomes}


def test_serial_needs_no_ray_and_importing_the_session_does_not_load_it():
    code = """
        import sys
        from cluster.session import session
        with session(serial=True, address="ray://nowhere:1") as executor:
            print(type(executor).__name__, "ray" in sys.modules)
    """
    with python(code) as process:
        assert process.communicate(timeout=120)[0].split() == [SerialExecutor.__name__, "False"]


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "ray://head.example.org:10001", "[2001:db8::7]:6379"])
def test_an_address_beyond_this_machine_is_refused_without_a_token(no_token, address):
    with (
        pytest.raises(InsecureCluster, match=r"no authentication token.*RAY_AUTH_TOKEN_PATH") as caught,
        session(address=address),
    ):
        pass
    assert address in str(caught.value)
    assert isinstance(caught.value, ClusterError)
    assert isinstance(caught.value, PermissionError)


def test_ray_address_in_the_environment_is_held_to_the_same_rule(no_token, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    with pytest.raises(InsecureCluster, match=r"10\.1\.2\.3"), session(address="auto"):
        pass


def test_a_token_that_is_switched_off_is_no_token(no_token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(InsecureCluster, match="unset RAY_AUTH_MODE"), session(address="10.1.2.3:6379"):
        pass


def test_a_token_is_found_where_ray_looks_for_it(no_token, monkeypatch, tmp_path):
    assert not token_is_configured()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    assert token_is_configured()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    assert not token_is_configured()
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert token_is_configured()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_port_where_nothing_listens_is_named_within_seconds(no_token, scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ClusterUnreachable, match=address) as caught, session(address=address):
            pass
    assert isinstance(caught.value, ConnectionError)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("address", ["nonsense", "host:port", "http://127.0.0.1:8265", "127.0.0.1:", ""])
def test_what_is_no_address_is_refused(no_token, address):
    with pytest.raises(InvalidRequest, match="is not host:port"), session(address=address):
        pass


@pytest.mark.parametrize("request_", [{"workers": 0}, {"gpus": -1}])
def test_impossible_requests_are_refused(request_):
    with pytest.raises(InvalidRequest, match=next(iter(request_))), session(**request_):
        pass


@pytest.mark.ray
def test_a_local_session_guards_itself_with_a_token_and_cleans_up_behind_itself(no_token, capfd):
    with pytest.raises(NoWorkers, match="997 GPUs"), session(workers=1, gpus=997):
        pass
    with session(workers=2) as executor:
        import ray

        assert ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert token.stat().st_mode & 0o777 == 0o600
        assert token.parent.stat().st_mode & 0o777 == 0o700
        root = Path(ray._private.worker.global_worker.node.get_temp_dir_path())
        assert root.is_dir()
        assert squares(executor, ["2", "3", "5"]) == {"2": 4, "3": 9, "5": 25}
        with pytest.raises(SessionClosed, match="already open"), session():
            pass
    assert not ray.is_initialized()
    assert not root.exists()
    assert not [name for name in os.environ if name.startswith("RAY_AUTH_")]
    with pytest.raises(SessionClosed, match="no session is open"):
        squares(executor, ["7"])
    assert capfd.readouterr().out == ""


@pytest.mark.ray
def test_a_cluster_at_an_address_is_used_with_its_token_and_left_running(
    no_token, monkeypatch, other_cluster, token_file
):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token_file))
    for address in (other_cluster, "auto"):
        monkeypatch.setenv("RAY_ADDRESS", other_cluster)
        with session(address=address) as executor:
            assert isinstance(executor, RayExecutor)
            assert (executor.workers, executor.grows, executor.pool(on_gpu=False).room >= 3) == (None, True, True)
            assert squares(executor, ["7", "11"]) == {"7": 49, "11": 121}


@pytest.mark.ray
def test_a_cluster_turns_away_a_driver_with_another_token(no_token, monkeypatch, other_cluster):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "00" * 32)
    with pytest.raises(ClusterUnreachable, match=other_cluster), session(address=other_cluster):
        pass


@pytest.mark.ray
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_driver_the_workers_and_the_cluster(number, code):
    with tempfile.TemporaryDirectory() as folder, python(HANGING, TMPDIR=folder) as process:
        for _ in range(2):
            assert process.stdout.readline().startswith("started")
        assert len(members(process.pid)) > 4
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == code
        assert errors.rstrip().endswith("KeyboardInterrupt" if number == signal.SIGINT else "")
        wait_until(lambda: not members(process.pid), "the end of all processes")
        assert not list(Path(folder).glob("dkvb-*"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_with_it():
    # A killed driver cannot remove its files, so they lie in a folder of the test's; short, for unix sockets.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder, python(HANGING, TMPDIR=folder.name) as process:
        process.stdout.readline()
        assert [line for line in members(process.pid).values() if "UnitWorker" in line]
        process.kill()
        process.communicate(timeout=120)
        # Two idle agents of Ray wait up to a minute for their dead cluster.
        wait_until(
            lambda: not [line for line in members(process.pid).values() if "Agent" not in line],
            "the end of all processes",
        )
