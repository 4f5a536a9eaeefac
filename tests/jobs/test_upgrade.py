"""Older roots: read as they are, brought up to date in place, whatever is killed; newer ones are refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jobs import coordinates, upgrade
from jobs.integrity import repair, verify
from jobs.results.experiment import find
from store import arrays, files
from store.artefacts import ROOT_FILE, ROOT_FORMAT
from store.checksums import ADDED
from store.errors import ArtefactDamaged
from store.places import place
from tests.older import as_version_1


@pytest.fixture(scope="module")
def left(finished, tmp_path_factory):
    """A root as an older version left it. Tests only read it."""
    root = shutil.copytree(finished.root, tmp_path_factory.mktemp("older") / "root")
    as_version_1(root)
    return root


@pytest.fixture
def older(left, tmp_path):
    return shutil.copytree(left, tmp_path / "older")


def everything(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def groups(root):
    return sorted(root.glob("*/*/data.zarr"))


def silent(text):
    """Nobody listens."""


def test_an_older_root_is_read_as_it_is_and_named_with_the_remedy(dkvb, older, finished, run_tiny, images, watched):
    before = everything(older)
    shown = dkvb("status", older)
    assert shown.code == 0
    assert f"`dkvb root upgrade {older}`" in shown.out
    assert "dkvb-root/1" in shown.out
    assert dkvb("table", older).out == dkvb("table", finished.root).out
    assert verify(older).sound
    run_tiny(older, images, progress=watched)
    assert all(total == done for total, done in watched.steps.values())
    assert not watched.units, "something was done again"
    changed = {name for name, data in everything(older).items() if before.get(name) != data}
    assert not [name for name in changed if "data.zarr" in name or name.endswith("DONE")]


def test_an_upgrade_adds_and_changes_no_number_no_checksum_and_no_certificate(dkvb, older, finished):
    xarray = pytest.importorskip("xarray")
    asked = json.loads(dkvb("unlearn", older, "--class", "cat", "--json").out)
    before = everything(older)
    shown = dkvb("root", "upgrade", older)
    assert shown.code == 0
    assert ROOT_FORMAT in shown.out
    after = everything(older)
    anew = {name for name, data in before.items() if after[name] != data}
    assert (
        anew
        == {"dkvb-root.json", *(f"{group.relative_to(older)}/zarr.json" for group in groups(older))} & before.keys()
    )
    assert verify(older).sound
    assert verify(older).artefacts == verify(finished.root).artefacts + 1
    assert dkvb("verify", asked["certificate"]).code == 0
    for group in groups(older):
        made, whole = (xarray.open_zarr(root / group.relative_to(older)) for root in (older, finished.root))
        assert made.sizes == whole.sizes
        assert set(made.variables) == set(whole.variables)
        assert all(np.array_equal(made[name], whole[name]) for name in made.variables if name != "item_key")
        assert made.attrs == whole.attrs
    for split in ("train", "test"):
        data = find(older, None).artefact(f"codes[{split}]").data
        shards = find(older, None).artefact(f"manifest[{split}]")
        keys = xarray.open_zarr(data)["item_key"].values.tolist()
        counted = json.loads((shards.path / "manifest.json").read_text())["shards"]
        assert keys == [f"{shard['name']}#{row}" for shard in counted for row in range(len(shard["labels"]))]


def test_a_second_upgrade_finds_nothing_to_do(dkvb, older, finished):
    dkvb("root", "upgrade", older)
    before = everything(older)
    shown = dkvb("root", "upgrade", older)
    assert (shown.code, shown.out) == (0, f"{older}: nothing to do\n")
    assert everything(older) == before
    assert "dkvb root upgrade" not in dkvb("status", older).out
    shown = dkvb("root", "upgrade", finished.root)
    assert shown.out == f"{finished.root}: nothing to do\n"


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def dies_at(monkeypatch, number):
    """Die instead of the write of that number; returns what counts the writes."""
    real = files._written
    writes: list[Path] = []

    def written(path, data):
        if len(writes) == number:
            raise Killed
        writes.append(path)
        return real(path, data)

    monkeypatch.setattr(files, "_written", written)
    return writes


def test_a_killed_upgrade_harms_nothing_and_the_next_one_ends_as_if_nothing_had_been(
    older, left, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        writes = dies_at(patch, -1)
        upgrade.upgrade(older, silent)
    whole = everything(older)
    assert len(writes) > 100
    ends = [number for number, path in enumerate(writes) if path.name in (ADDED, ROOT_FILE)]
    near = [number + by for number in (ends[0], ends[2], ends[-1]) for by in (-2, -1, 0, 1)]
    for number in sorted({*range(0, len(writes), 41), *near} & {*range(len(writes))}):
        root = shutil.copytree(left, tmp_path / str(number))
        with monkeypatch.context() as patch:
            dies_at(patch, number)
            with pytest.raises(Killed):
                upgrade.upgrade(root, silent)
        experiment = find(root, None)
        assert arrays.read(experiment.artefact("counts").data, "counts").any()
        assert len(arrays.read_shards(experiment.artefact("embeddings[train]").data, "embeddings")) == 41
        upgrade.upgrade(root, silent)
        assert everything(root) == whole, f"killed at write {number}: {writes[number]}"
        assert verify(root).sound
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("step", "name"), [("codes[train]", "codes/c/0/0"), ("keys", "keys/zarr.json"), ("counts", "zarr.json")]
)
def test_nothing_is_added_to_a_root_on_which_anything_is_damaged(step, name, dkvb, older):
    path = find(older, None).artefact(step).data / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    before = everything(older)
    shown = dkvb("root", "upgrade", older)
    assert shown.code == 1
    assert str(path) in shown.err
    assert f"dkvb repair {older}" in shown.err
    assert everything(older) == before


def test_what_an_older_version_left_without_checksums_gets_names_too(dkvb, older, unsealed):
    xarray = pytest.importorskip("xarray")
    unsealed(older)
    shown = dkvb("root", "upgrade", older)
    assert shown.code == 0
    assert "no checksums" in shown.out
    for group in groups(older):
        assert xarray.open_zarr(group).coords
        assert (group.parent / "DONE").read_bytes() == b""
        assert not (group.parent / ADDED).exists()
    assert dkvb("root", "upgrade", older).out == f"{older}: nothing to do\n"


def test_a_step_that_is_not_finished_is_left_to_its_run(dkvb, older, run_tiny, images):
    done = find(older, None).artefact("codes[test]").path / "DONE"
    done.unlink()
    (done.parent / "checksums.json").unlink()
    shown = dkvb("root", "upgrade", older)
    assert f"left {done.parent} as it is" in shown.out
    assert not (done.parent / ADDED).exists()
    run_tiny(older, images)
    assert verify(older).sound
    assert dkvb("root", "upgrade", older).out == f"{older}: nothing to do\n"


@pytest.mark.parametrize("format", ["dkvb-root/3", "dkvb-root/10"])
def test_a_root_of_a_newer_version_is_refused_by_every_command(format, dkvb, older):
    (older / "dkvb-root.json").write_text(json.dumps({"format": format}))
    before = everything(older)
    for words in (("root", "upgrade"), ("status",), ("table",), ("repair",), ("status", "--verify")):
        shown = dkvb(*words, older)
        assert shown.code == 1
        assert (
            f"{older}/dkvb-root.json: format found '{format}', expected 'dkvb-root/1' or '{ROOT_FORMAT}'" in shown.err
        )
        assert "upgrade dkvb" in shown.err
    assert everything(older) == before


def test_damage_to_what_was_added_is_found_and_mended(dkvb, older, run_tiny, images):
    upgrade.upgrade(older, silent)
    added = find(older, None).artefact("keys").path / ADDED
    whole = added.read_bytes()
    for content in (b"", whole[:-2], whole.replace(b"zarr.json", b"zarr.jsom"), b"[]"):
        added.write_bytes(content)
        assert ADDED in dkvb("status", older, "--verify").out
        with pytest.raises(ArtefactDamaged, match=ADDED):
            arrays.read(added.parent / "data.zarr", "keys")
    added.unlink()
    assert not verify(older).sound, "the group's metadata are not those that DONE speaks of"
    assert not repair(older, silent).sound
    run_tiny(older, images)
    assert verify(older).sound
    assert not added.exists()


def test_what_was_added_vouches_for_no_array_that_was_there_before(older):
    upgrade.upgrade(older, silent)
    folder = find(older, None).artefact("counts").path
    chunk = folder / "data.zarr/counts/c/0/0/0"
    chunk.write_bytes((folder / "data.zarr/counts/c/1/0/0").read_bytes())
    known = json.loads((folder / ADDED).read_text())["files"]
    from store.checksums import write_added
    from store.recording import stamp

    write_added(folder, {**known, "data.zarr/counts/c/0/0/0": stamp(chunk.read_bytes())})
    assert not verify(older).sound


@pytest.mark.slow
def test_an_older_root_on_an_object_store_is_brought_up_to_date(older, bucket, dkvb):
    xarray = pytest.importorskip("xarray")
    import s3fs

    s3fs.S3FileSystem().put(f"{older}/", f"{bucket}/root", recursive=True)
    assert dkvb("root", "upgrade", f"{bucket}/root").code == 0
    root = place(f"{bucket}/root")
    assert verify(root).sound
    counts = xarray.open_zarr(str(find(root, None).artefact("counts").data)).counts
    expected = arrays.read(find(older, None).artefact("counts").data, "counts")
    assert np.array_equal(counts.sel({"class": "cat"}), expected[2])
    upgrade.upgrade(older, silent)
    local = everything(older)
    remote = s3fs.S3FileSystem()
    for name in (name for name in local if "data.zarr" in name or name.endswith(ADDED)):
        assert remote.cat_file(f"{bucket}/root/{name}") == local[name], name


def test_every_step_that_writes_arrays_has_coordinates():
    from store.layout import ARRAYS

    assert {layout.step for layout in ARRAYS.values()} == set(coordinates.STEPS_WITH_ARRAYS)
