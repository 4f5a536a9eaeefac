"""The line of a run on a terminal: how far, how fast, until when, and who is slow."""

import io
import os
import re
import time
from typing import Any

import pytest

from cluster.machine import machine_memory, used_memory
from cluster.units import Event, EventKind, failure, outcome
from jobs.printable import say
from jobs.run import pace
from jobs.run.pace import Part, clock, line, rate
from jobs.run.progress import LogLine, Reporter


class Terminal(io.StringIO):
    """Text as a terminal keeps it: what was drawn over is gone."""

    def isatty(self) -> bool:
        return True

    def rows(self) -> list[str]:
        return [row.rpartition("\r\x1b[K")[2] for row in self.getvalue().split("\n")]


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    monkeypatch.setattr(pace, "used_memory", lambda: 3 * pace.GIB)
    monkeypatch.setattr(pace, "machine_memory", lambda: 16 * pace.GIB)


def done(unit, seconds, worker="here:1", images=0):
    reply = failure(OSError("gone")) if seconds is None else None
    made = outcome(unit, reply or failure(OSError("")), attempts=1, worker=worker)
    made.ok, made.value, made.seconds = reply is None, {"images": images} if images else {}, seconds or 0.0
    return made


def part(total, standing, *taken, images=0, began=0.0):
    made = Part(total, standing, began=began)
    for worker, seconds in taken:
        made.ends(worker, seconds, ok=True, images=images)
    return made


def test_the_line_tells_units_what_is_left_rates_and_memory():
    embeddings = part(48, 8, *[("here:1", 1.0)] * 10, images=250, began=100.0)
    assert line({"embeddings[train]": embeddings}, 200, 110.0) == (
        f"[{'#' * 11}{'.' * 19}] embeddings[train]: 18 of 48 units, 30 s left, 1.0 units/s, 250 images/s, "
        "memory 3.0 of 16 GiB"
    )


def test_units_that_were_done_before_make_nothing_faster():
    assert "5:00 min left, 0.1 units/s" in line({"sweep": part(40, 9, ("a:1", 9.0), began=0.0)}, 200, 10.0)
    assert "left" not in line({"sweep": part(40, 9)}, 200, 10.0)


def test_what_is_least_needed_is_left_out_where_a_terminal_is_narrow():
    parts = {"embeddings[train]": part(48, 8, *[("here:1", 1.0)] * 10, began=100.0)}
    for width in range(1, 160):
        assert len(line(parts, width, 110.0)) <= width
    assert line(parts, 50, 110.0).endswith("embeddings[train]: 18 of 48 units, 30 s left")
    assert line(parts, 12, 110.0) == "embedding..."


def test_a_worker_is_slow_by_its_last_unit_or_by_the_one_that_it_does_not_end():
    ended = part(48, 0, *[("a:1", 2.0), ("b:2", 2.0)] * 3, ("b:2", 11.0))
    assert ended.slow(0.0) == (5.5, "b:2")
    assert "slow: b:2 (6x the median)" in line({"sweep": ended}, 200, 20.0)
    ended.ends("b:2", 2.0, ok=True, images=0)
    assert ended.slow(0.0) is None
    ended.starts("00012", "a:1")
    since = ended.open["a:1"][1]
    assert ended.slow(since + 5) is None
    assert ended.slow(since + 8) == (4.0, "a:1")
    ended.loses("a:1")
    assert ended.slow(since + 8) is None


def test_nobody_is_slow_by_milliseconds_or_before_enough_is_known():
    assert part(9, 0, *[("a:1", 0.01)] * 5, ("b:2", 1.5)).slow(0.0) is None
    assert part(9, 0, *[("a:1", 1.0)] * 2, ("b:2", 90.0)).slow(0.0) is None


def test_rates_and_times_as_people_read_them():
    assert [rate(each) for each in (0.034, 1.04, 9.94, 47.31, 870.4, 12345.6)] == [
        "0.034",
        "1.0",
        "9.9",
        "47.3",
        "870",
        "12,346",
    ]
    assert [clock(each) for each in (0.2, 59.4, 125, 11240)] == ["0 s", "59 s", "2:05 min", "3:07 h"]


def test_on_a_terminal_one_line_is_drawn_anew_and_whatever_is_said_takes_its_place(monkeypatch, tmp_path):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)  # here, as pytest sets its own between a fixture and its test
    reporter = Reporter(root=tmp_path)
    reporter.step("keys", 3, 0)
    reporter.worker("keys", Event(kind=EventKind.STARTED, unit="00000", worker="here:1"))
    reporter.unit("keys", done("00000", 0.5))
    assert re.match(r"\[#+\.+\] keys: 1 of 3 units, 0 s left, ", terminal.rows()[-1])
    say("heard", err=True)
    assert terminal.rows() == ["heard", ""]
    reporter.unit("keys", done("00001", None))
    assert "keys: 1 of 3 units, 1 failed" in terminal.rows()[-1]
    reporter.note("look")
    reporter.done("keys", 1.5)
    assert terminal.rows() == ["heard", "note: look", "keys: 3 of 3 units, 1.5 s", ""]


def test_elsewhere_a_line_a_change_and_nothing_that_only_a_terminal_obeys(capfd, tmp_path):
    reporter = Reporter(root=tmp_path, terminal=False)
    reporter.step("keys", 2, 0)
    reporter.worker("keys", Event(kind=EventKind.STARTED, unit="00000", worker="here:1"))
    reporter.unit("keys", done("00000", 0.5))
    reporter.worker("keys", Event(kind=EventKind.WORKER_LOST, unit="00001", worker="here:1"))
    reporter.unit("keys", done("00001", 0.5))
    reporter.done("keys", 1.5)
    assert capfd.readouterr().err.splitlines() == [
        "keys: 0 of 2 units",
        "keys: 1 of 2 units",
        "note: worker here:1 was lost; unit 00001 of keys begins again",
        "keys: 2 of 2 units, 1.5 s",
    ]


LOST: dict[str, Any] = {"kind": EventKind.WORKER_LOST, "unit": "00001", "worker": "here:1"}


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (LOST, "worker lost", "worker here:1 was lost; unit 00001 of keys begins again"),
        ({**LOST, "last": True}, "worker lost", "worker here:1 was lost; unit 00001 of keys is given up"),
        ({**LOST, "unit": ""}, "worker lost", "worker here:1 was lost"),
        (
            {**LOST, "unit": "", "worker": "", "text": "it died"},
            "worker lost",
            "a worker was lost before it began: it died",
        ),
        (
            {**LOST, "kind": EventKind.LEASE_EXPIRED, "text": "no answer within 9 s"},
            "worker lost",
            "worker here:1 was ended: no answer within 9 s; unit 00001 of keys begins again",
        ),
        (
            {**LOST, "kind": EventKind.RETRY, "text": "OSError: x"},
            "unit again",
            "unit 00001 of keys begins again: OSError: x",
        ),
        (
            {"kind": EventKind.SETUP_FAILED, "worker": "here:1", "text": "no room"},
            "note",
            "worker here:1 could not be set up: no room",
        ),
        ({"kind": EventKind.WAITING, "text": "CPUs: none"}, "waits", "waits for CPUs: none"),
    ],
)
def test_what_happens_to_workers_is_a_line_of_the_log(event, kind, text, tmp_path):
    lines: list[LogLine] = []
    reporter = Reporter(root=tmp_path, terminal=False, log=lines.append)
    reporter.step("keys", 2, 0)
    reporter.worker("keys" if event.get("unit") else "", Event(**event))
    assert [(line.event, line.step, line.text) for line in lines[1:]] == [(kind, "keys", text)]


def test_a_unit_that_begins_again_as_its_worker_was_lost_is_told_of_once(tmp_path):
    lines: list[LogLine] = []
    reporter = Reporter(root=tmp_path, terminal=False, log=lines.append)
    reporter.step("keys", 2, 0)
    reporter.worker("keys", Event(**LOST))
    reporter.worker("keys", Event(**{**LOST, "kind": EventKind.RETRY, "text": "it died"}))
    assert [line.event for line in lines] == ["step", "worker lost"]


def test_a_tally_has_finished_units_only_workers_that_were_lost_and_what_is_waited_for(tmp_path):
    reporter = Reporter(root=tmp_path, terminal=False)
    reporter.step("keys", 10, 0)
    for number, seconds in enumerate((0.5, 0.5, None, None)):
        reporter.unit("keys", done(f"0000{number}", seconds))
    assert (reporter.tally().ended, reporter.tally().failed) == (2, 2)
    reporter.worker("keys", Event(**LOST))
    reporter.worker("", Event(kind=EventKind.WAITING, text="CPUs: none"))
    assert (reporter.tally().lost, reporter.tally().waits) == (1, "CPUs")
    reporter.worker("keys", Event(kind=EventKind.STARTED, unit="00005", worker="here:2"))
    assert reporter.tally().waits == ""


def test_memory_in_use_grows_with_what_this_process_holds():
    before = used_memory()
    held = b"\1" * 300_000_000
    assert before is not None
    assert before + 150_000_000 < (used_memory() or 0) <= machine_memory()
    assert len(held)


def test_a_run_is_told_which_worker_begins_which_unit(run_tiny, images, tmp_path, watched):
    run_tiny(tmp_path / "root", images, progress=watched)
    started = [(label, event.unit) for label, event in watched.events if event.kind is EventKind.STARTED]
    assert ("embeddings[train]", "00002") in started
    assert len(started) == len(watched.units)
    assert {event.worker for _, event in watched.events} == {watched.units[0].worker}
    assert str(os.getpid()) in watched.units[0].worker
    assert time.time() >= watched.events[0][1].time


def test_what_a_step_waited_before_its_first_unit_began_is_told_where_it_is_long(tmp_path, capsys):
    log: list[LogLine] = []
    reporter = Reporter(root=tmp_path, terminal=False, log=log.append)
    for label, waited in (("manifest[train]", 121.7), ("manifest[test]", 0.5)):
        reporter.step(label, 2, 0)
        reporter.parts[label].began -= waited
        for unit in ("a", "b"):
            reporter.worker(label, Event(kind=EventKind.STARTED, unit=unit, worker="here:1"))
            reporter.unit(label, done(unit, 0.06))
        reporter.done(label, waited + 0.1)
    long, short = [line for line in log if line.event == "step done"]
    assert long.waited == pytest.approx(121.7, abs=0.4)
    assert short.waited == pytest.approx(0.5, abs=0.4)
    assert (long.text or "").endswith(
        "s of them before its first unit began, while workers started or did units of other steps"
    )
    assert short.text is None
    told = [line for line in capsys.readouterr().err.splitlines() if "2 of 2" in line]
    assert re.fullmatch(r"manifest\[train\]: 2 of 2 units, 121\.8 s \(121\.\d s of them before its first .*\)", told[0])
    assert told[1] == "manifest[test]: 2 of 2 units, 0.6 s"
