"""Every code block of the pages runs, but for those that say why not."""

import json
import os
import re
import shutil
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from jobs.spec.reading import load_specs
from tests.docs import sandbox
from tests.docs.blocks import BLOCKS, FENCE, READ, RUN, RUNNERS, SHOWN, pages
from tests.paths import REPOSITORY
from tests.tiny import TINY, toml

HERE = [block for block in BLOCKS if block.runner in ("page", "each") and block.language in RUN]
SLOW = (
    "docs/reference/cli.md",
    "docs/tutorial/own-images.md",
    "docs/how-to/thousand-sets.md",
)  # half a minute and more
BY_PAGE = {page: list(some) for page, some in groupby(HERE, key=lambda block: block.page)}


def test_each_block_has_a_language_that_is_known():
    assert [str(block) for block in BLOCKS if block.language not in (*RUN, *READ, *SHOWN)] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_code_stands_outside_fences(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"(?<=\n\n) {4,}\S.*", re.sub(r"^(?:\d+\.|-) .*(?:\n+ +.*)*", "", text, flags=re.MULTILINE)) == []


def test_each_block_that_is_run_elsewhere_names_what_runs_it():
    elsewhere = {block.runner for block in BLOCKS if block.runner not in ("", *RUNNERS)}
    assert {runner for runner in elsewhere if "\ndef test_" not in (REPOSITORY / runner).read_text()} == set()
    assert len([block for block in BLOCKS if block.reason]) < len(HERE) / 4


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in READ], ids=str)
def test_json_and_yaml_can_be_read(block):
    assert (json.loads if block.language == "json" else yaml.safe_load)(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml" and not block.reason], ids=str)
def test_a_part_of_a_spec_fits_into_a_spec(block, tmp_path):
    said = tomllib.loads(block.text)
    rest = {key: value for key, value in TINY.items() if key not in said}
    more = "" if {"uva", "uve"} & {*said.get("sweep", ("uva",))} else "\n[sweep.uva]\nshares = [1.0]\n"
    top, head, tables = block.text.partition("[")
    path = tmp_path / "spec.toml"
    path.write_text(f"{top}{toml(rest)}\n{head}{tables}{more}")
    assert load_specs(str(path))


@pytest.fixture(scope="module")
def prepared(run_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "prepared"
    folder.mkdir()
    sandbox.prepare(folder, run_tiny)
    return folder


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in BY_PAGE])
def test_the_blocks_of_a_page_run(page, prepared, tmp_path, monkeypatch, dkvb):
    folder = Path(shutil.copytree(prepared, tmp_path / "page"))
    monkeypatch.chdir(folder)
    names = {"z": torch.randn(5, 1280)}
    for block in BY_PAGE[page]:
        if block.runner == "page":
            sandbox.run_block(block, folder, names, dkvb)
            continue
        for number, (command, output) in enumerate(block.commands()):
            own = Path(shutil.copytree(prepared, tmp_path / f"{block.line}-{number}"))
            os.chdir(own)
            sandbox.run_command(sandbox.here(command, own), output, dkvb)
            os.chdir(folder)
            shutil.rmtree(own)


@pytest.mark.slow
@pytest.mark.ray
def test_the_blocks_of_the_demo_run_on_what_it_made(tmp_path, monkeypatch, dkvb):
    monkeypatch.chdir(tmp_path)
    ended = dkvb("demo", "--root", "dkvb-demo")
    assert ended.code == 0, ended.err
    pages = groupby((block for block in BLOCKS if block.runner == "digits"), key=lambda block: block.page)
    for _, some in pages:
        names: dict[str, Any] = {}
        for block in some:
            sandbox.run_block(block, tmp_path, names, dkvb)


def test_blocks_for_an_object_store_run(prepared, bucket, tmp_path, monkeypatch, dkvb):
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).put(
        str(prepared / "roots" / "cifar10"), f"{bucket}/roots/cifar10", recursive=True
    )
    monkeypatch.chdir(tmp_path)
    some = [block for block in BLOCKS if block.runner == "s3"]
    assert some
    for block in some:
        for command, output in block.commands():
            sandbox.run_command(command.replace("s3://my-bucket", bucket), output, dkvb)
