"""What docs/cluster.md says of tokens, ports and networks: by Ray itself, and by what is rendered."""

import os
import re
import stat
import subprocess
import sys

import pytest
import yaml

from tests.docs.blocks import BLOCKS
from tests.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
TUTORIAL = (REPOSITORY / "docs" / "tutorial" / "cluster.md").read_text(encoding="utf-8").replace("\\\n", "")


def ray(*words, **variables):
    """What Ray's command prints."""
    env = {**{name: value for name, value in os.environ.items() if not name.startswith("RAY_")}, **variables}
    command = [sys.executable, "-m", "ray.scripts.scripts", *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.mark.ray
def test_the_token_that_the_page_writes_is_for_its_user_alone_and_is_ray_s(tmp_path):
    (block,) = [each for each in BLOCKS if each.runner == "tests/docs/test_cluster_page.py"]
    ((command, _),) = block.commands()
    path = tmp_path / "token"
    without = ray("get-auth-token", "--generate", RAY_AUTH_TOKEN_PATH=str(path))
    assert without.returncode
    assert not path.exists()  # which is why the page says so
    env = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(path)}
    subprocess.run(["bash", "-c", command.replace("python ", f"{sys.executable} ")], env=env, timeout=60, check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ray("get-auth-token", RAY_AUTH_TOKEN_PATH=str(path)).stdout == path.read_text().strip()


@pytest.mark.ray
def test_the_options_for_ports_are_those_of_ray_start():
    (section,) = re.findall(r"^## Ports\n(.*?)^## ", PAGE, flags=re.MULTILINE | re.DOTALL)
    named = {
        *re.findall(r"--[a-z][a-z-]+", section),
        *re.findall(r"--[a-z][a-z-]+", *re.findall(r"^\$ ray start .*--port.*$", TUTORIAL, re.M)),
    }
    known = {*re.findall(r"--[a-z][a-z-]+", ray("start", "--help").stdout)}
    assert {"--port", "--dashboard-port", "--metrics-export-port"} <= named
    assert named - known - {"--address"} == set()


def test_every_token_that_ray_writes_is_closed_to_others_in_the_next_line():
    for text in (PAGE, TUTORIAL):
        assert re.findall(r"ray get-auth-token --generate > .*\n *(.*)", text) == ["$ chmod 600 ~/.ray/auth_token"]


def test_the_network_policy_is_for_the_pods_that_the_pod_monitor_reads_and_for_ports_that_are_served():
    (policy,) = [yaml.safe_load(each.text) for each in BLOCKS if "kind: NetworkPolicy" in each.text]
    monitor = yaml.safe_load((REPOSITORY / "docs" / "metrics" / "podmonitor.yaml").read_text(encoding="utf-8"))
    assert policy["spec"]["podSelector"] == monitor["spec"]["selector"]
    assert [each.get("ports") for each in policy["spec"]["ingress"]] == [None, [{"port": 8265}], [{"port": 8080}]]
