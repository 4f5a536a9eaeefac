"""`dkvb status --watch`: every step, then each change, until all is done."""

import json
import signal
import subprocess
import sys

from jobs.results.watch import changes


def test_each_change_is_told_until_all_is_done(own, monkeypatch):
    marker = own.artefact("sweep").path / "DONE"
    text = marker.read_bytes()
    marker.unlink()
    monkeypatch.setattr("time.sleep", lambda _: marker.write_bytes(text))
    first, second = changes(own.root, 5, tell=lambda _: None)
    assert [row.state for row in first if row.step == "sweep"] == ["unfinished"]
    assert [(row.step, row.state) for row in second] == [("sweep", "done")]


def test_a_finished_root_is_told_once_and_in_json_an_object_a_line(dkvb, finished):
    ended = dkvb("status", finished.root, "--watch", "--json")
    assert ended.code == 0
    assert {row["step"]: row["digest"] for row in map(json.loads, ended.out.splitlines())} == finished.steps
    assert dkvb("status", finished.root, "--watch").out == dkvb("status", finished.root).out


def test_to_watch_and_to_verify_are_two_things(dkvb, finished):
    ended = dkvb("status", finished.root, "--watch", "--verify")
    assert ended.code == 2
    assert "leave one of them out" in ended.err


def test_an_interrupt_ends_it_with_one_line(own):
    (own.artefact("sweep").path / "DONE").unlink()
    words = [sys.executable, "-m", "jobs.cli", "status", str(own.root), "--watch"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted; a run goes on as before\n".join(("dkvb: ", "")))
