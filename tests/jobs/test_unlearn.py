"""Unlearning on request: the mask is the method's, the checkpoint has forgotten, and no test label was read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.errors import BadBudget
from jobs.errors import BadRequest
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from store.artefacts import read_json
from tests.jobs.requested import M, codes_of, counts_of, forget, items_of, mask_of
from tests.tiny import unfinish


@pytest.mark.parametrize("scope", ["global", "per-codebook"])
@pytest.mark.parametrize("budget", [1, 5])
def test_the_mask_of_uva_is_that_of_the_method(scope, budget, own):
    done = forget(own, "bee", budget=budget, scope=scope)
    expected = orders.by_activation(counts_of(own)[1], scope=scope).mask(budget)
    np.testing.assert_array_equal(mask_of(done), expected)
    assert done.effect.pairs_masked == int(expected.sum())
    assert done.effect.pairs_masked_share == pytest.approx(done.effect.pairs_masked / (11 * M))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_mask_of_uve_is_that_of_the_method(seed, own):
    done = forget(own, "cat", method="uve", budget=5, seed=seed)
    expected = orders.by_example(codes_of(own, 2), counts_of(own)[2], seed=seed).mask(5)
    np.testing.assert_array_equal(mask_of(done), expected)


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_share_is_the_fewest_pairs_that_hold_so_many_activations(share, own):
    counts = counts_of(own)[1]
    done = forget(own, "bee", share=share)
    held = sorted(counts.flatten().tolist(), reverse=True)
    fewest = next(n for n in range(len(held) + 1) if sum(held[:n]) >= share * sum(held) - 1e-9)
    assert done.spec.budget == fewest
    assert done.effect.pairs_masked == fewest
    assert done.effect.forget_hit_share == pytest.approx(sum(held[:fewest]) / sum(held))
    assert done.effect.forget_hit_share >= share - 1e-9


def test_a_share_in_every_codebook_is_reached_in_every_codebook(own):
    counts = counts_of(own)[1]
    mask = mask_of(forget(own, "bee", share=0.7, scope="per-codebook"))
    assert all(row[taken].sum() >= 0.7 * row.sum() for row, taken in zip(counts, mask, strict=True))


def test_several_classes_are_forgotten_together(own):
    counts = counts_of(own)
    done = forget(own, "cat", "ant", budget=7)
    assert done.spec.classes == ["ant", "cat"]
    np.testing.assert_array_equal(mask_of(done), orders.by_activation(counts[0] + counts[2]).mask(7))
    by_examples = mask_of(forget(own, "ant", "cat", method="uve", budget=5))
    each = [orders.by_example(codes_of(own, k), counts[k], seed=0).mask(5) for k in (0, 2)]
    np.testing.assert_array_equal(by_examples, each[0] | each[1])


def test_the_order_and_repetition_of_classes_do_not_matter(own):
    assert forget(own, "ant", "cat", budget=7).mask == forget(own, "cat", "ant", "cat", budget=7).mask


def test_the_unlearned_checkpoint_no_longer_knows_the_class(own):
    done = forget(own, "cat", share=1.0)
    z, labels = items_of(own, "test")
    before = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors").logits(z).argmax(1)
    after = Bottleneck.load(done.checkpoint).logits(z).argmax(1)
    cats = labels == 2
    assert (before[cats] == 2).double().mean() > 0.5
    assert not (after[cats] == 2).any()


def test_the_unlearned_checkpoint_computes_what_the_masked_model_computes(own):
    done = forget(own, "cat", share=0.5)
    model = Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors")
    for split in ("train", "test"):
        z, _ = items_of(own, split)
        assert torch.equal(Bottleneck.load(done.checkpoint).logits(z), model.masked(mask_of(done)).logits(z))


def test_the_unlearned_checkpoint_holds_no_trace_of_what_was_masked(own):
    done = forget(own, "cat", share=0.9)
    model, mask = load_file(own.artefact("values").path / "bottleneck.safetensors"), mask_of(done)
    left = load_file(done.checkpoint)
    for name in ("keys", "values"):
        assert not left[name][mask].any()
        assert torch.equal(left[name][~mask], model[name][~mask])
        content = Path(done.checkpoint).read_bytes()
        gone = [row.numpy().tobytes() for row in model[name][mask] if row.any()]
        kept = {row.numpy().tobytes() for row in model[name][~mask]}
        # Equal numbers may also meet where one row that is kept ends and the next begins: that is no trace.
        standing = left[name].numpy().tobytes()
        aligned = {row.numpy().tobytes() for row in left[name].flatten(0, 1)}
        traced = [
            row for row in gone if row not in kept and (row in aligned or content.count(row) > standing.count(row))
        ]
        assert len(gone) > 5
        assert traced == []
    assert not left["selectable"][mask].any()
    assert torch.equal(left["selectable"][~mask], model["selectable"][~mask])


def test_the_original_checkpoint_is_left_as_it_was(own):
    path = own.artefact("values").path / "bottleneck.safetensors"
    before = path.read_bytes()
    forget(own, "cat", share=0.9)
    assert path.read_bytes() == before


def test_an_unlearned_model_says_what_was_taken_from_it(own):
    done = forget(own, "cat", "ant", method="uve", budget=5, seed=3)
    with safe_open(done.checkpoint, "pt") as file:
        header = json.loads(file.metadata()["dkvb"])["header"]
    said = header["unlearned"]
    assert said["classes"] == ["ant", "cat"]
    assert (said["method"], said["budget"], said["seed"]) == ("uve", 5, 3)
    assert said["bottleneck"] == own.steps["values"]
    assert said["pairs_masked"] == done.effect.pairs_masked
    assert header["classes"] == ["ant", "bee", "cat"]


def test_the_files_beside_it_are_an_audit_of_the_request(own):
    done = forget(own, "cat", share=0.9)
    folder = next(path for path in (own.root / "unlearned").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == [
        "DONE",
        "bottleneck.safetensors",
        "certificate.json",
        "checksums.json",
        "mask.safetensors",
        "provenance.json",
        "spec.json",
    ]
    asked, about = read_json(folder / "spec.json"), read_json(folder / "provenance.json")
    assert asked["classes"] == ["cat"]
    assert asked["method"] == "uva"
    assert asked["budget"] == done.spec.budget
    assert asked["bottleneck"] == own.steps["values"]
    assert asked["counts"] == own.steps["counts"]
    assert about["facts"]["pairs_masked"] == done.effect.pairs_masked == int(mask_of(done).sum())
    assert about["facts"]["forget_hit_share"] == done.effect.forget_hit_share
    assert {"commit", "versions", "machine", "python"} <= about.keys()
    assert json.loads(json.dumps(done.to_json())) == done.to_json()


def test_the_mask_file_says_what_it_is_in_json(own):
    done = forget(own, "cat", share=0.9)
    with safe_open(done.mask, "pt") as file:
        about = json.loads(file.metadata()["dkvb"])
        assert file.keys() == ["mask"]
    assert about["format"] == "dkvb-mask/1"
    assert about["classes"] == ["cat"]
    assert about["bottleneck"] == own.steps["values"]


def test_the_same_request_again_writes_the_same_mask(own):
    first = forget(own, "cat", share=0.9)
    mask = mask_of(first)
    again = forget(own, "cat", share=0.9)
    assert again.checkpoint == first.checkpoint
    assert torch.equal(mask_of(again), mask)


def test_two_requests_with_different_masks_lie_in_different_folders(own):
    # The pairs that hold 0.6 of the activations are those of fewer ants than cats.
    one = forget(own, "ant", "cat", method="uve", share=0.6)
    mask = mask_of(one)
    other = forget(own, "ant", "cat", method="uve", budget=one.spec.budget)
    assert not torch.equal(mask_of(other), mask)
    assert one.mask != other.mask


TEST_ONLY = ("manifest[test]", "embeddings[test]", "codes[test]", "linear", "sweep")


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_no_test_label_is_read(method, own, finished):
    for label in TEST_ONLY:
        shutil.rmtree(own.artefact(label).path)
    done = forget(own, "cat", method=method, share=0.5)
    counts = counts_of(finished)[2]
    if method == "uva":
        order = orders.by_activation(counts)
    else:
        order = orders.by_example(codes_of(finished, 2), counts, seed=0)
    expected = order.mask(order.smallest(0.5))
    np.testing.assert_array_equal(mask_of(done), expected)


def test_the_images_are_not_needed(run_tiny, own_images, tmp_path):
    done = run_tiny(tmp_path / "root", own_images)
    shutil.rmtree(own_images)
    assert forget(done, "cat", share=0.5).effect.pairs_masked > 0


def test_skipped_items_are_no_examples(run_tiny, own_images, tmp_path):
    for path in sorted((own_images / "train" / "cat").iterdir())[:4]:
        path.write_bytes(b"broken")
    done = run_tiny(tmp_path / "root", own_images, {"images.on_error": "skip"})
    assert forget(done, "cat", method="uve", share=1.0).effect.forget_hit_share == 1
    assert forget(done, "cat", method="uve", budget=13).effect.forget_hit_share == 1
    with pytest.raises(BadBudget, match="larger than the 13 training items of class 'cat'"):
        forget(done, "cat", method="uve", budget=14)


def test_a_misspelt_class_is_refused_with_the_nearest(finished):
    with pytest.raises(BadRequest, match=r"no class 'catt'; did you mean 'cat'\? \(there: ant, bee, cat\)"):
        forget(finished, "ant", "catt", budget=3)
    assert not (finished.root / "unlearned").exists()


def test_more_pairs_than_a_class_activates_are_refused(finished):
    available = int((counts_of(finished)[2] > 0).sum())
    with pytest.raises(BadBudget, match=f"N = {available + 1} is larger than the {available} pairs"):
        forget(finished, "cat", budget=available + 1)
    fewest = int((counts_of(finished)[2] > 0).sum(1).max())
    with pytest.raises(BadBudget, match=f"larger than the {fewest} pairs"):
        forget(finished, "cat", budget=fewest + 1, scope="per-codebook")
    with pytest.raises(BadBudget, match=r"N = 18 is larger than the 17 training items of class 'cat'"):
        forget(finished, "cat", method="uve", budget=18)
    assert not (finished.root / "unlearned").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"budget": 3, "share": 0.5}, "either a budget N or a share"),
        ({"share": 0.0}, "share: found 0.0"),
        ({"share": 1.5}, "share: found 1.5"),
        ({"share": float("nan")}, "share: found nan"),
        ({"budget": 0}, "budget: found 0"),
        ({"budget": -3}, "budget: found -3"),
        ({"budget": True}, "budget: found True, expected a whole number"),
        ({"budget": 2.0}, "budget: found 2.0, expected a whole number"),
        ({"share": True}, "share: found True"),
        ({"share": "0.5"}, "share: found '0.5'"),
        ({"method": "uav"}, "method: found 'uav', expected one of uva, uve"),
        ({"scope": "per-class"}, "scope: found 'per-class', expected one of global, per-codebook"),
        ({"method": "uve", "scope": "per-codebook"}, "uve ranks examples"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": True}, "seed: found True"),
        ({"classes": []}, r"classes: found \[\]"),
        ({"classes": ["cat", 2]}, "expected names"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(asked, said):
    with pytest.raises(BadRequest, match=said):
        Request(**{"classes": ["cat"], **asked})


def test_an_experiment_that_is_not_finished_is_refused(own):
    unfinish(own.artefact("values"))
    for mask_only in (False, True):
        with pytest.raises(BadRequest, match=r"step values is not finished.*dkvb status"):
            unlearn(own, Request(classes=["cat"], share=0.5), mask_only=mask_only)
    assert not (own.root / "unlearned").exists()


def test_a_refused_request_leaves_no_folder(own):
    (own.artefact("values").path / "bottleneck.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"bottleneck\.safetensors: does not hold what was written"):
        forget(own, "cat", share=0.5)
    assert list((own.root / "unlearned").glob("*")) == []


def test_what_was_done_is_told_to_people(own):
    done = forget(own, "cat", "ant", share=0.9)
    text = as_text(done)
    assert f"masked: ant, cat (uva, N = {done.spec.budget}, by share 0.9)" in text
    assert f"masked: cat (uva, N = {forget(own, 'cat').spec.budget}, the smallest" in as_text(forget(own, "cat"))
    assert str(done.effect.pairs_masked) in text
    assert done.checkpoint in text
    assert np.isfinite(done.seconds)
    assert done.seconds >= done.mask_seconds > 0


def test_without_budget_and_share_n_is_that_of_the_rule(own):
    counts = counts_of(own)
    for k, name in enumerate(own.classes):
        for scope in orders.SCOPES:
            done = forget(own, name, scope=scope)
            order = orders.by_activation(counts[k], scope=scope)
            shares = [orders.hit_share(counts[k], order.mask(n)) for n in (done.spec.budget - 1, done.spec.budget)]
            assert shares[0] < orders.TAU - 1e-9 < shares[1]
            assert done.effect.forget_hit_share == pytest.approx(shares[1])
        for seed in (0, 3):
            done = forget(own, name, method="uve", seed=seed)
            order = orders.by_example(codes_of(own, k), counts[k], seed=seed)
            shares = [orders.hit_share(counts[k], order.mask(n)) for n in (done.spec.budget - 1, done.spec.budget)]
            assert shares[0] < orders.TAU - 1e-9 < shares[1]


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_share_means_activations_for_both_methods(share, own):
    counts, order = counts_of(own)[2], orders.by_example(codes_of(own, 2), counts_of(own)[2], seed=0)
    done = forget(own, "cat", method="uve", share=share)
    assert done.effect.forget_hit_share >= share - 1e-9 > orders.hit_share(counts, order.mask(done.spec.budget - 1))


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_the_share_of_the_rule_given_by_hand_masks_what_the_rule_masks(method, own):
    asked = forget(own, "cat", method=method, share=orders.TAU)
    assert torch.equal(mask_of(asked), mask_of(forget(own, "cat", method=method)))


def test_several_classes_by_the_rule_hold_the_share_of_each(own):
    counts = counts_of(own)
    by_examples = mask_of(forget(own, "ant", "cat", method="uve")).numpy()
    each = [mask_of(forget(own, name, method="uve")).numpy() for name in ("ant", "cat")]
    np.testing.assert_array_equal(by_examples, each[0] | each[1])
    assert all(orders.hit_share(counts[k], by_examples) >= orders.TAU - 1e-9 for k in (0, 2))


def test_the_rule_and_the_same_n_by_hand_lie_in_different_folders(own):
    one = forget(own, "cat", method="uve")
    other = forget(own, "cat", method="uve", budget=one.spec.budget)
    assert one.mask != other.mask
    assert (one.spec.tau, other.spec.tau) == (orders.TAU, None)


@pytest.mark.parametrize("method", ["uva", "uve"])
def test_a_share_that_would_mask_nothing_is_refused(method, finished):
    with pytest.raises(BadRequest, match=r"share 1e-12 is less than one of \d+ activations.*give a larger share"):
        forget(finished, "cat", method=method, share=1e-12)
    assert not (finished.root / "unlearned").exists()


def test_a_checkpoint_that_lies_there_is_named_though_the_mask_alone_was_asked_for(own):
    whole = forget(own, "cat")
    again = unlearn(own, Request(classes=["cat"]), mask_only=True)
    assert again.checkpoint == whole.checkpoint
    assert f"{whole.checkpoint} (of an earlier request)" in as_text(again)
