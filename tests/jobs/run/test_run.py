"""Running a plan: the right numbers, nothing done twice, failures with names, and the same bytes wherever it runs."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cluster.session import session
from dkvb import orders
from dkvb.backbones import BackboneSpec, embed, load_backbone
from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.training import TrainSettings
from dkvb.values import fit_values
from jobs.results.headline import at_rule
from store import arrays
from store.artefacts import read_json
from store.tables import read_table

SPLITS = ("train", "test")
COUNTS = {"train": {"ant": 11, "bee": 13, "cat": 17}, "test": {"ant": 7, "bee": 3, "cat": 5}}


def read(experiment, label, name):
    return arrays.read(experiment.artefact(label).data, name)


def rows_of(experiment, split, name):
    return arrays.read_shards(experiment.artefact(f"embeddings[{split}]").data, name)


def stamps(root):
    """Time and content of every file of the artefacts."""
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.parent != root and path.parent != root]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# What an end-to-end run writes.


def test_every_step_ends(finished):
    assert len(finished.steps) == 13
    assert all(finished.artefact(label).done for label in finished.steps)


@pytest.mark.parametrize("split", SPLITS)
def test_the_manifest_lists_the_images(split, finished):
    manifest = read_json(finished.artefact(f"manifest[{split}]").path / "manifest.json")
    assert manifest["classes"] == finished.classes == ["ant", "bee", "cat"]
    labels = [label for shard in manifest["shards"] for label in shard["labels"]]
    assert labels == [k for k, count in enumerate(COUNTS[split].values()) for _ in range(count)]
    assert [len(shard["labels"]) for shard in manifest["shards"]] == ([11, 11, 11, 8] if split == "train" else [11, 4])
    assert rows_of(finished, split, "labels").tolist() == labels


@pytest.mark.parametrize("split", SPLITS)
def test_embeddings_are_the_backbone_s_outputs_image_by_image(split, finished, images):
    from PIL import Image

    backbone = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", image_size=32))
    files = [path for name in COUNTS[split] for path in sorted((images / split / name).iterdir())]
    plain = [embed(backbone, backbone.transform(Image.open(path).convert("RGB"))[None])[0] for path in files]
    found = rows_of(finished, split, "embeddings")
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, torch.stack(plain).numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("split", SPLITS)
def test_codes_are_the_nearest_selectable_keys(split, finished):
    z = rows_of(finished, split, "embeddings").astype(np.float64)
    projection, keys = read(finished, "keys", "projection"), read(finished, "keys", "keys")
    codes, train = read(finished, f"codes[{split}]", "codes"), read(finished, "codes[train]", "codes")
    assert codes.shape == (len(z), 11)
    assert keys.shape == (11, 13, 3)
    np.testing.assert_allclose(np.linalg.norm(projection, axis=1), 1, rtol=1e-5)
    for j in range(11):
        distance = ((z @ projection[j])[:, None] - keys[j][None]) ** 2
        distance = distance.sum(2)
        if split == "test":
            distance[:, [key for key in range(13) if key not in train[:, j]]] = np.inf
        chosen = distance[np.arange(len(z)), codes[:, j]]
        assert np.isfinite(chosen).all()
        assert (chosen <= distance.min(1) * (1 + 1e-4) + 1e-5).all()


def test_counts_are_the_codes_counted_one_by_one(finished):
    codes, labels = read(finished, "codes[train]", "codes"), rows_of(finished, "train", "labels")
    expected = np.zeros((3, 11, 13), int)
    for row, label in zip(codes, labels, strict=True):
        for j, key in enumerate(row):
            expected[label, j, key] += 1
    for name in ("counts", "counts_by_codebook"):
        np.testing.assert_array_equal(read(finished, "counts", name), expected)
    assert expected.sum((1, 2)).tolist() == [11 * 11, 13 * 11, 17 * 11]


def checkpoint(experiment):
    return Bottleneck.load(experiment.artefact("values").path / "bottleneck.safetensors")


def test_the_checkpoint_is_the_model_that_was_fitted(finished):
    model = checkpoint(finished)
    np.testing.assert_array_equal(model.projection, read(finished, "keys", "projection"))
    np.testing.assert_array_equal(model.keys, read(finished, "keys", "keys"))
    assert model.values.shape == (11, 13, 3)
    np.testing.assert_array_equal(model.selectable, read(finished, "counts", "counts").sum(0) > 0)
    assert model.header["classes"] == ["ant", "bee", "cat"]
    assert model.header["backbone"]["name"] == "lite0"
    assert model.header["inputs"]["keys"] == f"keys/{finished.steps['keys']}"
    z = torch.from_numpy(rows_of(finished, "test", "embeddings"))
    np.testing.assert_array_equal(model.codes(z), read(finished, "codes[test]", "codes"))


def sweep_rows(experiment):
    return read_table(experiment.artefact("sweep").path / "sweep.parquet")


def expected_mask(experiment, row):
    hits = read(experiment, "counts", "counts")[row["class"]]
    if row["method"] == "uva":
        order = orders.by_activation(hits)
    else:
        codes, labels = read(experiment, "codes[train]", "codes"), rows_of(experiment, "train", "labels")
        own = codes[labels == row["class"]]
        order = orders.by_example(own, hits, seed=row["seed"])
    return torch.from_numpy(order.mask(row["budget"]))


def test_a_row_of_the_sweep_is_what_the_plain_masked_model_scores(finished):
    model, rows, checked = checkpoint(finished), sweep_rows(finished), 0
    for row in rows.iter_rows(named=True):
        masked, k = model.masked(expected_mask(finished, row)), row["class"]
        assert row["pairs_masked"] == int(expected_mask(finished, row).sum())
        for split in SPLITS:
            labels = torch.from_numpy(rows_of(finished, split, "labels"))
            logits = masked.logits(torch.from_numpy(rows_of(finished, split, "embeddings")))
            among = logits.clone()
            among[:, k] = -torch.inf
            forget = labels == k
            for name, scores, items in (
                ("forget", logits, forget),
                ("retain", logits, ~forget),
                ("retain_among_retain", among, ~forget),
            ):
                best = scores[items].sort(dim=1).values
                ties = ((best[:, -1] - best[:, -2]) < 1e-6).double().mean().item()  # may fall either way
                right = (scores[items].argmax(1) == labels[items]).double().mean().item()
                assert abs(row[f"{split}_{name}"] - right) <= ties + 1e-6, (row, name)
                if not ties:
                    checked += 1
    assert checked > 100  # most have no tie


def test_the_sweep_has_one_row_a_class_method_seed_and_budget(finished):
    rows = sweep_rows(finished)
    found = sorted(rows.select("class", "method", "seed", "budget").rows())
    activated = (read(finished, "counts", "counts") > 0).sum((1, 2))
    uva = [(k, "uva", 0, -int(-share * activated[k] // 1)) for k in range(3) for share in (0, 0.2, 0.5, 1.0)]
    uve = [(k, "uve", seed, budget) for k in range(3) for seed in (0, 3) for budget in (0, 1, 5, 11)]
    ruled = at_rule(rows).select("class", "method", "seed", "budget").rows()  # see test_headline
    assert found == sorted({*uva, *uve, *ruled})
    assert rows["digest"].unique().to_list() == [finished.steps["sweep"]]
    untouched = rows.filter(rows["budget"] == 0)
    assert untouched["pairs_masked"].sum() == 0
    assert set(untouched["test_forget_relative"].drop_nulls()) == {1.0}


def test_from_a_result_row_back_to_the_images(finished):
    (digest,) = sweep_rows(finished)["digest"].unique()
    todo, seen = [f"sweep/{digest}"], {}
    while todo:
        place = todo.pop()
        seen[place] = read_json(finished.root / place / "spec.json")
        todo += seen[place]["inputs"].values()
    assert {f"{label.partition('[')[0]}/{digest}" for label, digest in finished.steps.items() if label != "linear"} == {
        *seen
    }
    listed = [about["spec"]["listing"] for place, about in seen.items() if place.startswith("manifest/")]
    assert len(listed) == 2


def test_an_artefact_says_where_it_came_from(finished):
    for label in finished.steps:
        about = read_json(finished.artefact(label).path / "provenance.json")
        assert about.keys() == {"facts", "times", "commit", "python", "versions", "machine"}
        assert about["times"]["began"] < about["times"]["ended"]
        assert {"torch", "zarr", "timm"} <= about["versions"].keys()
    assert finished.facts("embeddings[train]")["backbone"]["weights_sha256"]
    assert finished.facts("embeddings[train]")["left_out"] == []


def test_the_heads_report_what_they_reach(finished):
    assert finished.facts("linear")["accuracy"]["test"] > 0.5
    rows = sweep_rows(finished)
    ant = rows.filter((rows["class"] == 0) & (rows["budget"] == 0))
    total = (7 * ant["test_forget"][0] + 8 * ant["test_retain"][0]) / 15
    assert finished.facts("sweep")["accuracy"]["test"] == pytest.approx(total)


def test_the_number_of_epochs_is_chosen_by_keys_that_the_other_items_use(finished):
    model, codes = checkpoint(finished), torch.from_numpy(read(finished, "codes[train]", "codes"))
    data = finished.artefact("embeddings[train]").data
    z, labels = (torch.from_numpy(arrays.read_shards(data, name)) for name in ("embeddings", "labels"))
    asked = TrainSettings(**{key: finished.spec["values"][key] for key in TrainSettings.__dataclass_fields__})
    assert asked.validation > 0

    def recode(rows, used):
        return encode(z[rows], model.projection, model.keys, selectable=used)

    _, trained = fit_values(codes, labels.long(), asked, m=13, v=3, seed=finished.spec["seed"], recode=recode)
    assert finished.facts("values")["validation"] == trained.validation


def test_the_same_checkpoint_is_the_same_bytes_every_time(finished):
    model = checkpoint(finished)
    assert len({model.to_bytes() for _ in range(23)}) == 1


# What is done is not done again.


def test_a_second_run_does_nothing(own, run_tiny, images, watched):
    before = stamps(own.root)
    record = (own.root / "experiments" / "tiny.json").read_bytes()
    run_tiny(own.root, images, progress=watched)
    assert stamps(own.root) == before
    assert (own.root / "experiments" / "tiny.json").read_bytes() == record
    assert watched.units == []
    assert watched.notes == []
    assert set(watched.ended.values()) == {0.0}
    assert all(total == standing for total, standing in watched.steps.values())


def test_the_same_images_elsewhere_are_not_read_again(own, run_tiny, own_images, watched):
    run_tiny(own.root, own_images, progress=watched)
    assert watched.units == []


def test_another_spec_shares_what_it_has_in_common(own, run_tiny, images, watched):
    run_tiny(own.root, images, {"name": "other", "values.epochs": 3}, progress=watched)
    assert {label for label, seconds in watched.ended.items() if seconds} == {"values", "sweep"}
    assert watched.notes == []


def test_a_changed_spec_under_the_same_name_is_noted(own, run_tiny, images, watched):
    again = run_tiny(own.root, images, {"values.epochs": 3, "sweep.uve": None}, progress=watched)
    (note,) = watched.notes
    assert "tiny ran here before with another spec" in note
    assert "values.epochs" in note
    assert "sweep.uve" in note
    assert again.steps != own.steps


def test_two_roots_hold_the_same_bytes(finished, run_tiny, images, tmp_path, unlike):
    other = run_tiny(tmp_path / "root", images)
    assert other.steps == finished.steps
    assert unlike(other.root, finished.root) == []


SEVERAL_UNITS = {"embeddings[train]": 4, "embeddings[test]": 2, "keys": 2, "sweep": 4}


def forget(experiment, labels):
    for label in labels:
        shutil.rmtree(experiment.artefact(label).path)


@pytest.fixture(scope="module")
def ray_executor():
    with session(workers=2) as executor:
        yield executor


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_writes_the_bytes_that_this_process_writes(
    workers, ray_executor, own, finished, run_tiny, images, unlike, watched
):
    labels = list(SEVERAL_UNITS) if workers == 2 else ["embeddings[train]", "sweep"]
    forget(own, labels)
    run_tiny(own.root, images, executor=replace(ray_executor, workers=workers), progress=watched)
    assert {label: total for label, (total, standing) in watched.steps.items() if not standing} == {
        label: SEVERAL_UNITS[label] for label in labels
    }
    assert unlike(own.root, finished.root) == []


@pytest.mark.ray
def test_a_whole_run_on_ray_writes_the_bytes_of_a_serial_one(
    ray_executor, finished, run_tiny, images, tmp_path, unlike
):
    run_tiny(tmp_path / "root", images, executor=ray_executor)
    assert unlike(tmp_path / "root", finished.root) == []


# States that a killed driver can leave behind.


def before_the_arrays(artefact):
    for path in artefact.path.iterdir():
        if path.name != "spec.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def before_the_units_were_named(artefact):
    for name in ("units.json", "DONE", "provenance.json"):
        (artefact.path / name).unlink()
    shutil.rmtree(artefact.path / "units")


def in_the_middle(artefact):
    """The last unit was not done; what it wrote is torn."""
    (artefact.path / "DONE").unlink()
    (artefact.path / "provenance.json").unlink()
    last = artefact.units()[-1]
    (artefact.path / "units" / f"{last}.json").unlink()
    torn = [
        path for path in artefact.path.rglob("*") if path.is_file() and last in str(path.relative_to(artefact.path))
    ]
    for path in torn:
        if path.suffix == ".parquet":
            path.write_bytes(path.read_bytes()[:11])


def before_the_end(artefact):
    (artefact.path / "DONE").unlink()


LEFT = [before_the_arrays, before_the_units_were_named, in_the_middle, before_the_end]


@pytest.mark.parametrize("left", LEFT)
def test_a_run_goes_on_from_whatever_a_killed_one_left(left, own, finished, run_tiny, images, unlike, watched):
    for label in own.steps:
        left(own.artefact(label))
    run_tiny(own.root, images, progress=watched)
    done = len(watched.units)
    units = sum(len(finished.artefact(label).units()) for label in finished.steps)
    assert done == {before_the_end: 0, in_the_middle: len(finished.steps)}.get(left, units)
    assert unlike(own.root, finished.root) == []


def test_a_step_whose_arrays_were_half_made_starts_over(own, finished, run_tiny, images, unlike):
    artefact = own.artefact("embeddings[train]")
    before_the_units_were_named(artefact)
    shutil.rmtree(artefact.data / "labels")
    arrays.write(artefact.data, "embeddings/00000", np.ones((11, 1280), np.float16))
    run_tiny(own.root, images)
    assert unlike(own.root, finished.root) == []


def test_the_event_log_tells_what_was_done(finished):
    events = list(finished.artefact("embeddings[train]").events())
    assert [event["unit"] for event in events if event["kind"] == "done"] == ["00000", "00001", "00002", "00003"]
    assert [event["unit"] for event in events if event["kind"] == "started"] == ["00000", "00001", "00002", "00003"]
    assert all(event["time"] > 0 for event in events)
