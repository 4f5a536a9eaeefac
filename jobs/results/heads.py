"""Heads that people read: in plain words, shares in per cent. What programs read keeps the names of docs/format.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Head:
    """How a column is shown."""

    text: str
    times: int = 1
    """What its numbers are multiplied with: 100 makes a share a per cent."""


def percent(text: str) -> Head:
    """Of a column of shares."""
    return Head(f"{text} %", 100)


WORDS: dict[str, Head] = {
    "budget": Head("N"),
    # Shares as they are stored, and as questions answer them.
    "pairs_masked": Head("pairs masked"),
    "pairs_masked_share": percent("pairs masked"),
    "forget_hit_share": percent("activations held"),
    "retain_hit_share": percent("others' activations held"),
    "train_forget": percent("train"),
    "test_forget": percent("test"),
    "train_retain": percent("others train"),
    "test_retain": percent("others test"),
    "train_retain_among_retain": percent("others train, among themselves"),
    "test_retain_among_retain": percent("others test, among themselves"),
    "train_forget_relative": percent("train, of before"),
    "test_forget_relative": percent("test, of before"),
    "train_retain_relative": percent("others train, of before"),
    "test_retain_relative": percent("others test, of before"),
    "test_retain_lost": Head("others' test items lost"),
    "test_retain_gained": Head("others' test items gained"),
    "test_others": Head("others' test items"),
    "train_items": Head("train items"),
    "test_items": Head("test items"),
    "worst_neighbour": Head("worst other"),
    "worst_neighbour_name": Head("worst other"),
    "worst_neighbour_items": Head("worst other's test items"),
    "neighbour_damage": Head("worst other's loss, points", 100),
    "share": percent("share"),
    "hit_share": percent("activations held"),
    "share_shared": percent("activations on shared pairs"),
    "votes_redirected": percent("votes redirected"),
    "largest_share": percent("on the busiest key"),
    "exclusive_share": percent("on keys of one class"),
    "exclusive": percent("on pairs of its own"),
    # What questions answer.
    "count": Head("hits"),
    "forgot_count": Head("hits by those that left"),
    "classes": Head("classes that hit it"),
    "others": Head("hits by others"),
    "shared_with": Head("shared most with"),
    "value": Head("value for the class"),
    "value_after": Head("value after"),
    "favours": Head("raises most"),
    "favours_after": Head("raises most after"),
    "key_after": Head("key after"),
    "redirected": Head("test items redirected"),
    "right_before": Head("right before"),
    "right_after": Head("right after"),
    "effective": Head("as if so many keys were used alike"),
    "predicted": Head("taken for"),
    "predicted_name": Head("taken for"),
    "other": Head("with"),
    "other_name": Head("with"),
    **{
        f"{name}_{oracle}": percent(f"{head}, oracle {oracle.upper()}")
        for oracle in ("v", "kv")
        for name, head in (
            ("train_forget", "train"),
            ("test_forget", "test"),
            ("train_retain", "others train"),
            ("test_retain", "others test"),
            ("test", "all test"),
        )
    },
    # Of the comparison, as stored.
    "tow": Head("ToW"),
    "tow_kv": Head("ToW to KV"),
    "tow_test": Head("ToW on test"),
    "best_tow": Head("best ToW"),
    "aus": Head("AUS"),
    "js_forget": Head("JS"),
    "js_forget_kv": Head("JS to KV"),
    "mia_auc": Head("membership AUC"),
    "member_auc": Head("membership AUC"),
    "ece": Head("ECE"),
    "best_budget": Head("best N"),
    "flops_forward": Head("FLOPs forward"),
    "flops_backward": Head("FLOPs backward"),
    "flops_uncached": Head("FLOPs with the backbone"),
    "flops_ratio": Head("FLOPs of retraining / its own"),
    "bytes_read": Head("bytes read"),
    "peak_bytes": Head("memory added, bytes"),
    "seconds_least": Head("seconds, least"),
    "seconds_most": Head("seconds, most"),
    "retrain_seconds": Head("seconds to retrain"),
    "retrain_ratio": Head("seconds to retrain / its own"),
    "requests_to_pay": Head("requests until it has paid off"),
    # Per cents and points already; only the words are others.
    "model train": Head("model train %"),
    "model test": Head("model test %"),
    **{
        f"{split} {name}": Head(f"{split} {head}")
        for split in ("train", "test")
        for name, head in (
            ("before", "before %"),
            ("right before", "right before"),
            ("after", "after %"),
            ("after worst", "after %, worst"),
            ("right", "right after"),
            ("95 % low", "after %, 95 % low"),
            ("95 % high", "after %, 95 % high"),
            ("95 % high worst", "after %, highest 95 % bound"),
        )
    },
    "train forget": Head("train after %"),
    "train forget worst": Head("train after %, worst"),
    "forget": Head("test after %"),
    "forget worst": Head("test after %, worst"),
    "retain": Head("others after %"),
    "among retain": Head("others after %, among themselves"),
    "retain before": Head("others before %"),
    "retain after": Head("others after %"),
    "retain change": Head("others change"),
    "retain change worst": Head("others change, worst"),
    # Beside the change of the others.
    "change sd": Head("± sd"),
    "change worst": Head("worst"),
    "retain change sd": Head("others change, sd"),
    "retain change ± 95 % over items": Head("others change ± 95 % over test items"),
    "retain change ± 95 % over classes": Head("others change ± 95 % over classes"),
    "retain change ± 95 % over test items": Head("others change ± 95 % over test items"),
    "among retain change": Head("others change, among themselves"),
    "neighbour damage": Head("worst other's loss, points"),
    "its lost items": Head("worst other's loss, items"),
    "its test items": Head("worst other's test items"),
    "neighbour damage worst": Head("most that one other lost"),
    "ToW low": Head("ToW, 95 % low"),
    "ToW high": Head("ToW, 95 % high"),
    "behind": Head("ToW behind the best"),
    "at least": Head("behind the best by at least"),
    "best": Head("among the best"),
}
"""Column -> how people read it; a column that is not named here is shown as it is."""

NAMED = {"worst_neighbour": "worst_neighbour_name", "predicted": "predicted_name", "other": "other_name"}
"""Columns of indexes, and those that name the same and are shown alone."""

SWEPT = {"share": Head("N as %", 100)}
"""Of tables along N, where a share is N's."""

ATTACKED = {
    "value": Head("after"),
    "oracle": Head("oracle's"),
    "low": Head("difference, 95 % low"),
    "high": Head("difference, 95 % high"),
}
"""Of tables of attacks, whose values are no values of pairs."""


def for_people(table: pl.DataFrame, whole: Sequence[str] = ()) -> pl.DataFrame:
    """The same table with heads in plain words, shares in per cent and differences of shares in points.

    Columns that only programs need (digests, indexes of classes that are named beside) are left out.

    whole: the columns of the table that this is a chosen part of, by which its kind is known; nothing is left out then.
    """
    for index, name in NAMED.items():
        if {index, name} <= {*table.columns}:
            rest = [column for column in table.columns if column not in (index, name)]
            place = table.columns.index(index) if index == "worst_neighbour" else table.columns.index(name) - 1
            table = table.select(*rest[:place], name, *rest[place:])
    words = dict(WORDS)
    for own, marks in ((SWEPT, {"budget", "share"}), (ATTACKED, {"attack", "measure"})):
        if marks <= {*(whole or table.columns)}:
            words |= own
    columns = []
    for name in table.columns:
        head = words.get(name, Head(name))
        if name != "digest" or whole:
            column = pl.col(name) * head.times if head.times != 1 and table[name].dtype.is_float() else pl.col(name)
            columns.append(column.alias(head.text))
    return table.select(columns)


def column_named(table: pl.DataFrame, text: str) -> str | None:
    """The column of a table that has this name, or is shown under it; None where there is none."""
    if text in table.columns:
        return text
    shown = {for_people(table.select(name), table.columns).columns[0]: name for name in table.columns}
    return shown.get(text)
