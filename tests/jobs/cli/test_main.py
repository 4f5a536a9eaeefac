"""The command line: help, what is printed where, and in which form; mistakes are in test_mistakes.py."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jobs.cli.main import cli
from jobs.results.sweep_tables import TABLES
from store.artefacts import read_record, write_record
from tests.processes import message

DKVB = Path(sys.executable).with_name("dkvb")


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def strict(text):
    return json.loads(text, parse_constant=refuse)


# Help.

HELP = """
import contextlib, io, json, sys, time
import jobs.cli.main
shown = {}
for name in ("", *jobs.cli.main.cli.commands):
    sys.argv = ["dkvb", *([name] if name else []), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        begin = time.process_time()
        try:
            jobs.cli.main.main()
        except SystemExit as ended:
            shown[name] = [out.getvalue(), ended.code, time.process_time() - begin]
heavy = [name for name in ("torch", "ray", "zarr", "polars", "timm") if name in sys.modules]
print(json.dumps({"shown": shown, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def help_texts():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_help_shows_an_example_and_is_quick(name, help_texts):
    text, code, seconds = help_texts["shown"][name]
    assert code == 0
    assert text.startswith(f"Usage: dkvb {name}".rstrip())
    assert (f"Example: dkvb {name} " if name else "Begin with `dkvb demo`") in " ".join(text.split())
    assert seconds < 0.5


def test_help_loads_no_heavy_library(help_texts):
    assert help_texts["heavy"] == []


def test_the_commands_are_the_ones_that_were_promised():
    assert {"demo", "plan", "run", "status", "unlearn", "table"} <= cli.commands.keys()


def test_the_installed_command_answers():
    done = subprocess.run([DKVB, "--version"], capture_output=True, text=True, timeout=300, check=True)
    assert re.match(r"dkvb, version \d", done.stdout)


def test_without_a_command_the_help_is_shown(dkvb):
    ended = dkvb()
    assert "Usage: dkvb" in ended.out + ended.err
    assert ended.code in (0, 2)


@pytest.mark.parametrize(
    "words",
    [
        ("runn",),
        ("run",),
        ("run", "digits"),
        ("run", "tiny", "--root", "r", "--wrokers", "2"),
        ("run", "tiny", "--root", "r", "--workers", "0"),
        ("run", "tiny", "--root", "r", "--gpus", "-1"),
        ("unlearn", "r"),
        ("unlearn", "r", "--class", "a", "--method", "magic"),
        ("unlearn", "r", "--class", "a", "--budget", "many"),
        ("table", "r", "--format", "xls"),
    ],
)
def test_words_that_do_not_fit_are_a_usage_error(words, dkvb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = dkvb(*words)
    assert ended.code == 2
    assert "Error: " in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


# A run, and what is printed of it.


def test_a_run_prints_results_to_stdout_and_progress_to_stderr(dkvb, run_words, tmp_path):
    ended = dkvb(*run_words())
    assert ended.code == 0
    assert "tiny: train accuracy" in ended.out
    assert "| uva" in ended.out
    assert "| uve" in ended.out
    assert "units" not in ended.out
    assert "embeddings[train]: 4 of 4 units" in ended.err
    figure = tmp_path / "root" / "tiny.png"
    assert f"Figure: {figure}" in ended.out
    assert figure.read_bytes().startswith(b"\x89PNG")
    progress = strict((tmp_path / "root" / "progress.json").read_text())
    assert (progress["step"], progress["units"], progress["ended"], progress["failed"]) == ("sweep", 4, 4, 0)

    drawn = figure.stat().st_mtime_ns
    again = dkvb(*run_words())
    assert again.code == 0
    assert figure.stat().st_mtime_ns == drawn, "it shows this sweep already"
    assert again.out == ended.out
    assert again.err.count("done already") == 13


def test_what_a_plan_says_before_and_after(dkvb, finished, spec_file, images):
    before = dkvb("plan", spec_file(), "--json")
    assert before.code == 0
    (about,) = strict(before.out)
    assert {step["digest"] for step in about["steps"]} == {None}
    after = dkvb("plan", spec_file(), "--images", images, "--root", finished.root, "--json")
    (about,) = strict(after.out)
    assert {step["step"]: step["digest"] for step in about["steps"]} == finished.steps
    assert {step["state"] for step in about["steps"]} == {"done"}
    text = dkvb("plan", spec_file(), "--images", images, "--root", finished.root)
    assert text.out.count(" done") == 13
    assert text.err == ""


@pytest.mark.parametrize(
    "name",
    ["digits", "cifar100", "lacuna100", "cifar10-compare", "digits-compare", "imagenet1k-clip", "imagenet1k-resnet50"],
)
def test_a_shipped_spec_can_be_planned_by_name(name, dkvb):
    ended = dkvb("plan", name)
    assert ended.code == 0
    assert ended.out.startswith(f"{name}: ")
    assert "images through the backbone" in ended.out


def test_the_status_of_a_finished_root(dkvb, finished):
    rows = strict(dkvb("status", finished.root, "--json").out)
    assert {row["step"]: row["digest"] for row in rows} == finished.steps
    assert {row["state"] for row in rows} == {"done"}
    assert next(row for row in rows if row["step"] == "embeddings[train]")["units"] == 4
    text = dkvb("status", finished.root).out
    assert len(text.splitlines()) == 13
    assert "4 of 4 units" in text


def test_the_status_of_a_root_on_its_way(dkvb, own):
    embeddings = own.artefact("embeddings[train]")
    (embeddings.path / "DONE").unlink()
    (embeddings.path / "units" / "00002.json").unlink()
    shutil.rmtree(own.artefact("sweep").path)
    rows = {row["step"]: row for row in strict(dkvb("status", own.root, "--json").out)}
    assert (rows["embeddings[train]"]["state"], rows["embeddings[train]"]["standing"]) == ("unfinished", 3)
    assert (rows["sweep"]["state"], rows["sweep"]["units"]) == ("waiting", None)
    assert rows["keys"]["state"] == "done"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_printed_in_every_format(name, dkvb, finished):
    expected = TABLES[name](finished)
    words = ("table", finished.root, "--table", name)
    assert_frame_equal(pl.read_csv(io.StringIO(dkvb(*words, "--format", "csv").out)), expected, check_dtypes=False)
    assert dkvb(*words).out.startswith("| ")
    latex = dkvb(*words, "--format", "latex").out
    assert latex.startswith("% \\usepackage{booktabs}\n% ")
    assert latex.count("\\begin{tabular}") == 1
    assert len(strict(dkvb(*words, "--json").out)) == expected.height
    assert dkvb(*words, "--json").out == dkvb(*words, "--format", "json").out


def test_columns_and_rows_of_a_table_can_be_chosen_in_every_format(dkvb, finished, tmp_path):
    words = ("table", finished.root, "--table", "classes", "--class", "bee", "--method", "uva")
    chosen = (*words, "--columns", "name,others change", "--columns", "N")
    assert strict(dkvb(*chosen, "--json").out) == [
        {key: row[key] for key in ("name", "retain change", "budget")} for row in strict(dkvb(*words, "--json").out)
    ]
    assert dkvb(*chosen, "--format", "csv").out.splitlines()[0] == "name,retain change,budget"
    assert dkvb(*chosen).out.splitlines()[0].split() == ["|", "name", "|", "others", "change", "|", "N", "|"]
    assert r"name & others change & N \\" in dkvb(*chosen, "--format", "latex").out
    dkvb(*chosen, "--format", "parquet", "-o", tmp_path / "chosen.parquet")
    assert pl.read_parquet(tmp_path / "chosen.parquet").columns == ["name", "retain change", "budget"]


def test_people_get_the_columns_that_matter_and_all_where_they_ask(dkvb, finished):
    words = ("table", finished.root, "--table", "classes")
    wide = TABLES["classes"](finished).columns
    few, whole = (dkvb(*words, *more).out.splitlines()[0].count("|") - 1 for more in ((), ("--columns", "all")))
    assert few <= 12
    assert whole == len(wide)
    assert len(strict(dkvb(*words, "--json").out)[0]) == len(wide)


def test_a_misspelt_column_class_or_method_is_told_with_the_nearest(dkvb, finished):
    words = ("table", finished.root, "--table", "classes")
    assert "did you mean 'seconds'?" in message(dkvb(*words, "--columns", "name,secods"), 2)
    assert "did you mean 'bee'?" in message(dkvb(*words, "--class", "beee"), 2)
    assert "did you mean 'uva'?" in message(dkvb(*words, "--method", "uvaa"), 2)
    assert "no rows of single classes" in message(dkvb("table", finished.root, "--class", "bee"), 2)


def test_the_summary_is_the_table_that_is_meant(dkvb, finished):
    assert dkvb("table", finished.root).out == dkvb("table", finished.root, "--table", "summary").out


@pytest.mark.parametrize("form", ["md", "csv", "latex", "json"])
def test_a_table_is_written_to_a_file_as_it_is_printed(form, dkvb, finished, tmp_path):
    words = ("table", finished.root, "--table", "classes", "--format", form)
    path = tmp_path / "new" / f"table.{form}"
    ended = dkvb(*words, "-o", path)
    assert (ended.code, ended.out) == (0, "")
    assert path.read_text(encoding="utf-8") == dkvb(*words).out


def test_parquet_is_written_whole(dkvb, finished, tmp_path):
    dkvb("table", finished.root, "--table", "sweep", "--format", "parquet", "-o", tmp_path / "sweep.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "sweep.parquet"), TABLES["sweep"](finished))


def test_an_output_that_is_a_pipe_is_written_into_and_not_replaced(dkvb, finished, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert dkvb("table", finished.root, "-o", path).code == 0
        assert stat.S_ISFIFO(path.stat().st_mode), "as root, -o /dev/null would replace the device"
        assert os.read(reader, 65536).startswith(b"| method")
    finally:
        os.close(reader)


def test_a_reader_that_has_gone_is_no_traceback(finished):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        words = [DKVB, "table", finished.root, "--table", "sweep"]
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode != 0


def test_unlearning_prints_what_it_did(dkvb, own):
    ended = dkvb("unlearn", own.root, "--class", "cat", "--class", "ant", "--json")
    done = strict(ended.out)
    assert done["classes"] == ["ant", "cat"]
    assert done["forget_hit_share"] >= 0.9
    assert Path(done["checkpoint"]).exists()
    assert ended.err == ""
    text = dkvb("unlearn", own.root, "--class", "cat", "--method", "uve", "--budget", "3", "--seed", "5").out
    assert text.startswith("masked: cat (uve, N = 3)")


def test_several_experiments_on_a_root_are_told_apart(dkvb, own):
    record = read_record(own.root / "experiments" / "tiny.json")
    write_record(own.root / "experiments" / "other.json", {**record, "name": "other"})
    assert "2 experiments (other, tiny); say which with --experiment NAME" in message(dkvb("table", own.root), 2)
    assert "did you mean 'tiny'" in message(dkvb("table", own.root, "--experiment", "tinny"), 2)
    assert dkvb("table", own.root, "--experiment", "other").code == 0
    assert len(strict(dkvb("status", own.root, "--json").out)) == 26


@pytest.mark.slow
@pytest.mark.ray
def test_the_demo_runs_and_what_it_suggests_works(processes):
    root = processes.folder / "demo"
    words = [DKVB, "demo", "--root", root, "--workers", "2"]
    done = subprocess.run(words, capture_output=True, text=True, env=processes.environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert (root / "digits.png").exists()
    suggested = re.findall(rf"^  dkvb ((?:table|unlearn) {root}.*?)(?:  .*)?$", done.stdout, flags=re.M)
    assert len(suggested) == 3
    for line in suggested:
        ended = subprocess.run([DKVB, *line.split()], capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr
    processes.wait_until_gone()
