"""Laws of one class under masks: orders, grids, rules, and what must come back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dkvb.orders import NEVER, RemovalOrder, by_activation, by_contrast
from jobs.comparison import methods
from jobs.comparison.masked_class import MaskedClass, SweptOrder, emptied, without
from jobs.comparison.masks import Budgeted
from jobs.comparison.methods import MaskMethod
from jobs.spec.schema import Grids, UvaGrid, UveGrid
from tests.jobs.comparison import small
from tests.jobs.comparison.small import HITS, OTHERS, RULES, oracle_judge, reached

COUNTED = {"hits": np.array([[2, 0, 0], [0, 1, 1]]), "others": np.array([[0, 1, 1], [0, 1, 1]])}
"""What the small bottleneck's items of class 0 hit, and the others."""

PAIRS = replace(small.GRIDS, uva=UvaGrid(unit="pairs", grid=[1, 2, 3], scope="global"))
QUARTERS = Grids(uva=UvaGrid(unit="shares", grid=[0.25, 1.0], scope="global"))


def masked(*, items=None, hits=HITS, others=OTHERS, grids=small.GRIDS, **rules):
    forget = {split: (known == 0).numpy() for split, known in small.OWN.items()}
    return MaskedClass(
        head=small.head(), items=items, k=0, forget=forget, hits=hits, others=others, grids=grids, **(RULES | rules)
    )


def grown(grid, **more):
    """A method with the grid of that name."""
    return MaskMethod(name="grown", about="", order=lambda items: by_activation(items.hits), grid=grid, **more)


# Grids and rules.


def test_a_grid_of_shares_is_of_the_pairs_that_the_order_removes_and_begins_at_none():
    position = np.array([[0, NEVER, 2], [NEVER, 3, 1]])
    order = RemovalOrder(position, HITS, 4)
    budgeted = masked(grids=QUARTERS).budgeted(grown("uva"), order)
    assert budgeted.grid == [0, 1, 4]
    assert budgeted.order is order


def test_a_grid_of_numbers_is_taken_as_it_is_up_to_what_there_is():
    order = RemovalOrder(np.array([[0, 0, 1], [1, 0, 1]]), HITS, 2)
    own = masked(grids=Grids(uve=UveGrid(unit="examples", grid=[1, 2], seeds=[0])))
    assert own.budgeted(grown("uve"), order).grid == [0, 1, 2]


def test_without_a_grid_there_is_one_of_twenty_shares():
    order = RemovalOrder(np.arange(40).reshape(2, 20), np.ones((2, 20), int), 40)
    assert masked().budgeted(grown(None), order).grid == list(range(0, 41, 2))


def test_the_budgets_of_the_rules_are_on_the_grid():
    # 12 hits: 6 hold a half, and all four pairs the whole.
    order = by_activation(HITS)
    own = masked(grids=Grids(uva=UvaGrid(unit="shares", grid=[0.75], scope="global")))
    assert own.budgeted(grown("uva", weight=0.0), order).grid == [0, 1, 3, 4]
    assert own.budgeted(grown("uva"), order).grid == [0, 3]
    assert [order.smallest(tau) for tau in (0.5, 0.9)] == [1, 3]


def test_the_rule_by_contrast_counts_the_hits_of_all_other_classes(swept):
    # 6 - 0.5 * 4, 2 - 0, 1 - 0 and 3 - 0.5 * 7: three pairs can go, which hold 9 hits.
    order = masked(items=swept).orders()["contrast 0.5"].budgeted.order
    assert [order.smallest(tau) for tau in (0.5, 0.8, 1.0)] == [1, 2, 3]


def test_there_is_an_order_by_contrast_for_every_weight_but_none(swept):
    orders = masked(items=swept).orders()
    assert [*orders] == ["uva", "uva per codebook", "uve", "contrast 0.5"]
    assert orders["contrast 0.5"].budgeted.order.position.tolist() == [[0, NEVER, 1], [NEVER, 2, NEVER]]
    whole = masked(items=swept, weights=[1.0]).orders()["contrast 1"]
    assert whole.budgeted.order.position.tolist() == [[0, NEVER, 1], [NEVER, 2, NEVER]]
    assert orders["uve"].budgeted.grid == [0, 1]
    assert [one.method.weight for one in orders.values()] == [0.0, None, None, 0.5]


def test_what_an_order_reaches_is_on_the_items_of_the_class_at_its_own_n(swept):
    own = masked(items=swept, grids=PAIRS, **COUNTED)
    at_each = {name: order.accuracies for name, order in own.orders().items()}
    assert [one.train_forget for one in at_each["uva"]] == [1, 0, 0, 0]
    assert [one.train_retain for one in at_each["uva"]][:2] == [1, 1]
    assert len(at_each["uve"]) == 2


# Regret.

REACHED = [
    # The oracle has 0 on the forget items, 1 on all others: a tug of war of 0, 1/2, 9/10 and 3/4 * 3/4.
    reached(train_forget=1.0, train_retain=1.0, test=1.0, test_forget=0.9, test_retain=0.4),
    reached(train_forget=0.5, train_retain=1.0, test=1.0, test_forget=0.8, test_retain=0.3),
    reached(train_forget=0.1, train_retain=1.0, test=1.0, test_forget=0.7, test_retain=0.2),
    reached(train_forget=0.0, train_retain=0.75, test=0.75, test_forget=0.6, test_retain=0.1),
    reached(train_forget=0.0, train_retain=0.5, test=0.5, test_forget=0.5, test_retain=0.0),
]


def regrets(method, order, **spec):
    return masked(**spec).regrets(SweptOrder(method, Budgeted(order, [0, 1, 2, 3, 4]), REACHED), oracle_judge())


def test_regret_is_what_the_best_n_had_over_the_rule_s():
    rows = regrets(methods.UVA, by_activation(HITS), taus=[0.5, 0.7, 1.0])
    assert [row.tau for row in rows] == [0.5, 0.7, 1.0]
    assert [row.budget for row in rows] == [1, 2, 4]
    assert [row.best_budget for row in rows] == [2, 2, 2]
    assert [row.tow for row in rows] == pytest.approx([0.5, 0.9, 0.25])
    assert [row.best_tow for row in rows] == pytest.approx([0.9] * 3)
    assert [row.regret for row in rows] == pytest.approx([0.4, 0, 0.65])
    assert {row.weight for row in rows} == {0.0}
    assert [(row.test_forget, row.test_retain) for row in rows] == [(0.8, 0.3), (0.7, 0.2), (0.5, 0.0)]
    assert [(row.train_forget, row.train_retain) for row in rows] == [(0.5, 1), (0.1, 1), (0, 0.5)]


def test_regret_is_told_of_orders_that_have_a_rule_with_their_own_weight():
    order = by_contrast(HITS, OTHERS, weight=0.5)
    rows = regrets(methods.contrast(0.5), order)
    assert [row.weight for row in rows] == [0.5, 0.5]
    assert [row.budget for row in rows] == [1, 3]
    assert regrets(methods.UVE, order) == regrets(methods.UVA_PER_CODEBOOK, order) == []


# Models.

MASK = np.array([[True, False, False], [False, False, True]])


def test_an_emptied_pair_holds_zeros_and_the_head_keeps_its_own():
    weights = torch.arange(1.0, 13).view(6, 2)
    assert emptied(weights, MASK).tolist() == [[0, 0], [3, 4], [5, 6], [7, 8], [9, 10], [0, 0]]
    assert weights.min() == 1


def test_a_dropped_pair_is_no_vote_of_its_own_codebook():
    codes = torch.tensor([[0, 0], [2, 2], [0, 2]], dtype=torch.int16)
    assert without(codes, MASK).tolist() == [[-1, 0], [2, -1], [-1, -1]]
    assert without(codes, MASK).dtype == torch.int16


def test_the_erased_masks_are_at_the_n_that_is_best_on_the_training_items():
    # Class 0 falls with the first pair; a second takes class 1 with it.
    order = Budgeted(RemovalOrder(np.array([[0, 1, NEVER], [NEVER] * 3]), HITS, 2), [0, 1, 2])
    zero, drop = masked().erased(order)
    assert zero.setting == drop.setting == {"budget": 1, "pairs": 1}
    assert zero.logits["test"].tolist() == [[0, 0.5, 0], [0, 1.5, 0.5]]
    assert drop.logits["test"].tolist() == [[0, 1, 0], [0, 1.5, 0.5]]


def test_every_method_is_masked_at_its_own_n(swept):
    own = masked(items=swept, grids=PAIRS, **COUNTED)
    chosen = own.chosen(own.orders())
    assert [*chosen] == ["uva", "uva per codebook", "uve", "uva by tau", "random"]
    models = {one.method: one for one in own.models(chosen)}
    assert [*models] == [*chosen]
    assert models["uva"].setting == {"budget": 1, "pairs": 1}
    assert models["uva"].features["train"].codes.tolist() == [[1, 1], [1, 2], [2, 1], [1, 2]]
    assert models["uva by tau"].setting == {"budget": 3, "pairs": 3}
    assert models["random"].setting == {"budget": 1, "pairs": 1}
    assert chosen["random"].pairs.sum(1).tolist() == chosen["uva"].pairs.sum(1).tolist()


def test_a_third_way_to_choose_pairs_is_a_row_of_the_table(swept, monkeypatch):
    last = MaskMethod(
        name="last", about="", order=lambda items: RemovalOrder(np.where(items.hits, 0, NEVER), items.hits, 1)
    )
    monkeypatch.setattr(methods, "MASKS", (*methods.MASKS, last))
    own = masked(items=swept, **COUNTED)
    chosen = own.chosen(own.orders())
    assert [*chosen] == ["uva", "uva per codebook", "uve", "last", "uva by tau", "random"]
    assert chosen["last"].setting == {"budget": 1, "pairs": 3}
    assert own.models(chosen)[3].method == "last"


# Unmasking.


def restored(swept, mask, *, hits=None, before=(0, 1)):
    own = masked(items=swept, hits=np.array([[5, 3, 0], [0, 0, 4]]) if hits is None else hits)
    row = own.restored(oracle_judge(before=before), "uva", np.array(mask))
    assert (row.head, row.method, row.attack, row.measure) == ("values", "uva", "unmask", "share restored")
    assert row.oracle is None
    return row.value


def test_the_most_activated_pair_comes_back_first(swept):
    # Of two masked pairs the class needs the first key alone, which it hits most.
    assert restored(swept, [[True, True, False], [False] * 3]) == 1 / 2
    assert restored(swept, [[True, True, False], [False] * 3], hits=np.array([[1, 2, 0], [0, 0, 0]])) == 1
    assert restored(swept, [[True, True, False], [False, False, True]]) == 1 / 3


def test_a_class_that_never_left_needs_nothing_back(swept):
    assert restored(swept, [[False] * 3, [False, True, False]], hits=np.array([[0, 0, 0], [0, 1, 0]])) == 0
    assert restored(swept, [[False] * 3] * 2) == 0


def test_a_class_that_was_not_known_before_is_back_at_once(swept):
    assert restored(swept, [[True, True, False], [False] * 3], before=(1, 1)) == 0
