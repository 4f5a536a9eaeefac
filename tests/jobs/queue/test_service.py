"""Services that keep a reconciler going: systemd and Kubernetes can read them, and what they start does it."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.files.check import check
from cluster.files.schemas import schemas_of
from jobs.queue import service
from jobs.queue.files import add
from store.errors import PlaceUnreachable
from tests.cluster.files.crds import CRDS, needs_crds
from tests.jobs.queue.waiting import assignment
from tests.paths import REPOSITORY
from tests.processes import message

AWKWARD = ["queue", "my queue", "50% $HOME", 'a"b\\c', "it's"]


@pytest.fixture
def queue(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    add(tmp_path / "queue", assignment())
    return tmp_path / "queue"


@pytest.fixture
def made(dkvb, queue):
    """What is printed, as text."""

    def do(kind, *words, place=queue):
        ended = dkvb("jobs", "service", kind, "--queue", place, *words)
        assert ended.code == 0, ended.err
        return ended.out

    return do


def settings(unit):
    """The settings of a unit, each with its values, in systemd's words read back."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def words(command):
    """The words of a command in a unit: no specifier and no variable in them."""
    split = shlex.split(command)
    assert all("%" not in word.replace("%%", "") and "$" not in word.replace("$$", "") for word in split)
    return [word.replace("%%", "%").replace("$$", "$") for word in split]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_unit_starts_the_reconciler_of_that_queue_whatever_its_name(name, queue, made, tmp_path):
    (tmp_path / "at").mkdir()
    place = shutil.move(queue, tmp_path / "at" / name)
    unit = made("systemd", "--max-running", 3, "--every", 7, place=place)
    program, *asked = words(settings(unit)["ExecStart"][0])
    assert program == str(Path(sys.executable).with_name("dkvb"))
    assert asked == ["jobs", "reconcile", "--queue", str(place), "--max-running", "3", "--watch", "--every", "7"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here; the words were compared")
    (tmp_path / "dkvb-reconcile.service").write_text(unit)
    verified = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "dkvb-reconcile.service"], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_a_unit_is_given_what_is_no_secret_and_tells_of_what_it_lacks(queue, made, dkvb, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    variables = {"RAY_AUTH_TOKEN_PATH": "my token", "AWS_REGION": "x%y"}
    secrets = {"AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_ENDPOINT_URL": "https://me:s3cr3t@host"}
    for name, value in {**variables, **secrets}.items():
        monkeypatch.setenv(name, value)
    ended = dkvb("jobs", "service", "systemd", "--queue", "queue")
    given = [words(value)[0] for value in settings(ended.out)["Environment"]]
    assert given == ["RAY_USAGE_STATS_ENABLED=0", f"RAY_AUTH_TOKEN_PATH={tmp_path / 'my token'}", "AWS_REGION=x%y"]
    assert "s3cr3t" not in ended.out + ended.err
    assert "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL: not written into the unit" in ended.err
    assert f"--queue {queue}" in ended.out, "a unit starts in another folder"


def test_a_unit_names_the_token_of_whoever_asked_and_says_where_it_is(queue, dkvb, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("x")
    unit = tmp_path / "a.service"
    ended = dkvb("jobs", "service", "systemd", "--queue", queue, "-o", unit)
    written = f"{unit}: written. Next:\n  install it, as the lines at its top say\n"
    assert (ended.code, ended.out, ended.err) == (0, written, "")
    assert f"RAY_AUTH_TOKEN_PATH={token}" in unit.read_text()
    assert "WantedBy=multi-user.target" in unit.read_text()


def test_what_a_unit_starts_makes_passes_and_ends_as_the_unit_expects(made):
    found = settings(made("systemd", "--every", 1))
    variables = dict(words(value)[0].split("=", 1) for value in found["Environment"])
    home = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    command = words(found["ExecStart"][0])
    with subprocess.Popen(command, cwd="/", env={**home, **variables}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert " waits for its cluster: nothing answers at http://127.0.0.1:1" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=300)
    assert str(code) in found["SuccessExitStatus"][0].split()


@pytest.mark.parametrize("name", AWKWARD)
def test_a_cronjob_makes_a_pass_over_that_queue_whatever_its_name(name, queue, made, tmp_path):
    (tmp_path / "at").mkdir()
    place = shutil.move(queue, tmp_path / "at" / name)
    about = yaml.safe_load(made("cronjob", "--image", "here/dkvb:1", "--every", 300, place=place))
    assert about["spec"]["schedule"] == "*/5 * * * *"
    pod = about["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "here/dkvb:1"
    assert container["volumeMounts"][0]["mountPath"] == str(tmp_path / "at")
    assert container["args"][-2:] == ["--every", "300"], "the queue is told when somebody comes back"
    program = Path(sys.executable).with_name(*container["command"])
    ended = subprocess.run(
        [program, *container["args"]], cwd="/", capture_output=True, text=True, timeout=300, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "1 queued\n"), "its Job is to fail while the cluster is away"


def cronjobs(pod):
    """Schemas of a CronJob around that of a pod, with the fields that dkvb sets."""
    whole, text = {"type": "integer", "minimum": 0}, {"type": "string"}
    job = {"backoffLimit": whole, "activeDeadlineSeconds": whole, "template": pod}
    template = {"type": "object", "properties": {"spec": {"type": "object", "properties": job}}}
    counts = dict.fromkeys(("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"), whole)
    policy = {"type": "string", "enum": ["Allow", "Forbid", "Replace"]}
    spec = {"schedule": text, "concurrencyPolicy": policy, "jobTemplate": template, **counts}
    version = {
        "name": "v1",
        "served": True,
        "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}
        },
    }
    about = {"group": "batch", "names": {"kind": "CronJob"}, "versions": [version]}
    return schemas_of("here", [{"kind": "CustomResourceDefinition", "spec": about}])


@needs_crds
@pytest.mark.parametrize("words", [(), ("--image", "here/dkvb:1", "--secret", "cifar10")])
def test_a_cronjob_has_no_field_that_kubernetes_does_not_know(words, made, tmp_path):
    """The schema of a pod is that of KubeRay's CRD, which brings Kubernetes' own."""
    crd = yaml.safe_load((CRDS / "ray.io_rayclusters.yaml").read_text())
    version = next(each for each in crd["spec"]["versions"] if each["name"] == "v1")
    ray = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schemas = cronjobs(ray["headGroupSpec"]["properties"]["template"])
    path = tmp_path / "cronjob.yaml"
    path.write_text(made("cronjob", *words))
    findings = [each for each in check(path, schemas=schemas) if each.severity == "error"]
    assert findings == []
    left = [each.found for each in check(path, schemas=schemas)]
    secrets = ["names of other objects", "edit-me"] if words else ["registry.example.com", "edit-me", "edit-me"]
    assert left == ["dkvb, as rendered", *secrets]
    path.write_text(path.read_text().replace("restartPolicy", "restartpolicy"))
    assert "expected `restartPolicy`" in str([str(each) for each in check(path, schemas=schemas)])


def test_a_cronjob_passes_our_own_check_without_crds_and_no_pod_reaches_a_loopback_address(queue, dkvb, tmp_path):
    path = tmp_path / "cronjob.yaml"
    words = ("jobs", "service", "cronjob", "--queue", queue, "-o", path)
    ended = dkvb(*words)
    assert (ended.code, ended.out) == (0, f"{path}: written. Next:\n  dkvb cluster check {path}\n")
    assert ended.err == (
        "note: http://127.0.0.1:1: jobs of the queue name this cluster, and a pod does not reach it there\n"
    )
    assert dkvb("cluster", "check", path).out.endswith("1 checked: 0 errors, 5 warnings\n")
    assert "already exists; name another file" in message(dkvb(*words), 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cronjob", "--every", 90], "--every: found 90 s, expected whole minutes"),
        (["cronjob", "--image", "dkvb:latest"], "--image: found 'dkvb:latest', expected REPOSITORY:TAG"),
        (["cronjob", "--image", "a b:1"], "--image: found 'a b:1'"),
        (["cronjob", "--secret", "A b"], "--secret: found 'A b'"),
        (["cronjob", "--name", "A"], "--name: found 'A', expected 1 to 52 lowercase letters"),
        (["systemd", "--name", "../x"], "--name: found '../x'"),
        (["systemd", "--image", "a:1"], "--image and --secret are for a cronjob"),
        (["systemd", "--queue", "/nowhere"], "/nowhere: no dkvb-queue.json there"),
    ],
)
def test_what_makes_no_service_is_refused(words, says, queue, dkvb):
    kind, *rest = words
    assert says in message(dkvb("jobs", "service", kind, "--queue", queue, *rest), 2)


@pytest.mark.parametrize(
    "error",
    [PlaceUnreachable("s3://b/q: NoCredentialsError: Unable to locate credentials"), PermissionError("no entry")],
)
@pytest.mark.parametrize("kind", ["cronjob", "systemd"])
def test_where_a_queue_cannot_be_reached_from_here_the_file_is_printed(kind, error, queue, dkvb, monkeypatch):
    def away(*_):
        raise error

    monkeypatch.setattr(service, "read_queue", away)
    ended = dkvb("jobs", "service", kind, "--queue", queue)
    assert ended.code == 0
    assert "reconcile" in ended.out
    assert f"note: {error} (the queue was not looked at: " in ended.err


def test_a_queue_in_a_bucket_without_credentials_gives_a_file(tmp_path):
    pytest.importorskip("s3fs")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ended = subprocess.run(  # a client without credentials would stay for all that comes after it in this process
        [sys.executable, "-m", "jobs.cli", "jobs", "service", "cronjob", "--queue", "s3://bucket/queue"],
        env={**environment, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, '"s3://bucket/queue"' in ended.stdout) == (0, True), ended.stderr
    assert "the queue was not looked at" in ended.stderr


def test_a_unit_needs_dkvb_where_its_python_is(queue, dkvb, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "pip install dkvb there first" in message(dkvb("jobs", "service", "systemd", "--queue", queue), 2)
