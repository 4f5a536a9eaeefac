"""Readers of another distribution, really installed: that of docs/extend.md, on real files, and bad ones."""

import json
import pickle
import re
import shutil
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

from cluster.unit_map import SerialExecutor
from dkvb.backbones import BackboneSpec, load_backbone
from dkvb.errors import ExtensionFailed, ExtensionMissing
from dkvb.extensions import READERS, Extension
from jobs.errors import BadSpec, StepFailed
from jobs.images.counted import count
from jobs.models.pictures import pictures
from jobs.plan.plan import make_plan
from jobs.results.experiment import Experiment
from jobs.run.run import run_steps
from jobs.spec.readers import ExtendedReader
from store import arrays
from store.artefacts import Artefact
from store.errors import ImageDataError, ImageSourceError, ShardChanged
from store.images import open_images
from store.manifest import FORGOTTEN
from store.parts import Part
from tests.docs.blocks import blocks
from tests.extension import install
from tests.paths import REPOSITORY
from tests.tiny import TEST, TRAIN

PAGE = list(blocks(REPOSITORY / "docs" / "extend.md"))
(READER,) = (block.text for block in PAGE if "class NpzReader" in block.text)
(ASKED,) = (tomllib.loads(block.text)["images"] for block in PAGE if 'kind = "npz"' in block.text)
POINTS = tomllib.loads(PAGE[0].text)["project"]["entry-points"]
CHANGES = {f"images.{key}": value for key, value in ASKED.items()}


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Install a distribution with the reader of the page, or with another under that name, for this process."""

    def do(source=READER, *, version="1.2.0", points=None):
        folder = tmp_path / f"lab-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        sys.modules.pop("lab_readers", None)
        points = points or {READERS: POINTS[READERS]}
        monkeypatch.syspath_prepend(install(folder, "lab-unlearning", version, points, {"lab_readers": source}))
        return folder

    yield do
    sys.modules.pop("lab_readers", None)


@pytest.fixture(scope="session")
def packed(images, tmp_path_factory):
    """The tiny images in .npz files, cut into shards as the class folders are. Tests only read them."""
    folder = tmp_path_factory.mktemp("packed")
    for split, counts in (("train", TRAIN), ("test", TEST)):
        paths = [path for name in counts for path in sorted((images / split / name).iterdir())]
        x = np.stack([np.asarray(Image.open(path)) for path in paths])
        y = np.repeat(np.arange(len(counts)), list(counts.values()))
        for i, start in enumerate(range(0, len(x), 11)):
            np.savez(folder / f"{split}-{i}.npz", x=x[start : start + 11], y=y[start : start + 11])
    (folder / "names.txt").write_text("\n".join(TRAIN))
    return folder


def opened(place, *, pattern="train-*.npz", on_error="fail", **more):
    """The images of some .npz files, by what is installed, and what a scan finds."""
    reader = ExtendedReader(Extension(READERS, "npz", "lab-unlearning 1.2.0"))
    images = open_images("npz", str(place), pattern=pattern, reader=reader, **more)
    return images, images.scan(on_error=on_error)


# The example of the page.


def test_the_files_of_the_page_are_embedded_as_class_folders_are(put, make_spec, finished, packed, watched, tmp_path):
    put()
    plan = make_plan(make_spec(CHANGES), str(packed))
    for kind in ("manifest", "embeddings"):
        todo = {step.label: step for step in plan.steps if step.kind == kind}
        run_steps(todo, tmp_path, SerialExecutor(), watched)
    for split in ("train", "test"):
        mine, folders = (
            one.artefact(f"embeddings[{split}]").data
            for one in (Experiment(tmp_path, "tiny", {}, plan.digests()), finished)
        )
        for name in ("labels", "embeddings"):
            np.testing.assert_array_equal(arrays.read_shards(mine, name), arrays.read_shards(folders, name))
    scanned = Artefact(tmp_path, "manifest", plan.step("manifest[train]").digest)
    assert scanned.spec()["spec"]["images"]["extension"] == "lab-unlearning 1.2.0"
    assert arrays.read(scanned.data, "item_key").tolist()[:12] == [*(f"row-{i}" for i in range(11)), "row-0"]


@pytest.mark.slow
def test_items_read_by_an_older_version_are_purged_too(put, dkvb, spec_file, packed, tmp_path):
    root, items = tmp_path / "root", tmp_path / "items.txt"
    solved = {"values": {"method": "lda"}, "sweep.uve.examples": [1]}
    run = ("run", spec_file(CHANGES | solved), "--root", root, "--images", packed, "--serial")
    purge = ("unlearn", root, "--items", items, "--method", "exact", "--commit", "--purge", "--serial")
    items.write_text("train-0.npz#3\n")
    put()
    assert dkvb(*run).code == 0
    put(version="1.3.0")
    ended = dkvb(*purge)
    assert ended.code == 2
    assert "manifest[train] was made with lab-unlearning 1.2.0, found lab-unlearning 1.3.0 here: install" in ended.err
    assert not (root / "unlearned").exists()
    assert dkvb(*run).code == 0
    assert dkvb(*purge).code == 0
    manifests = [json.loads(path.read_text()) for path in root.glob("manifest/*/manifest.json")]
    trained = [one["shards"][0]["labels"] for one in manifests if len(one["shards"]) == 4]
    assert [labels[3] for labels in trained] == [FORGOTTEN]
    assert len([*root.glob("embeddings/*")]) == len([*root.glob("manifest/*")]) == 3, "the older version's test images"


def test_a_plan_counts_the_images(put, dkvb, spec_file, packed, tmp_path):
    put()
    ended = dkvb("plan", spec_file(CHANGES), "--images", packed, "--root", tmp_path / "root")
    assert ended.code == 0, ended.err
    assert "41 training images, 15 test images" in ended.out.replace("3 classes, ", "")


def test_a_test_split_is_held_out_of_one_set(put, packed, make_spec):
    put()
    spec = make_spec({**CHANGES, "images.test": None, "images.test_share": 0.3})
    counted = count(spec.images, str(packed))
    assert (counted.whole, counted.train.items + counted.test.items) == (True, 41)
    assert counted.test.items > 3
    one, other = (
        opened(packed, class_file="names.txt", part=Part(split=split, test_share=0.3))[1] for split in ("train", "test")
    )
    keys = [[f"{shard.name}#{key}" for shard in part.shards for key in shard.item_keys] for part in (one, other)]
    assert len({*keys[0], *keys[1]}) == 41


def test_files_of_both_splits_are_told(put, packed, make_spec):
    put()
    with pytest.raises(BadSpec, match="share 2 of 2 test files"):
        make_plan(make_spec({**CHANGES, "images.train": "t*.npz"}), str(packed))


@pytest.mark.slow
def test_all_is_done_with_images_that_are_held_out_of_one_set(put, dkvb, run_tiny, packed, tmp_path):
    put()
    held_out = {"images.test": None, "images.test_share": 0.3, "sweep.uve.examples": [1]}
    made = run_tiny(tmp_path / "root", packed, CHANGES | held_out)
    for words in (("status",), ("report", "-o", tmp_path / "report.html"), ("unlearn", "--class", "bee")):
        assert dkvb(words[0], made.root, *words[1:]).code == 0
    assert "npz (train-*.npz, 30 % held out): 30 training items" in (tmp_path / "report.html").read_text()
    backbone = load_backbone(BackboneSpec(**made.spec["backbone"]))
    shapes = [
        batch.shape[1:] for batch in pictures(made, backbone, str(packed), 20)
    ]  # as `dkvb export --onnx` has them
    assert {*shapes} == {(3, 32, 32)}


# A damaged shard.


def test_a_damaged_shard_is_named_and_left_out_where_asked(put, packed, tmp_path):
    put()
    place = shutil.copytree(packed, tmp_path / "packed")
    (place / "train-1.npz").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(ImageDataError, match=r"train-1.npz: unreadable: no arrays x and y: File is not a zip file"):
        opened(place)
    _, manifest = opened(place, on_error="skip")
    assert [shard.name for shard in manifest.shards] == ["train-0.npz", "train-2.npz", "train-3.npz"]
    np.savez(place / "train-1.npz", x=np.zeros((1, 8, 8, 3), np.uint8), y=[-1])
    images, manifest = opened(place, on_error="skip", class_file="names.txt")
    assert [problem.reason for problem in manifest.problems] == ["label -1 is outside the classes 0 to 2"]
    np.savez(place / "train-0.npz", x=np.zeros((2, 8, 8, 3), np.uint8), y=[0, 1])
    with pytest.raises(ShardChanged, match=r"npz images at .*: shard 'train-0.npz' is not the one that was scanned"):
        list(images.read(manifest.shards[0]))
    with pytest.raises(FileNotFoundError, match="found no file valid"):
        opened(place, pattern="valid-*.npz")


# Digests, and what a worker has.


def test_a_version_changes_the_digests_of_what_it_reads_and_of_no_other_spec(put, make_spec, images, packed):
    folders, digests = make_plan(make_spec(), str(images)).digests(), []
    for version in ("1.2.0", "1.2.1"):
        put(version=version)
        digests.append(make_plan(make_spec(CHANGES), str(packed)).digests())
        assert make_plan(make_spec(), str(images)).digests() == folders
    assert [label for label, digest in digests[0].items() if digests[1][label] == digest] == []


def test_a_worker_without_the_planned_version_says_which_it_has(put, make_spec, packed, monkeypatch):
    folder = put()
    split = make_spec(CHANGES).images.split("train")
    opened_here = pickle.loads(pickle.dumps(split.open(str(packed))))
    assert opened_here.scan(on_error="fail").items == 41
    put(version="1.3.0")
    with pytest.raises(ExtensionMissing, match=r"^reader 'npz' of lab-unlearning 1.2.0: found lab-unlearning 1.3.0 wh"):
        split.open(str(packed))
    monkeypatch.setattr(sys, "path", [part for part in sys.path if str(folder.parent) not in part])
    with pytest.raises(ExtensionMissing, match=r"^reader 'npz' of lab-unlearning 1.2.0: not installed where .*install"):
        split.open(str(packed))


# Names.


def test_an_unknown_kind_says_what_is_near_and_what_is_installed(put, make_spec):
    with pytest.raises(BadSpec, match=r'"cifar100" or "digits"; did you mean \'folder\'\?$'):
        make_spec({"images.kind": "foldr"})
    with pytest.raises(
        BadSpec, match=r"or an installed reader \(no distribution here has entry points 'dkvb.readers'\)$"
    ):
        make_spec({"images.kind": "npz"})
    put()
    said = "or an installed reader ('npz' of lab-unlearning 1.2.0); did you mean 'npz'?"
    with pytest.raises(BadSpec, match=f"{re.escape(said)}$"):
        make_spec({"images.kind": "npy"})
    with pytest.raises(BadSpec, match="the name of a column, of images of kind 'parquet' alone"):
        make_spec({**CHANGES, "images.label": "y"})


def test_nothing_is_imported_unless_a_spec_names_it_and_is_planned_with_images(put, make_spec, images, packed):
    put("1 / 0", points=POINTS)
    assert make_plan(make_spec(), str(images)).steps
    spec = make_spec(CHANGES)
    assert "lab_readers" not in sys.modules
    with pytest.raises(ExtensionFailed, match=r"^reader 'npz' of lab-unlearning 1.2.0: ZeroDivisionError: division by"):
        make_plan(spec, str(packed))


def test_a_kind_of_our_own_stays_ours(put, make_spec, images):
    put("1 / 0", points={READERS: {"folder": "lab_readers:NpzReader"}})
    assert make_spec().images.split("train").extension is None
    with pytest.raises(ImageSourceError, match="folder images have a reader"):
        open_images("folder", str(images), pattern="train", reader=ExtendedReader(Extension(READERS, "folder", "")))


# Mistakes.

HEAD = """
import numpy as np
from store.samples import LeftAlone, Problem, Sample, Survey
from store.shards import ShardReader
GREY = np.zeros((5, 7), np.uint8)
"""
ODD = (
    HEAD
    + """
class NpzReader(ShardReader):
    def samples(self, shard, *, pixels):
        {samples}
    def {name}(self, *given):
        {body}
"""
)
GOOD = {"samples": "yield Sample('a', 0, GREY)", "name": "more", "body": "pass"}
START = "reader 'npz' of lab-unlearning 1.2.0: "


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ("yield 1 / 0", r"shard 'train-0.npz': ZeroDivisionError: division by zero \(lab_readers.py:9\)$"),
        ("return None", "shard 'train-0.npz': TypeError: 'NoneType' object is not iterable"),
        ("yield 'a', 0", r"found \('a', 0\), expected a Sample, a Problem or a LeftAlone"),
        ("yield Problem('', 'a', None)", "found Problem.*, expected a Sample"),
        ("yield LeftAlone(7)", "found LeftAlone.*, expected a Sample"),
        ("yield Sample('', 0, GREY)", "found key '', expected a text"),
        ("yield Sample(7, 0, GREY)", "found key 7, expected a text"),
        (r"yield Sample('\ud800', 0, GREY)", "found key .*, expected a text"),
        ("yield from [Sample('a', 0, GREY)] * 2", "found key 'a' twice, expected a text that no other item"),
        ("yield Sample('a', '0', GREY)", "item 'a': found label '0' with fault None, expected a whole number, or None"),
        ("yield Sample('a', 0.0, GREY)", "found label 0.0 with"),
        ("yield Sample('a', True, GREY)", "found label True with"),
        ("yield Sample('a', None, GREY)", "found label None with fault None"),
        ("yield Sample('a', 0, GREY.astype(float))", r"found pixels \(5, 7\) float64, expected encoded bytes"),
        ("yield Sample('a', 0, GREY[0])", r"found pixels \(7,\) uint8"),
        ("yield Sample('a', 0, GREY[:, :, None])", r"found pixels \(5, 7, 1\) uint8"),
        ("yield Sample('a', 0, GREY[:0])", r"found pixels \(0, 7\) uint8"),
        ("yield Sample('a', 0, 'a.png')", "found pixels 'a.png', expected encoded bytes, or"),
    ],
)
def test_samples_that_go_wrong_are_named_in_one_line(samples, said, put, packed):
    put(ODD.format(**{**GOOD, "samples": samples}))
    with pytest.raises(ExtensionFailed, match=said) as caught:
        opened(packed)
    assert str(caught.value).startswith(START)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "a worker's error travels"


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("classes", "return 'ab'", "classes: found 'ab', expected a tuple of texts, or None"),
        ("classes", "return ()", r"classes: found \(\), expected"),
        ("classes", "return ('a', 1)", r"classes: found \('a', 1\), expected"),
        ("classes", r"return ('\u00e9', 'e\u0301')", "classes: found '\u00e9' twice"),
        ("classes", "self.nothing", r"AttributeError: .*nothing.* \(lab_readers.py:11\)"),
        ("survey", "return ['train-0.npz']", r"survey: found \['train-0.npz'\], expected a Survey"),
        ("survey", "return Survey(shards=['a', 'a'])", "survey: found .*, expected a Survey of differently named"),
        ("files", "return ['train-0.npz']", "files.*: found .*, expected a list of ShardFile"),
        ("columns", "return {'image': 3}", "columns: found {'image': 3}, expected a dict of texts"),
        ("__init__", "raise KeyError('cat')", r"KeyError: 'cat' \(lab_readers.py:11\)$"),
    ],
)
def test_what_else_a_reader_gives_wrongly_is_named_in_one_line(name, body, said, put, packed):
    put(ODD.format(**{**GOOD, "name": name, "body": body}))
    with pytest.raises(ExtensionFailed, match=said) as caught:
        opened(packed)
    assert str(caught.value).startswith(START)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("NpzReader = 7", "found 7, expected a class that derives from store.shards.ShardReader"),
        ("NpzReader = dict", "TypeError: 'Location' object is not iterable"),
        (
            "class NpzReader:\n    def __init__(self, place): ...",
            "found a NpzReader without listing, paths, files, classes",
        ),
        (f"{HEAD}class NpzReader(ShardReader): ...", "TypeError: .*abstract .*samples"),
    ],
)
def test_what_is_no_reader_is_refused(source, said, put, packed):
    put(source)
    with pytest.raises(ExtensionFailed, match=said) as caught:
        opened(packed)
    assert str(caught.value).startswith(START)


def test_listing_goes_wrong_in_a_plan_as_the_readers_fault(put, make_spec, packed):
    put(ODD.format(**{**GOOD, "name": "listing", "body": "return [('a', 3)]"}))
    with pytest.raises(ExtensionFailed, match=r"listing: found \[\('a', 3\)\], expected a list of ShardFile"):
        make_plan(make_spec(CHANGES), str(packed))


def test_a_reader_that_fails_ends_a_run_in_one_line(put, run_tiny, packed, tmp_path):
    put(ODD.format(**{**GOOD, "samples": "yield from [Sample(k, 0, GREY) for k in 'ab']; raise KeyError(pixels)"}))
    with pytest.raises(StepFailed) as caught:
        run_tiny(tmp_path / "root", packed, CHANGES)
    assert f"{START}shard 'test-0.npz': KeyError: False (lab_readers.py:9)" in str(caught.value)
    assert "Traceback" not in str(caught.value)


# What it may do.


def test_an_array_that_is_filled_again_for_each_item_is_read_as_it_was(put, packed):
    put(
        ODD.format(
            **{
                **GOOD,
                "samples": "x = np.zeros((4, 4, 3), np.uint8)\n        for i in range(3):\n"
                "            x[:] = i\n            yield Sample(str(i), np.int64(0), x)",
            }
        )
    )
    images, manifest = opened(packed, pattern="train-0.npz")
    found = [np.asarray(item.decoded().image).max() for item in list(images.encoded(manifest.shards[0]))]
    assert found == [0, 1, 2]
    assert manifest.histogram == [3]


def test_encoded_images_problems_and_what_is_no_data_are_taken_up(put, packed, images):
    png = next((images / "train" / "ant").iterdir()).read_bytes()
    lines = [
        f"yield Sample('a', 0, {png!r})",
        "yield Problem('', 'b', 'has no label')",
        "yield Sample('c', None, GREY, 'label lost')",
        "yield LeftAlone('.json')",
        "yield Sample('d', 1, np.zeros((1, 900), np.uint8))",
    ]
    put(ODD.format(**{**GOOD, "samples": "\n        ".join(lines)}))
    read, manifest = opened(packed, pattern="train-0.npz", on_error="skip", class_file="names.txt")
    assert [(problem.shard, problem.item, problem.reason) for problem in manifest.problems] == [
        ("train-0.npz", "b", "has no label"),
        ("train-0.npz", "c", "label lost"),
    ]
    assert manifest.left_alone == {".json": 1}
    first, second, third = read.read(manifest.shards[0])
    assert (first.image.size, first.label, second.label, second.problem) == ((32, 32), 0, -1, "label lost")
    assert third.problem.startswith("900 x 1 pixels: one side is more than 100 times the other")
