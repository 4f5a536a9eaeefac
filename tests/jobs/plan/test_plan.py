"""Plans: a digest changes for exactly the steps downstream of what changed, and is the same everywhere."""

import json
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import BadSpec
from jobs.kinds import KINDS, codes, neighbours
from jobs.plan.cost import cost, look_ahead, plans_text
from jobs.plan.graph import Graph
from jobs.plan.plan import make_plan, sketch, waves
from jobs.spec.reading import load_specs
from jobs.step import to_json
from store.errors import ImagesMissing

MANIFESTS = {"manifest[train]", "manifest[test]"}
EMBEDDINGS = {"embeddings[train]", "embeddings[test]"}
CODES = {"codes[train]", "codes[test]"}
NEIGHBOURS = {"neighbours[train]", "neighbours[test]"}
HEADS = {"values", "counts", "sweep"}
FROM_KEYS = {"keys", *CODES, *NEIGHBOURS, *HEADS}
ALL = MANIFESTS | EMBEDDINGS | FROM_KEYS | {"linear"}
EVERYTHING = {"compare.heads": ["linear", "values", "linear-lda", "values-lda"], "sweep.sizes": [1, 2]}


@pytest.fixture
def digests(make_spec, images):
    return lambda changes=None, folder=images: make_plan(make_spec(changes), str(folder)).digests()


def differing(one, other):
    assert one.keys() == other.keys()
    return {label for label in one if one[label] != other[label]}


def test_the_steps_are_those_of_the_method_in_an_order_in_which_they_can_run(make_spec, images):
    plan, compared = make_plan(make_spec(), str(images)), make_plan(make_spec(EVERYTHING), str(images))
    assert {step.label for step in plan.steps} == ALL
    assert {step.kind for step in compared.steps} == set(KINDS) - {"sums"}  # of heads that are not trained
    assert plan.digests().items() < compared.digests().items()
    seen = []
    for step in compared.steps:
        assert all(needed in seen for needed in step.inputs.values()), step.label
        seen.append(step)


def test_a_plan_made_twice_is_the_same(digests):
    assert digests() == digests()


def test_no_two_steps_share_a_folder(digests):
    assert len(set(digests().values())) == len(ALL)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "other"}, set()),
        ({"sweep.uva.shares": [0.5]}, {"sweep"}),
        ({"sweep.uve.seeds": [0]}, {"sweep"}),
        ({"sweep.uve": None}, {"sweep"}),
        ({"sweep.classes": ["ant"]}, {"sweep"}),
        ({"values.epochs": 3}, {"values", "sweep"}),
        ({"values.optimizer": "sgd"}, {"values", "sweep"}),
        ({"linear.epochs": 3}, {"linear"}),
        ({"bottleneck.selectable": "all"}, {"codes[test]", *NEIGHBOURS, "values", "sweep"}),
        ({"keys.epochs": 3}, FROM_KEYS),
        ({"keys.sample": 23}, FROM_KEYS),
        ({"bottleneck.m": 17}, FROM_KEYS),
        ({"embeddings.batch": 5}, EMBEDDINGS | FROM_KEYS | {"linear"}),
        ({"backbone.image_size": 64}, EMBEDDINGS | FROM_KEYS | {"linear"}),
        ({"backbone.weights": "random"}, EMBEDDINGS | FROM_KEYS | {"linear"}),
        ({"images.shard_items": 7}, ALL),
    ],
)
def test_a_change_of_the_spec_changes_what_follows_from_it(changes, expected, digests):
    assert differing(digests(), digests(changes)) == expected


def test_a_default_that_is_written_out_changes_nothing(digests):
    said = {"seed": 0, "bottleneck.selectable": "used", "keys.decay": 0.95, "sweep.uva.scope": "global"}
    assert digests(said) == digests()


def test_a_new_training_image_changes_everything_but_the_manifest_of_the_test_split(digests, own_images, painted):
    before = digests(folder=own_images)
    painted(own_images / "train", {"ant": 1}, first=500)
    assert differing(before, digests(folder=own_images)) == ALL - {"manifest[test]"}


def test_a_new_test_image_changes_what_reads_test_images(digests, own_images, painted):
    before = digests(folder=own_images)
    painted(own_images / "test", {"ant": 1}, first=500)
    expected = {"manifest[test]", "embeddings[test]", "codes[test]", "neighbours[test]", "linear", "sweep"}
    assert differing(before, digests(folder=own_images)) == expected


def test_an_image_of_another_size_changes_what_reads_it(digests, own_images):
    before = digests(folder=own_images)
    path = next((own_images / "train" / "bee").iterdir())
    path.write_bytes(path.read_bytes() + b"\0")
    assert differing(before, digests(folder=own_images)) == ALL - {"manifest[test]"}


def test_a_renamed_image_changes_what_reads_it(digests, own_images):
    before = digests(folder=own_images)
    path = next((own_images / "train" / "bee").iterdir())
    path.rename(path.with_name("renamed.png"))
    assert differing(before, digests(folder=own_images)) == ALL - {"manifest[test]"}


def test_a_copy_elsewhere_with_other_times_is_the_same_experiment(digests, own_images):
    for path in own_images.rglob("*.png"):
        os.utime(path, (0, 0))
    assert digests(folder=own_images) == digests()


def test_a_slash_at_the_end_of_the_location_changes_nothing(digests, images):
    assert digests(folder=f"{images}/") == digests()


def test_digests_are_the_same_in_another_process(digests, spec_file, images):
    code = (
        "import json, sys\nfrom jobs.plan.plan import make_plan\nfrom jobs.spec.reading import load_specs\n"
        "print(json.dumps(make_plan(load_specs(sys.argv[1])[0], sys.argv[2]).digests()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, spec_file(), images],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert json.loads(done.stdout) == digests()


def test_a_raised_version_changes_what_follows(digests, monkeypatch):
    before = digests()
    monkeypatch.setattr(KINDS["codes"], "VERSION", 10**6)
    assert differing(before, digests()) == CODES | NEIGHBOURS | HEADS


def test_images_that_are_needed_and_not_given_are_asked_for(make_spec):
    with pytest.raises(BadSpec, match="--images DIR"):
        make_plan(make_spec(), None)


def test_images_that_are_not_there_are_named(make_spec, tmp_path):
    with pytest.raises(ImagesMissing, match="train"):
        make_plan(make_spec(), str(tmp_path))


def test_a_sketch_has_the_same_steps_without_the_images(make_spec, images):
    seen, unseen = make_plan(make_spec(), str(images)), sketch(make_spec())
    assert [step.label for step in unseen.steps] == [step.label for step in seen.steps]
    for one, other in zip(seen.steps, unseen.steps, strict=True):
        assert {name: step.label for name, step in one.inputs.items()} == {
            name: step.label for name, step in other.inputs.items()
        }


def test_a_description_without_images_promises_no_digest(make_spec):
    planned = look_ahead(make_spec(), None, None)
    about = planned.to_json()
    assert about["images_seen"] is False
    assert {step["digest"] for step in about["steps"]} == {None}
    assert {step["state"] for step in about["steps"]} == {None}
    assert about["cost"] is None
    text = plans_text([planned])
    assert "give --images DIR, and they are counted" in text
    assert "follows from the images: give --images DIR, and --root" in text
    assert "unknown" not in text
    assert "?" not in text


def test_a_description_tells_what_is_done(finished, make_spec, images):
    planned = look_ahead(make_spec({"sweep.uva.shares": [0.5]}), str(images), finished.root)
    about = planned.to_json()
    assert {step["step"] for step in about["steps"] if step["state"] == "to do"} == {"sweep"}
    assert {step["step"] for step in about["steps"] if step["state"] == "done"} == ALL - {"sweep"}
    text = plans_text([planned])
    for step in about["steps"]:
        assert step["digest"] in text


@pytest.mark.parametrize(("name", "width"), [("imagenet1k-clip", 512), ("imagenet1k-resnet50", 2048)])
def test_the_imagenet_specs_are_described_without_images(name, width):
    planned = look_ahead(load_specs(name)[0], None, None)
    about = planned.to_json()
    assert about["sizes"] == {"train": 1281167, "test": 50000, "classes": 1000}
    assert about["cost"]["embeddings_bytes"] == 4 * 1331167 * width
    assert about["cost"]["values_bytes"] == 4 * 256 * 4096 * 1000
    assert about["cost"]["codes_bytes"] == 2 * 1331167 * 256
    assert "1,331,167 images through the backbone" in plans_text([planned])
    assert json.loads(json.dumps(about)) == about


def test_the_cost_is_what_the_sizes_say(make_spec):
    found = cost(make_spec({"keys.sample": 23}), {"train": 41, "test": 15, "classes": 3})
    assert found == {
        "images": 56,
        "embeddings_bytes": 4 * 56 * 1280,
        "key_distances": 2 * 23 * 11 * 13,
        "code_distances": 2 * 56 * 11 * 13,
        "codes_bytes": 2 * 56 * 11,
        "neighbours_bytes": 2 * 56 * 11 * 16,
        "keys_bytes": 4 * 11 * 13 * 3,
        "values_bytes": 4 * 11 * 13 * 3,
        "projection_bytes": 4 * 11 * 1280 * 3,
        "oracles_bytes": 0,
        "sums_bytes": 0,
    }


def test_the_cost_of_a_comparison_counts_all_its_models(make_spec):
    sizes = {"train": 41, "test": 15, "classes": 3}
    plain = cost(make_spec(), sizes)
    asked = {"compare.seeds": [0, 5, 9], "compare.oracle_kv": ["ant", "bee"]}
    found = cost(make_spec(asked), sizes)
    assert found["images"] == plain["images"] + 41  # flipped
    assert found["values_bytes"] == 3 * plain["values_bytes"]
    assert found["key_distances"] == (3 + 6) * plain["key_distances"]
    assert found["code_distances"] == 3 * plain["code_distances"] + 6 * 56 * 11 * 13
    assert found["oracles_bytes"] == 6 * 56 * 3 * 4
    everything = cost(make_spec({"compare.seeds": [1]}), sizes)
    assert everything["key_distances"] == (2 + 3) * plain["key_distances"]
    solved = cost(make_spec({"compare.seeds": [1], "compare.heads": ["values-lda"]}), sizes)
    assert solved["images"] == plain["images"], "images are flipped for nobody"
    assert (solved["key_distances"], solved["oracles_bytes"]) == (5 * plain["key_distances"], 3 * 56 * 3 * 4)
    both = cost(make_spec({"compare.seeds": [1], "compare.heads": ["linear", "values", "values-lda"]}), sizes)
    assert both["oracles_bytes"] == 2 * everything["oracles_bytes"]
    linear = cost(make_spec({"compare.seeds": [1], "compare.heads": ["linear-lda"]}), sizes)
    assert (linear["key_distances"], linear["oracles_bytes"]) == (2 * plain["key_distances"], 0)
    assert cost(make_spec({"keys": {"method": "items"}}), sizes)["key_distances"] == 0


def test_every_unit_of_work_has_a_lease_of_minutes_at_least():
    assert all(module.LEASE_S >= 600 for module in KINDS.values())


# What steps ask and need.


@pytest.fixture
def graph(make_spec):
    """A graph with the embeddings of both splits, and keys."""
    made = Graph(make_spec(), "", {"train": "a", "test": "b"})
    embedded = made.add_images()
    keys = made.add("keys", asks=made.key_asks(0), needs={"train": embedded["train"]})
    return made, {"embeddings": embedded["train"], "keys": keys}


def test_a_step_is_given_the_inputs_that_its_module_names(graph):
    made, needs = graph
    train = made.add("codes", asks=codes.Asks(), needs=needs)
    seen = made.add("codes", asks=codes.Asks(), needs={**needs, "seen": train})
    assert (list(train.inputs), list(seen.inputs)) == (["embeddings", "keys"], ["embeddings", "keys", "seen"])
    assert made.steps[-2:] == [train, seen]


def test_inputs_that_are_missing_or_not_its_own_are_a_mistake_of_the_graph(graph):
    made, needs = graph
    before = list(made.steps)
    with pytest.raises(ValueError, match=r"^codes: inputs missing: \['keys'\], unknown: \[\]$"):
        made.add("codes", asks=codes.Asks(), needs={"embeddings": needs["embeddings"]})
    odd = {"embeddings": needs["embeddings"], "key": needs["keys"], "manifest": needs["keys"]}
    with pytest.raises(ValueError, match=r"missing: \['keys'\], unknown: \['key', 'manifest'\]$"):
        made.add("codes", asks=codes.Asks(), needs=odd)
    assert made.steps == before


@pytest.mark.parametrize("wrong", [codes.Asks(), {"r": 16}, None])
def test_what_another_module_asks_is_a_mistake_of_the_graph(wrong, graph):
    made, needs = graph
    with pytest.raises(TypeError, match=r"^neighbours: "):
        made.add("neighbours", asks=wrong, needs=needs)
    assert made.add("neighbours", asks=neighbours.Asks(r=16), needs=needs).identity["spec"] == {"r": 16}


def test_what_a_step_asks_goes_to_a_worker_and_back_to_json_as_it_was(make_spec, images, tmp_path):
    plan = make_plan(make_spec(EVERYTHING), str(images))
    for step in plan.steps:
        task = pickle.loads(pickle.dumps(step.task(tmp_path)))
        assert (task.asks, task.location) == (step.asks, str(images))
        assert json.loads(json.dumps(to_json(task.asks))) == step.identity["spec"]


ALWAYS = {"images", "backbone", "batch", "seed"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ALWAYS),
        ({"images.orientation": "ignore", "images.alpha": "drop"}, ALWAYS),
        ({"images.orientation": "apply"}, ALWAYS | {"decoding"}),
        ({"images.alpha": "white", "backbone.weights": "random"}, ALWAYS | {"decoding"}),
        ({"images.decode": "pil", "backbone.precision": "float32"}, ALWAYS),
        ({"images.decode": "torchvision"}, ALWAYS | {"decode"}),
    ],
)
def test_what_came_later_is_part_of_the_json_only_where_it_is_asked(changes, expected, make_spec, images):
    plan = make_plan(make_spec({"compare": {}, **changes}), str(images))
    assert set(plan.step("embeddings[test]").identity["spec"]) == expected
    assert set(plan.step("embeddings[flipped]").identity["spec"]) == expected | {"flip"}


def test_a_precision_is_part_of_a_backbone_s_json_only_where_it_is_another(make_spec, images):
    digests = set()
    for precision, expected in ((None, False), ("float32", False), ("bfloat16", True)):
        plan = make_plan(make_spec({"compare": {}, "backbone.precision": precision}), str(images))
        for label in ("embeddings[test]", "costs"):
            assert ("precision" in plan.step(label).identity["spec"]["backbone"]) is expected
        digests.add(plan.step("embeddings[train]").digest)
    assert len(digests) == 2


# Several experiments as one graph.

VARIANTS: dict[str, dict[str, object]] = {
    "": {},
    "seed": {"sweep.uve.seeds": [7]},
    "keys": {"keys.epochs": 1},
    "all": {"images.shard_items": 7},
    "values": {"values.epochs": 3, "sweep.classes": ["ant"]},
}


@pytest.fixture(scope="module")
def variants(make_spec, images):
    """Plans of one spec, changed at different depths."""
    return {
        name: make_plan(make_spec({"name": f"tiny{name}", **changes}), str(images))
        for name, changes in VARIANTS.items()
    }


@given(st.lists(st.sampled_from(list(VARIANTS)), min_size=1, unique=True))
def test_waves_hold_each_step_once_and_after_what_it_needs(variants, chosen):
    plans = [variants[name] for name in chosen]
    made = waves(plans)
    stands: set[str] = set()
    labels: list[str] = []
    for wave in made:
        for step in wave.values():
            assert {needed.digest for needed in step.inputs.values()} <= stands, step.label
        found = [step.digest for step in wave.values()]
        assert stands.isdisjoint(found)
        stands |= set(found)
        labels += list(wave)
    assert stands == {step.digest for plan in plans for step in plan.steps}
    assert sum(len(wave) for wave in made) == len(stands)
    assert len(set(labels)) == len(labels)


def test_waves_of_one_experiment_have_plain_labels_and_steps_that_do_not_wait_stand_together(variants):
    assert [set(wave) for wave in waves([variants[""]])] == [
        MANIFESTS,
        EMBEDDINGS,
        {"keys", "linear"},
        {"codes[train]"},
        {"codes[test]", *NEIGHBOURS, "values", "counts"},
        {"sweep"},
    ]


def test_what_two_experiments_share_has_a_plain_label_and_the_rest_the_name_of_its_own(variants):
    labels = {label for wave in waves([variants[""], variants["seed"]]) for label in wave}
    assert labels == ALL - {"sweep"} | {"tiny sweep", "tinyseed sweep"}
