"""Laws of the table of methods, and of the settings that one is used with."""

import numpy as np
import pytest
import torch

from dkvb.baselines import Scrub
from dkvb.orders import NEVER
from jobs.comparison import attacks, methods
from jobs.comparison.methods import COMPARED, ForgetItems, by_proxy, chosen, contrast, tuned
from jobs.steps import costs, lira
from tests.jobs.comparison.small import by_split, values_head

# The table.


def test_a_method_has_one_name():
    every = [*COMPARED, methods.UVA_RECOUNTED, methods.UVE_ALL, methods.EXACT, contrast(0.5), by_proxy("split")]
    assert len({method.name for method in every}) == len(every)
    assert all(method.about.endswith(".") for method in every)


def test_tables_name_the_methods_as_they_always_have():
    gradient = ["scrub", "scrub+r", "neggrad+", "finetune", "ssd"]
    linear = ["none", *gradient, "column", "logit", "retrain"]
    masks = ["uva", "uva per codebook", "uve", "uva by tau", "random", "uva zero", "uva drop"]
    assert [method.name for method in COMPARED if "linear" in method.heads] == linear
    assert [method.name for method in COMPARED if "values" in method.heads] == linear + masks
    assert [method.name for method in methods.GRADIENT] == ["scrub", "neggrad+", "finetune", "ssd"]
    opened = {"none", "uva", "uve", "uva by tau", "scrub", "neggrad+", "finetune", "ssd", "column", "retrain", "exact"}
    every = {method.name for method in (*COMPARED, methods.EXACT)}
    assert every - opened == attacks.CLOSED
    assert [method.name for method in COMPARED if method.unmasked] == ["uva", "uve", "uva by tau"]
    assert [method.name for method in methods.REACHING] == ["uva", "uve"]
    assert lira.METHODS == ("none", "uva by tau", "scrub", "retrain")
    by_rule = ["none", "uva by tau", "uve all", "random", "uva zero", "uva drop", "column", "logit"]
    assert [*lira.EVERY] == [*by_rule, "scrub", "neggrad+", "finetune", "ssd", "retrain"]
    assert costs.MASKS == ("uva", "uve")
    assert by_proxy("flipped").name == "uva by flipped"


HITS = np.array([[6, 0, 2], [0, 1, 3]])
OTHERS = np.array([[4, 8, 0], [5, 0, 7]])


def test_every_way_to_choose_pairs_reads_codes_and_counts_alone():
    items = ForgetItems(codes=np.array([[0, 2], [2, 1]], np.int16), hits=HITS, others=OTHERS, seed=0)
    positions = {method.name: method.order(items).position.tolist() for method in (*methods.MASKS, contrast(0.5))}
    assert positions["uva"] == [[0, NEVER, 2], [NEVER, 3, 1]]
    assert positions["uva per codebook"] == [[0, NEVER, 1], [NEVER, 1, 0]]
    assert sorted(np.ravel(positions["uve"])) == [0, 0, 1, 1, NEVER, NEVER]
    assert positions["contrast 0.5"] == [[0, NEVER, 1], [NEVER, 2, NEVER]]
    assert (methods.UVA.weight, contrast(0.5).weight, methods.UVE.weight) == (0.0, 0.5, None)


# Settings.


def marks(head, method, *by_class):
    units = {k: [{"score": score} for score in row] for k, row in by_class}
    return {f"{k}-{head}-{method}": {"class": k, "head": head, "method": method, "trials": t} for k, t in units.items()}


def test_no_class_is_left_out_where_none_is_to_be_forgotten():
    own = marks("values", "scrub", (0, [0.0, 0.4, 0.3]), (1, [0.0, 0.0, 0.3]))
    assert chosen(own, "values", "scrub", forget=None) == (2, True)
    assert chosen(own, "values", "scrub", forget=1) == (1, False)


def test_trials_of_another_head_or_method_do_not_count():
    both = marks("values", "scrub", (1, [0.1, 0.9, 0.2]))
    both |= marks("linear", "scrub", (1, [9.0, 0.0, 0.0])) | marks("values", "ssd", (1, [9.0, 0.0, 0.0]))
    assert chosen(both, "values", "scrub", forget=0) == (1, False)


def test_the_mean_over_classes_chooses_not_the_best_of_one():
    own = marks("values", "scrub", (1, [0.9, 0.6, 0.0]), (2, [0.0, 0.6, 0.7]))
    assert chosen(own, "values", "scrub", forget=0) == (1, False)


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.2, 0.1, 0.1], (0, True)), ([0.1, 0.1, 0.2], (2, True)), ([0.5], (0, False))]
)
def test_the_first_and_the_last_trial_are_edges_and_an_only_one_is_none(scores, expected):
    assert chosen(marks("linear", "ssd", (1, scores)), "linear", "ssd", forget=0) == expected


def test_the_settings_are_those_of_the_place_on_a_head_of_so_many_codebooks():
    head = values_head({"train": [[0, 0]], "test": [[0, 0]]}, by_split([0], [0]), torch.zeros(2, 3, 2).tolist())
    own = marks("values", "scrub", (1, [0.1, 0.2, 0.3]), (2, [0.9, 0.0, 0.0]))
    baseline, edge = tuned(own, head, methods.SCRUB, forget=2)
    assert baseline == head.trials(Scrub(), 3)[2]
    assert edge
