"""Laws of masks on a bottleneck of two codebooks, whose items are read block by block."""

import numpy as np
import torch

from dkvb.orders import NEVER, RemovalOrder
from jobs.comparison.accuracies import accuracies
from jobs.comparison.masks import Budgeted
from tests.jobs.comparison.small import by_split, reached

# The first order takes keys 0 and 1 of the first codebook, the second its key 2.
FIRST = Budgeted(RemovalOrder(np.array([[0, 1, NEVER], [NEVER] * 3]), np.ones((2, 3), int), 2), [0, 1, 2])
SECOND = Budgeted(RemovalOrder(np.array([[NEVER, NEVER, 0], [NEVER] * 3]), np.ones((2, 3), int), 1), [0, 1])


def test_every_item_lies_in_one_block_with_its_own_embedding_codes_and_list(swept):
    blocks = list(swept.blocks("train"))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 2), (2, 4), (4, 6)]
    assert torch.cat([items.codes for _, items in blocks]).tolist() == [[0, 1], [2, 0], [1, 2], [2, 1], [0, 2]]
    assert blocks[2][1].z.tolist() == [[0, 3]]
    assert blocks[2][1].neighbours.tolist() == [[[0, 1], [2, 1]]]


def test_items_are_asked_for_by_their_place_among_those_kept(swept):
    items = swept.like("train", torch.tensor([False, True, False, True]))
    assert items.z.tolist() == [[1, 3], [0, 3]]
    assert items.codes.tolist() == [[1, 2], [0, 2]]
    assert swept.like("test", torch.tensor([True, False])).z.tolist() == [[0, 1]]


def test_a_masked_key_hands_its_items_to_the_next_nearest_and_skipped_items_are_not_predicted(swept):
    predicted, _ = swept.predictions([FIRST, SECOND], [[0], [2]])
    assert predicted["train"][0].tolist() == [[0, 1, 2, 0], [1, 1, 2, 1], [2, 2, 2, 2]]
    assert predicted["test"][0].tolist() == [[0, 1], [1, 1], [2, 2]]


def test_an_order_with_fewer_n_stays_as_its_last_left_it(swept):
    predicted, _ = swept.predictions([FIRST, SECOND], [[0], [2]])
    assert predicted["train"][1].tolist() == [[0, 1, 2, 0], [0, 1, 1, 0], [0, 1, 1, 0]]


def test_among_the_retain_classes_the_forget_class_of_each_order_is_never_named(swept):
    _, among = swept.predictions([FIRST, SECOND], [[0], [2]])
    # The second codebook decides for the items whose first votes for the class that is gone.
    assert among["train"][0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 1], [2, 2, 2, 2]]
    assert among["train"][1].tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]]


def test_codes_under_a_mask_are_the_next_nearest_of_the_items_kept(swept):
    none, some = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    some[0, 0] = True
    before, after = swept.codes([none, some])
    assert before["train"].tolist() == [[0, 1], [1, 2], [2, 1], [0, 2]]
    assert after["train"].tolist() == [[1, 1], [1, 2], [2, 1], [1, 2]]
    assert after["test"].tolist() == [[1, 1], [1, 2]]
    (only,) = swept.codes([some], splits=["test"])
    assert list(only) == ["test"]


def test_a_codebook_that_has_lost_every_key_does_not_vote(swept):
    (codes,) = swept.codes([np.array([[True] * 3, [False] * 3])])
    assert codes["test"].tolist() == [[-1, 1], [-1, 2]]


def test_retain_accuracies_are_over_the_items_that_were_to_stay_where_they_are_given():
    labels = by_split([0, 0, 1, 1, 2], [0, 1, 2])
    forget = {"train": np.array([True, False, False, False, False]), "test": np.array([True, False, False])}
    retain = {"train": np.array([False, False, True, True, False]), "test": np.array([False, False, True])}
    predicted = {"train": np.array([0, 0, 1, 2, 2]), "test": np.array([1, 1, 0])}
    among = {"train": np.array([1, 1, 1, 1, 1]), "test": np.array([1, 1, 2])}
    found = accuracies(predicted, among, labels, forget, retain=retain)
    assert (found.train_forget, found.train_retain, found.train_retain_among_retain) == (1.0, 0.5, 1.0)
    assert (found.test_forget, found.test_retain, found.test_retain_among_retain) == (0.0, 0.0, 1.0)
    assert found.test == 1 / 3
    assert accuracies(predicted, among, labels, forget).train_retain == 0.75


def test_the_best_n_is_read_off_the_training_accuracies_of_its_grid():
    at_each = [
        reached(train_forget=forget, train_retain=retain) for forget, retain in ((1.0, 0.9), (0.5, 0.9), (0.0, 0.9))
    ]
    budgeted = Budgeted(FIRST.order, [0, 10, 20])
    assert budgeted.best(at_each) == 20
    assert budgeted.best(at_each[:2] * 2) == 10
