"""Whatever is given ends in an answer or in one message of ours."""

import json
import subprocess
import sys
import time

import pytest

from tests.faults.children import forked
from tests.faults.finished import Copy
from tests.paths import REPOSITORY

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(("kind", "count"), [("specs", 300), ("images", 120), ("roots", 100), ("queues", 200)])
def test_odd_inputs_end_in_an_answer_or_in_one_message(kind, count):
    words = [sys.executable, "-m", "tests.faults.fuzz", kind, "--count", str(count)]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=1100, check=False)
    assert ended.stdout, ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["cases"] == sum(report["worst"].values()) == count
    assert {"answered", "refused"} <= set(report["worst"]), "a fuzz that is always answered, or never, tries nothing"
    assert ended.returncode == 0, ended.stdout


def test_a_child_is_seen_whatever_becomes_of_it(tmp_path):
    calls = [
        lambda: print("well"),
        lambda: (print("dkvb: so it is", file=sys.stderr), sys.exit(2)),
        lambda: 1 / 0,
        lambda: time.sleep(60),
        lambda: sys.exit(1),
        lambda: print("well"),
    ]
    ended = forked(calls, tmp_path, limit=5)
    assert [one.verdict for one in ended] == ["answered", "refused", "traceback", "hang", "traceback", "answered"]
    assert ended[0].out == ended[-1].out == b"well\n"
    assert "ZeroDivisionError" in ended[2].blame


def test_a_copy_is_put_back_whatever_was_done_to_it(tmp_path):
    source = tmp_path / "source"
    for name in ("a/b/one", "a/b/two", "a/three", "four"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    copy = Copy(source, tmp_path / "copy")
    before = {name: (copy.path / name).read_text() for name in copy.files()}
    (copy.path / "a/b").rename(copy.path / "a/c")
    (copy.path / "four").unlink()
    (copy.path / "four").symlink_to("a/three")
    (copy.path / "a/three").write_text("other")
    (copy.path / "a/b").write_text("no folder")
    copy.put_back()
    assert {name: (copy.path / name).read_text() for name in copy.files()} == before
    assert not (copy.path / "a/c").exists()
    assert not (copy.path / "four").is_symlink()
