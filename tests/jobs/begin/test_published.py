"""`dkvb data NAME`: published sets from a hub; the client is the real one, the far end is tests/hub.py."""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.begin import published
from jobs.begin.published import SETS, fetch_published, imagenet_names
from jobs.spec.reading import load_specs
from store.locations import class_names
from tests.hub import local_hub
from tests.jobs.cli.test_json import keys

CIFAR10, CIFAR100, TINY, IMAGENET = SETS


def png(size=1):
    data = io.BytesIO()
    Image.effect_noise((size, size), 50).save(data, "PNG")
    return data.getvalue()


def parquet(items, **classes):
    """A file of so many images; classes: how many the labels of a column have."""
    image = {"bytes": png(), "path": "1.png"}
    columns = {name: [k % number for k in range(items)] for name, number in classes.items()}
    features = {
        name: {"names": [f"{name}{k}" for k in range(number)], "_type": "ClassLabel"}
        for name, number in classes.items()
    }
    table = pa.table({"img": [image] * items, **columns})
    info = {"info": {"features": {"img": {"_type": "Image"}, **features}}}
    data = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), data, compression="none")
    return data.getvalue()


def tar(items):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for k in range(items):
            for ending, content in (("jpg", png(16)), ("cls", b"%d" % k)):
                member = tarfile.TarInfo(f"{k:05d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture(scope="module")
def files():
    cifar10 = {
        f"plain_text/{split}-00000-of-00001.parquet": parquet(items, label=10) for split, items in SPLITS.items()
    }
    cifar100 = {
        f"cifar100/{split}-00000-of-00001.parquet": parquet(items, fine_label=100, coarse_label=20)
        for split, items in SPLITS.items()
    }
    tiny = {
        f"data/{split}-00000-of-00001-1f.parquet": parquet(items, label=200)
        for split, items in (("train", 100_000), ("valid", 10_000))
    }
    return {CIFAR10.name: cifar10, CIFAR100.name: cifar100, TINY.name: tiny}


SPLITS = {"train": 50_000, "test": 10_000}


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with local_hub() as made:
        for one in (CIFAR10, CIFAR100, TINY):
            made.add_dataset(one.repository, {"README.md": b"about", **files[one.name]}, card={"license": "unknown"})
        monkeypatch.setattr(constants, "ENDPOINT", made.address)
        template = made.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        yield made


def fetched(hub):
    return [request.rpartition("/")[2] for request in hub.requests if request.startswith("GET /datasets/")]


def test_a_set_is_fetched_once_and_what_comes_next_is_said(hub, files, dkvb, tmp_path):
    first = dkvb("data", "cifar10", "--yes")
    assert first.code == 0, first.err
    assert first.out == (
        "data/cifar10: cifar10 of uoft-cs/cifar10, fetched and checked\n"
        "  50,000 training and 10,000 test images of 10 classes, 2 files\n"
        f"  commit {hub.repositories['datasets/uoft-cs/cifar10'].name(0)}; hub.json has the digest of each file\n"
        "Next: dkvb run cifar10 --root roots/cifar10 --images data/cifar10\n"
    )
    assert "licence  published without a licence; cite Krizhevsky" in first.err
    assert "its page says: unknown\n" in first.err
    assert f"from     {hub.address}/datasets/uoft-cs/cifar10, commit" in first.err
    assert sorted(path.name for path in Path("data").iterdir()) == ["cifar10"]
    there = {path.name: path.read_bytes() for path in Path("data/cifar10").glob("*.parquet")}
    assert there == {path.rpartition("/")[2]: data for path, data in files["cifar10"].items()}
    assert sorted(path.name for path in Path("data/cifar10").iterdir()) == sorted([*there, "hub.json"])

    images = load_specs("cifar10")[0].images.split("train").open("data/cifar10")
    assert images.scan(on_error="fail").items == 50_000
    hub.requests.clear()
    again = dkvb("data", "cifar10", "--json")
    assert (again.code, again.err, hub.requests) == (0, "", [])
    said = json.loads(again.out)
    assert {*said} == keys("data cifar10")
    assert (said["new"], said["train"], said["test"], said["classes"], said["files"]) == (False, 50_000, 10_000, 10, 2)


@pytest.mark.parametrize(
    ("wanted", "classes"), [(CIFAR100, "fine_label"), (TINY, "label")], ids=lambda one: str(one)[:9]
)
def test_a_set_in_another_layout_than_its_spec_brings_a_spec(hub, dkvb, wanted, classes):
    ended = dkvb("data", wanted.name, "sets/one", "--yes")
    assert ended.code == 0, ended.err
    *words, root, images = ended.out.splitlines()[-1].removeprefix("Next: dkvb run ").split(" --")
    assert (words, root, images) == ([f"sets/one/{wanted.name}.toml"], f"root roots/{wanted.name}", "images sets/one")
    (spec,), (shipped,) = load_specs(words[0]), load_specs(wanted.spec)
    keys = spec.keys if wanted is TINY else shipped.keys
    assert replace(spec, images=shipped.images) == replace(shipped, keys=keys)
    manifest = spec.images.split("test").open("sets/one").scan(on_error="fail")
    assert (manifest.items, manifest.classes[:2]) == (10_000, (f"{classes}0", f"{classes}1"))


def test_a_damaged_file_is_fetched_again_and_nothing_else(hub, dkvb):
    test = "plain_text/test-00000-of-00001.parquet"
    hub.broken[test] = "changed"
    first = dkvb("data", "cifar10", "--yes")
    assert first.code == 1
    assert f"uoft-cs/cifar10: {test} came damaged" in first.err
    assert not Path("data/cifar10").exists()
    assert [path.name for path in Path("data/cifar10.part").glob("*.parquet")] == ["train-00000-of-00001.parquet"]

    # The repository moves on meanwhile: what was begun is ended with its own commit.
    repository = hub.repositories["datasets/uoft-cs/cifar10"]
    repository.commits.append({"README.md": b"empty"})
    repository.messages.append("moved")
    hub.broken.clear()
    hub.requests.clear()
    second = dkvb("data", "cifar10")  # agreed to before
    assert second.code == 0, second.err
    assert "going on where an earlier call ended" in second.err
    assert fetched(hub) == ["test-00000-of-00001.parquet"]
    assert json.loads(Path("data/cifar10/hub.json").read_text())["commit"] == repository.name(0)


def test_a_connection_that_breaks_off_is_taken_up_again(hub, files, dkvb):
    hub.broken["plain_text/train-00000-of-00001.parquet"] = "cut off"
    ended = dkvb("data", "cifar10", "--yes")
    if ended.code:  # a client that does not take it up itself
        hub.broken.clear()
        ended = dkvb("data", "cifar10", "--yes")
    assert ended.code == 0, ended.err
    name = "train-00000-of-00001.parquet"
    assert Path("data/cifar10", name).read_bytes() == files["cifar10"][f"plain_text/{name}"]


def test_interrupted_and_killed_it_leaves_nothing_that_looks_whole_and_goes_on(hub, dkvb, tmp_path):
    hub.broken["plain_text/train-00000-of-00001.parquet"] = "stalled"
    line = [sys.executable, "-m", "jobs.cli", "data", "cifar10", "--yes"]
    environment = {**os.environ, **hub.environment(tmp_path / "hf"), "PYTHONPATH": str(Path(__file__).parents[3])}
    for how in (signal.SIGINT, signal.SIGKILL):
        hub.stalled.clear()
        with subprocess.Popen(line, stderr=subprocess.PIPE, env=environment, text=True) as process:
            assert hub.stalled.wait(100)
            process.send_signal(how)
            _, err = process.communicate(timeout=100)
        assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
        assert "Traceback" not in err
        assert not Path("data/cifar10").exists()
    hub.broken.clear()
    ended = dkvb("data", "cifar10")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in Path("data").iterdir()) == ["cifar10"]
    assert not Path("data/cifar10/.download").exists()


def test_other_images_than_the_spec_expects_are_no_set(hub, files, dkvb):
    hub.repositories["datasets/uoft-cs/cifar10"].commits[0]["plain_text/test-00000-of-00001.parquet"] = parquet(
        7, label=10
    )
    ended = dkvb("data", "cifar10", "--yes")
    assert ended.code == 1
    assert "found 7 test images, expected 10,000: it is another data set now" in ended.err
    assert not Path("data/cifar10").exists()


def test_nothing_is_fetched_unasked_or_without_room_or_over_other_files(hub, dkvb, tmp_path, monkeypatch):
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("")
    Path("half.part").mkdir()
    for words, code, text in (
        (("cifar10",), 2, "nothing was fetched: where there is no terminal to ask at, --yes accepts"),
        (("cifar10", "taken", "--yes"), 1, "taken: already exists and holds other files; name a new folder"),
        (("cifar10", "half", "--yes"), 1, "half.part: holds something else"),
        (("cifar10", "s3://bucket/x", "--yes"), 2, "an address; a data set is fetched into a folder"),
    ):
        ended = dkvb("data", *words)
        assert (ended.code, ended.out) == (code, "")
        assert text in ended.err
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 2**20))
    ended = dkvb("data", "cifar10", "new/cifar10", "--yes")
    assert ended.code == 1
    assert "needs 64 MiB of disk, 1 MiB are free" in ended.err
    assert fetched(hub) == []
    assert not Path("new").exists()
    assert not Path("data").exists()


def test_on_a_terminal_the_terms_are_said_and_asked_for(hub, tmp_path):
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "jobs.cli", "data", "cifar10", str(tmp_path / "asked"), "-q"]
    environment = {**os.environ, **hub.environment(tmp_path / "hf"), "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(line, stdin=theirs, stderr=subprocess.PIPE, env=environment, text=True) as process:
        os.write(ours, b"n\n")
        _, err = process.communicate(timeout=100)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 2
    assert err.index("licence  published") < err.index("Fetch it? [y/N]") < err.index("dkvb: nothing was fetched")
    assert not (tmp_path / "asked").exists()


def test_a_gated_set_says_what_to_accept_and_takes_its_class_names_from_timm(hub, dkvb, monkeypatch):
    files = {"a/imagenet1k-train-0000.tar": tar(5), "imagenet1k-validation-00.tar": tar(3), "_info.json": b"{}"}
    hub.add_dataset(IMAGENET.repository, files, gated=True)
    ended = dkvb("data", "imagenet1k", "--yes")
    assert ended.code == 1
    page = f"{hub.address}/datasets/timm/imagenet-1k-wds"
    assert "gated    log in on that page and accept its terms; then HF_TOKEN" in ended.err
    assert f"it is gated: log in at {page} and accept its terms, then set HF_TOKEN or use `hf auth login`" in ended.err
    assert ended.err.count("dkvb: ") == 1

    monkeypatch.setenv("HF_TOKEN", hub.environment("")["HF_TOKEN"])
    short = dkvb("data", "imagenet1k", "--yes")
    assert short.code == 1
    assert "found no file imagenet1k-train-0001.tar" in short.err
    small = 'kind = "webdataset"\ntrain = "imagenet1k-train-*.tar"\ntest = "imagenet1k-validation-*.tar"\n'
    small += 'classes = "classnames.txt"\nexpect = { train = 5, test = 3, classes = 1000 }\n'
    wanted = replace(IMAGENET, images=small)
    done = fetch_published(wanted, Path("data/imagenet1k"), agree=lambda _: False, tell=lambda _: None)
    assert done.record["train"] == 5
    names = load_specs("data/imagenet1k/imagenet1k.toml")[0].images.split("test").open("data/imagenet1k")
    assert names.scan(on_error="fail").classes[:2] == ("tench", "goldfish")


def test_class_names_of_imagenet_are_told_apart():
    names = class_names(imagenet_names())
    assert len(set(names)) == 1000
    assert [name for name in names if name.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]


def test_a_repository_that_is_laid_out_in_another_way_is_named(hub, dkvb):
    hub.add_dataset(TINY.repository, {"data/train-0.parquet": b"", "data/val-0.parquet": b""})
    ended = dkvb("data", "tiny-imagenet", "--yes")
    assert ended.code == 1
    assert "has no file valid-*.parquet; it holds data/train-0.parquet, data/val-0.parquet" in ended.err
    hub.repositories.clear()
    assert "it is not there, or not for you" in dkvb("data", "tiny-imagenet", "--yes").err


def test_a_set_that_lost_a_file_is_not_taken_for_whole(hub, dkvb):
    assert dkvb("data", "cifar10", "--yes").code == 0
    Path("data/cifar10/test-00000-of-00001.parquet").unlink()
    ended = dkvb("data", "cifar10", "--yes")
    assert ended.code == 1
    assert "test-00000-of-00001.parquet is not there, or not as it was fetched" in ended.err
    assert "holds cifar10, asked was cifar100" in dkvb("data", "cifar100", "data/cifar10").err


def test_each_set_has_a_shipped_spec_that_reads_its_files():
    for wanted in SETS:
        assert wanted.images or load_specs(wanted.spec)[0].images.kind in ("parquet", "webdataset")
        assert published.next_command(wanted, Path("my data")).endswith("--images 'my data'")
