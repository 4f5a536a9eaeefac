"""Runs on a root where something was forgotten: what brings it back says so."""

from pathlib import Path

from tests.jobs.requested import forget


def test_other_files_under_the_same_name_are_told_what_the_model_before_forgot(
    own, own_images, run_tiny, painted, watched
):
    request = Path(forget(own, "bee").mask).parent.name
    painted(own_images / "train", {"ant": 0, "bee": 0, "cat": 1}, first=17)
    run_tiny(own.root, own_images, progress=watched)
    assert any(f"request {request} forgot bee of these images in another model" in note for note in watched.notes)


def test_another_model_of_the_same_images_is_told_what_was_forgotten(own, images, run_tiny, watched):
    forget(own, "bee")
    run_tiny(own.root, images, {"values.epochs": 3, "name": "other"}, progress=watched)
    assert [note for note in watched.notes if "forgot bee of these images in another model; this model" in note]
    watched.notes.clear()
    run_tiny(own.root, images, {"sweep.uve": None}, progress=watched)  # the model that forgot
    assert not any("forgot" in note for note in watched.notes)
