"""`dkvb data`: what it prints, and that a mistake or an interrupt ends in one message and leaves nothing."""

import functools
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

DKVB = Path(sys.executable).with_name("dkvb")


def bitmap(number):
    """A BMP of one pixel, of its own for each number: made in a microsecond."""
    header = struct.pack("<2sIHHI", b"BM", 58, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0
    )
    return header + number.to_bytes(3, "little") + b"\0"


def fill(tree, sizes):
    """Identities of so many different images."""
    number = 0
    for k, size in enumerate(sizes):
        folder = tree / ("test" if k % 7 == 3 else "train") / f"n{k:06d}"
        folder.mkdir(parents=True)
        for n in range(size):
            (folder / f"{n:04d}_01.jpg").write_bytes(bitmap(number))
            number += 1
    return tree


@pytest.fixture
def small(monkeypatch):
    """Three identities of 5 and 2 images."""
    from store import lacuna

    monkeypatch.setattr(os, "sync", lambda: None)
    shape = lacuna.Shape(identities=3, train=5, test=2)
    monkeypatch.setattr(lacuna, "build", functools.partial(lacuna.build, shape=shape))


@pytest.fixture
def words(small, tmp_path):
    """The command on a tree of three that qualify and two that do not, in this process."""
    tree = fill(tmp_path / "vggface2", [7, 11, 3, 6, 7])
    return ("data", "lacuna100", "--vggface2", tree, tmp_path / "out")


def test_the_set_is_made_once_and_counted(words, dkvb, tmp_path):
    first = dkvb(*words)
    assert first.code == 0
    assert first.out == (
        f"{tmp_path}/out: LACUNA-100 of seed 0 made\n"
        "  3 identities, 15 training and 6 test images, none in both\n"
        "  drawn from 3 of 5 identities; 2 folders and files skipped\n"
        "  0 files of the drawn identities left out (duplicates, no images): lacuna.json says each and why\n"
        f"Next: dkvb plan lacuna100 --images {tmp_path}/out\n"
    )
    assert first.err.startswith(f"looking through {tmp_path}/vggface2\n")
    again = dkvb(*words)
    assert (again.code, again.err) == (0, "")
    assert "of seed 0 already exists, nothing was done\n" in again.out


def test_json_has_the_same_numbers(words, dkvb, tmp_path):
    expected = {
        "out": str(tmp_path / "out"),
        "seed": 3,
        "identities": 3,
        "train": 15,
        "test": 6,
        "found": 5,
        "with_enough_files": 3,
        "skipped": 2,
        "left_out": 0,
    }
    for new in (True, False):
        assert json.loads(dkvb(*words, "--seed", 3, "--json").out) == {**expected, "new": new}


def test_mistakes_end_in_one_message(words, dkvb, tmp_path):
    *command, tree, out = words
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    (tmp_path / "few").mkdir()
    dkvb(*words)
    for given, expected in (
        (
            (tmp_path / "none", out),
            f"{tmp_path}/none: no such folder; give the folder that holds VGGFace2's identities",
        ),
        (
            (tmp_path / "few", tmp_path / "new"),
            "found 0 identities, 0 of them with 7 image files or more; 3 are needed",
        ),
        ((tree, tmp_path / "taken"), f"{tmp_path}/taken: already exists and holds other files; name a new folder"),
        ((tree, out, "--seed", "1"), f"{tmp_path}/out: holds a set of seed 0, asked was seed 1; name a new folder"),
        ((tree, "s3://bucket/lacuna"), "an address; LACUNA is made from a folder into a folder of this machine"),
    ):
        ended = dkvb(*command, *given)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.count("dkvb: ") == 1
        assert expected in ended.err
    assert dkvb("data", "lacuna100", out).code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "out", "taken", "vggface2"]


def test_an_interrupt_leaves_nothing(words, dkvb, tmp_path, monkeypatch):
    from store import lacuna

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(lacuna, "_copy", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    ended = dkvb(*words)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.endswith(f"dkvb: interrupted; a set that is not complete is not left at {tmp_path}/out\n")
    assert [path.name for path in tmp_path.iterdir()] == ["vggface2"]
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_the_real_numbers_with_an_interrupt_a_kill_and_a_run(tmp_path):
    tree, out = fill(tmp_path / "vggface2", [499] + [503] * 101 + [7]), tmp_path / "out"
    words = [DKVB, "data", "lacuna100", "--vggface2", tree, out]

    def ended(how):
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("copied 20"):
                    process.send_signal(how)
                    break
            return process.wait(), process.stderr.read()

    code, text = ended(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["vggface2"]

    assert ended(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not out.exists()

    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "100 identities, 40,000 training and 10,000 test images, none in both" in done.stdout
    assert "left by a build that was killed" in done.stderr
    found = {
        split: [hashlib.sha256(path.read_bytes()).digest() for path in (out / split).glob("*/*")]
        for split in ("train", "test")
    }
    assert [len(each) for each in found.values()] == [len(set(each)) for each in found.values()] == [40000, 10000]
    assert not set(found["train"]) & set(found["test"])
