"""An experiment opened in Python, and the pages that show it."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import dkvb
from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadCheckpoint, ShapeMismatch
from jobs.cli.query import query as query_command
from jobs.errors import BadRequest
from jobs.opened import OpenExperiment
from jobs.query import pairs
from jobs.query.questions import Questions
from jobs.results.experiment import Experiment
from store import arrays
from store.errors import NotARoot
from store.layout import CHECKPOINT
from tests.tiny import picture

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(finished):
    return dkvb.open(finished.root)


@pytest.fixture
def own_study(own):
    return dkvb.open(str(own.root), own.name)


def test_what_is_opened_is_the_experiment_of_the_root(study, finished):
    assert isinstance(study, OpenExperiment)
    assert study.experiment == finished
    assert study.classes == finished.classes
    assert study.spec["name"] == "tiny"
    with pytest.raises(BadRequest, match="no experiment 'other'"):
        dkvb.open(finished.root, "other")
    with pytest.raises(NotARoot):
        dkvb.open(finished.root / "codes")


def test_tables_are_made_when_they_are_looked_at(study, finished):
    tables = dkvb.open(finished.root).tables
    assert tables._made == {}
    assert {"summary", "classes", "sweep", "names", "items", "counts"} <= set(tables)
    assert "compare" not in tables
    assert isinstance(tables["classes"], pl.DataFrame)
    assert tables["classes"] is tables["classes"]
    assert set(tables._made) == {"classes"}
    assert all(isinstance(frame, pl.DataFrame) for frame in tables.values())
    with pytest.raises(KeyError, match="no table 'clases'; did you mean 'classes'"):
        _ = tables["clases"]
    assert "nothing" not in tables
    assert repr(tables).startswith("tables: ")


def test_every_question_of_the_command_line_is_a_method(study):
    """Those of the command line that are there; a question with another name is asked by the same words."""
    methods = {name for name in dir(Questions) if not name.startswith("_")}
    assert set(query_command.commands) <= methods
    assert all(name in repr(study.query) for name in query_command.commands)


def test_answers_are_those_of_the_questions(study):
    stored = study.stored
    assert study.query.keys("cat", limit=3).equals(pairs.keys(stored, 2, limit=3))
    assert study.query.overlap("cat", "ant").equals(pairs.overlap(stored, 2, 0))
    assert len(study.query.overlap()) == 6
    assert study.query.classes(0, 0).equals(pairs.pair_classes(stored, 0, 0))
    assert len(study.query.load()) == stored.size[0]
    assert study.query.item("test:0").columns[:2] == ["codebook", "key"]
    mask = stored.rule_mask([2])
    assert study.query.confusion(mask).equals(pairs.confusion(stored, mask))
    assert study.query.collateral(mask).equals(pairs.collateral(stored, mask))
    assert study.query.why("ant", forgot="cat").text() == study.query.why("ant", ["cat"], mask).text()
    with pytest.raises(BadRequest, match="found 1 classes"):
        study.query.overlap("cat")
    with pytest.raises(ShapeMismatch, match="mask: found"):
        study.query.collateral(mask[1:])
    with pytest.raises(BadRequest, match="no class 'cta'; did you mean 'cat'"):
        study.query.keys("cta")


def test_what_a_request_did_is_measured(own_study):
    done = own_study.unlearn("cat")
    measured = own_study.query.measure(done["mask"])
    assert measured.forgotten == ["cat"]
    mask = own_study.stored.read_mask(done["mask"])[0]
    same = own_study.query.measure(mask, "cat")
    assert same.to_json() == measured.to_json()
    with pytest.raises(BadRequest, match="does not say which class it forgets"):
        own_study.query.measure(mask)


def test_the_model_takes_images_by_the_header_s_preprocessing(own_study):
    done = own_study.unlearn(["cat"], mask_only=True)
    assert done["checkpoint"] is None
    model = own_study.model()
    forgetful = model.mask(done["mask"])
    assert forgetful.backbone is model.backbone
    model.train()
    assert not model.backbone.training
    assert any(name.startswith("backbone.") for name in model.state_dict())
    data = own_study.experiment.artefact("embeddings[test]").data
    z = torch.from_numpy(arrays.read_shards(data, "embeddings"))
    images = torch.stack([model.transform(picture(0, number, 32)) for number in range(1000, 1007)])
    assert images.shape == (7, 3, 32, 32)
    made = model.embed(images)
    assert made.dtype == torch.float16
    # A batch of another size may be summed in another order.
    near = [int((z.float() - row).abs().amax(1).argmin()) for row in made.float()]
    assert torch.allclose(made.float(), z[near].float(), atol=0.01)
    assert own_study.stored.labels("test")[near].tolist() == [0] * 7
    assert torch.equal(model(images), model(made))
    checkpoint = own_study.experiment.artefact("values").path / CHECKPOINT
    bottleneck = Bottleneck.load(checkpoint).masked_by(done["mask"])
    assert torch.allclose(forgetful(z), bottleneck.logits(z), atol=1e-5)
    model.header["backbone"]["layer"] = "another"
    with pytest.raises(BadCheckpoint, match="made for another model"):
        model.mask(done["mask"])


ALONE = """
import sys
import torch
from dkvb.torch import load

model = load(sys.argv[1])
model(torch.zeros(1, 3, 32, 32))
print([name for name in ("ray", "zarr", "numba") if name in sys.modules])
"""


def test_a_model_with_its_backbone_needs_no_ray_zarr_and_numba(finished):
    path = finished.artefact("values").path / CHECKPOINT
    done = subprocess.run([sys.executable, "-c", ALONE, path], capture_output=True, text=True, timeout=120, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


class Cells(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, text):
        self.texts.append(text)


def test_a_notebook_shows_a_small_table_and_obeys_no_name(study):
    shown = Cells()
    shown.feed(study._repr_html_())
    assert shown.tags[0] == "table"
    assert "3: ant, bee, cat" in shown.texts
    assert "11 codebooks of 13 keys" in shown.texts
    assert "13 of 13 done" in shown.texts
    assert re.search(r"test accuracy +\d+\.\d\d % \(\d+ of 15 items\)", repr(study))
    hostile = OpenExperiment(Experiment(Path("/<script>alert(1)</script>\x1b[2J"), "<b>&\n", {}, {"values": "0" * 16}))
    page = Cells()
    page.feed(hostile._repr_html_())
    assert set(page.tags) == {"table", "tr", "th", "td"}
    assert not any("\x1b" in text or "\n" in text for text in page.texts)
    assert "0 of 1 done" in page.texts


def test_opening_binds_our_names_and_leaves_the_search_path_alone(finished, tmp_path):
    (tmp_path / "cluster.py").write_text("raise SystemExit('somebody else')")
    code = "import sys\npath = [*sys.path]\nimport dkvb\ndkvb.open(sys.argv[1])\nassert sys.path == path\nprint('done')"
    words = [sys.executable, "-c", code, finished.root]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


# --- arrays with coordinates ---


def test_counts_have_names_along_their_axes(study):
    pytest.importorskip("xarray")
    counts, expected = study.counts, arrays.read(study.experiment.artefact("counts").data, "counts")
    assert counts.dims == ("class", "codebook", "key")
    assert counts.dtype == expected.dtype
    for k, name in enumerate(study.classes):
        assert np.array_equal(counts.sel({"class": name}), expected[k])
    assert int(counts.sel({"class": "cat"}, drop=True).sel(codebook=3, key=5)) == expected[2, 3, 5]
    assert counts.attrs["meaning"]


def test_codes_neighbours_and_embeddings_know_whose_they_are(study):
    pytest.importorskip("xarray")
    for split in ("train", "test"):
        labels = study.stored.labels(split)
        codes, neighbours, z = study.codes(split), study.neighbours(split), study.embeddings(split)
        assert codes.dtype == neighbours.dtype == np.int16
        assert z.dtype == np.float16
        for array in (codes, neighbours, z):
            assert array["class"].values.tolist() == [study.classes[k] for k in labels]
            assert set(array["shard"].values.tolist()) == {s.name for s in study.stored.manifest(split).shards}
        cats = codes[codes["class"] == "cat"]
        assert np.array_equal(cats, study.stored.codes(split)[...][labels == 2])
        assert np.array_equal(codes, neighbours.isel(rank=0))
    assert study.keys.dims == ("codebook", "key", "d_k")


def test_damage_is_seen_through_the_coordinates(own_study):
    pytest.importorskip("xarray")
    from store.errors import ArtefactDamaged

    chunk = next(
        path for path in (own_study.experiment.artefact("counts").data / "counts" / "c").rglob("*") if path.is_file()
    )
    chunk.write_bytes(bytes([*chunk.read_bytes()[:-1], 7]))
    with pytest.raises(ArtefactDamaged):
        own_study.counts.load()


def test_without_xarray_the_arrays_are_as_they_lie_there(study, monkeypatch):
    monkeypatch.setattr("store.labelled.has_xarray", lambda: False)
    assert isinstance(study.counts, arrays.StoredArray)
    assert study.counts.shape == (3, 11, 13)
    assert isinstance(study.embeddings("test"), arrays.StoredArray)
    assert study.embeddings("test").shape == (15, 1280)


# --- the page and the example ---

PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def snippet(word):
    """The code block of the page that holds a word."""
    (found,) = [text for text in SNIPPETS if word in text]
    return found


def test_the_session_of_the_page_works(own, capsys):
    names: dict[str, Any] = {}
    exec(snippet("dkvb.open(").replace("roots/cifar10", str(own.root)).replace("dog", "bee"), names)
    assert "cat" in capsys.readouterr().out
    pytest.importorskip("xarray")
    exec(snippet("study.counts"), names)
    assert names["cat"].shape == (11, 13)
    assert int(names["shared"].sel({"class": "cat"})) == int((names["cat"] > 0).sum())


def test_the_model_of_the_page_is_loaded_masked_and_used(own_study, tmp_path):
    done = own_study.unlearn("cat")
    picture(1, 1000, 48).convert("P").save(tmp_path / "photo.png")
    names: dict[str, Any] = {}
    code = snippet("from dkvb.torch import load").replace('"photo.png"', repr(str(tmp_path / "photo.png")))
    folder = str(Path(done["checkpoint"]).parent)
    code, mask = (text.replace("roots/cifar10/unlearned/<digest>", folder) for text in (code, snippet("model.mask(")))
    exec(code.replace('"cuda"', '"cpu"'), names)
    assert names["names"][0] in ("ant", "bee")
    exec(mask, names)
    assert not names["forgetful"].selectable.equal(names["forgetful"].selectable.new_ones(11, 13))


def test_ten_lines_of_torch_and_safetensors_are_the_model(own_study):
    code = snippet("safe_open")
    assert "dkvb" not in code.replace('["dkvb"]', "")
    lines = [line for line in code.splitlines() if line and not line.startswith("import ") and "from " not in line]
    assert len(lines) <= 10
    checkpoint = Path(own_study.unlearn("cat")["checkpoint"])
    for path in (own_study.experiment.artefact("values").path / CHECKPOINT, checkpoint):
        z = torch.from_numpy(arrays.read_shards(own_study.experiment.artefact("embeddings[test]").data, "embeddings"))
        names = {"z": z}
        exec(code.replace("roots/cifar10/values/<digest>/bottleneck.safetensors", str(path)), names)
        model = Bottleneck.load(path)
        codes = names["codes"].T.where(names["votes"], -1)
        assert (codes == model.codes(z)).float().mean() > 0.999  # near ties
        same = (codes == model.codes(z)).all(1)
        assert same.any()
        assert torch.allclose(names["logits"][same], model.logits(z)[same], atol=1e-5)
        assert names["names"] == [model.header["classes"][k] for k in names["logits"].argmax(1)]


def test_the_example_runs_as_it_stands(own):
    words = [sys.executable, REPOSITORY / "docs" / "example.py", own.root, "cat"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "after: 0 of 5 test items of cat right" in done.stdout


def test_the_page_leads_to_what_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (REPOSITORY / "docs" / target).exists(), target
