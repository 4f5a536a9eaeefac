"""Tables of sets of classes, from rows made by hand."""

import json

import polars as pl
import pytest

from jobs.results import names
from jobs.results.formats import markdown
from jobs.results.heads import for_people
from jobs.results.sets_tables import FOR_READERS, LONGEST, NOTES, TABLES, at_rule, by_size, for_readers
from store.columns import SETS
from tests.documented import undocumented

ITEMS = {"train_items": pl.Int64, "test_items": pl.Int64, "test_others": pl.Int64}


def made(number, members, *, draw, left, retain, method="uva", seed=0, known=0.8):
    """The rows of a set before, at the rule's N and past it; left: of training and of test items; retain: after."""
    names = ["ant", "bee, wasp", "cat", "dog"]
    base = dict.fromkeys(SETS, 0.0) | {
        "set": number,
        "size": len(members),
        "draw": draw,
        "members": json.dumps(members),
        "names": json.dumps([names[k] for k in members]),
        "method": method,
        "seed": seed,
        "digest": "d",
        "worst_neighbour": 3,
        "train_items": 100 * len(members),
        "test_items": 10 * len(members),
        "test_others": 40 - 10 * len(members),
    }
    before = {"budget": 0, "rule": False, "train_forget": 1.0, "test_forget": known, "test_retain": 0.7}
    more = {"test_retain_among_retain": 0.75}
    after = {"budget": 5, "rule": True, "train_forget": left[0], "test_forget": left[1], "test_retain": retain}
    past = {"budget": 9, "rule": False, "test_retain": 0.1}
    shares = {"share": 0.5, "pairs_masked_share": 0.25, "neighbour_damage": 0.1 * len(members)}
    return [base | before | more, base | after | {"test_retain_among_retain": 0.72} | shares, base | past]


def frame(*sets):
    return pl.DataFrame([row for one in sets for row in one], schema={**SETS, **ITEMS}, strict=False)


def test_the_table_has_a_row_per_size_and_method_with_means_and_spread_over_draws():
    table = by_size(
        at_rule(
            frame(
                made(0, [1, 2], draw=None, left=(0.0, 0.0), retain=0.72),
                made(1, [0], draw=0, left=(0.0, 0.1), retain=0.68),
                made(2, [0, 3], draw=0, left=(0.005, 0.0), retain=0.66),
                made(3, [2], draw=1, left=(0.0, 0.0), retain=0.72),
                made(4, [2, 3], draw=1, left=(0.0, 0.0), retain=0.64),
            )
        )
    )
    assert table.select("method", "size", "named set", "draws", "sweeps", "forgotten", "never known").rows() == [
        ("uva", 1, None, 2, 2, 1, 0),
        ("uva", 2, None, 2, 2, 2, 0),
        ("uva", 2, "bee, wasp, cat", 0, 1, 1, 0),
    ]
    ones, twos, named = table.to_dicts()
    assert ones["test after"] == pytest.approx(5)
    assert ones["test after sd"] == pytest.approx(50**0.5)
    assert (ones["test after worst"], ones["test right"], ones["test items"]) == (10, 1, 20)
    assert (twos["train after"], twos["train right"], twos["train items"]) == (0.25, 1, 400)
    assert ones["retain change"] == pytest.approx(0)
    assert ones["retain change sd"] == pytest.approx(8**0.5)
    assert ones["retain change worst"] == pytest.approx(-2)
    assert (twos["retain before"], twos["retain after"]) == pytest.approx((70, 65))
    assert ones["among retain change"] == pytest.approx(-3)
    assert (ones["N share %"], ones["masked %"], twos["neighbour damage worst"]) == pytest.approx((50, 25, 20))
    assert named["retain change sd"] is None


def test_seeds_of_one_draw_are_averaged_before_the_spread_is_taken():
    sets = [
        made(number, [k], draw=draw, left=(0, 0), retain=retain, method="uve", seed=seed)
        for number, (draw, k, seed, retain) in enumerate(
            [(0, 0, 0, 0.6), (0, 0, 1, 0.8), (1, 2, 0, 0.7), (1, 2, 1, 0.8)]
        )
    ]
    (row,) = by_size(at_rule(frame(*sets))).to_dicts()
    assert row["different sets"] == 2
    assert (row["draws"], row["sweeps"]) == (2, 4)
    assert row["retain change sd"] == pytest.approx(5 / 2**0.5)


def test_sets_of_which_nothing_was_known_are_counted_and_in_no_mean():
    table = by_size(
        at_rule(
            frame(
                made(0, [0], draw=0, left=(0.5, 0.0), retain=0.1, known=0.0),
                made(1, [2], draw=1, left=(0.0, 0.0), retain=0.7),
                made(2, [3], draw=None, left=(0.0, None), retain=0.7, known=None),
            )
        )
    )
    ones, named = table.to_dicts()
    assert (ones["sweeps"], ones["never known"], ones["forgotten"], ones["train after"]) == (2, 1, 1, 0)
    assert (named["never known"], named["train after"]) == (1, None)


def test_people_read_what_was_forgotten_and_what_it_cost_in_the_width_of_a_page():
    names = ["a name of some length", "another that is as long"]
    sets = [made(number, [number % 4], draw=number, left=(0.0, 0.1), retain=0.4 + number / 100) for number in range(20)]
    sets += [made(20, [1, 2], draw=None, left=(0.0, 0.0), retain=0.72)]
    rows = frame(*sets).with_columns(
        pl.when(pl.col("draw").is_null()).then(pl.lit(json.dumps(names))).otherwise("names").alias("names")
    )
    table = by_size(at_rule(rows))
    shown = for_people(for_readers(table))
    assert shown.columns == [
        *("method", "size", "set", "forgotten", "train after %", "test before %", "test after %"),
        *("others change", "± sd", "worst"),
    ]
    random, named = shown.to_dicts()
    assert (random["set"], random["forgotten"], named["forgotten"]) == ("20 random (4 sets)", "0 of 20", "1 of 1")
    assert named["set"] == "a name of some leng…"
    assert len(named["set"]) == LONGEST
    assert (random["test after %"], random["test before %"]) == (pytest.approx(10), pytest.approx(80))
    assert random["worst"] == pytest.approx(-30)
    assert random["± sd"] == pytest.approx(table["retain change sd"][0])
    assert max(map(len, markdown(shown).splitlines())) <= 132
    plain = shown.head(1).with_columns(pl.lit("20 random").alias("set"))
    assert max(map(len, markdown(plain).splitlines())) <= 120


def test_sets_that_were_never_known_have_a_column_where_there_are_any():
    unknown = made(0, [0], draw=0, left=(0.5, 0.0), retain=0.1, known=0.0)
    table = for_readers(by_size(at_rule(frame(unknown, made(1, [2], draw=1, left=(0.0, 0.0), retain=0.7)))))
    assert table.select("set", "forgotten", "never known").rows() == [("2 random", "1 of 1", 1)]


def test_a_table_of_no_sets_has_the_same_columns():
    table = for_readers(by_size(at_rule(frame())))
    assert table.is_empty()
    assert table.schema["set"] == table.schema["forgotten"] == pl.String


def test_the_command_line_knows_the_tables_there_are():
    assert [*TABLES] == names.SETS_TABLES
    assert NOTES.keys() == FOR_READERS.keys() < TABLES.keys()


def test_every_column_that_programs_get_stands_in_the_page():
    assert undocumented(frame().columns) == undocumented(by_size(at_rule(frame())).columns) == []
