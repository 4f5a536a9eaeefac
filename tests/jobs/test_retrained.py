"""Requests to retrain: the model equals what the values step makes of the other items, and says what it did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.training import TrainSettings
from dkvb.values import fit_values
from jobs import certificate
from jobs.errors import BadRequest
from jobs.exact import ExactRequest
from jobs.kinds import values
from jobs.query.measure import Measured
from jobs.query.retrained import MeasuredItems
from jobs.results.experiment import find
from jobs.retrained import retrain
from store import arrays
from store.artefacts import Artefact, read_json, write_json

ANT, BEE, CAT = range(3)


def items_of(experiment, split):
    data = experiment.artefact(f"embeddings[{split}]").data
    z, labels = arrays.read_shards(data, "embeddings"), arrays.read_shards(data, "labels")
    return torch.from_numpy(z), torch.from_numpy(labels).long()


def keys_of(experiment):
    return arrays.read(experiment.artefact("manifest[train]").data, "item_key").tolist()


def rows(experiment, *classes):
    return torch.isin(items_of(experiment, "train")[1], torch.tensor(classes)).nonzero().flatten().tolist()


def never_seen(experiment, gone):
    """Values, epochs and selectable keys of a model that is made of the other training items alone."""
    model = Bottleneck.load(experiment.artefact("values").path / "bottleneck.safetensors")
    codes = torch.from_numpy(arrays.read(experiment.artefact("codes[train]").data, "codes"))
    (z, labels), rest = items_of(experiment, "train"), torch.ones(len(codes), dtype=torch.bool)
    rest[list(gone)] = False
    asked = experiment.artefact("values").spec()["spec"]
    fitted, trained = fit_values(
        codes[rest],
        labels[rest],
        TrainSettings(**asked["settings"]),
        m=13,
        v=3,
        seed=asked["seed"],
        recode=lambda which, used: encode(z[rest][which], model.projection, model.keys, selectable=used),
    )
    return fitted, trained.epochs, count_codes(codes[rest], 13) > 0


def without(experiment, *classes, items=(), **more):
    return retrain(experiment, ExactRequest(classes=classes, items=items), **more)


def check(experiment, done, gone):
    fitted, epochs, selectable = never_seen(experiment, gone)
    model = Bottleneck.load(done.checkpoint)
    assert torch.equal(model.values, fitted)
    assert torch.equal(model.selectable, selectable)
    assert (done.epochs, done.left, done.spec.items) == (epochs, 41 - len(gone), len(gone))
    return model


@pytest.mark.parametrize("classes", [[BEE], [ANT, CAT]])
def test_a_model_without_classes_is_that_of_the_other_items_alone(classes, own):
    done = without(own, *(own.classes[k] for k in classes))
    model = check(own, done, rows(own, *classes))
    before = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors")
    assert torch.equal(model.keys, before.keys)
    assert (before.selectable & ~model.selectable).any()
    z, _ = items_of(own, "test")
    assert not torch.isin(model.logits(z).argmax(1), torch.tensor(classes)).any()
    assert model.header["unlearned"]["method"] == "retrain"
    assert model.header["unlearned"]["epochs"] == done.epochs
    assert done.training_seconds <= done.seconds


def test_single_items_leave_beside_a_class(own):
    names = keys_of(own)
    cats = rows(own, CAT)[3:5]
    check(own, without(own, "bee", items=[names[row] for row in cats]), [*rows(own, BEE), *cats])


def test_each_request_stands_for_itself_and_the_same_one_gives_the_same_bytes(own):
    first = without(own, "bee")
    content = Path(first.checkpoint).read_bytes()
    check(own, without(own, "ant"), rows(own, ANT))
    assert Path(first.checkpoint).read_bytes() == content
    again = without(own, "bee", measured=False)
    assert (again.checkpoint, again.measured, again.not_measured) == (first.checkpoint, None, "as asked")
    assert Path(again.checkpoint).read_bytes() == content


def test_all_keys_stay_selectable_where_the_spec_says_so(run_tiny, images, tmp_path):
    every = run_tiny(tmp_path / "root", images, {"bottleneck.selectable": "all"})
    model = Bottleneck.load(without(every, "bee").checkpoint)
    assert model.selectable.all()


def test_what_it_did_to_classes_is_measured_on_the_model_itself(own):
    done = without(own, "bee")
    model, seen = Bottleneck.load(done.checkpoint), done.measured
    assert isinstance(seen, Measured)
    for split in ("train", "test"):
        z, labels = items_of(own, split)
        right, bees = model.logits(z).argmax(1) == labels, labels == BEE
        assert (seen.forget[split].after.right, seen.forget[split].after.items) == (0, int(bees.sum()))
        assert seen.retain[split].after.right == int(right[~bees].sum())
    assert seen.gone
    assert "0 of 13" in done.text()


def test_what_it_did_to_items_is_measured_on_the_model_itself(own):
    names, gone = keys_of(own), [0, 20, 33]
    done = without(own, items=[names[row] for row in gone])
    model, seen = Bottleneck.load(done.checkpoint), done.measured
    assert isinstance(seen, MeasuredItems)
    left = np.isin(np.arange(41), gone)
    (z, labels), (test, of_test) = items_of(own, "train"), items_of(own, "test")
    right = (model.logits(z).argmax(1) == labels).numpy()
    assert (seen.forget.after.right, seen.forget.after.items) == (int(right[left].sum()), 3)
    assert (seen.retain.after.right, seen.retain.after.items) == (int(right[~left].sum()), 38)
    assert seen.test.after.right == int((model.logits(test).argmax(1) == of_test).sum())
    loss = torch.nn.functional.cross_entropy(model.logits(z).double(), labels, reduction="none")[left]
    of_alike = torch.isin(of_test, labels[left])
    others = torch.nn.functional.cross_entropy(model.logits(test).double(), of_test, reduction="none")[of_alike]
    auc = (loss[:, None] < others).double().mean() + (loss[:, None] == others).double().mean() / 2
    assert seen.membership["after"] == pytest.approx(float(auc), abs=1e-6)
    assert "of the items that left" in done.text()
    assert "NOT forgotten" not in done.text()


def test_a_request_that_was_cut_off_is_not_done_and_begins_anew(own, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(certificate, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            without(own, "bee")
    (folder,) = (own.root / "unlearned").iterdir()
    assert not Artefact(own.root, "unlearned", folder.name).done
    done = without(own, "bee")
    check(own, done, rows(own, BEE))
    assert Artefact(own.root, "unlearned", Path(done.checkpoint).parent.name).done


@pytest.mark.parametrize(
    ("classes", "items", "text"),
    [
        ((), ("nobody.png",), "item 'nobody.png' is not among"),
        (("be",), (), "did you mean"),
        (("ant", "bee", "cat"), (), "nothing would be left"),
    ],
)
def test_what_cannot_be_forgotten_is_refused_and_nothing_is_written(classes, items, text, own):
    with pytest.raises(BadRequest, match=text):
        without(own, *classes, items=items)
    assert not (own.root / "unlearned").exists()


def test_values_of_another_recipe_are_refused(own, run_tiny, images, tmp_path, unsealed):
    solved = run_tiny(tmp_path / "solved", images, {"values": None, "values.method": "lda"})
    with pytest.raises(BadRequest, match="use `dkvb unlearn --method exact`"):
        without(solved, "bee")
    unsealed(own.root)
    path = own.artefact("values").path / "spec.json"
    write_json(path, {**read_json(path), "version": values.VERSION - 1})
    with pytest.raises(BadRequest, match="an older dkvb trained them in another way"):
        without(own, "bee")


def test_the_command_retrains_and_its_certificate_log_and_measure_hold(own, dkvb, tmp_path):
    (tmp_path / "items.txt").write_text("\n".join(keys_of(own)[:2]) + "\n")
    words = ("unlearn", own.root, "--method", "retrain")
    for more, forgotten in ((("--class", "bee"), 13), (("--items", tmp_path / "items.txt"), 2)):
        ended = dkvb(*words, *more, "--ticket", "7", "--json")
        assert ended.code == 0, ended.err
        said = json.loads(ended.out)
        assert (said["items"], said["left"]) == (forgotten, 41 - forgotten)
        assert f"codes/{own.steps['codes[train]']}" in said["still_there"]
        folder = Path(said["checkpoint"]).parent
        assert dkvb("verify", folder / "certificate.json").code == 0
        signed = json.loads((folder / "certificate.json").read_text())["certificate"]
        assert signed["measured"] == said["measured"]
        assert "stands for itself" in " ".join(signed["limits"])
        measured = dkvb("measure", own.root, folder.name[:6], "--json")
        assert measured.code == 0, measured.err
        assert json.loads(measured.out) == said["measured"]
        assert f"retrained without {forgotten} training items" in dkvb("measure", own.root, folder).out
    assert dkvb("status", own.root, "--verify").code == 0
    log = dkvb("log", own.root).out
    assert "7  retrain: bee" in log
    assert "7  retrain: 2 items" in log
    assert "holds no mask" in dkvb("query", own.root, "collateral", folder.name).err
    text = dkvb(*words, "--class", "ant").out
    assert "retrained without 11 training items (all of ant); 30 are left" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--class", "bee", "--budget", "3"), "--budget: only with masks"),
        (("--class", "bee", "--mask-only"), "--mask-only: only with masks"),
        (("--items", "no-such-file"), "cannot be read"),
        ((), "Missing option '--class' or '--items'"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(words, text, finished, dkvb):
    ended = dkvb("unlearn", finished.root, "--method", "retrain", *words)
    assert ended.code == 2
    assert text in ended.err
    assert not (finished.root / "unlearned").exists()


def test_another_models_request_and_one_that_was_cut_off_are_not_measured(own, dkvb, tmp_path):
    folder = Path(without(own, "bee").checkpoint).parent
    moved = find(Path(shutil.copytree(own.root, tmp_path / "moved")), None)
    path = moved.root / "unlearned" / folder.name / "spec.json"
    (path.parent / "DONE").unlink()
    (path.parent / "checksums.json").unlink()
    write_json(path, {**read_json(path), "bottleneck": "0" * 16})
    assert "retrained from another model (0000" in dkvb("measure", moved.root, folder.name).err
    (folder / "bottleneck.safetensors").unlink()
    ended = dkvb("measure", own.root, folder.name)
    assert ended.code != 0
    assert "was cut off; ask for it again" in ended.err
