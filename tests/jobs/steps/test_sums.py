"""Heads that are not trained but solved for: what their steps write, and what is made of it."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from dkvb.bottleneck import Bottleneck, decode
from dkvb.lda import LdaSettings, discriminants, lda_linear, lda_values
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings, whole_keys
from jobs.plan.plan import make_plan
from jobs.steps import sums
from jobs.summed import read_summed
from store import arrays
from store.errors import ArtefactDamaged
from store.tables import read_table

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda", "bottleneck.c": 43}


@pytest.fixture(scope="module")
def solved(run_tiny, images, tmp_path_factory):
    """The tiny experiment with both heads by linear discriminant analysis. Tests only read it."""
    return run_tiny(tmp_path_factory.mktemp("solved") / "root", images, LDA)


def read(experiment, label, name):
    return torch.from_numpy(arrays.read(experiment.artefact(label).data, name))


def rows_of(experiment, split, name):
    return torch.from_numpy(arrays.read_shards(experiment.artefact(f"embeddings[{split}]").data, name))


def expected(solved):
    """Whole keys, and the sums of all training items at once."""
    keys, bits = whole_keys(read(solved, "keys", "keys"))
    labels = rows_of(solved, "train", "labels").long()
    return keys, bits, Sums.of(SelectedKeys.of(read(solved, "codes[train]", "codes"), keys), labels, v=3)


def test_stored_sums_are_those_of_all_items_at_once(solved):
    keys, bits, whole = expected(solved)
    stored = read_summed(solved.artefact("sums"))
    assert stored.sums.to_bytes() == whole.to_bytes()
    assert torch.equal(stored.keys, keys)
    assert solved.facts("sums") == {"items": [11, 13, 17], "bits": bits, "largest": int(keys.abs().max())}


def test_the_values_are_those_of_one_solve(solved):
    keys, _, whole = expected(solved)
    model = Bottleneck.load(solved.artefact("values").path / "bottleneck.safetensors")
    assert torch.equal(model.values, lda_values(discriminants(whole, LdaSettings()), keys))
    assert model.header["spec"] == {
        "settings": None,
        "seed": 0,
        "selectable": "used",
        "lda": {"shrinkage": 0.3},
    }
    assert model.header["inputs"]["sums"] == f"sums/{solved.steps['sums']}"
    predicted = decode(read(solved, "codes[train]", "codes"), model.values).argmax(1)
    assert (predicted == rows_of(solved, "train", "labels")).float().mean() > 0.8


def test_the_linear_head_keeps_its_sums_beside_it(solved):
    folder = solved.artefact("linear").path
    labels, z = rows_of(solved, "train", "labels").long(), rows_of(solved, "train", "embeddings")
    stored = Sums.load(folder / "sums.safetensors")
    assert stored.to_bytes() == Sums.of(WholeEmbeddings.of(z, 10), labels, v=3).to_bytes()
    head = load_file(folder / "linear.safetensors")
    weights = lda_linear(discriminants(stored, LdaSettings()), 10)
    assert torch.equal(torch.cat([head["weight"], head["bias"][None]]), weights)
    assert solved.facts("linear")["accuracy"]["train"] > 0.8


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_blocks_of_codebooks_may_be_done_in_any_order_by_any_worker(solved, images, make_spec, tmp_path):
    root = shutil.copytree(solved.root, tmp_path / "root")
    plan = make_plan(make_spec(LDA), str(images))
    (step,) = (step for step in plan.steps if step.kind == "sums")
    task = step.task(root)
    shutil.rmtree(root / "sums" / task.output.digest / "data.zarr")
    units = sums.prepare(task)
    assert len(units) == 2
    for unit in units[::-1]:
        sums.open_work(task)(unit)
    for name in ("whole_keys", "class_sums", "moments"):
        found = files_below(task.output.data / name / "c")
        assert len(found) == 6
        assert found == files_below(solved.artefact("sums").data / name / "c")


def test_damaged_sums_are_refused(solved, tmp_path):
    from jobs.results.experiment import find

    own = find(shutil.copytree(solved.root, tmp_path / "root"), None)
    chunk = own.artefact("sums").data / "moments" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[-2] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(ArtefactDamaged, match="does not hold what was written"):
        read_summed(own.artefact("sums"))


def test_masks_on_solved_values_are_swept_as_any_others(solved):
    rows = read_table(solved.artefact("sweep").path / "sweep.parquet")
    model = Bottleneck.load(solved.artefact("values").path / "bottleneck.safetensors")
    labels = rows_of(solved, "test", "labels")
    right = decode(read(solved, "codes[test]", "codes"), model.values).argmax(1) == labels
    before = rows.filter((rows["class"] == 1) & (rows["method"] == "uva") & (rows["budget"] == 0))
    assert before["test_forget"][0] == pytest.approx(right[labels == 1].float().mean().item())
    assert set(rows["method"]) == {"uva", "uve"}


def test_the_commands_of_a_root_work_on_solved_heads(solved, dkvb, tmp_path):
    root = shutil.copytree(solved.root, tmp_path / "root")
    for words in (("status", root), ("table", root), ("status", root, "--verify")):
        done = dkvb(*words)
        assert done.code == 0, done.err
    assert "sums" in dkvb("status", root).out
