"""Requests to forget exactly: what is left equals what never saw the items, whatever the order, and says so."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.counts import count_codes
from dkvb.errors import BadSums
from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.sums import SelectedKeys, Sums
from jobs import certificate
from jobs.chain import state
from jobs.errors import BadRequest
from jobs.exact import ExactRequest, forget_exactly
from jobs.item_files import read_names
from jobs.results.experiment import find
from jobs.summed import read_summed
from jobs.unlearn import Request, unlearn
from store import arrays
from store.errors import ArtefactDamaged, StoreError
from tests.tiny import without_checksums

ANT, BEE, CAT = range(3)


@pytest.fixture
def own(solved, tmp_path):
    return find(Path(shutil.copytree(solved.root, tmp_path / "root")), None)


def keys_of(experiment):
    return arrays.read(experiment.artefact("manifest[train]").data, "item_key").tolist()


def labels_of(experiment):
    return torch.from_numpy(arrays.read_shards(experiment.artefact("embeddings[train]").data, "labels")).long()


def never_seen(experiment, gone):
    """Sums, values and selectable keys of a model that is made of the other training items alone."""
    keys = read_summed(experiment.artefact("sums")).keys
    codes = torch.from_numpy(arrays.read(experiment.artefact("codes[train]").data, "codes"))
    labels, rest = labels_of(experiment), torch.ones(len(codes), dtype=torch.bool)
    rest[list(gone)] = False
    sums = Sums.of(SelectedKeys.of(codes[rest], keys), labels[rest], v=3)
    return sums, lda_values(discriminants(sums, LdaSettings()), keys), count_codes(codes[rest], 13) > 0


def rows(experiment, k):
    return (labels_of(experiment) == k).nonzero().flatten().tolist()


def check(experiment, done, gone):
    sums, values, selectable = never_seen(experiment, gone)
    model = Bottleneck.load(done.checkpoint)
    assert Path(done.sums).read_bytes() == sums.to_bytes()
    assert torch.equal(model.values, values)
    assert torch.equal(model.selectable, selectable)
    assert done.left == 41 - len(gone)
    assert (done.linear, done.trained) == (str(Path(done.checkpoint).parent / "linear.safetensors"), [])


def forget(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items))


def test_a_class_is_forgotten_as_if_never_seen(own):
    done = forget(own, "bee")
    check(own, done, rows(own, BEE))
    z = torch.from_numpy(arrays.read_shards(own.artefact("embeddings[train]").data, "embeddings"))
    assert (Bottleneck.load(done.checkpoint).logits(z).argmax(1) != BEE).all()


def test_two_classes_and_single_items_leave_together(own):
    names = keys_of(own)
    cats = rows(own, CAT)[3:5]
    done = forget(own, "ant", "bee", items=[names[row] for row in cats])
    check(own, done, [*rows(own, ANT), *rows(own, BEE), *cats])
    assert (done.spec.items, done.spec.classes) == (26, ["ant", "bee"])


@pytest.mark.parametrize("name", ["key", "row", "place"])
def test_an_item_is_named_by_key_row_or_place(name, own):
    manifest = json.loads((own.artefact("manifest[train]").path / "manifest.json").read_text())
    names = {"key": keys_of(own)[12], "row": "12", "place": f"{manifest['shards'][1]['name']}#1"}
    check(own, forget(own, items=[names[name]]), [12])


def test_all_but_one_item_can_be_forgotten_and_no_more(own):
    names = keys_of(own)
    check(own, forget(own, items=names[1:]), range(1, 41))
    with pytest.raises(BadSums, match="last training items"):
        forget(own, items=names[:1])
    assert len(list((own.root / "unlearned").iterdir())) == 1


def test_requests_follow_each_other_and_their_order_does_not_matter(solved, tmp_path):
    names, models = keys_of(solved), []
    items = [names[row] for row in (0, 20, 33)]
    gone = {*rows(solved, BEE), 0, 20, 33}
    for order in (0, 1):
        own = find(Path(shutil.copytree(solved.root, tmp_path / str(order))), None)
        requests = [ExactRequest(classes=["bee"]), ExactRequest(items=[names[0], names[33]])]
        if order:
            requests = [ExactRequest(items=items), ExactRequest(classes=["bee"])]
        first, last = (forget_exactly(own, request) for request in requests)
        assert (first.spec.previous, last.spec.previous) == (None, Path(first.sums or "").parent.name)
        check(own, last, gone)
        kept = {
            f"values/{own.steps['values']}",
            f"codes/{own.steps['codes[train]']}",
            f"unlearned/{last.spec.previous}",
        }
        assert kept < {*last.still_there}
        assert f"embeddings/{own.steps['embeddings[test]']}" not in last.still_there
        models.append(Path(last.sums or "").read_bytes())
    assert models[0] == models[1]


def test_what_was_forgotten_is_refused_by_the_name_of_its_request(own):
    names = keys_of(own)
    first = Path(forget(own, "bee", items=[names[0]]).sums).parent.name
    with pytest.raises(BadRequest, match=f"item '{names[0]}' is forgotten already, by request {first}"):
        forget(own, items=[names[1], names[0]])
    with pytest.raises(BadRequest, match="'bee' has no training items to forget: all 13 were forgotten already"):
        forget(own, "bee")
    check(own, forget(own, "ant"), [*rows(own, ANT), *rows(own, BEE)])  # one ant was gone before


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (["nobody.png"], "item 'nobody.png' is not among the 41 training items: expected the key of an item .such as "),
        (["41"], "item '41' is not among the 41"),
        (["TEST"], "item 'cat/1000.png' is held out for testing, and no head was made of it. To be rid of its"),
        (["a", "b", "c", "d"], "items 'a', 'b', 'c' and 1 more are not among"),
        (["0", "KEY"], "named twice, in different ways"),
        ([], "neither classes nor items"),
    ],
)
def test_items_that_are_not_there_are_refused_and_nothing_is_written(items, text, solved):
    named = {"KEY": keys_of(solved)[0], "TEST": "cat/1000.png"}
    with pytest.raises(BadRequest, match=text):
        forget(solved, items=[named.get(item, item) for item in items])
    assert not (solved.root / "unlearned").exists()


def test_a_list_with_test_items_is_told_which_of_it_can_be_forgotten(solved):
    trained = keys_of(solved)[0]
    with pytest.raises(BadRequest, match=f"take that out of the list; item '{trained}' is trained on, and can be"):
        forget(solved, items=["cat/1000.png", trained])


def test_a_request_that_is_gone_is_missed_by_those_after_it(own):
    first = Path(forget(own, "bee").sums).parent
    forget(own, items=[keys_of(own)[0]])
    shutil.rmtree(first)
    with pytest.raises(ArtefactDamaged, match="the request before it is missing"):
        forget(own, "ant")


def test_a_request_that_was_cut_off_is_not_made_and_begins_anew(own, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(certificate, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            forget(own, "bee")
    assert state(own, 41).previous is None
    check(own, forget(own, "bee"), rows(own, BEE))


@pytest.mark.parametrize("content", ['{"rows": [41]}', '{"rows": [-1]}', '{"rows": "no"}', "[]"])
def test_rows_that_cannot_be_are_told_on_a_root_of_unknown_origin(content, own):
    folder = Path(forget(own, "bee").sums).parent
    (folder / "forgotten.json").write_text(content)
    without_checksums(own.root)
    with pytest.raises(StoreError, match=r"forgotten\.json"):
        forget(own, "ant")


def test_damaged_sums_of_the_request_before_are_refused(own):
    path = Path(forget(own, "bee").sums)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactDamaged, match="does not hold what was written"):
        forget(own, "ant")


def test_masks_are_refused_on_values_that_are_not_trained_and_exact_on_those_that_are(solved, finished):
    for method in ("uva", "uve"):
        with pytest.raises(BadRequest, match="do not forget on values that are solved for"):
            unlearn(solved, Request(classes=["bee"], method=method))
    with pytest.raises(BadRequest, match="no class 'bea'; did you mean 'bee'"):
        unlearn(solved, Request(classes=["bea"]))
    with pytest.raises(BadRequest, match="its values and its linear head are trained"):
        forget(finished, "bee")


def test_tables_of_values_that_are_solved_for_say_what_masks_are_for(solved, dkvb):
    told = dkvb("table", solved.root)
    assert (
        "masks are measured for comparison and do not forget; `dkvb unlearn --method exact` does" in told.out + told.err
    )
    assert "--share 1" not in told.out + told.err


def test_the_file_of_items_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "items.txt"
    with pytest.raises(BadRequest, match="cannot be read"):
        read_names(path)
    for content, text in ((b"\n \n", "no item"), (b"a\nb\na\n", "'a' is named more than once"), (b"\xff\n", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(BadRequest, match=text):
            read_names(path)
    path.write_bytes(b"\xef\xbb\xbfant/0 1.png\r\nbee/2.png\n\n")
    assert read_names(path) == ["ant/0 1.png", "bee/2.png"]


def test_the_command_forgets_and_its_certificate_and_log_hold(own, dkvb, tmp_path):
    (tmp_path / "items.txt").write_text("\n".join(keys_of(own)[:2]) + "\n")
    words = ("unlearn", own.root, "--method", "exact", "--items", tmp_path / "items.txt", "--ticket", "7")
    ended = dkvb(*words, "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert (said["items"], said["left"], said["classes"]) == (2, 39, [])
    assert f"sums/{own.steps['sums']}" in said["still_there"]
    assert dkvb("verify", Path(said["checkpoint"]).parent / "certificate.json").code == 0
    log = dkvb("log", own.root)
    assert log.code == 0, log.err
    assert "7  exact: " in log.out
    assert dkvb("status", own.root, "--verify").code == 0
    folder = Path(said["checkpoint"]).parent.name
    assert f"unlearned/{folder}" not in said["still_there"]
    assert "holds no mask; name a request of method uva or uve" in dkvb("measure", own.root, folder).err
    again = dkvb(*words)
    assert again.code != 0
    assert "forgotten already" in again.err
    text = dkvb("unlearn", own.root, "--method", "exact", "--class", "cat").out
    assert "forgotten exactly: 17 training items (all of cat); 22 are left" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--method", "exact"), "Missing option '--class' or '--items'"),
        (("--method", "exact", "--class", "bee", "--budget", "3"), "--budget: only with masks"),
        (("--method", "exact", "--class", "bee", "--scope", "per-codebook"), "--scope: only with masks"),
        (("--class", "bee", "--items", "x"), "--items: only with --method exact"),
        (("--method", "exact", "--class", "be"), "did you mean"),
        (("--class", "bee"), "use `dkvb unlearn --method exact`"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(words, text, solved, dkvb):
    ended = dkvb("unlearn", solved.root, *words)
    assert ended.code == 2
    assert text in ended.err
    assert not (solved.root / "unlearned").exists()
