"""Exported folders as somebody may have changed them: what is wrong is said, with what was found and expected."""

import json
import shutil

from jobs.models.export import Wanted, export
from jobs.unlearn import Request, unlearn
from tests.jobs.models.test_export import forged, name_of


def test_what_does_not_belong_to_an_export_is_named_and_what_differs_is_said(own, tmp_path, dkvb):
    made = [unlearn(own, Request(classes=[name]), measured=False) for name in ("bee", "cat")]
    folder, other = tmp_path / "one", tmp_path / "other"
    for to, one in zip((folder, other), made, strict=True):
        export(own, to, Wanted(request=name_of(one.mask)))
    shutil.copyfile(own.artefact("values").path / "bottleneck.safetensors", folder / "old.safetensors")
    ended = dkvb("verify", folder)
    assert ended.code == 0, ended.out
    assert "unchecked old.safetensors: does not belong to the export: config.json does not name it" in ended.out
    config = json.loads((folder / "config.json").read_text())
    header, labels = config["header"], config["id2label"]
    forged(folder, header={**header, "classes": ["ant", "wasp", "cat"]}, id2label={**labels, "1": "wasp"})
    assert "model.safetensors itself: header.classes[1]: found 'wasp', expected 'bee'" in dkvb("verify", folder).out
    shutil.copyfile(other / "certificate.json", folder / "certificate.json")
    forged(folder, header=header, id2label=labels)
    told = dkvb("verify", folder)
    assert told.code == 1
    assert "says None" not in told.out
    assert f"certificate.json: does not name unlearned/{name_of(made[0].mask)}/bottleneck.safetensors" in told.out
