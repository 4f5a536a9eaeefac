"""The removal order by votes, against plain loops in exact fractions; and ranks by name."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.orders import CONTRAST, NEVER, RANKS, by_activation, by_contrast, by_rank, by_vote, uva_method, votes
from tests.dkvb.drawn import SEEDS, SHARES, two_counts


def drawn(seed: int, c: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits, and values that are whole multiples of 1/64, some of them equal, some below 0."""
    hits, steps = two_counts(seed, c, m)
    return hits, ((steps * 3 - 4) / 64).astype(np.float32)


def naive_votes(hits: np.ndarray, values: np.ndarray) -> dict[tuple[int, int], Fraction]:
    return {
        (j, k): int(hits[j, k]) * max(Fraction(float(values[j, k])), Fraction(0))
        for j in range(hits.shape[0])
        for k in range(hits.shape[1])
    }


def naive_order(hits: np.ndarray, values: np.ndarray) -> list[tuple[int, int]]:
    given = naive_votes(hits, values)
    return sorted((pair for pair in given if given[pair]), key=lambda pair: (-given[pair], *pair))


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, sizes=st.permutations([2, 3, 5, 7]), share=SHARES)
def test_the_order_and_the_budget_are_those_of_plain_loops(seed, sizes, share):
    hits, values = drawn(seed, *sizes[:2])
    order, naive, given = by_vote(hits, votes(hits, values)), naive_order(hits, values), naive_votes(hits, values)
    expected = np.full(hits.shape, NEVER)
    for place, pair in enumerate(naive):
        expected[pair] = place
    np.testing.assert_array_equal(order.position, expected)
    assert order.available == len(naive)
    wanted, held, budget = share * sum(given.values()), Fraction(0), 0
    while held < wanted:
        held += given[naive[budget]]
        budget += 1
    assert order.smallest(float(share)) == budget


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_in_every_codebook_the_order_is_that_of_the_codebook_alone(seed):
    hits, values = drawn(seed, 3, 7)
    order = by_vote(hits, votes(hits, values), scope="per-codebook")
    for j in range(3):
        alone = by_vote(hits[j : j + 1], votes(hits, values)[j : j + 1])
        np.testing.assert_array_equal(order.position[j : j + 1], alone.position)
    contrast = by_contrast(hits, hits[::-1], weight=0.5, scope="per-codebook")
    for j in range(3):
        alone = by_contrast(hits[j : j + 1], hits[::-1][j : j + 1], weight=0.5)
        np.testing.assert_array_equal(contrast.position[j : j + 1], alone.position)


def test_pairs_that_speak_against_the_class_or_that_it_never_hits_stay():
    hits, values = np.array([[5, 0, 3, 2]]), np.array([[-1.0, 9.0, 0.5, 0.75]], np.float32)
    assert votes(hits, values).tolist() == [[0, 0, 1.5, 1.5]]
    assert by_vote(hits, votes(hits, values)).position.tolist() == [[NEVER, NEVER, 0, 1]]


def test_a_vote_of_less_than_half_a_unit_is_none():
    hits = np.array([[1, 1]])
    order = by_vote(hits, np.array([[2.0**-18, 2.0**-16]]))
    assert order.position.tolist() == [[NEVER, 0]]
    assert by_vote(hits, np.zeros((1, 2))).smallest(0.99) == 0


def test_the_whole_share_is_reached_however_many_votes_are_added_up():
    rng = np.random.default_rng(3)
    hits = rng.integers(1, 2000, (256, 1024))
    order = by_vote(hits, votes(hits, rng.normal(5, 9, hits.shape).astype(np.float32)))
    assert order.smallest(1) == order.available


def test_ranks_by_name_are_the_orders_and_ask_only_for_what_they_need():
    hits, values = drawn(5, 3, 7)
    others = hits[::-1].copy()

    def never() -> np.ndarray:
        raise AssertionError("not needed")

    made = {
        "activations": (by_rank("activations", hits, scope="global", votes=never, others=never), by_activation(hits)),
        "values": (
            by_rank("values", hits, scope="global", votes=lambda: votes(hits, values), others=never),
            by_vote(hits, votes(hits, values)),
        ),
        "contrast": (
            by_rank("contrast", hits, scope="global", votes=never, others=lambda: others),
            by_contrast(hits, others, weight=CONTRAST),
        ),
    }
    assert tuple(made) == RANKS
    for found, expected in made.values():
        np.testing.assert_array_equal(found.position, expected.position)
    assert len({found.position.tobytes() for found, _ in made.values()}) == 3
    assert [uva_method(rank) for rank in RANKS] == ["uva", "uva-values", "uva-contrast"]


def test_what_cannot_be_is_refused():
    hits, _ = drawn(5, 3, 7)
    with pytest.raises(BadBudget, match="rank: found 'value', expected one of activations, values, contrast"):
        by_rank("value", hits, scope="global", votes=lambda: hits, others=lambda: hits)
    with pytest.raises(BadBudget, match="scope: found 'all'"):
        by_vote(hits, hits.astype(float), scope="all")
    with pytest.raises(ShapeMismatch, match="votes"):
        by_vote(hits, np.zeros((3, 6)))
