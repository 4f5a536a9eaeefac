"""The comparison of trained heads and heads that are solved for, end to end, on tiny images."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import zarr

from dkvb.bottleneck import Bottleneck
from jobs.errors import BadRequest
from jobs.exact import ExactRequest, forget_exactly
from jobs.figures import draw
from jobs.results import compare_tables, names
from jobs.results.compare_tables import CHOSEN_BY
from jobs.spec.heads import SOLVED, TRAINED
from jobs.steps import lira
from store import arrays
from store.columns import BESIDE, COMPARE_TABLES
from store.files import on_disk

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}
ASKED = {
    "compare.seeds": [0],
    "compare.classes": ["ant", "bee"],
    "compare.trials": 2,
    "compare.tuning_classes": 2,
    "compare.oracle_kv": [],
    "compare.lira_heads": 4,
    "compare.lira_items": 30,
    "compare.taus": [0.9],
    "compare.weights": [0.0],
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared(run_tiny, images, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("heads") / "root", images, {**ASKED, "compare.heads": [*TRAINED, *SOLVED]})


@pytest.fixture(scope="module")
def alone(compared, run_tiny, images):
    """On the same root, heads that are solved for alone."""
    asked = {**ASKED, **LDA, "name": "alone", "compare.heads": [*SOLVED]}
    return run_tiny(compared.root, images, asked)


def test_every_head_is_judged_and_what_is_exact_equals_its_own_oracle(compared):
    table = compare_tables.compare_table(compared)
    assert {*table["head"]} == {*TRAINED, *SOLVED}
    exact = table.filter(pl.col("method") == "exact")
    assert {*exact["head"]} == {*SOLVED}
    assert exact["ToW"].to_list() == exact["ToW on test"].to_list() == [1.0, 1.0]
    assert exact["JS"].to_list() == [0.0, 0.0]
    for head in SOLVED:
        rows = compare_tables.rows_of(compared, "compare").filter(pl.col("head") == head)
        one, other = (
            rows.filter(pl.col("method") == name).select(pl.selectors.float()) for name in ("exact", "retrain")
        )
        assert one.equals(other)
    assert table.filter(pl.col("head") == "values-lda", pl.col("method") == "uve all").height == 1
    by = dict(table.select("method", "chosen by").rows())
    assert by == {method: CHOSEN_BY.get(method, "") for method in table["method"]}
    assert by["uva by tau"] != by["uva"] != by["scrub"]


def test_calibration_and_the_like_stand_beside_every_model_of_every_head(compared):
    rows, beside = (compare_tables.rows_of(compared, name) for name in ("compare", "beside"))
    assert dict(beside.schema) == BESIDE
    assert dict(rows.schema) == COMPARE_TABLES["compare"]
    keys = ["class", "seed", "head", "method"]
    assert sorted(rows.select(keys).rows()) == sorted(beside.select(keys).rows())
    assert beside.select("tow_test", "ece", "member_auc").null_count().sum_horizontal().item() == 0
    retrained = beside.filter(pl.col("method") == "retrain")
    assert retrained["tow_test"].to_list() == [1.0] * len(retrained)


def test_files_are_attacked_on_every_head_and_missing_pairs_where_there_are_masks(compared):
    attacks = compare_tables.attack_rows(compared)
    sums = attacks.filter(pl.col("attack") == "row sums")
    assert {*sums["head"]} == {*TRAINED, *SOLVED}
    before = {row["class"]: row["value"] for row in sums.filter(head="values", method="none").iter_rows(named=True)}
    column = {row["class"]: row["value"] for row in sums.filter(head="values", method="column").iter_rows(named=True)}
    assert column == before, "an emptied column is in the sums of the others"
    missing = attacks.filter(pl.col("attack") == "missing pairs")
    assert {*missing["method"]} == {"uva", "uva per codebook", "uve", "uva by tau", "random"}


def test_u_lira_asks_every_method_of_the_values_and_all_of_solved_heads_with_intervals(compared):
    attacks = compare_tables.attack_rows(compared)
    assert {*attacks.filter(pl.col("attack") == "u-lira among others")["head"]} == {*SOLVED}
    attacks = attacks.filter(pl.col("attack") == "u-lira")
    by_head = {head: {*part["method"]} for (head,), part in attacks.group_by("head")}
    solved = {"none", "column", "logit", "exact", "retrain"}
    assert by_head == {"values": {*lira.EVERY}, "linear-lda": solved, "values-lda": {*solved, "uve all"}}
    assert {"auc", "auc low", "auc high"} < {*attacks["measure"]}
    labels = arrays.read(compared.artefact("lira").data, "method")
    assert labels.tolist() == [*lira.EVERY]


def test_costs_count_the_choice_of_n_and_stand_beside_retraining(compared):
    costs = compare_tables.costs_table(compared)
    found = {*costs.select("head", "method").rows()}
    assert {(head, method) for head in SOLVED for method in ("exact", "retrain")} < found
    assert {("values", "uva by sweep"), ("values", "uve by sweep")} < found
    again = costs.filter(pl.col("method") == "retrain")
    assert again["retrain_seconds"].to_list() == pytest.approx(again["seconds"].to_list())
    sweep = costs.filter(pl.col("method") == "uva by sweep")
    assert sweep["flops_forward"].to_list() == [None]


def test_instances_are_also_stopped_where_held_out_items_are(compared):
    scope = compare_tables.scope_table(compared).filter(pl.col("kind") == "instances")
    assert {"uva to held-out", "uve to held-out"} < {*scope["method"]}


def test_an_exact_row_is_what_a_request_leaves(compared, alone):
    asked = forget_exactly(alone, ExactRequest(classes=["ant"]))
    with on_disk(Path(str(asked.checkpoint))) as file:
        model = Bottleneck.load(file)
    (row,) = (
        compare_tables.rows_of(compared, "compare")
        .filter(head="values-lda", method="exact", name="ant")
        .iter_rows(named=True)
    )
    for split, names_of in (("train", ("train_forget", "train_retain")), ("test", ("test_forget", "test_retain"))):
        artefact = compared.artefact(f"embeddings[{split}]")
        labels = arrays.read_shards(artefact.data, "labels")
        z = torch.from_numpy(arrays.read_shards(artefact.data, "embeddings"))
        right = model.logits(z).argmax(1).numpy() == labels
        own = labels == 0
        assert [row[name] for name in names_of] == [np.mean(right[own]), np.mean(right[~own])]


def test_solved_for_alone_there_are_tables_and_figures_of_them_and_others_say_why_not(alone):
    table = compare_tables.compare_table(alone)
    assert {*table["head"]} == {*SOLVED}
    assert {*compare_tables.attacks_table(alone)["head"]} == {*SOLVED}
    for name in ("selection", "costs", "scope", "oracle_gap"):
        with pytest.raises(BadRequest, match="names no trained heads"):
            compare_tables.TABLES[name](alone)
    assert {*names.COMPARE_TABLES} == {*compare_tables.TABLES}
    for kind in ("compare", "attacks"):
        assert b"is solved for" in draw(alone, kind, form="svg").data


def test_an_oracle_whose_values_are_solved_for_alone_ends(compared, run_tiny, images):
    asked = {**ASKED, **LDA, "name": "kv", "compare.heads": ["values-lda"], "compare.oracle_kv": ["ant"]}
    made = run_tiny(compared.root, images, asked)
    data = made.artefact("oracles").data
    assert {*zarr.open_consolidated(data).array_keys()} >= {"oracle_lda_logits_train", "oracle_lda_logits_test"}
    assert "oracle_logits_train" not in zarr.open_consolidated(data)


def test_solved_rows_are_the_same_whether_trained_heads_stand_beside_them_or_not(compared, alone):
    one, other = (
        compare_tables.rows_of(each, "compare").filter(pl.col("head").is_in(SOLVED)).drop("digest")
        for each in (compared, alone)
    )
    assert one.equals(other)
