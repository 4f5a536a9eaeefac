"""What questions read is what the model does, to the last bit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadCheckpoint
from jobs.errors import BadRequest
from jobs.query import masked
from jobs.query.masked import Masked
from jobs.query.stored import Stored, logits
from jobs.step import SPLITS
from jobs.unlearn import Request, unlearn
from store import arrays
from store.layout import CHECKPOINT


@pytest.fixture
def stored(finished):
    return Stored(finished)


@pytest.mark.parametrize("done", [True, False])
def test_a_request_of_another_experiment_is_told_apart_from_one_that_was_cut_off(done, own, run_tiny, images, dkvb):
    made = Path(unlearn(own, Request(classes=["cat"])).mask).parent
    run_tiny(own.root, images, {"name": "other", "seed": 3})
    if not done:
        (made / "DONE").unlink()
    asked = dkvb("export", own.root, own.root.parent / "out", "--request", made.name, "--experiment", "other")
    assert asked.code == 2
    says = "made of another model than that of other; say which with --experiment tiny" if done else "was cut off"
    assert says in asked.err


@pytest.fixture(scope="module")
def bottleneck(finished):
    return Bottleneck.load(finished.artefact("values").path / CHECKPOINT)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_codes_and_logits_under_a_mask_are_those_of_the_masked_model(stored, bottleneck, split, share):
    rows = np.flatnonzero(stored.labels(split) >= 0)
    mask = np.random.default_rng(0).random(stored.size) < share
    z = torch.from_numpy(arrays.read_shards(stored.experiment.artefact(f"embeddings[{split}]").data, "embeddings"))
    before, after = Masked(stored, mask).codes(split, rows)
    model = bottleneck.masked(torch.from_numpy(mask))
    assert np.array_equal(after, model.codes(z[rows]).numpy())
    if not share:
        assert np.array_equal(before, after)
    with stored.values() as values:
        # A masked model's values are erased, and it selects none of them.
        assert np.array_equal(logits(after, values), model.logits(z[rows]).numpy())


@dataclass(frozen=True)
class Short:
    """Lists of two neighbours, of which many end under a mask."""

    whole: arrays.StoredArray

    @property
    def shape(self):
        return self.whole.shape

    def __getitem__(self, at):
        return np.ascontiguousarray(self.whole[at][:, :, :2])

    def rows(self, at):
        return np.ascontiguousarray(self.whole.rows(at)[:, :, :2])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("some", [False, True])
def test_codes_past_the_ends_of_lists_are_those_of_the_masked_model(
    split, share, compiled, some, stored, bottleneck, monkeypatch
):
    monkeypatch.setattr(Stored, "neighbours", lambda self, split, whole=Stored.neighbours: Short(whole(self, split)))
    monkeypatch.setattr(masked, "COMPILED", 0 if compiled else 10**9)
    monkeypatch.setattr(masked, "LISTS", 3)
    rows = np.flatnonzero(stored.labels(split) >= 0)[slice(1, None, 2) if some else slice(None)]
    mask = np.random.default_rng(0).random(stored.size) < share
    z = torch.from_numpy(arrays.read_shards(stored.of_split("embeddings", split).data, "embeddings"))
    _, after = Masked(stored, mask).codes(split, rows)
    assert np.array_equal(after, bottleneck.masked(torch.from_numpy(mask)).codes(z[rows]).numpy())


def test_a_class_is_known_by_name_and_by_number(stored):
    name = stored.classes[1]
    assert stored.index(name) == stored.index("#1") == 1
    with pytest.raises(BadRequest, match="the last of"):
        stored.index("#99")
    with pytest.raises(BadRequest, match="no class"):
        stored.index("unheard of")


def test_a_mask_is_found_by_file_folder_and_digest(own):
    made = unlearn(own, Request(classes=[own.classes[0]]), mask_only=True)
    stored = Stored(own)
    file = made.mask
    folder = file.rpartition("/")[0]
    masks = [stored.read_mask(text)[0] for text in (file, folder, folder.rpartition("/")[2][:6])]
    assert masks[0].sum() == made.effect.pairs_masked
    assert all(np.array_equal(masks[0], mask) for mask in masks)
    assert np.array_equal(masks[0], stored.rule_mask([0]))
    with pytest.raises(BadRequest, match="is neither a mask file"):
        stored.read_mask("nowhere")


def test_a_mask_of_another_model_is_refused(own, finished, tmp_path):
    made = unlearn(own, Request(classes=[own.classes[0]]), mask_only=True)
    data = Path(made.mask).read_bytes().replace(b'model\\": \\"', b'model\\": \\"f', 1)
    other = tmp_path / "other.safetensors"
    length = int.from_bytes(data[:8], "little")
    other.write_bytes((length + 1).to_bytes(8, "little") + data[8:])
    with pytest.raises(BadCheckpoint, match="made for another model"):
        Stored(finished).read_mask(str(other))
