"""The comparison end to end, on tiny images: the laws that its tables must keep."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from cluster.unit_map import SerialExecutor
from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.metrics import accuracy
from jobs.comparison import attacks
from jobs.comparison.methods import chosen
from jobs.diff import diff
from jobs.errors import BadRequest, BadSpec
from jobs.figures import draw
from jobs.integrity import verify
from jobs.plan.plan import make_plan, waves
from jobs.results import compare_tables, headline, names, sweep_tables
from jobs.results.experiment import find
from jobs.run.progress import Reporter
from jobs.run.recorded import record_all
from jobs.run.run import run_steps
from jobs.steps import compare
from jobs.upgrade import upgrade
from store import arrays
from store.artefacts import open_root
from store.columns import COMPARE_TABLES, COSTS, SCOPE
from store.files import on_disk
from store.layout import CHECKPOINT
from tests.documented import undocumented
from tests.older import as_version_1

pytestmark = pytest.mark.slow

ASKED = {
    "compare.seeds": [0, 1],
    "compare.classes": ["ant", "bee"],
    "compare.trials": 2,
    "compare.tuning_classes": 2,
    "compare.oracle_kv": ["ant"],
    "compare.lira_heads": 4,
    "compare.lira_items": 30,
    "compare.taus": [0.5, 0.9],
    "compare.weights": [0.0, 0.5],
    "compare.proxies": {"ant": "wasp"},
    "other": {"kind": "folder", "train": "elsewhere", "test": "test"},
}
LABELS = ["compare", "compare[@1]"]


@pytest.fixture(scope="module")
def with_other(images, painted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "images"
    shutil.copytree(images, folder)
    painted(folder / "elsewhere", {"wasp": 23, "zebra": 19}, first=500)
    return folder


@pytest.fixture(scope="module")
def compared(run_tiny, finished, with_other, tmp_path_factory):
    """On a root where the first seed's model is there already: it is the one that all tests share."""
    root = shutil.copytree(finished.root, tmp_path_factory.mktemp("compared") / "root")
    made = run_tiny(root, with_other, ASKED)
    assert made.steps.items() > finished.steps.items()
    return made


@pytest.fixture(scope="module")
def relabelled(make_spec, with_other, tmp_path_factory):
    """The same experiment on test images whose labels were exchanged."""
    folder = tmp_path_factory.mktemp("relabelled") / "images"
    shutil.copytree(with_other, folder)
    test = folder / "test"
    (test / "ant").rename(test / "x")
    (test / "bee").rename(test / "ant")
    (test / "x").rename(test / "bee")
    plan = make_plan(make_spec(ASKED), str(folder))
    root = open_root(tmp_path_factory.mktemp("relabelled") / "root", create=True)
    for wave in waves([plan]):
        wanted = {label: step for label, step in wave.items() if step.kind not in ("scope", "lira", "costs")}
        run_steps(wanted, root, SerialExecutor(), Reporter(root=root))
    record_all([plan], root, Reporter(root=root))
    return find(root, None)


@pytest.fixture(scope="module")
def rows(compared):
    return {name: compare_tables.rows_of(compared, name) for name in COMPARE_TABLES}


def test_one_class_on_one_seed_is_compared_alone(own, images, run_tiny):
    few = {name: ASKED[f"compare.{name}"] for name in ("trials", "tuning_classes", "lira_heads", "lira_items")}
    made = run_tiny(own.root, images, {"compare": few | {"classes": ["ant"], "seeds": [0]}})
    assert all(made.artefact(label).done for label in made.steps)
    assert {mark["class"] for mark in made.artefact("tuning").marks().values()} == {0, 1}
    table = compare_tables.compare_table(made)
    assert table["runs"].unique().to_list() == [1]
    assert table.select("ToW low", "ToW high", "best").null_count().row(0) == (len(table),) * 3
    assert compare_tables.attacks_table(made)["low"].null_count() == len(compare_tables.attacks_table(made))
    for kind in ("compare", "attacks", "costs"):
        assert draw(made, kind, form="svg").caption


# What is in the tables.


@pytest.mark.parametrize("table", [name for name in compare_tables.TABLES if not name.startswith("metrics")])
def test_every_column_that_programs_get_stands_in_the_page(table, compared):
    assert undocumented(compare_tables.TABLES[table](compared).columns) == []


def test_every_step_ends_and_stands_a_second_time(compared, run_tiny, with_other, watched):
    assert all(compared.artefact(label).done for label in compared.steps)
    run_tiny(compared.root, with_other, ASKED, progress=watched)
    assert all(total == standing for total, standing in watched.steps.values())


@pytest.mark.parametrize("table", COMPARE_TABLES)
def test_a_table_has_its_schema_and_every_row_the_digest_of_its_artefact(table, rows, compared):
    assert dict(rows[table].schema) == COMPARE_TABLES[table]
    digests = {seed: compared.steps[label] for seed, label in enumerate(LABELS)}
    assert len(rows[table])
    assert all(row["digest"] == digests[row["seed"]] for row in rows[table].iter_rows(named=True))


def test_every_class_and_seed_has_every_method_once(rows):
    gradient = ["scrub", "scrub+r", "neggrad+", "finetune", "ssd"]
    linear = ["none", *gradient, "column", "logit", "retrain"]
    values = [*linear, "uva", "uva per codebook", "uve", "uva by tau", "random", "uva zero", "uva drop"]
    expected = {(k, seed, "linear", m) for k in range(2) for seed in range(2) for m in linear}
    expected |= {(k, seed, "values", m) for k in range(2) for seed in range(2) for m in values}
    found = rows["compare"].select("class", "seed", "head", "method").rows()
    assert len(found) == len(expected)
    assert set(found) == expected


def test_the_oracle_is_at_no_distance_from_itself(rows):
    oracle = rows["compare"].filter(pl.col("method") == "retrain")
    assert oracle["tow"].to_list() == [1.0] * 8
    assert oracle["js_forget"].abs().max() < 1e-9


def test_the_model_before_is_the_sweep_s_first_step(rows, compared):
    before = rows["compare"].filter((pl.col("method") == "none") & (pl.col("head") == "values") & (pl.col("seed") == 0))
    swept = headline.sweep_table(compared)
    swept = swept.filter((pl.col("budget") == 0) & (pl.col("method") == "uva") & (pl.col("class") < 2))
    for name in ("train_forget", "train_retain", "test_forget", "test_retain", "test_retain_among_retain"):
        assert before.sort("class")[name].to_list() == pytest.approx(swept.sort("class")[name].to_list())


@pytest.mark.parametrize("method", ["uva", "uva by tau", "uve"])
@pytest.mark.parametrize("k", range(2))
def test_a_masked_model_is_the_plain_masked_forward_pass(method, k, rows, compared):
    with on_disk(compared.artefact("values").path / CHECKPOINT) as file:
        bottleneck = Bottleneck.load(file)
    wanted = (pl.col("class") == k) & (pl.col("seed") == 0) & (pl.col("method") == method)
    (row,) = rows["compare"].filter(wanted).iter_rows(named=True)
    budget = json.loads(row["setting"])["budget"]
    labels = {s: arrays.read_shards(compared.artefact(f"embeddings[{s}]").data, "labels") for s in ("train", "test")}
    counts = arrays.read(compared.artefact("counts").data, "counts")[k].astype(np.int64)
    if method == "uve":
        codes = arrays.read(compared.artefact("codes[train]").data, "codes")[labels["train"] == k]
        order = orders.by_example(codes, counts, seed=0)
    else:
        order = orders.by_activation(counts)
    forgotten = bottleneck.masked(torch.from_numpy(order.mask(budget)))
    for split, own in labels.items():
        z = torch.from_numpy(arrays.read_shards(compared.artefact(f"embeddings[{split}]").data, "embeddings"))
        predicted, own_labels = forgotten.logits(z).argmax(1), torch.from_numpy(own).long()
        out = own_labels == k
        assert row[f"{split}_forget"] == pytest.approx(accuracy(predicted[out], own_labels[out]))
        assert row[f"{split}_retain"] == pytest.approx(accuracy(predicted[~out], own_labels[~out]))


def test_both_meanings_of_an_erased_value_predict_alike(rows):
    own = rows["compare"].sort("class", "seed")
    zero, drop = (own.filter(pl.col("method") == f"uva {meaning}") for meaning in ("zero", "drop"))
    assert zero["test_forget"].to_list() == drop["test_forget"].to_list()
    assert zero["test_retain"].to_list() == drop["test_retain"].to_list()


def test_the_gap_between_oracles_is_told_for_the_class_that_has_both(rows):
    assert rows["oracle_gap"]["name"].to_list() == ["ant", "ant"]
    kv = rows["compare"].filter(pl.col("tow_kv").is_not_null())
    assert set(kv.select("name", "head").rows()) == {("ant", "values")}


# Laws.


def test_what_is_chosen_depends_on_no_test_label(rows, relabelled):
    """Only SCRUB+R may: it asks for held-out items of the class."""
    one, other = rows, {name: compare_tables.rows_of(relabelled, name) for name in ("compare", "selection")}
    keys = ["class", "seed", "head", "method"]
    for table in (one["compare"], other["compare"]):
        assert (table["setting"].str.len_chars() >= 2).all()
    kept = pl.col("method") != "scrub+r"
    settings = [t["compare"].filter(kept).sort(keys).select(*keys, "setting").rows() for t in (one, other)]
    assert settings[0] == settings[1]
    rules = ["class", "seed", "weight", "tau"]
    budgets = [t["selection"].sort(rules).select(*rules, "budget").rows() for t in (one, other)]
    assert budgets[0] == budgets[1]
    accuracies = [t["compare"].sort(keys)["test_forget"].to_list() for t in (one, other)]
    assert accuracies[0] != accuracies[1], "the labels were not exchanged"


def test_the_order_of_requests_does_not_matter_from_the_original_keys(compared):
    scope = compare_tables.scope_table(compared)
    last = scope.filter(pl.col("kind").str.starts_with("sequence")).filter(pl.col("size") == pl.col("size").max())
    for method in ("uva", "uve"):
        forward, backward = last.filter(pl.col("method") == method).drop("kind").rows()
        assert forward == backward


def test_settings_for_a_class_are_chosen_on_the_others():
    def unit(k, *scores):
        return {"class": k, "head": "values", "method": "scrub", "trials": [{"score": score} for score in scores]}

    marks = {"a": unit(0, 0.9, 0.1, 0.2), "b": unit(1, 0.1, 0.8, 0.2), "c": unit(2, 0.1, 0.2, 0.7)}
    assert chosen(marks, "values", "scrub", forget=0) == (1, False)
    assert chosen(marks, "values", "scrub", forget=1) == (0, True)
    assert chosen({"b": marks["b"]}, "values", "scrub", forget=7) == (1, False)


def test_attacks_leave_the_model_as_it_was(compared, make_spec, with_other):
    task = make_plan(make_spec(ASKED), str(with_other)).step("compare").task(compared.root)
    shared = compare.Shared.of(task)
    head = shared.values
    judge = compare.Comparison(shared, 0).judge(head)
    kept = {split: logits.clone() for split, logits in judge.before.logits.items()}
    weights, codes = head.weights.clone(), head.codes["train"].clone()
    assert attacks.attacks(judge, [judge.before, judge.oracle], 0, seed=0)
    assert torch.equal(head.weights, weights)
    assert torch.equal(head.codes["train"], codes)
    assert all(torch.equal(judge.before.logits[split], kept[split]) for split in kept)


def test_an_unlearned_oracle_has_nothing_to_recover(rows):
    steps = rows["attacks"].filter(pl.col("measure") == "steps")
    before = steps.filter(pl.col("method") == "none")
    assert before["value"].to_list() == [0.0] * len(before)
    beside = steps.filter(pl.col("method") == "retrain")
    assert beside["value"].to_list() == beside["oracle"].to_list()


@pytest.mark.parametrize("name", [name for name in compare_tables.TABLES if not name.startswith("metrics")])
def test_every_table_can_be_printed(name, compared, dkvb):
    ended = dkvb("table", compared.root, "--table", name, "--json")
    assert ended.code == 0, ended.err
    rows = len(json.loads(ended.out))
    assert rows == len(compare_tables.TABLES[name](compared))
    assert (rows > 0) == (name != "beside_rows"), "measured where a spec says `compare.heads`"


def test_the_command_line_knows_the_tables_there_are():
    assert [*sweep_tables.TABLES] == names.SWEEP_TABLES
    assert [*compare_tables.TABLES] == names.COMPARE_TABLES


def test_costs_tell_that_a_mask_needs_no_gradient_and_retraining_does(compared):
    table = compare_tables.costs_table(compared)
    assert dict(table.schema) == COSTS | {"retrain_seconds": pl.Float64}  # follows from two others
    by_method = {(row["head"], row["method"]): row for row in table.iter_rows(named=True)}
    assert by_method["values", "uva"]["flops_forward"] == by_method["values", "uva"]["flops_backward"] == 0
    for head in ("linear", "values"):
        assert by_method[head, "retrain"]["flops_backward"] > 0
        assert by_method[head, "retrain"]["retrain_ratio"] == 1
    pays = {method for (_, method), row in by_method.items() if row["requests_to_pay"] is not None}
    assert pays == {"uva", "uve"}
    item = 2 * 11 * 3  # 11 rows of 3 numbers, forward and back
    again = by_method["values", "retrain"]
    assert (again["flops_forward"] + again["flops_backward"]) % (item // 2) == 0


def test_scope_has_every_kind(compared):
    scope = compare_tables.scope_table(compared)
    assert dict(scope.schema) == SCOPE
    kinds = {"classes", "sequence forward", "sequence backward", "instances", "proxy split", "proxy flipped"}
    assert set(scope["kind"]) == kinds | {"proxy other", "keys other"}
    assert set(scope.filter(pl.col("kind") == "proxy other")["names"]) == {'["ant"]'}
    own = scope.filter((pl.col("kind") == "proxy split") & (pl.col("method") == "uva"))
    assert own["jaccard"].to_list() == [1.0] * 2


def test_nothing_was_compared_says_so(finished, dkvb):
    ended = dkvb("table", finished.root, "--table", "compare")
    assert ended.code != 0
    assert "[compare]" in ended.err
    assert "Traceback" not in ended.err
    with pytest.raises(BadRequest, match="no \\[compare\\]"):
        compare_tables.compare_table(finished)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compare": {"seeds": []}}, "compare.seeds"),
        ({"compare": {"seeds": [1, 1]}}, "all different"),
        ({"compare": {"tau": 1.5}}, "compare.tau"),
        ({"compare": {"trials": 0}}, "compare.trials"),
        ({"compare": {"tuning_classes": 1}}, "one must be another class"),
        ({"compare": {"lira_heads": 2}}, "compare.lira_heads"),
        ({"compare": {"weights": [-1.0]}}, "compare.weights"),
        ({"compare": {"tau": 0.5, "tua": 0.5}}, "tua"),
        ({"compare": {}, "sweep.uve": None}, r"\[sweep.uva\] and \[sweep.uve\]"),
        ({"other": {"kind": "folder"}}, r"expected \[compare\]"),
    ],
)
def test_a_mistake_in_the_spec_is_named(changes, message, make_spec):
    with pytest.raises(BadSpec, match=message):
        make_spec(changes)


@pytest.mark.parametrize("kind", ["compare", "attacks", "costs"])
def test_a_figure_of_it_is_drawn_the_same_each_time(kind, compared):
    once = draw(compared, kind, form="svg")
    assert once.data.startswith(b"<?xml")
    assert draw(compared, kind, form="svg") == once


def test_oracles_and_margins_are_opened_by_names(compared, images):
    xarray = pytest.importorskip("xarray")
    oracles = xarray.open_zarr(compared.artefact("oracles").data)
    assert oracles["forget class"].values.tolist() == ["ant"]
    for split in ("train", "test"):
        logits = oracles[f"oracle_logits_{split}"].sel({"forget class": "ant"})
        files = sorted(path.relative_to(images / split).as_posix() for path in (images / split).rglob("*.png"))
        assert logits[f"item_key_{split}"].values.tolist() == files
        assert logits[f"class_{split}"].values.tolist() == [name.partition("/")[0] for name in files]
        assert (logits.sel({"class": "ant"}) < logits.max("class")).all(), "it never saw that class"
    lira = xarray.open_zarr(compared.artefact("lira").data)
    parts = arrays.parts(compared.artefact("lira").data, "margins")
    assert np.array_equal(lira.margin, np.concatenate([part[...] for part in parts], axis=2))
    assert lira.method.values.tolist()[0] == "none"
    named = [(compared.classes[int(part.path.name)], part.shape[2]) for part in parts]
    names = [name for name, items in named for _ in range(items)]
    assert lira["class"].values.tolist() == names
    assert [key.partition("/")[0] for key in lira.item_key.values] == names


def test_oracles_of_an_older_root_get_axes_of_two_lengths(compared, tmp_path):
    xarray = pytest.importorskip("xarray")
    root = shutil.copytree(compared.root, tmp_path / "root")
    as_version_1(root)
    older = find(root, compared.name)
    before = arrays.read(older.artefact("oracles").data, "oracle_logits_test")
    with pytest.raises(ValueError, match="item"):
        xarray.open_zarr(older.artefact("oracles").data, consolidated=False)
    upgrade(root, lambda text: None)
    assert verify(root).sound
    logits = xarray.open_zarr(older.artefact("oracles").data).oracle_logits_test
    assert logits.dims == ("forget class", "item_test", "class")
    assert np.array_equal(logits, before)
    for step in ("oracles", "lira"):
        for name in ("class/c/0", "zarr.json"):
            path = f"{step}/{older.artefact(step).digest}/data.zarr/{name}"
            assert (root / path).read_bytes() == (compared.root / path).read_bytes()


def test_two_comparisons_are_paired_by_class_and_seed(compared):
    made = diff(compared, compared)
    assert made.methods is not None
    assert made.attacks is not None
    assert set(made.methods["difference"].to_list()) == {0.0}
    expected = compare_tables.compare_table(compared)
    shown = made.methods.filter(pl.col("measure") == "test after %").select("head", "method", "a")
    assert dict(zip(shown.select("head", "method").iter_rows(), shown["a"], strict=True)) == {
        (row["head"], row["method"]): pytest.approx(row["forget"]) for row in expected.iter_rows(named=True)
    }
    assert len(made.attacks) == len(compare_tables.attacks_table(compared))
    text = replace(made, changed=["values"]).text()  # of two that are the same it is one line
    assert "Every method" in text
    assert "Attacks: 0 of" in text
