"""Every mistake at the command line ends in one message and a code, never in a traceback."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from store.artefacts import ROOT_FILE
from tests.processes import message
from tests.tiny import unfinish

DKVB = Path(sys.executable).with_name("dkvb")


def test_a_wrong_images_path_is_named_and_makes_no_root(dkvb, run_words, tmp_path):
    for name in ("aaa", "bbb", "ccc", "ddd", "eee", "fff", "images-here"):
        (tmp_path / name).mkdir()
    text = message(dkvb(*run_words(images=tmp_path / "imagse-here")), 1)
    assert f"{tmp_path}/imagse-here" in text
    assert " more; did you mean 'images-here'? " in text, "the names that are shown do not hold it"
    assert "Check location and pattern" in text
    assert not (tmp_path / "root").exists()


def test_images_that_were_not_given_are_asked_for(dkvb, spec_file, tmp_path):
    assert "--images DIR" in message(dkvb("run", spec_file(), "--root", tmp_path / "root", "--serial"), 2)


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_numbers_that_nobody_can_count_with_are_refused(dkvb, spec_file, tmp_path, number):
    for words in (
        ("run", spec_file(), "--root", tmp_path / "root", "--gpus", number),
        ("jobs", "wait", "--queue", tmp_path, "--timeout", number),
        ("jobs", "reconcile", "--queue", tmp_path, "--every", number),
    ):
        ended = dkvb(*words)
        assert ended.code == 2
        assert number in ended.err.splitlines()[-1]
    assert not (tmp_path / "root").exists()


def test_an_unknown_key_in_the_spec_is_named(dkvb, run_words, tmp_path):
    ended = dkvb(*run_words({"keys.epoch": 3}))
    (line,) = [
        at for at, set_here in enumerate((tmp_path / "spec.toml").read_text().split("\n"), 1) if "epoch =" in set_here
    ]
    told = f"{tmp_path / 'spec.toml'}: line {line}: keys: unknown key 'epoch'; did you mean 'epochs'?"
    assert message(ended, 2).startswith(told)
    assert not (tmp_path / "root").exists()


def test_an_unknown_backbone_is_named_with_the_nearest(dkvb, run_words):
    changes = {"backbone.library": "timm", "backbone.name": "resnet500", "backbone.image_size": None}
    text = message(dkvb(*run_words(changes)), 2)
    assert "'resnet500' is unknown; the nearest known: " in text
    assert "resnet50" in text


def test_an_unknown_shipped_spec_is_named_with_the_nearest(dkvb, tmp_path):
    assert "did you mean 'cifar10'?" in message(dkvb("run", "cifar", "--root", tmp_path / "root"), 2)


def test_missing_weights_are_named_with_the_way_to_get_them(run_words, tmp_path):
    asked = {"backbone.library": "timm", "backbone.name": "resnet50", "backbone.image_size": None}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    words = [DKVB, *run_words(asked)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (message,) = re.findall("^dkvb: .*", done.stderr, flags=re.M)
    assert "HF_HUB_OFFLINE=1 is set" in message
    assert "timm/resnet50" in message
    assert "hf download" in message


def no_override():
    """Before exec: even a superuser is bound by permissions from here on."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.parametrize("where", ["below a file", "in /proc"])
def test_a_root_that_cannot_be_made_is_named(where, dkvb, run_words, tmp_path):
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "root" if where == "below a file" else Path("/proc/dkvb")
    text = message(dkvb(*run_words(root=root)), 1)
    assert text.startswith(f"{root}: cannot be used as root")
    assert "choose a folder you can write to" in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gives up the superuser's rights the Linux way")
@pytest.mark.parametrize("command", ["run", "unlearn"])
def test_a_root_that_may_only_be_read_is_named(command, own, run_words, images):
    words = run_words(root=own.root, images=images) if command == "run" else ("unlearn", own.root, "--class", "cat")
    for folder in (own.root, own.root / "experiments"):
        folder.chmod(0o555)
    try:
        done = subprocess.run(
            [DKVB, *words], capture_output=True, text=True, timeout=300, check=False, preexec_fn=no_override
        )
    finally:
        for folder in (own.root, own.root / "experiments"):
            folder.chmod(0o755)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    (message,) = re.findall("^dkvb: .*", done.stderr, flags=re.M)
    assert str(own.root) in message


@pytest.mark.parametrize("words", [("status",), ("table",), ("unlearn", "--class", "cat")])
def test_a_folder_that_is_no_root_is_named(words, dkvb, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    name, *rest = words
    text = message(dkvb(name, tmp_path, *rest), 1)
    assert text.startswith(f"{tmp_path}: no {ROOT_FILE} there")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_into_a_folder_of_other_files_is_refused(dkvb, run_words, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "thesis.tex").write_text("")
    assert "holds other files" in message(dkvb(*run_words()), 1)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["thesis.tex"]


def test_a_corrupt_image_is_named(dkvb, run_words, own_images):
    (own_images / "train" / "bee" / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    text = message(dkvb(*run_words()), 1)
    assert "bee/0003.png" in text
    assert "1 of 4 units failed" in text
    assert 'images.on_error = "skip"' in text


def test_a_misspelt_class_is_named_with_the_nearest(dkvb, finished):
    text = message(dkvb("unlearn", finished.root, "--class", "catt"), 2)
    assert text == "no class 'catt'; did you mean 'cat'? (there: ant, bee, cat)\n"


def test_a_misspelt_class_in_the_spec_is_named_with_the_nearest(dkvb, run_words, own, images):
    words = run_words({"name": "one", "sweep.classes": ["catt"]}, root=own.root, images=images)
    ended = dkvb(*words)
    assert ended.code in (1, 2)
    assert "did you mean 'cat'?" in message(ended, ended.code)


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_a_budget_beyond_what_there_is_is_named(method, dkvb, finished):
    text = message(dkvb("unlearn", finished.root, "--class", "cat", "--method", method, "--budget", "100000"), 2)
    assert re.match(r"N = 100000 is larger than the \d+ ", text)
    assert not (finished.root / "unlearned").exists()


def test_a_budget_and_a_share_together_are_refused(dkvb, finished):
    words = ("unlearn", finished.root, "--class", "cat", "--budget", "3", "--share", "0.5")
    assert message(dkvb(*words), 2) == "give either a budget N or a share\n"


@pytest.mark.parametrize("place", ["/proc/dkvb/table.md", "{}/file/table.md", "{}"])
def test_an_output_that_cannot_be_written_is_named(place, dkvb, finished, tmp_path):
    (tmp_path / "file").write_text("")
    path = place.format(tmp_path)
    text = message(dkvb("table", finished.root, "-o", path), 2)
    assert text.startswith(f"{path}: cannot be written: ")


def test_a_root_without_an_experiment_says_how_to_begin(dkvb, tmp_path):
    (tmp_path / ROOT_FILE).write_text('{"format": "dkvb-root/1"}')
    assert "dkvb run SPEC --root" in message(dkvb("table", tmp_path), 2)
    assert dkvb("status", tmp_path, "--json").out == "[]\n"


def test_a_table_before_the_sweep_says_what_is_missing(dkvb, own):
    unfinish(own.artefact("sweep"))
    assert "step sweep is not finished" in message(dkvb("table", own.root), 2)
