"""A damaged root: refused with the file's name, found by --verify, dropped by repair, made again to the same bytes."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.integrity import repair, verify
from jobs.results.experiment import find


def contents(root):
    """What a root holds that two runs write alike."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and (path.suffix in (".parquet", ".safetensors") or "data.zarr" in path.parts)
    }


def chunk_of(root, step, name):
    experiment = find(root, None)
    return experiment.artefact(step).data / name


@pytest.fixture
def root(finished, tmp_path):
    return shutil.copytree(finished.root, tmp_path / "damaged")


def test_a_sound_root_says_so(dkvb, root):
    shown = dkvb("status", root, "--verify")
    assert shown.code == 0
    assert "no damaged files" in shown.out
    assert "no checksums" not in shown.out
    assert json.loads(dkvb("status", root, "--verify", "--json").out)["damaged"] == []
    assert "nothing is damaged" in dkvb("repair", root).out


@pytest.mark.parametrize("damage", ["deleted", "flipped"])
def test_a_lost_chunk_of_counts_forgets_nothing_in_silence(damage, dkvb, root):
    chunk = chunk_of(root, "counts", "counts/c/2/0/0")
    whole = chunk.read_bytes()
    chunk.unlink()
    if damage == "flipped":
        chunk.write_bytes(whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:])
    for words in (("--class", "cat"), ("--class", "cat", "--class", "ant"), ("--class", "cat", "--mask-only")):
        shown = dkvb("unlearn", root, *words)
        assert shown.code == 1
        assert str(chunk) in shown.err
        assert "dkvb repair" in shown.err
        assert "Traceback" not in shown.err
    assert not (root / "unlearned").exists()
    assert dkvb("unlearn", root, "--class", "ant").code == 0
    shown = dkvb("status", root, "--verify")
    assert shown.code == 1
    assert str(chunk) in shown.out


def test_a_request_that_cannot_be_measured_leaves_nothing(dkvb, root):
    chunk = find(root, None).artefact("codes[test]").data / "codes" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    shown = dkvb("unlearn", root, "--class", "cat")
    assert shown.code == 1
    assert str(chunk) in shown.err
    assert "dkvb repair" in shown.err
    assert not (root / "unlearned").exists()
    assert not (root / "requests").exists()
    assert dkvb("unlearn", root, "--class", "cat", "--no-measure").code == 0
    assert dkvb("repair", root).code == 0
    assert json.loads(dkvb("unlearn", root, "--class", "cat", "--json").out)["measured"] is None


@pytest.mark.parametrize(
    ("step", "name", "again"),
    [
        ("embeddings[train]", "embeddings/00001/c/0/0", {"keys", "codes[train]", "values", "sweep"}),
        ("counts", "counts/c/1/0/0", {"counts", "sweep"}),
        ("keys", "keys/zarr.json", {"keys", "codes[test]", "values", "sweep"}),
    ],
)
def test_what_was_dropped_is_made_again_to_the_same_bytes(
    step, name, again, dkvb, root, finished, run_tiny, images, watched
):
    before = contents(root)
    path = chunk_of(root, step, name)
    path.write_bytes(path.read_bytes()[:-1])
    dropped: list[str] = []
    assert not repair(root, dropped.append).sound
    assert any(find(finished.root, None).steps[step] in line for line in dropped)
    run_tiny(root, images, progress=watched)
    assert verify(root).sound
    assert contents(root) == before
    done_again = {label for label, (total, standing) in watched.steps.items() if standing < total}
    assert again <= done_again
    if step.startswith("embeddings"):
        assert watched.steps[step][1] == watched.steps[step][0] - 1, "shards that were sound were embedded again"
        assert "embeddings[test]" not in done_again


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("embeddings[test]", "z/c/0/0"),
        ("embeddings[test]", "z/zarr.json"),
        ("embeddings[train]", "label/c/0"),
        ("counts", "class/c/0"),
        ("counts", "zarr.json"),
        ("codes[train]", "item_key/c/0"),
        ("manifest[test]", "item_key/c/0"),
        ("manifest[test]", "item_key/zarr.json"),
    ],
)
def test_damage_to_what_follows_from_the_arrays_drops_no_array(
    step, name, dkvb, root, finished, run_tiny, images, watched
):
    before = contents(root)
    path = chunk_of(root, step, name)
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in dkvb("status", root, "--verify").out
    assert not repair(root, lambda _: None).sound
    run_tiny(root, images, progress=watched)
    assert verify(root).sound
    assert contents(root) == before
    done_again = {label for label, (total, standing) in watched.steps.items() if standing < total}
    assert done_again <= ({step} if step == "manifest[test]" else set()), "it is the unit of a manifest that reads keys"


def test_only_done_damaged_costs_no_unit(root, run_tiny, images, watched):
    done = find(root, None).artefact("counts").path / "DONE"
    done.write_bytes(done.read_bytes()[:-2])
    assert not repair(root, lambda _: None).sound
    run_tiny(root, images, progress=watched)
    assert verify(root).sound
    assert all(total == standing for total, standing in watched.steps.values())


def test_a_step_whose_done_is_gone_is_told_and_closed_again(dkvb, root, run_tiny, images, watched):
    (find(root, None).artefact("counts").path / "DONE").unlink()
    assert "DONE: is missing" in dkvb("status", root, "--verify").out
    run_tiny(root, images, progress=watched)
    assert verify(root).sound
    assert all(total == standing for total, standing in watched.steps.values())


def test_a_record_that_was_exchanged_for_another_file_is_found(dkvb, root):
    shutil.copy(str(find(root, None).artefact("counts").path / "spec.json"), root / "experiments" / "tiny.json")
    assert "tiny.json" in dkvb("status", root, "--verify").out


def test_a_mask_alone_is_refused_where_the_checkpoint_beside_it_cannot_be_told(dkvb, root):
    first = json.loads(dkvb("unlearn", root, "--class", "ant", "--json").out)
    done = Path(first["checkpoint"]).with_name("DONE")
    done.write_bytes(done.read_bytes()[:-1])
    refused = dkvb("unlearn", root, "--class", "ant", "--mask-only")
    assert refused.code == 1
    assert "dkvb repair" in refused.err
    assert Path(first["checkpoint"]).exists()
    assert dkvb("unlearn", root, "--class", "ant").code == 0
    assert verify(root).sound


def test_a_damaged_record_of_an_experiment_is_refused_and_written_again(dkvb, root, run_tiny, images):
    record = root / "experiments" / "tiny.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    shown = dkvb("table", root)
    assert shown.code == 1
    assert "tiny.json" in shown.err
    assert not repair(root, lambda _: None).sound
    run_tiny(root, images)
    assert verify(root).sound


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"formau": "dkvb-root/1"}'])
def test_the_mark_of_a_root_is_written_anew(content, dkvb, root):
    marker = root / "dkvb-root.json"
    marker.unlink()
    if content is not None:
        marker.write_bytes(content)
        assert "dkvb repair" in dkvb("table", root).err
    assert dkvb("repair", root).code == 0
    assert dkvb("table", root).code == 0


def test_a_root_of_a_later_version_is_left_alone(dkvb, root):
    (root / "dkvb-root.json").write_text('{"format": "dkvb-root/3"}')
    for command in ("table", "repair"):
        assert "upgrade dkvb" in dkvb(command, root).err
    assert json.loads((root / "dkvb-root.json").read_text()) == {"format": "dkvb-root/3"}


def test_what_a_request_wrote_stays_and_a_damaged_one_is_to_be_asked_for_again(dkvb, root):
    sound = json.loads(dkvb("unlearn", root, "--class", "ant", "--json").out)
    torn = json.loads(dkvb("unlearn", root, "--class", "bee", "--json").out)
    checkpoint = Path(torn["checkpoint"])
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    chunk_of(root, "counts", "counts/c/2/0/0").unlink()
    told: list[str] = []
    repair(root, told.append)
    assert Path(sound["checkpoint"]).exists()
    assert not checkpoint.exists()
    assert any("dkvb unlearn" in line for line in told)


def test_a_mask_alone_keeps_the_checkpoint_that_stands_and_its_checksum(dkvb, root):
    first = json.loads(dkvb("unlearn", root, "--class", "ant", "--json").out)
    dkvb("unlearn", root, "--class", "ant", "--mask-only")
    assert verify(root).sound
    assert Path(first["checkpoint"]).exists()


def test_a_root_that_lost_its_record_or_a_byte_of_its_own_file_is_not_called_sound(dkvb, root):
    (record,) = (root / "experiments").glob("*.json")
    held = record.read_bytes()
    record.unlink()
    shown = dkvb("status", root, "--verify")
    assert shown.code == 1
    assert "names no experiment" in shown.out
    record.write_bytes(held)
    mark = root / "dkvb-root.json"
    mark.write_bytes(mark.read_bytes()[:-1])
    shown = dkvb("status", root, "--verify")
    assert shown.code == 1
    assert f"{mark}: does not hold what was written" in shown.out
    assert dkvb("repair", root).code == 0
    assert verify(root).sound


def test_repair_does_nothing_beside_a_run_that_is_at_work(dkvb, root):
    (root / "progress.json").write_text(json.dumps({"time": time.time(), "driver": "elsewhere:1"}))
    shown = dkvb("repair", root)
    assert shown.code == 2
    assert "a run (elsewhere:1) is at work" in shown.err


def test_repair_waits_for_no_driver_that_has_ended(dkvb, root):
    driver = subprocess.run(
        [sys.executable, "-c", "from cluster.units import here; print(here())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (root / "progress.json").write_text(json.dumps({"time": time.time(), "driver": driver}))
    assert dkvb("repair", root).code == 0


def test_an_older_root_is_read_and_said_to_have_no_checksums(dkvb, root, unsealed):
    unsealed(root)
    assert dkvb("table", root).code == 0
    assert dkvb("unlearn", root, "--class", "ant").code == 0
    shown = dkvb("status", root, "--verify")
    assert shown.code == 0
    assert "no checksums" in shown.out
    assert "no checksums" in dkvb("status", root).out
    chunk_of(root, "counts", "counts/c/1/0/0").unlink()
    shown = dkvb("unlearn", root, "--class", "bee")
    assert shown.code in (1, 2)
    assert "no training items" in shown.err or "damaged" in shown.err
