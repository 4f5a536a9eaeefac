"""Exports: each model of a root as a folder that stands by itself, the checkpoint byte for byte, with its evidence."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import read_header
from dkvb.errors import BadCheckpoint
from dkvb.linear import linear_logits
from dkvb.pretrained import OURS, file_stamp, from_pretrained
from dkvb.torch import LinearModel, Model
from jobs.certificate import Asker
from jobs.errors import BadRequest
from jobs.exact import ExactRequest, forget_exactly
from jobs.learn import LearnRequest, learn
from jobs.models.export import Wanted, export, verify_exported
from jobs.query.measure import Measured
from jobs.query.retrained import MeasuredItems
from jobs.results.experiment import find
from jobs.retrained import retrain
from jobs.unlearn import Request, unlearn
from store import arrays
from store.errors import ArtefactDamaged, ArtefactDestroyed
from tests.jobs.test_certificate import pem
from tests.tiny import paint

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}


@pytest.fixture(scope="module")
def all_solved(run_tiny, images, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("solved") / "root", images, LDA)


@pytest.fixture
def solved(all_solved, tmp_path):
    return find(Path(shutil.copytree(all_solved.root, tmp_path / "solved")), None)


def z_of(experiment, split="test"):
    return torch.from_numpy(arrays.read_shards(experiment.artefact(f"embeddings[{split}]").data, "embeddings"))


def loaded(done):
    return from_pretrained(done.folder, backbone=False, digest=done.digest)


def name_of(path):
    return Path(path).parent.name


def same_bytes(done, path):
    assert (Path(done.folder) / "model.safetensors").read_bytes() == Path(path).read_bytes()


def card_of(done):
    return (Path(done.folder) / "README.md").read_text()


def test_a_model_as_it_was_trained(own, tmp_path):
    done = export(own, tmp_path / "whole", Wanted(licence="apache-2.0"))
    checkpoint = own.artefact("values").path / "bottleneck.safetensors"
    same_bytes(done, checkpoint)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        *("README.md", "config.json", "model.safetensors"),
    ]
    model, z = loaded(done), z_of(own)
    assert isinstance(model, Model)
    assert torch.equal(model(z).argmax(1), Bottleneck.load(checkpoint).logits(z).argmax(1))
    text = card_of(done)
    assert text.startswith("---\nlibrary_name: dkvb\npipeline_tag: image-classification\nlicense: apache-2.0\n")
    assert "## Nothing was forgotten" in text
    assert done.files["model.safetensors"].split()[0] in text
    assert f'digest="{done.digest}"' in text
    assert "There is no certificate" in text
    accuracy = own.facts("sweep")["accuracy"]["test"]
    assert f"{100 * accuracy:.2f} %" in text
    assert (done.request, done.notes, done.compared) == (None, [], None)
    assert "as it was trained" in done.text()


def test_the_linear_head(own, tmp_path):
    done = export(own, tmp_path / "linear", Wanted(head="linear"))
    same_bytes(done, own.artefact("linear").path / "linear.safetensors")
    model, z = loaded(done), z_of(own)
    assert isinstance(model, LinearModel)
    weights = torch.cat([model.weight, model.bias[None]])
    assert torch.equal(model(z), linear_logits(z, weights))
    assert model.classes == own.classes
    assert "a linear head on a frozen backbone" in card_of(done)
    assert f"{100 * own.facts('linear')['accuracy']['test']:.2f} %" in card_of(done)


def test_a_model_under_a_mask_with_its_evidence(own, tmp_path):
    made = unlearn(own, Request(classes=["bee"]), asker=Asker(by="Anna Example", ticket="R-7"))
    done = export(own, tmp_path / "bee-free", Wanted(request=name_of(made.mask)[:6]))
    same_bytes(done, made.checkpoint)
    assert done.request == name_of(made.mask)
    said = json.loads((tmp_path / "bee-free" / "certificate.json").read_text())["certificate"]
    assert said["files"][f"unlearned/{done.request}/bottleneck.safetensors"] == done.files["model.safetensors"]
    text = card_of(done)
    assert "# tiny, without bee" in text
    assert "- classes: bee" in text
    assert f"- N: {made.effect.budget}" in text
    assert made.measured is not None
    for split in ("train", "test"):
        after = made.measured.forget[split].after
        assert f"{after.right} of {after.items}" in text
    assert "| bee" in text.split("## Evidence")[0]
    assert said["limits"][0].split(";")[0] in text
    assert "Anna" not in text
    assert "R-7" not in text
    assert any("says who asked" in note for note in done.notes)
    assert any("not signed" in note for note in done.notes)
    assert not any(finding.holds is False for finding in verify_exported(tmp_path / "bee-free"))


def test_the_certificate_stays_where_it_is_not_wanted(own, tmp_path):
    made = unlearn(own, Request(classes=["bee"]), asker=Asker(by="Anna Example"))
    done = export(own, tmp_path / "bee-free", Wanted(request=name_of(made.mask), certificate=False))
    assert not (tmp_path / "bee-free" / "certificate.json").exists()
    assert "Anna" not in "".join(path.read_text() for path in (tmp_path / "bee-free").glob("*.[jm]*[dn]"))
    assert "stays on the root" in card_of(done)
    assert loaded(done)


def test_a_retrained_model(own, tmp_path):
    made = retrain(own, ExactRequest(classes=["cat"]))
    done = export(own, tmp_path / "cat-free", Wanted(request=name_of(made.checkpoint)))
    same_bytes(done, made.checkpoint)
    assert f"- items that are left: {made.left}" in card_of(done)
    assert f"- epochs: {made.epochs}" in card_of(done)
    assert isinstance(made.measured, Measured)
    after = made.measured.forget["train"].after
    assert f"{after.right} of {after.items}" in card_of(done)
    with pytest.raises(BadRequest, match="retrain did not change the linear head"):
        export(own, tmp_path / "linear", Wanted(request=name_of(made.checkpoint), head="linear"))
    assert not (tmp_path / "linear").exists()


def test_a_model_retrained_without_single_items(own, tmp_path):
    keys = arrays.read(own.artefact("manifest[train]").data, "item_key").tolist()
    made = retrain(own, ExactRequest(items=keys[:2]))
    text = card_of(export(own, tmp_path / "fewer", Wanted(request=name_of(made.checkpoint))))
    assert "- single training items: 2" in text
    assert isinstance(made.measured, MeasuredItems)
    assert f"{made.measured.test.after.right} of {made.measured.test.after.items}" in text
    assert keys[0] not in text


@pytest.mark.parametrize("head", ["values", "linear"])
def test_models_that_forgot_exactly(solved, head, tmp_path):
    first = forget_exactly(solved, ExactRequest(classes=["bee"]))
    second = forget_exactly(solved, ExactRequest(classes=["ant"]))
    file = {"values": "checkpoint", "linear": "linear"}[head]
    for number, made in enumerate((first, second)):
        name = name_of(made.checkpoint)
        done = export(solved, tmp_path / str(number), Wanted(request=name, head=head))
        same_bytes(done, getattr(made, file))
        model, z = loaded(done), z_of(solved)
        gone = ["bee", "ant"][: number + 1]
        assert not {model.classes[k] for k in model(z).argmax(1)} & set(gone)
        assert "equals, bit for bit, one that never saw them" in card_of(done)
        assert "Nothing was measured" in card_of(done)
        later = [f"later requests went on from this one: {name_of(second.checkpoint)}"] if not number else []
        assert [note for note in done.notes if "later" in note] == later
        assert not any(finding.holds is False for finding in verify_exported(Path(done.folder)))


@pytest.mark.parametrize("head", ["values", "linear"])
def test_a_class_that_was_learned_later_is_in_no_model_before(solved, head, tmp_path):
    made = forget_exactly(solved, ExactRequest(classes=["bee"]))
    paint(tmp_path / "photos", {"dog": 3}, first=50)
    taken = learn(solved, LearnRequest(images=str(tmp_path / "photos")))
    before = export(solved, tmp_path / "before", Wanted(request=name_of(made.checkpoint), head=head))
    after = export(solved, tmp_path / "after", Wanted(request=name_of(taken.linear), head=head))
    assert loaded(before).classes == ["ant", "bee", "cat"]
    assert loaded(after).classes == ["ant", "bee", "cat", "dog"]
    assert loaded(after)(z_of(solved)).shape[1] == 4
    assert "## What was learned" in card_of(after)


def test_what_was_destroyed_is_not_exported(solved, tmp_path):
    first = forget_exactly(solved, ExactRequest(classes=["bee"]))
    forget_exactly(solved, ExactRequest(classes=["ant"], commit=True))
    with pytest.raises(ArtefactDestroyed):
        export(solved, tmp_path / "old", Wanted(request=name_of(first.checkpoint)))
    with pytest.raises(ArtefactDestroyed):
        export(solved, tmp_path / "old", Wanted(before=True))
    assert list(tmp_path.glob("*old*")) == []


def test_nobody_passes_on_a_model_that_forgot_nothing_by_mistake(own, tmp_path):
    made = unlearn(own, Request(classes=["bee"]), measured=False)
    other = unlearn(own, Request(classes=["ant"]), measured=False, mask_only=True)
    with pytest.raises(BadRequest, match=r"2 requests were made of tiny \(.*uva of (ant|bee).*--before"):
        export(own, tmp_path / "x", Wanted())
    with pytest.raises(BadRequest, match="either --request or --before"):
        export(own, tmp_path / "x", Wanted(request=name_of(made.mask), before=True))
    with pytest.raises(BadRequest, match="holds a mask and no model, as"):
        export(own, tmp_path / "x", Wanted(request=name_of(other.mask)))
    with pytest.raises(BadRequest, match="'feed' is neither a mask file nor a folder"):
        export(own, tmp_path / "x", Wanted(request="feed"))
    with pytest.raises(BadRequest, match="did you mean 'linear'"):
        export(own, tmp_path / "x", Wanted(before=True, head="liner"))
    assert list(tmp_path.glob("*x*")) == []
    done = export(own, tmp_path / "x", Wanted(before=True))
    assert done.request is None
    assert "Nothing was forgotten" in card_of(done)


def test_a_folder_that_is_there_is_left_as_it_is(own, tmp_path):
    export(own, tmp_path / "whole", Wanted())
    before = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    with pytest.raises(BadRequest, match="already exists; name another folder, or remove it first"):
        export(own, tmp_path / "whole", Wanted())
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadRequest, match="already exists"):
        export(own, tmp_path / "file", Wanted())
    with pytest.raises(BadRequest, match="is an address"):
        export(own, Path("s3://bucket/folder"), Wanted())
    (tmp_path / "empty").mkdir()
    export(own, tmp_path / "empty", Wanted())
    assert {path.name for path in (tmp_path / "empty").iterdir()} <= set(OURS)


def test_what_an_export_left_that_was_cut_off_is_removed_and_nothing_else(own, tmp_path):
    left = tmp_path / ".whole.partial"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    export(own, tmp_path / "whole", Wanted())
    assert not left.exists()
    left = tmp_path / ".other.partial"
    left.mkdir()
    (left / "diary.txt").write_text("mine")
    with pytest.raises(BadRequest, match=r"holds diary.txt, which no export writes"):
        export(own, tmp_path / "other", Wanted())
    assert (left / "diary.txt").read_text() == "mine"


def test_a_damaged_checkpoint_and_a_forged_certificate_are_refused(own, tmp_path):
    made = unlearn(own, Request(classes=["bee"]), measured=False)
    checkpoint = Path(str(made.checkpoint))
    path = checkpoint.parent / "certificate.json"
    whole = path.read_text()
    said = json.loads(whole)
    name = f"unlearned/{path.parent.name}/bottleneck.safetensors"
    said["certificate"]["files"][name] = "0" * 64 + " 1"
    path.write_text(json.dumps(said))
    with pytest.raises(ArtefactDamaged, match="--no-certificate leaves it out"):
        export(own, tmp_path / "x", Wanted(request=path.parent.name))
    path.write_text(whole)
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(data)
    with pytest.raises(ArtefactDamaged):
        export(own, tmp_path / "x", Wanted(request=path.parent.name))
    assert list(tmp_path.glob("*x*")) == []


def test_an_exported_folder_is_verified(own, tmp_path):
    private, public = pem(tmp_path, "auditor")
    _, other = pem(tmp_path, "other")
    made = unlearn(own, Request(classes=["bee"]), measured=False, key_file=private)
    folder = tmp_path / "bee-free"
    done = export(own, folder, Wanted(request=name_of(made.mask)))
    assert done.notes == []
    findings = verify_exported(folder, public)
    assert [(each.what, each.holds) for each in findings] == [
        *(("model.safetensors", True), ("certificate.json", True)),
        *(("config.json", True), ("model.safetensors", True), ("signature", True), ("README.md", None)),
    ]
    assert done.digest in findings[2].says
    assert [each.holds for each in verify_exported(folder, other)] == [True, True, True, True, False, None]
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert [each.holds for each in verify_exported(folder, public)] == [False, True, True, True, True, None]
    with pytest.raises(BadCheckpoint, match="damaged or changed"):
        from_pretrained(folder, backbone=False)
    whole = tmp_path / "whole"
    export(own, whole, Wanted(before=True))
    assert [each.holds for each in verify_exported(whole)] == [True, True, True, None]
    assert [each.holds for each in verify_exported(whole, public)] == [True, True, False, None]


def forged(folder, **change):
    """Rewrite a config as somebody would who wants another model to pass, digests included."""
    config = json.loads((folder / "config.json").read_text())
    for name in config["files"]:
        config["files"][name] = file_stamp(folder / name)
    (folder / "config.json").write_text(json.dumps({**config, **change}))


def test_the_model_before_does_not_pass_as_the_one_that_forgot(own, tmp_path, dkvb):
    """The certificate names both, so the bytes of either fit it."""
    private, public = pem(tmp_path, "auditor")
    made = unlearn(own, Request(classes=["bee"]), measured=False, key_file=private)
    folder = tmp_path / "bee-free"
    export(own, folder, Wanted(request=name_of(made.mask)))
    before = own.artefact("values").path / "bottleneck.safetensors"
    shutil.copyfile(before, folder / "model.safetensors")
    origin = str(before.relative_to(own.root))
    forged(folder, origin=origin)
    assert [each.what for each in verify_exported(folder, public) if each.holds is False] == ["config.json"]
    forged(folder, origin=origin, header=read_header(before))
    ended = dkvb("verify", folder, "--key", public)
    assert ended.code == 1
    assert "is of another request than the one that left model.safetensors: method is 'uva'" in ended.out
    with pytest.raises(BadCheckpoint, match="is of another request"):
        from_pretrained(folder, backbone=False)


def test_an_earlier_linear_head_does_not_pass_as_a_later_one(solved, tmp_path):
    first = forget_exactly(solved, ExactRequest(classes=["bee"]))
    second = forget_exactly(solved, ExactRequest(classes=["ant"]))
    folder = tmp_path / "free"
    export(solved, folder, Wanted(request=name_of(second.linear), head="linear"))
    before = Path(str(first.linear))
    shutil.copyfile(before, folder / "model.safetensors")
    origin = str(before.relative_to(solved.root))
    forged(folder, origin=origin)
    assert [each.what for each in verify_exported(folder) if each.holds is False] == ["config.json"]
    header = json.loads((folder / "config.json").read_text())["header"]
    forged(folder, header={**header, "unlearned": json.loads((before.parent / "spec.json").read_text())})
    assert [each.what for each in verify_exported(folder) if each.holds is False] == ["model.safetensors"]


def test_a_folder_without_its_config_is_no_mistake_of_who_asks(own, tmp_path, dkvb):
    folder = tmp_path / "whole"
    export(own, folder, Wanted())
    for damage in (lambda path: path.write_text("{"), Path.unlink):
        damage(folder / "config.json")
        ended = dkvb("verify", folder)
        assert (ended.code, ended.out.partition(":")[0]) == (1, "FAILS     config.json")


def test_the_card_is_said_not_to_be_checked(own, tmp_path, dkvb):
    made = unlearn(own, Request(classes=["bee"]), measured=False)
    folder = tmp_path / "bee-free"
    export(own, folder, Wanted(request=name_of(made.mask)))
    for asked in (folder, folder / "certificate.json"):
        ended = dkvb("verify", asked)
        assert (ended.code, ended.out.count("holds ")) == (0, 5)
        assert "unchecked README.md: is not checked" in ended.out
        assert "the figures that count are those of certificate.json" in ended.out
    whole = json.loads((folder / "certificate.json").read_text())
    del whole["signature"]
    (folder / "certificate.json").write_text(json.dumps(whole))
    ended = dkvb("verify", folder)
    assert ended.code == 1
    assert "damaged or changed since it was exported" in ended.out
    assert "its signature is missing" in ended.out
    assert dkvb("verify", folder / "certificate.json", own.root).code == 1


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="ask for it with --onnx"):
        Wanted(images="photos")
    with pytest.raises(BadRequest, match="expected a name as the hub has it"):
        Wanted(licence="mit\nevil: yes")
    with pytest.raises(BadRequest, match="items: found 0"):
        Wanted(items=0)


def test_the_backbone_goes_along_where_it_is_wanted(own, tmp_path, monkeypatch):
    done = export(own, tmp_path / "all", Wanted(backbone=True))
    assert "a licence of their own" in done.notes[0]

    def gone(*_):
        raise AssertionError("the weights themselves are not looked for")

    monkeypatch.setattr("dkvb.efficientnet_lite.weights_file", gone)
    model = from_pretrained(done.folder)
    assert model.recorded.facts["weights_sha256"] == model.header["backbone"]["weights_sha256"]
    data = bytearray((tmp_path / "all" / "backbone.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "all" / "backbone.safetensors").write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"backbone.safetensors: SHA-256"):
        from_pretrained(done.folder)
    assert from_pretrained(done.folder, backbone=False)
