"""What a request says of itself: what it measured, and its certificate."""

import json
from pathlib import Path

import pytest
import torch

from dkvb.bottleneck import Bottleneck
from jobs.certificate import Asker, read
from jobs.errors import BadRequest
from jobs.evidence import log
from jobs.integrity import verify as verify_root
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from jobs.verification import verify
from store import arrays
from store.errors import ArtefactDamaged


def items_of(experiment, split):
    data = experiment.artefact(f"embeddings[{split}]").data
    z, labels = arrays.read_shards(data, "embeddings"), arrays.read_shards(data, "labels")
    return torch.from_numpy(z), torch.from_numpy(labels).long()


@pytest.mark.parametrize(
    ("names", "more"),
    [(["cat"], {}), (["cat"], {"method": "uve", "seed": 3}), (["cat", "ant"], {}), (["cat"], {"budget": 1})],
)
def test_a_request_measures_what_it_made_on_training_and_test_items(names, more, own):
    done = unlearn(own, Request(classes=names, **more))
    assert done.checkpoint is not None
    assert done.measured is not None
    model, text = Bottleneck.load(done.checkpoint), as_text(done)
    for split in ("train", "test"):
        z, labels = items_of(own, split)
        right = model.logits(z).argmax(1) == labels
        gone = torch.isin(labels, torch.tensor([own.classes.index(name) for name in names]))
        known = done.measured.forget[split].after
        assert (known.right, known.items) == (int(right[gone].sum()), int(gone.sum()))
        assert f"{known.right} of {known.items} (" in text
        assert done.measured.retain[split].after.right == int(right[~gone].sum())
    assert ("NOT forgotten" in text) == (not done.measured.gone)
    assert json.loads(json.dumps(done.to_json()))["measured"]["gone"] == done.measured.gone


def test_what_is_not_measured_says_why(own):
    done = unlearn(own, Request(classes=["cat"]), measured=False)
    assert done.measured is None
    assert "not measured  as asked" in as_text(done)
    lists = own.artefact("neighbours[test]").path
    (lists / "DONE").unlink()
    with pytest.raises(ArtefactDamaged, match="DONE: is missing"):
        unlearn(own, Request(classes=["cat"]))
    (lists / "checksums.json").unlink()
    done = unlearn(own, Request(classes=["cat"]))
    assert done.measured is None
    assert "neighbours[test] is not finished" in as_text(done)


def test_a_certificate_names_what_was_made_and_the_log_keeps_every_request(own, tmp_path):
    asker = Asker(by="A. Person", ticket="T-1", command=("dkvb", "unlearn"))
    done = unlearn(own, Request(classes=["cat"]), asker=asker)
    path = Path(done.mask).parent / "certificate.json"
    findings = verify(path)
    assert all(finding.holds for finding in findings)
    named = {finding.what for finding in findings[1:]}
    assert {str(Path(done.mask).relative_to(own.root)), str(Path(str(done.checkpoint)).relative_to(own.root))} < named
    said, _ = read(path)
    assert done.measured is not None
    assert said["measured"] == json.loads(json.dumps(done.measured.to_json()))
    unlearn(own, Request(classes=["cat"]), mask_only=True)
    assert [row["ticket"] for row in log(own.root)] == ["T-1", None]
    with pytest.raises(BadRequest, match="openssl"):
        unlearn(own, Request(classes=["dog"]), key_file=tmp_path / "no.pem")
    assert len(log(own.root)) == 2
    assert verify_root(own.root).sound
