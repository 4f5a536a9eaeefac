"""The version: that of the last tag, and made up where there is no tag, no git folder or no git; and what cites it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import dkvb
import dkvb_unlearning
from tests.paths import REPOSITORY

PREPARE = """
import pathlib, sys
from setuptools import build_meta
out = pathlib.Path(sys.argv[1])  # setuptools puts other words there
made = build_meta.prepare_metadata_for_build_wheel(out)
print("version", (out / made / "METADATA").read_text().partition("\\nVersion: ")[2].splitlines()[0])
"""
"""As pip does it, but for the environment of its own."""


@pytest.fixture
def checkout(tmp_path):
    """What a version is made of, without a git folder."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("README.md", "LICENSE", "dkvb_unlearning.py"):
        shutil.copy(REPOSITORY / name, folder)
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    alone, replaced = re.subn(r"^packages = \[.*?^\]", "packages = []", project, flags=re.MULTILINE | re.DOTALL)
    assert replaced == 1
    (folder / "pyproject.toml").write_text(alone, encoding="utf-8")
    return folder


def git(folder, *words):
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def commit(folder, text):
    (folder / "LICENSE").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--message", text)


def built(folder, **variables):
    """The version that a build gets."""
    out = tempfile.mkdtemp(dir=folder.parent)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SETUPTOOLS_SCM")} | variables
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, out], cwd=folder, capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("version ")[2].strip()


def test_a_copy_without_a_git_folder_has_the_version_of_the_project_file(checkout):
    assert built(checkout) == "0.1.0"
    assert built(checkout, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DKVB_UNLEARNING="3.5.7") == "3.5.7"


def test_a_tag_is_the_version_and_commits_after_it_are_counted(checkout):
    git(checkout, "init")
    commit(checkout, "one")
    assert re.fullmatch(r"0\.1\.(1\.)?dev1\+g[0-9a-f]+", built(checkout)), "without a tag"
    git(checkout, "tag", "v3.5.7")
    assert built(checkout) == "3.5.7"
    for text in ("two", "three"):
        commit(checkout, text)
    assert re.fullmatch(r"3\.5\.8\.dev2\+g[0-9a-f]+", built(checkout))


def test_a_checkout_is_built_where_git_is_not_installed(checkout, tmp_path):
    git(checkout, "init")
    commit(checkout, "one")
    (tmp_path / "bin").mkdir()
    assert built(checkout, PATH=str(tmp_path / "bin")) == "0.1.0"


def test_the_installed_version_is_what_python_says():
    assert dkvb.__version__ == dkvb_unlearning.__version__ == version("dkvb-unlearning")
    for module in (dkvb, dkvb_unlearning):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = module.nothing


def test_code_that_is_not_installed_says_so(tmp_path):
    shutil.copy(REPOSITORY / "dkvb_unlearning.py", tmp_path)
    code = "import dkvb_unlearning; print(dkvb_unlearning.__version__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == dkvb_unlearning.NO_VERSION


def test_the_citation_names_the_software_its_licence_and_the_papers_of_its_method():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited.keys() >= {"cff-version", "message", "title", "authors"}  # what the format asks for
    assert cited["license"] == "Apache-2.0"
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(cited["references"]) == 2
    for paper in cited["references"]:
        assert paper["title"] in readme.replace("\n", " ")
        assert paper["url"] in readme
        assert paper["authors"][0]["family-names"] in readme


def test_the_image_is_built_with_the_version_of_the_project_file():
    (given,) = re.findall(
        r"^ARG VERSION=(.+)$", Path(REPOSITORY, "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert f'fallback_version = "{given}"' in Path(REPOSITORY, "pyproject.toml").read_text(encoding="utf-8")
