"""Checks of cluster files: each mistake is found in its line, and whatever a file holds ends in findings."""

import copy
import json
import os
import random
import re
import subprocess
import sys

import pytest
import yaml

from cluster.files.render import PROVIDERS, render
from tests.paths import REPOSITORY

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


# fmt: off
# template, what is replaced, by what, what stands in the line to be named, severity, where, found, expected
LAUNCHER = [
    ("aws", "type: aws", "type: asw", "type: asw", "error", "provider.type: found asw, expected `aws`"),
    ("aws", "type: aws", "type: cloud9", "type: cloud9", "error", "provider.type: found cloud9, expected one of aws"),
    ("aws", "type: aws", "type: kuberay", "type: kuberay", "error", "; `dkvb cluster render --provider kuberay`"),
    ("aws", "  region: us-west-2", "  regoin: us-west-2", "provider:", "error", "provider.region: found nothing"),
    ("aws", "max_workers: 4\n\n", "max_worker: 4\n\n", "max_worker: 4", "error", "expected `max_workers`; rename it"),
    ("aws", "min_workers: 0  #", "min_worker: 0  #", "min_worker: 0  #", "error",
     "expected `min_workers`; rename it"),
    ("aws", "min_workers: 0  #", "min_workers: 5  #", "min_workers: 5", "error",
     "found 5, expected at most max_workers, 4"),
    ("aws", "max_workers: 4\n\n", "max_workers: 2\n\n", None, None, None),
    ("aws", "head_node_type: head", "head_node_type: haed", "head_node_type: haed", "error",
     "found haed, expected `head`"),
    ("aws", "    priority: 3\n", "    priority: 3\n    resources: {CPU: 4, GPU: 1}\n", None, None, None),
    ("gcp", "    resources: *gpu_has\n", "", "gpu-on-demand", "error",
     "gpu-on-demand: found what Ray refuses: 'resources' is a required property"),
    ("gcp", "CPU: 4, GPU: 1", 'CPU: "4"', "resources:", "error",
     'gpu.resources.CPU: found "4", expected type integer; remove the quotes'),
    ("aws", "InstanceType: g6.xlarge", "instanceType: g6.xlarge", "instanceType", "error", "expected `InstanceType`"),
    ("aws", "InstanceType: g6.xlarge", "InstanceTyp: g6.xlarge", "InstanceTyp", "error",
     "InstanceTyp: found an unknown key, expected `InstanceType`; rename it"),
    ("aws", "IamInstanceProfile: &worker_role", "IamInstanceProfil: &worker_role", "Profil:", "error",
     "IamInstanceProfil: found an unknown key, expected `IamInstanceProfile`; rename it"),
    ("aws", "      IamInstanceProfile: {Name: dkvb-head}\n", "", "node_config:", "warning",
     "head.node_config.IamInstanceProfile: found nothing, expected one that may do what nodes need"),
    ("gcp", "serviceAccounts: &worker", "serviceAccount: &worker", "serviceAccount:", "error",
     "serviceAccount: found an unknown key, expected `serviceAccounts`; rename it"),
    ("aws", "      InstanceType: g6.xlarge\n", "", "node_config:", "error",
     "InstanceType: found nothing, expected a machine"),
    ("aws", ":2.60.0-py312-gpu", ":latest", ":latest", "error",
     "docker.image: found rayproject/ray:latest, expected a fixed tag"),
    ("aws", ":2.60.0-py312-gpu", "", "image: rayproject/ray", "error",
     "docker.image: found rayproject/ray, expected a fixed tag"),
    ("aws", ":2.60.0-py312-gpu", ":2.59.1-gpu", ":2.59.1-gpu", "error",
     "docker.image: found Ray 2.59.1, expected Ray 2.60"),
    ("aws", "  image: rayproject/ray:2.60.0-py312-gpu\n", "", "cluster_name: dkvb", "error",
     "what Ray refuses: Must provide"),
    ("aws", "127.0.0.1 --", "0.0.0.0 --", ">-", "error", "found --dashboard-host=0.0.0.0, expected --dashboard-host="),
    ("aws", "--port=6379", "--prot=6379", ">-", "error", "found `ray start` with --prot, expected `--port`; correct"),
    ("aws", "region: us-west-2", "region:\tus-west-2", "region", "error",
     "the file: found character '\\t' that cannot"),
    ("aws", "start --head", "start", ">-", "error", "`ray start` without --head, expected --head; add it"),
    ("aws", "ray start --address=$RAY_HEAD_IP:6379", "ray start", ">-", "error", "without --address"),
    ("aws", "--autoscaling-config=~/ray_bootstrap_config.yaml", "", ">-", "error", "without --autoscaling-config"),
    ("aws", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", ">-", "error", "found RAY_AUTH_MODE=disabled, expected"),
    ("aws", "RAY_AUTH_MODE=token", "X=1", ">-", "error",
     "head_start_ray_commands[1]: found no RAY_AUTH_MODE, expected"),
    ("aws", "RAY_USAGE_STATS_ENABLED=0", "X=1", ">-", "warning", "found usage statistics"),
    ("aws", "  ~/.ray/auth_token: ~/.ray/auth_token", "  ~/a: ~/.ray", "file_mounts:", "error",
     "found no token for the nodes"),
    ("aws", "; chmod 600 ~/.ray/auth_token", "", "  ~/.ray/auth_token:", "warning",
     "expected chmod 600 in setup_commands"),
    ("aws", ": ~/.ray/auth_token", ": ~/.ray/tokn", ": ~/.ray/tokn", "warning",
     "found ~/.ray/tokn, not there, expected a local"),
    ("aws", "idle_timeout_minutes: 5", "", "cluster_name", "warning",
     "idle_timeout_minutes: found nothing, expected a number of minutes; set it (Ray's default is 5)"),
    ("aws", "{CPU: 0}", "{CPU: 4}", "resources: {CPU: 4}", "error",
     "head.resources: found {'CPU': 4}, expected {CPU: 0}"),
    ("aws", "{CPU: 0}", "{}", "resources: {}", "error", "head.resources: found {}, expected {CPU: 0}"),
    ("aws", "cluster_name: dkvb", "cluster_name: 7", "cluster_name: 7", "error",
     "cluster_name: found 7, expected a string; quote it"),
    ("aws", "cluster_name: dkvb", "cluster_name: a\ncluster_name: b", "cluster_name: b", "error",
     "found the same key again"),
    ("aws", "cluster_name: dkvb", "cluster_name: [dkvb", "", "error",
     "the file: found what cannot be read: expected ',' or ']'"),
    ("aws", "  ssh_user: ubuntu", "  ssh_usr: ubuntu", "ssh_usr", "error",
     "auth.ssh_usr: found an unknown key, expected `ssh_user`"),
    ("aws", "provider:\n", "provider: !!python/object/apply:os.system [ls]\nx:\n", "provider", "error",
     "could not determine a"),
    ("gcp", "project_id: edit-me", "project_id: null", "project_id", "error",
     "provider.project_id: found nothing, expected the"),
    ("gcp", "        - onHostMaintenance: TERMINATE\n", "", "scheduling", "error",
     "expected onHostMaintenance: TERMINATE"),
    ("local", "  head_ip: 192.0.2.10", "  # ", "provider", "error",
     "provider.head_ip: found nothing, expected the head's"),
    ("local", "  worker_ips:\n    - 192.0.2.11\n    - 192.0.2.12\n", "", "provider", "error",
     "provider.worker_ips: found nothing"),
    ("local", "- 192.0.2.12", "- 192.0.2.11", "worker_ips:", "error", "found a machine twice, expected each once"),
    ("local", "- 192.0.2.12", "- 192.0.2.10", "worker_ips:", "error", "found the head, expected other machines"),
    ("local", "--num-cpus=0", "", "head_start_ray", "error", "found a head that does work, expected --num-cpus=0"),
    ("local", "provider:\n", "max_workers: 9\nprovider:\n", "max_workers: 9", "warning",
     "expected at most 2, as in worker_ips"),
    ("local", "provider:\n", "head_node_type: a\nprovider:\n", "head_node_type", "error",
     "expected none on-premise; remove it"),
]
KUBERNETES = [
    ("kuberay", "ray.io/v1", "ray.io/v1alpha1", "apiVersion", "error", "found ray.io/v1alpha1, expected `ray.io/v1`"),
    ("kuberay", "kind: RayJob", "kind: RayJobs", "kind", "error",
     "kind: found RayJobs, expected `RayJob`; correct it"),
    ("kuberay", "  name: dkvb\n", "  name: Dkvb_1\n", "  name: Dkvb_1", "error",
     "found Dkvb_1, expected lowercase letters"),
    ("kuberay", 'rayVersion: "2.60.0"', 'rayVersion: "2.61.0"', "image:", "error",
     "found Ray 2.60.0, expected Ray 2.61.0, as"),
    ("kuberay", 'rayVersion: "2.60.0"', "", "rayClusterSpec", "error",
     "rayVersion: found nothing, expected the image's"),
    ("kuberay", "2.60.0", "2.51.9", "rayVersion", "error",
     "found 2.51.9, expected the image's version in quotes, 2.52.0 or newer"),
    ("kuberay", "dkvb:0.1.0-ray2.60.0", "dkvb:latest", "image", "error",
     ".image: found registry.example.com/dkvb:latest, expected"),
    ("kuberay", 'num-cpus: "0"', "num-cpus: 0", "num-cpus", "error",
     'num-cpus: found 0 without quotes, expected "0"'),
    ("kuberay", 'num-cpus: "0"', 'num-cpus: "2"', "num-cpus", "error",
     'num-cpus: found 2, expected "0"; keep work off the head'),
    ("kuberay", "minReplicas: 0", "minReplicas: 5", "minReplicas: 5", "error",
     "found 5, expected at most maxReplicas, 4"),
    ("kuberay", "enableInTreeAutoscaling: true", "", "workerGroupSpecs", "warning",
     "workerGroupSpecs: found no workers, expected 1 or more; set replicas, or turn autoscaling on"),
    ("kuberay", 'requests: {cpu: "2", memory: 8Gi, ephemeral-storage: 10Gi}\n                limits', "limits",
     None, None, None),
    ("kuberay", "nvidia.com/gpu: 1", "nvidia.com/gpus: 1", "requests:", "error",
     "found nvidia.com/gpus, expected `nvidia.com/gpu`; correct it"),
    ("kuberay", ", memory: 8Gi", "", "resources", "warning",
     "resources: found no memory, expected a request for memory"),
    ("kuberay", "      mode: token", "      mode: disabled", "authOptions", "error",
     "authOptions: found disabled, expected mode: token; correct it"),
    ("kuberay", "    authOptions:\n      mode: token\n", "", "rayClusterSpec", "error",
     "authOptions: found nothing, expected mode"),
    ("kuberay", "  entrypoint: >-\n    dkvb run cifar10\n", "  entrypoint: >-\n", "entrypoint", None, None),
    ("kuberay", "--address auto", "", "entrypoint", "error",
     "found no --address auto, expected --address auto; add it"),
    ("kuberay", "shutdownAfterJobFinishes: true", "", "spec", "warning",
     "shutdownAfterJobFinishes: found nothing, expected true"),
    ("kuberay", "spec:\n  #", "spec:\n  submissionMode: HTTPmode\n  #", "HTTPmode", "error",
     "spec.submissionMode: found HTTPmode, expected one of K8sJobMode, HTTPMode"),
    ("kuberay", '        num-cpus: "0"\n', '        {}\n      resources: {CPU: "0"}\n', None, None, None),
    ("kuberay", '        num-cpus: "0"\n', '        {}\n      resources: {CPU: "4"}\n', "CPU", "error",
     'headGroupSpec.resources.CPU: found 4, expected "0"; keep work off the head'),
    ("kuberay", 'num-cpus: "0"', 'num-gpus: "0"', "rayStartParams", "error", 'num-cpus: found nothing, expected "0"'),
    ("kuberay", "spec:\n  #", "spec:\n  suspend: true\n  #", "metadata", "error",
     "found no queue, expected kueue.x-k8s.io/queue-name"),
    ("kueue", "suspend: true", "suspend: false", "suspend", "error", "spec.suspend: found false, expected true"),
    ("kueue", "suspend: true", "", None, None, None),
    ("kueue", "  shutdownAfterJobFinishes: true\n", "", "spec", "error",
     "spec.shutdownAfterJobFinishes: found nothing, expected true in a queue"),
    ("kueue", "queue-name: dkvb", "queue-name: dkv", "queue-name: dkv", "error",
     "found dkv, expected a LocalQueue of namespace"),
    ("kueue", "    kueue.x-k8s.io/queue-name: dkvb\n", "    a: b\n", "  labels:", "error",
     "metadata.labels: found no queue"),
    ("kueue", "clusterQueue: dkvb", "clusterQueue: dkv", "clusterQueue: dkv", "error",
     "found dkv, expected one of dkvb"),
    ("kueue", "        - name: dkvb\n", "        - name: dkv\n", "- name: dkv", "error",
     "name a ResourceFlavor of this file"),
    ("kueue", "nvidia.com/gpu, nominalQuota: 4", "nvidia.com/gpu, nominalQuota: 3", "resourceGroups", "error",
     "quota of 3 for nvidia"),
    ("kueue", "nominalQuota: 41Gi", "nominalQuota: 40Gi", "resourceGroups", "error",
     "found a quota of 40.0Gi for memory, expected at least 40.2Gi, which dkvb requests"),
    ("kueue", "nvidia.com/gpu: 1", "nvidia.com/gpus: 1", "requests:", "error",
     "found nvidia.com/gpus, expected `nvidia.com/gpu`; correct it"),
    ("kueue", "storage, nvidia.com/gpu]", "storage, nvidia.com/gpus]", "covered", "error",
     "found nvidia.com/gpus, expected `nvidia.com/gpu`; correct it"),
    ("kueue", "storage, nvidia.com/gpu]", "storage]", "resources:", "error",
     "expected cpu, memory, ephemeral-storage, in this order"),
    ("kueue", "nominalQuota: 90Gi", "nominalQuota: 80Gi", "resourceGroups", "error",
     "found a quota of 80.0Gi for ephemeral-storage, expected at least 90.0Gi, which dkvb requests"),
    ("kueue", "            - {name: memory, nominalQuota: 41Gi}\n", "", "resourceGroups", "error",
     "found no quota for memory, expected memory, which dkvb requests; add it to coveredResources and to a flavor"),
    ("kueue", "Autoscaling: false", "Autoscaling: true", "enableInTree", "error",
     "enableInTreeAutoscaling: found true, expected f"),
    ("kueue", "kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1", "apiVersion", "error",
     "expected `kueue.x-k8s.io/v1beta2`"),
]
# fmt: on
NAMED = "these to exist in the namespace: ServiceAccount dkvb"
TO_EDIT = ("a value of yours", "a CRD of each", NAMED)
"""What is expected where a template is checked as it is, without CRDs."""


@pytest.mark.parametrize(("provider", "old", "new", "marker", "severity", "says"), LAUNCHER + KUBERNETES)
def test_a_broken_file_is_found_out_in_its_line(provider, old, new, marker, severity, says, findings_of):
    text = render(provider)
    assert old in text
    broken = text.replace(old, new)
    found = [each for each in findings_of(broken) if each.expected not in TO_EDIT]
    if severity is None:
        assert found == []
        return
    (first, *_) = [each for each in found if says in str(each)] or [pytest.fail(f"not found: {list(map(str, found))}")]
    assert first.severity == severity
    assert marker in broken.splitlines()[first.line - 1], str(first)


@pytest.mark.parametrize("case", range(len(LAUNCHER + KUBERNETES)))
def test_one_mistake_makes_one_or_two_findings(case, findings_of):
    provider, old, new, *_ = (LAUNCHER + KUBERNETES)[case]
    found = [each for each in findings_of(render(provider).replace(old, new)) if each.expected not in TO_EDIT]
    assert len({(each.where.split("[")[0], each.expected) for each in found}) <= 2, list(map(str, found))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("# key: AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
        ("aws_secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a secret"),
        ("# export RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef", "a secret"),
        ("# -----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("# HF_TOKEN: hf_" + "a" * 34, "a Hugging Face token"),
    ],
)
@pytest.mark.parametrize("provider", ["aws", "kuberay"])
def test_a_secret_is_an_error_in_its_line_and_is_not_repeated(provider, line, kind, findings_of):
    found = [each for each in findings_of(f"{line}\n{render(provider)}") if "what looks like" in each.found]
    assert [(each.line, each.severity, each.found) for each in found] == [
        (1, "error", f"what looks like {kind} (not shown)")
    ]
    assert line.split()[-1] not in str(found[0])


def test_a_token_in_a_container_s_environment_is_an_error_and_a_reference_is_none(findings_of):
    text = render("kuberay")
    usage = '{name: RAY_USAGE_STATS_ENABLED, value: "0"}'
    given = text.replace(usage, usage + ', {name: RAY_AUTH_TOKEN, value: "hello"}')
    found = [each for each in findings_of(given) if each.severity == "error"]
    assert len(found) == 3
    assert "RAY_AUTH_TOKEN with its value (not shown), expected valueFrom.secretKeyRef" in str(found[0])
    by_hand = (
        ", {name: RAY_AUTH_MODE, value: token}, {name: RAY_AUTH_TOKEN, valueFrom: {secretKeyRef: {name: a, key: b}}}"
    )
    given = text.replace("    authOptions:\n      mode: token\n", "").replace(usage, usage + by_hand)
    assert [each for each in findings_of(given) if each.severity == "error"] == []


def test_the_host_s_commands_set_no_environment_inside_docker(findings_of):
    text = render("aws").replace("RAY_AUTH_MODE=token", "A=1")
    on_host = text + "\ninitialization_commands: [echo export RAY_AUTH_MODE=token >> ~/.bashrc]\n"
    assert "no RAY_AUTH_MODE" in " ".join(each.found for each in findings_of(on_host))
    inside = text.replace(
        "head_setup_commands: []", "head_setup_commands: [echo export RAY_AUTH_MODE=token >> ~/.bashrc]"
    )
    without = [each.where for each in findings_of(inside) if each.found == "no RAY_AUTH_MODE"]
    assert without == ["worker_start_ray_commands[1]"]


def test_missing_start_commands_are_an_error_as_ray_s_own_are_open_to_all(findings_of):
    text = re.sub(r"\n(head|worker)_start_ray_commands:\n(  .*\n)+", "\n", render("aws"))
    found = [str(each) for each in findings_of(text) if each.severity == "error"]
    assert len(found) == 2
    assert "head_start_ray_commands: found no `ray start`, expected one with RAY_AUTH_MODE=token" in found[0]


def test_a_token_file_that_others_can_read_is_warned_of(findings_of, home):
    (home / ".ray" / "auth_token").chmod(0o644)
    (found,) = [each for each in findings_of(render("aws")) if each.expected == "mode 600"]
    assert found.severity == "warning"


def test_a_machine_of_ones_own_needs_no_node_types_and_a_file_for_it_keeps_its_lines(findings_of):
    text = render("local").replace("192.0.2.", "10.0.0.").replace("edit-me", "me").replace("id_ed25519", "mine")
    assert findings_of(text) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_an_error(text, findings_of):
    (found,) = findings_of(text)
    assert str(found).endswith(
        ":1: error: the file: found nothing, expected readable YAML; `dkvb cluster render` makes a file to begin with"
    )


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "7\n",
        "a: b\n",
        "provider: 7\n",
        "provider: {type: [aws]}\n",
        "provider: {type: aws, region: a}\navailable_node_types: [a]\nhead_node_type: {a: b}\n",
        "provider: {type: aws, region: a}\navailable_node_types: {a: 7, b: [c]}\nhead_node_type: a\nmax_workers: x\n",
        "provider: {type: local, head_ip: a, worker_ips: 7}\nfile_mounts: [a]\ndocker: a\nauth: b\n",
        "provider: {type: external, module: os.system}\ncluster_name: a\n",
        "cluster_name: a\nhead_start_ray_commands: [1, {ray start: 2}]\n",
        "kind: RayJob\n",
        "apiVersion: ray.io/v1\nkind: RayJob\nspec: [a]\n",
        "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: 7\nspec: {headGroupSpec: 7, workerGroupSpecs: [7, {}]}\n",
        "apiVersion: kueue.x-k8s.io/v1beta2\nkind: ClusterQueue\nspec: {resourceGroups: [7, {flavors: [{a: [7]}]}]}\n",
        "a: &a [*a]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\n"
        + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("bcdefghijklmn", "cdefghijklmno", strict=True)),
        "[" * 5000,
        "a: 2026-99-99\n",
        "\x00",
        "a: \x07\n",
        "? [a, b]\n: c\n",
        "? {a: b}\n: c\n",
        "a\tb: c: d\n",
        "<<: 7\nprovider: {type: aws}\n",
        "cluster_name: a\nfile_mounts: {a: ~nobody-here/x, b: " + "y" * 5000 + "}\nprovider: {type: aws}\n",
        'cluster_name: a\nfile_mounts: {a: "x\\0y"}\nprovider: {type: aws}\n',
        "cluster_name: " + "9" * 5000 + "\n",
    ],
)
def test_anything_at_all_ends_in_findings_and_never_in_an_exception(text, findings_of):
    found = findings_of(text)
    assert found
    assert all(each.line >= 1 for each in found)


ANYTHING: list[object] = [
    None,
    7,
    -1,
    1.5,
    True,
    "x",
    "",
    [],
    {},
    [None],
    {"a": 1},
    {7: 8},
    [{}],
    {"x": [1, {}]},
    "latest",
]


def places(value, keys=()):
    yield keys
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inside, (*keys, key))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_with_anything_in_place_of_something_never_ends_in_an_exception(provider, findings_of):
    pick = random.Random(provider)
    whole = list(yaml.safe_load_all(render(provider)))
    for _ in range(40):
        documents = copy.deepcopy(whole)
        *way, last = pick.choice([keys for keys in places(documents) if keys])
        above = documents
        for key in way:
            above = above[key]
        above[last] = copy.deepcopy(pick.choice(ANYTHING))
        assert all(str(each) for each in findings_of(yaml.safe_dump_all(documents))), (way, last, above[last])


def test_other_kubernetes_objects_in_the_file_are_left_alone(findings_of):
    text = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: dkvb}\n---\n" + render("kuberay")
    found = findings_of(text)
    assert [each for each in found if each.severity == "error"] == []
    assert "names of other objects" not in {each.found for each in found}


WATCHED = """
import json, sys
seen = []

def watch(event, given):
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir", "os.rename", "os.remove"):
        seen.append([event, str(given[-1])])
    elif event == "open" and isinstance(given[1], str) and given[1].strip("rbtU"):
        seen.append([event, str(given[0])])

sys.addaudithook(watch)
from pathlib import Path
from cluster.files.check import check
found = [str(each) for each in check(Path(sys.argv[1]))]
print(json.dumps([seen, found]))
"""


def test_checking_writes_nothing_and_asks_nobody(home):
    environment = {name: os.environ[name] for name in ("PATH", "HOME")} | {"PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", WATCHED, str(REPOSITORY / "ray-cluster.yaml")]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, env=environment, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seen, found = json.loads(done.stdout)
    assert [each for each in seen if "__pycache__" not in each[1]] == []
    assert found
    assert sorted(path.name for path in home.rglob("*")) == [".ray", "auth_token"]
