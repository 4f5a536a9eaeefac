"""`--json`: every command has it, docs/json.md says what of each, and that is what it prints."""

import json
import re
import shutil
import tomllib

import pytest

from jobs.cli.main import cli
from tests.jobs.cli.test_telling import leaves
from tests.jobs.queue.waiting import assignment
from tests.paths import REPOSITORY

ROW = re.compile(r"^\| (`[^|]*) \| (.*) \|$", re.MULTILINE)


def page():
    """Command -> what the page says of it."""
    text = (REPOSITORY / "docs" / "json.md").read_text(encoding="utf-8")
    return {name: about for names, about in ROW.findall(text) for name in re.findall("`([^`]+)`", names)}


def keys(command):
    """The keys that the page promises of a command."""
    return set(re.findall(r"`(\w+)`", page()[command]))


def test_the_page_has_every_command_and_no_other():
    commands = {"query" if words.startswith("query ") else words for words in leaves()}
    assert {name.partition(" --")[0] for name in page()} == commands
    assert cli.commands


@pytest.fixture
def answer(dkvb):
    """What a command prints, read as JSON."""

    def ask(*words, codes=(0,)):
        ended = dkvb(*words, "--json")
        assert ended.code in codes, ended.err
        return json.loads(ended.out)

    return ask


def test_each_experiment_of_a_run_and_of_a_plan_is_one_of_a_list(answer, run_words, spec_file, images):
    for words in (run_words(), run_words()):
        (made,) = answer(*words)
        assert set(made) == keys("run")
    (planned,) = answer("plan", spec_file(), "--images", images)
    assert set(planned) == keys("plan")


def test_what_is_on_a_root(answer, own, tmp_path):
    root = own.root
    assert set(answer("status", root)[0]) == keys("status")
    assert set(answer("status", root, "--verify")) == keys("status --verify")
    assert set(answer("repair", root)) == keys("status --verify") | {"done"}
    assert set(answer("root", "upgrade", root)) == {"done"}
    assert set(answer("diff", root, root)) == keys("diff")
    for command in ("figure", "report"):
        kind = ("--kind", "along") if command == "figure" else ()
        made = answer(command, root, *kind, "-o", tmp_path / "out.png")
        assert set(made) == keys(command)
        assert made["file"] == str(tmp_path / "out.png")
        assert (tmp_path / "out.png").is_file()


def test_requests(answer, own):
    done = answer("unlearn", own.root, "--class", "cat")
    assert set(done) >= {"mask", "measured", "checkpoint", "certificate", "still_there", "classes", "method"}
    assert set(answer("measure", own.root, "--mask", done["mask"])) == keys("measure")
    assert set(answer("log", own.root)[0]) == keys("log")
    certificate = f"{done['mask'].rpartition('/')[0]}/certificate.json"
    assert set(answer("verify", certificate)[0]) == keys("verify")


def test_a_repair_says_what_it_dropped(answer, own):
    shutil.rmtree(own.artefact("sweep").path / "units")
    made = answer("repair", own.root)
    assert any(text.startswith("dropped ") for text in made["done"])
    assert made["damaged"]


def test_jobs(answer, dkvb, tmp_path):
    from jobs.queue.files import add

    queue = tmp_path / "queue"
    job = add(queue, assignment()).id
    where = ("--queue", queue)
    (row,) = answer("jobs", "list", *where)
    assert set(row) == keys("jobs list")
    assert row.pop("why") == "waits for a reconciler"  # the list alone knows what stands before a job
    row["why"] = ""
    assert answer("jobs", "priority", job, "7", *where) == {**row, "priority": 7}
    assert set(answer("jobs", "show", job, *where)) == {*row, "asked", "orders", "tries"}
    (waited,) = answer("jobs", "wait", "--timeout", "0", *where, codes=(124,))
    assert waited == {**row, "priority": 7}
    stopped = answer("jobs", "stop", job, *where)
    assert (stopped["job"], stopped["state"]) == (job, "stopped")
    assert set(answer("jobs", "reconcile", *where)) == keys("jobs reconcile")
    again = answer("jobs", "retry", job, *where)
    assert set(again) == set(row)
    assert again["state"] != "stopped"
    service = answer("jobs", "service", "systemd", *where)
    assert set(service) == keys("completion")
    assert dkvb("jobs", "list", *where).code == 0


def test_what_comes_before_a_run(answer, images, tmp_path):
    assert set(answer("init", "--images", images)) == keys("init")
    assert all(set(row) == {"name", "about"} for row in answer("spec"))
    made = answer("spec", "digits", "-o", tmp_path / "mine.toml")
    assert made == tomllib.loads((tmp_path / "mine.toml").read_text(encoding="utf-8"))


def test_a_model_that_is_exported(answer, own, tmp_path):
    assert set(answer("export", own.root, tmp_path / "whole", "--before")) == keys("export")


def test_texts_and_files_that_are_made(answer, tmp_path):
    for words in (("cluster", "render", "--provider", "local"), ("completion", "bash")):
        made = answer(*words)
        assert (set(made), made["file"]) == (keys("completion"), None)
    path = tmp_path / "new.yaml"
    made = answer("cluster", "render", "--provider", "local", "-o", path)
    assert made["file"] == str(path)
    assert path.read_text(encoding="utf-8") == made["text"]
    found = answer("cluster", "check", path, codes=(0, 1))
    assert all(set(finding) == keys("cluster check") for finding in found)
    assert found
