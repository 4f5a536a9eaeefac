"""The container image: its build is given what is installed, and its Ray is the one of the cluster files."""

import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch

import yaml

from cluster.files.render import ray_of
from tests.paths import REPOSITORY

IGNORED = ("__pycache__", "*.pyc")


def let_through():
    """The names at the top that .dockerignore lets through: it leaves all out, and then takes some back."""
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    first, *others = lines
    assert first == "*"
    assert others[-1] == "**/__pycache__"
    assert all(line.startswith("!") for line in others[:-1])
    return [line[1:] for line in others[:-1]]


def test_a_wheel_of_what_the_build_is_given_holds_every_file_that_is_installed(tmp_path):
    for name in let_through():
        source, copy = REPOSITORY / name, tmp_path / "context" / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*IGNORED))
        else:
            shutil.copy(source, copy)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    made = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "context", capture_output=True, text=True, check=True
    )
    held = {name for name in zipfile.ZipFile(tmp_path / made.stdout.split()[-1]).namelist() if ".dist-info" not in name}
    packages = [REPOSITORY / name for name in let_through() if (REPOSITORY / name).is_dir()]
    files = {str(path.relative_to(REPOSITORY)) for each in packages for path in each.rglob("*") if path.is_file()}
    assert held == {name for name in files if not any(fnmatch(name, f"*{each}*") for each in IGNORED)} | {
        "dkvb_unlearning.py"
    }


def test_the_image_is_built_on_the_ray_of_the_cluster_file():
    text = (REPOSITORY / "Dockerfile").read_text()
    (ray,) = re.findall(r"^ARG RAY=(.+)$", text, re.MULTILINE)
    cluster = yaml.safe_load((REPOSITORY / "ray-cluster.yaml").read_text())
    assert ray == ray_of(cluster["docker"]["image"])
    assert all(ray_of(image) == ray for image in re.findall(r"docker build .*-t (\S+)", text))


def test_the_image_installs_what_the_nodes_of_a_cluster_file_install():
    text = (REPOSITORY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY --chown=ray (\S+) ", text, re.MULTILINE)
    assert copied == ["cluster/files/templates/requirements.txt", "."]
    assert (REPOSITORY / copied[0]).is_file()
