"""Masks of requests: had alone, and applied to the model that they were made for, to no other."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadCheckpoint
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from tests.jobs.requested import forget, mask_of

# --- the mask alone ---

COMMAND = """
import json, sys
from jobs.cli.main import cli
cli(sys.argv[1:], standalone_mode=False)
heavy = ("torch", "timm", "open_clip", "torchvision", "ray", "sklearn", "matplotlib", "PIL", "pyarrow")
print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_a_request_for_the_mask_alone_imports_no_torch(method, own):
    asked = ("--class", "cat", "--class", "ant", "--method", method, "--mask-only", "--no-measure", "--json")
    words = [sys.executable, "-c", COMMAND, "unlearn", str(own.root), *asked]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == []
    expected = mask_of(forget(own, "ant", "cat", method=method))
    assert torch.equal(load_file(json.loads(done.stdout)["mask"])["mask"], expected)


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_the_mask_can_be_had_first_and_the_checkpoint_later(method, own, tmp_path):
    request = Request(classes=["cat"], method=method, share=0.5)
    plain = unlearn(find(Path(shutil.copytree(own.root, tmp_path / "plain")), None), request)
    first = unlearn(own, request, mask_only=True)
    folder = Path(first.mask).parent
    assert first.checkpoint is None
    assert sorted(path.name for path in folder.iterdir()) == [
        "DONE",
        "certificate.json",
        "checksums.json",
        "mask.safetensors",
        "provenance.json",
        "spec.json",
    ]
    assert "none, as asked" in as_text(first)
    mask = Path(first.mask).read_bytes()

    later = unlearn(own, request)
    assert later.mask == first.mask
    assert later.checkpoint is not None
    assert plain.checkpoint is not None
    assert Path(later.mask).read_bytes() == mask
    checkpoint = Path(later.checkpoint).read_bytes()
    assert Path(plain.checkpoint).read_bytes() == checkpoint

    unlearn(own, request, mask_only=True)
    assert Path(later.checkpoint).read_bytes() == checkpoint


def test_a_mask_applied_to_a_loaded_model_makes_the_model_of_the_checkpoint(own):
    done = forget(own, "cat", share=0.5)
    applied = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors").masked(mask_of(done))
    unlearned = Bottleneck.load(done.checkpoint)
    for name in ("projection", "keys", "values", "selectable"):
        assert torch.equal(getattr(applied, name), getattr(unlearned, name))


def test_the_checkpoint_is_the_bytes_of_the_masked_model(own):
    done = forget(own, "cat", share=0.5)
    assert Bottleneck.load(done.checkpoint).to_bytes() == Path(done.checkpoint).read_bytes()


# --- whose mask it is ---


def test_a_mask_file_is_applied_to_its_model_and_to_what_was_unlearned_from_it(own):
    first, second = forget(own, "cat"), forget(own, "ant")
    model = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors")
    applied, unlearned = model.masked_by(first.mask), Bottleneck.load(first.checkpoint)
    for name in ("projection", "keys", "values", "selectable"):
        assert torch.equal(getattr(applied, name), getattr(unlearned, name))
    assert applied.header["unlearned"]["classes"] == ["cat"]
    both = unlearned.masked_by(second.mask)
    assert torch.equal(both.selectable, model.selectable & ~mask_of(first) & ~mask_of(second))


def test_a_mask_of_another_model_is_refused_though_its_shape_fits(own, run_tiny, images):
    done = forget(own, "cat")
    other = run_tiny(own.root, images, {"name": "other", "seed": 1})
    model = Bottleneck.load(other.artefact("values").path / "bottleneck.safetensors")
    assert mask_of(done).shape == model.selectable.shape
    with pytest.raises(BadCheckpoint, match="made for another model"):
        model.masked_by(done.mask)


def test_a_mask_that_does_not_say_whose_it_is_is_refused(own):
    done = forget(own, "cat")
    path = Path(done.mask)
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["dkvb"])
    model = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors")
    save_file({"mask": mask_of(done)}, path, {"dkvb": json.dumps({k: v for k, v in said.items() if k != "model"})})
    with pytest.raises(BadCheckpoint, match="does not say which model"):
        model.masked_by(path)
    save_file({"mask": mask_of(done)[:, :-1].contiguous()}, path, {"dkvb": json.dumps(said)})
    with pytest.raises(BadCheckpoint, match=r"expected torch.bool \(11, 13\)"):
        model.masked_by(path)
    with pytest.raises(BadCheckpoint, match="format found 'dkvb-bottleneck/1', expected 'dkvb-mask/1'"):
        model.masked_by(done.checkpoint)
    path.write_bytes(b"damaged")
    with pytest.raises(BadCheckpoint, match="not a readable mask"):
        model.masked_by(path)
