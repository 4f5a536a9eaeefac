"""What of a root holds the items: told by every request, also what no experiment names any more."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.certificate import read
from jobs.kept import all_specs, kept_folders
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from store.errors import ArtefactDamaged


def folders(experiment, *labels):
    return {f"{label.partition('[')[0]}/{experiment.steps[label]}" for label in labels}


OF_ITEMS = (
    *("manifest[train]", "embeddings[train]", "keys", "codes[train]", "codes[test]", "neighbours[train]"),
    *("neighbours[test]", "values", "counts", "linear", "sweep"),
)


def test_all_that_was_made_of_the_items_is_listed_and_what_is_of_test_images_alone_is_not(finished):
    kept = kept_folders(finished)
    assert folders(finished, *OF_ITEMS) <= {*kept}
    assert not folders(finished, "manifest[test]", "embeddings[test]") & {*kept}
    assert len({*kept}) == len(kept)
    assert kept_folders(finished, but=kept) == []


def test_what_an_earlier_spec_made_is_listed_though_no_experiment_names_it(own, run_tiny, images):
    before = folders(own, "keys", "values", "sweep")
    run_tiny(own.root, images, {"keys.epochs": 3})
    now = find(own.root, None)
    assert now.steps["values"] != own.steps["values"]
    assert before | folders(now, "keys", "values", "sweep") <= {*kept_folders(now)}


def test_what_was_made_of_the_images_when_their_files_were_others_is_listed(own, run_tiny, own_images):
    before = folders(own, "embeddings[train]", "codes[train]")
    (own_images / "train" / "cat" / "0003.png").unlink()
    run_tiny(own.root, own_images)
    assert before <= {*kept_folders(find(own.root, None))}


@pytest.mark.parametrize("label", ["codes[train]", "embeddings[train]", "sweep"])
@pytest.mark.parametrize("damage", ["[", '{"step": "codes", "version": 1, "spec": {}, "inputs": {}}', None])
def test_a_damaged_spec_hides_no_folder(own, label, damage):
    before, spec = kept_folders(own), own.artefact(label).path / "spec.json"
    spec.unlink()
    if damage is not None:
        spec.write_text(damage)
    assert kept_folders(own) == before


def test_what_holds_the_items_is_not_told_where_the_images_of_a_root_cannot_be_known(own):
    (own.artefact("manifest[train]").path / "spec.json").write_text("[")
    with pytest.raises(ArtefactDamaged, match="is not the spec that the folder is named after"):
        kept_folders(own)


def test_what_is_destroyed_is_not_decided_by_a_damaged_spec(own):
    (own.root / "codes" / ("ab" * 8)).mkdir()  # not begun yet
    assert own.artefact("values") in all_specs(own.root)
    (own.artefact("values").path / "spec.json").write_text('{"inputs": {}}')
    with pytest.raises(ArtefactDamaged, match="repair"):
        all_specs(own.root)


def test_a_request_for_a_mask_lists_it_and_so_does_its_certificate(own):
    first = unlearn(own, Request(classes=["cat"]), measured=False)
    done = unlearn(own, Request(classes=["bee"]), measured=False)
    said, _ = read(Path(done.mask).parent / "certificate.json")
    assert said["request"]["still_there"] == done.still_there == json.loads(json.dumps(done.to_json()))["still_there"]
    assert folders(own, *OF_ITEMS) <= {*done.still_there}
    assert f"unlearned/{Path(first.mask).parent.name}" in done.still_there
    assert f"unlearned/{Path(done.mask).parent.name}" not in done.still_there
    text = as_text(done)
    assert "still there   what holds their items" in text
    assert all(folder in text for folder in done.still_there)


def test_what_is_gone_is_not_listed(own):
    shutil.rmtree(own.artefact("sweep").path)
    assert not folders(own, "sweep") & {*kept_folders(own)}
