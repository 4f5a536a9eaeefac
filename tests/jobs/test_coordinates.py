"""Names along the axes of every group of a root, as plain xarray finds them."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import coordinates
from jobs.results.experiment import find
from store import arrays

ITEM = {"item_key", "label", "class", "shard"}
ALONG = {
    "manifest": ITEM,
    "embeddings": ITEM,
    "keys": {"codebook", "key"},
    "codes": ITEM | {"codebook"},
    "neighbours": ITEM | {"codebook"},
    "counts": {"class", "codebook", "key"},
}

PLAIN = """
import glob, sys, warnings
warnings.simplefilter("error")
import xarray
for path in sorted(glob.glob(sys.argv[1] + "/*/*/data.zarr")):
    print(path.split("/")[-3], *sorted(map(str, xarray.open_zarr(path).coords)))
(path,) = glob.glob(sys.argv[1] + "/counts/*/data.zarr")
print(int(xarray.open_zarr(path).counts.sel({"class": "cat"}).sum()))
print(any(name.partition(".")[0] in ("dkvb", "jobs", "store", "cluster") for name in sys.modules))
"""


@pytest.fixture(scope="module")
def xarray():
    return pytest.importorskip("xarray")


def opened(xarray, root):
    """Step -> the datasets of its groups; a warning is an error."""
    found: dict[str, list] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted(root.glob("*/*/data.zarr")):
            found.setdefault(path.parent.parent.name, []).append(xarray.open_zarr(path))
    return found


def test_plain_xarray_opens_every_group_by_names_in_a_process_that_knows_no_dkvb(xarray, finished, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, finished.root], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *groups, cat, knows = done.stdout.splitlines()
    found = {step: set(coords) for step, *coords in (line.split() for line in groups)}
    assert found == ALONG
    assert len(groups) == len([*finished.root.glob("*/*/data.zarr")]) == 10
    assert int(cat) == arrays.read(finished.artefact("counts").data, "counts")[2].sum()
    assert knows == "False"


def test_items_have_their_keys_labels_classes_and_shards(xarray, finished, images):
    for step in ("manifest", "embeddings", "codes", "neighbours"):
        for split in ("train", "test"):
            group = xarray.open_zarr(finished.artefact(f"{step}[{split}]").data)
            files = sorted(path.relative_to(images / split).as_posix() for path in (images / split).rglob("*.png"))
            assert group.item_key.values.tolist() == files
            assert group["class"].values.tolist() == [name.partition("/")[0] for name in files]
            assert group.label.values.tolist() == [["ant", "bee", "cat"].index(n) for n in group["class"].values]
            assert group.shard.values.tolist() == [f"folder-{row // 11:05d}" for row in range(len(files))]


def test_rows_are_found_by_class_and_by_key(xarray, finished):
    codes = xarray.open_zarr(finished.artefact("codes[test]").data).codes
    expected = arrays.read(finished.artefact("codes[test]").data, "codes")
    assert np.array_equal(codes.set_xindex("class").sel({"class": "bee"}), expected[7:10])
    assert np.array_equal(codes.set_xindex("item_key").sel(item_key="cat/1001.png"), expected[11])
    counts = xarray.open_zarr(finished.artefact("counts").data)
    whole = arrays.read(finished.artefact("counts").data, "counts")
    for k, name in enumerate(("ant", "bee", "cat")):
        assert np.array_equal(counts.counts.sel({"class": name}), whole[k])
        assert np.array_equal(counts.counts_by_codebook.sel({"class": name}), whole[k])


def test_all_embeddings_lie_in_one_array_and_are_read_from_it(xarray, finished, monkeypatch):
    for split in ("train", "test"):
        data = finished.artefact(f"embeddings[{split}]").data
        z = np.concatenate([part[...] for part in arrays.parts(data, "embeddings")])
        assert np.array_equal(xarray.open_zarr(data).z, z)
        with monkeypatch.context() as patch:
            patch.setattr(arrays, "parts", None)
            assert np.array_equal(arrays.read_shards(data, "embeddings"), z)
            assert np.array_equal(arrays.read_shards(data, "embeddings", start=3, stop=13), z[3:13])


def test_an_item_that_cannot_be_read_has_a_key_and_no_class(xarray, run_tiny, own_images, tmp_path):
    (own_images / "train" / "bee" / "0003.png").write_bytes(b"no image")
    root = run_tiny(tmp_path / "root", own_images, {"images.on_error": "skip"}).root
    row = 11 + 3
    for step in ("embeddings", "codes"):
        group = xarray.open_zarr(find(root, None).artefact(f"{step}[train]").data)
        assert group.item_key.values[row] == "bee/0003.png"
        assert (int(group.label[row]), group["class"].values[row]) == (-1, "")
        assert "" not in group["class"].values[:row]
    group = xarray.open_zarr(find(root, None).artefact("manifest[train]").data)
    assert group["class"].values[row] == "bee", "what its folder says"


def test_names_of_every_script_are_names_of_axes(xarray, run_tiny, own_images, tmp_path):
    for split in ("train", "test"):
        (own_images / split / "bee").rename(own_images / split / "猫 & <b>")
        (own_images / split / "ant").rename(own_images / split / "نملة")
    root = run_tiny(tmp_path / "root", own_images).root
    found = opened(xarray, root)
    assert set(found["counts"][0]["class"].values) == {"cat", "猫 & <b>", "نملة"}
    assert found["counts"][0].counts.sel({"class": "猫 & <b>"}).shape == (11, 13)


def test_a_file_name_that_is_no_text_is_spelled_out(xarray, run_tiny, own_images, tmp_path):
    odd = own_images / "train" / "bee" / "\udcff.png"
    try:
        Image.new("RGB", (32, 32), (200, 10, 10)).save(odd)
    except OSError:
        pytest.skip("this file system has names of text alone")
    root = run_tiny(tmp_path / "root", own_images).root
    keys = xarray.open_zarr(find(root, None).artefact("codes[train]").data).item_key.values
    assert "bee/\\udcff.png" in keys.tolist()


def test_no_unit_speaks_of_a_file_that_is_written_anew_when_its_step_is_closed(finished):
    markers = sorted(finished.root.glob("*/*/units/*.json"))
    assert markers
    for marker in markers:
        listed = json.loads((marker.parent.parent / "checksums.json").read_text())["files"]
        files = json.loads(marker.read_text())["files"]
        assert files == {name: listed[name] for name in files}


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


@pytest.mark.parametrize("kind", ["manifest", "embeddings", "codes", "counts"])
@pytest.mark.parametrize("after", ["before coordinates", "before their metadata", "before the checksums"])
def test_a_run_killed_at_its_coordinates_ends_with_the_same_bytes(
    kind, after, run_tiny, images, finished, tmp_path, monkeypatch, unlike
):
    place = {"before coordinates": "add", "before their metadata": "seal", "before the checksums": "seal"}[after]
    real = getattr(coordinates, place)

    def dies(output, *more):
        if output.step == kind:
            if after == "before the checksums":
                real(output, *more)
            raise Killed
        return real(output, *more)

    with monkeypatch.context() as patch:
        patch.setattr(coordinates, place, dies)
        with pytest.raises(Killed):
            run_tiny(tmp_path / "root", images)
    assert not [*Path(tmp_path / "root" / kind).glob("*/DONE")]
    run_tiny(tmp_path / "root", images)
    assert unlike(tmp_path / "root", finished.root) == []


@pytest.mark.slow
def test_groups_on_an_object_store_are_found_by_names_too(xarray, run_tiny, images, bucket, finished):
    from store.places import place

    root = run_tiny(place(f"{bucket}/root"), images)
    for label in ("counts", "keys", "codes[train]", "embeddings[test]", "neighbours[test]", "manifest[train]"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # what xarray says where metadata are not consolidated
            remote = xarray.open_zarr(str(root.artefact(label).data))
        local = xarray.open_zarr(finished.artefact(label).data)
        assert set(remote.coords) == set(local.coords) == ALONG[label.partition("[")[0]]
        assert remote.equals(local)
