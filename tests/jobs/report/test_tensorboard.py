"""Event files for TensorBoard: what it reads back is what tables, figures and the spec say; nothing else is touched."""

import io
import json
import re
import tomllib

import numpy as np
import pytest
from PIL import Image

from jobs.figures import KINDS, draw
from jobs.report.series import series, settings
from jobs.report.tensorboard import log
from jobs.results import sweep_tables
from jobs.spec.reading import as_table
from store.files import read_bytes
from store.places import place
from tests.tiny import unfinish

pytest.importorskip("tensorboard", reason="needs tensorboard, an extra that is not in all")


def read(folder):
    """A run, as TensorBoard has it in memory."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return run.Reload()


def events(run, tag):
    return [(event.step, event.value) for event in run.Scalars(tag)]


def text(run, tag):
    return run.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.fixture(scope="module")
def logged(finished, tmp_path_factory):
    return log(finished, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def run(logged):
    return read(logged.file.parent)


def test_scalars_are_the_numbers_of_the_tables(run, finished, logged):
    expected = {
        (tag, step): number
        for name, make in sweep_tables.TABLES.items()
        for tag, step, number in series(name, make(finished))
    }
    before = sweep_tables.model_before(finished) | {"linear head test": sweep_tables.heads(finished)["linear"]}
    expected |= {(f"model/{name}", 0): number for name, number in before.items() if number is not None}
    found = {(tag, step): number for tag in run.Tags()["scalars"] for step, number in events(run, tag)}
    assert found == pytest.approx(expected)
    assert sum(len(events(run, tag)) for tag in run.Tags()["scalars"]) == len(expected) == logged.scalars > 100


def test_tables_are_those_that_the_command_prints(run, finished, dkvb):
    for name in ("summary", "sweep"):
        ended = dkvb("table", finished.root, "--table", name)
        assert text(run, f"tables/{name}").split() == ended.out.split()
    head, _, *rows = text(run, "tables/classes").splitlines()
    assert [part.strip() for part in head.split("|")][1:4] == ["class", "method", "name"]
    cells = [[part.strip() for part in row.split("|")] for row in rows[: len(finished.classes)]]
    assert [(row[1], row[3]) for row in cells] == [(str(k), name) for k, name in enumerate(finished.classes)]


def test_a_long_table_is_cut_and_says_where_all_of_it_is(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.report.tensorboard.ROWS", 2)
    said = text(read(log(finished, tmp_path).file.parent), "tables/sweep")
    rows = sweep_tables.TABLES["sweep"](finished).height
    assert said.count("\n| ") == 2
    assert f"2 of {rows} rows: `dkvb table ROOT --table sweep` prints all." in said


def test_figures_are_those_that_the_command_draws(run, finished):
    kinds = [kind for kind in KINDS if kind not in ("sets", "collateral", "compare", "attacks", "costs")]
    assert run.Tags()["images"] == [f"figures/{kind}" for kind in kinds]
    for kind in kinds:
        with Image.open(io.BytesIO(run.Images(f"figures/{kind}")[0].encoded_image_string)) as one:
            found = np.asarray(one)
        with Image.open(io.BytesIO(draw(finished, kind, form="png").data)) as other:
            assert np.array_equal(found, np.asarray(other.convert("RGB")))
        assert found.std() > 10


def test_the_spec_is_there_as_text_and_as_hyperparameters_beside_the_headline(run, finished):
    from tensorboard.plugins.hparams import plugin_data_pb2 as data

    spec = as_table(finished.spec)
    assert tomllib.loads("".join(line.removeprefix("    ") for line in text(run, "spec").splitlines(True))) == spec
    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = data.HParamsPluginData.FromString(content).session_start_info.hparams
    assert {key: one.string_value or one.number_value for key, one in given.items()} == settings(spec)
    content = run.SummaryMetadata("_hparams_/experiment").plugin_data.content
    metrics = {info.name.tag for info in data.HParamsPluginData.FromString(content).experiment.metric_infos}
    assert metrics == {tag for tag in run.Tags()["scalars"] if tag.startswith(("model/", "summary/"))}


def test_a_chart_of_all_classes_finds_a_line_for_each(run, finished):
    from tensorboard.plugins.custom_scalar import layout_pb2

    made = layout_pb2.Layout.FromString(run.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: chart.multiline.tag[0] for chart in made.category[0].chart}
    assert len(charts) == 6
    pattern = charts["uva: test items of the class still known"]
    lines = [tag for tag in run.Tags()["scalars"] if re.match(pattern, tag)]
    assert lines == [f"sweep/test_forget/uva/{name}/seed 0" for name in finished.classes]


def test_the_same_command_again_replaces_its_own_file_and_nothing_else(finished, tmp_path):
    others = [tmp_path / "tiny" / "events.out.tfevents.1.host.1.0", tmp_path / "other" / "events.out.tfevents.2.dkvb"]
    for path in others:
        path.parent.mkdir()
        path.write_bytes(b"")
    first = log(finished, tmp_path)
    open_board = read(first.file.parent)
    before = {tag: events(open_board, tag) for tag in open_board.Tags()["scalars"]}
    again = log(finished, tmp_path)
    assert again.file.name > first.file.name
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([again.file, *others])
    open_board.Reload()
    assert {tag: events(open_board, tag) for tag in open_board.Tags()["scalars"]} == before
    assert len(open_board.Tensors("tables/summary/text_summary")) == 1


def test_a_clock_that_went_back_leaves_no_older_file_behind(finished, tmp_path):
    later = tmp_path / "tiny" / "events.out.tfevents.9999999999.dkvb"
    later.parent.mkdir()
    later.write_bytes(b"")
    assert log(finished, tmp_path).file.name == "events.out.tfevents.10000000000.dkvb"
    assert not later.exists()


def test_the_command_writes_a_page_or_an_event_file_or_both(dkvb, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = dkvb("report", finished.root, "--tensorboard", "logs")
    assert ended.code == 0, ended.err
    (file,) = (tmp_path / "logs" / "tiny").iterdir()
    assert ended.out.startswith(f"logs/tiny/{file.name}: 3 tables, ")
    assert ended.out.endswith("6 figures; `tensorboard --logdir logs` shows them\n")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    both = json.loads(dkvb("report", finished.root, "--tensorboard", "logs", "-o", "page.html", "--json").out)
    (file,) = (tmp_path / "logs" / "tiny").iterdir()
    assert both["tensorboard"] == f"logs/tiny/{file.name}"
    assert both["bytes"] == len((tmp_path / "page.html").read_bytes())
    alone = json.loads(dkvb("report", finished.root, "--tensorboard", "logs", "--json").out)
    assert (alone["file"], alone["bytes"]) == (None, None)
    page = json.loads(dkvb("report", finished.root, "--json").out)
    assert (page["file"], page["tensorboard"]) == ("report.html", None)


def test_a_root_without_a_finished_table_says_so(dkvb, own, tmp_path):
    unfinish(own.artefact("sweep"))
    ended = dkvb("report", own.root, "--tensorboard", tmp_path / "logs")
    assert ended.code == 2
    assert "tiny: no table is finished; `dkvb run` finishes them" in ended.err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("where", ["/proc/logs", "{}/file"])
def test_a_folder_that_cannot_be_written_is_named(where, dkvb, finished, tmp_path):
    (tmp_path / "file").write_text("mine")
    logs = where.format(tmp_path)
    ended = dkvb("report", finished.root, "--tensorboard", logs)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"dkvb: {logs}/tiny: cannot be written: ")
    assert ended.err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_an_object_store_takes_the_file_too(finished, bucket):
    logs = place(f"{bucket}/logs")
    first, again = log(finished, logs), log(finished, logs)
    assert [path.name for path in (logs / "tiny").iterdir()] == [again.file.name] != [first.file.name]
    assert b"sweep/test_forget/uva/bee" in read_bytes(again.file)
