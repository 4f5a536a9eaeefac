"""Journals: lines that come back in the order they were written."""

from store.journal import Journal, read_journal


def test_a_journal_keeps_the_order_over_writers(folder):
    path = folder / "log.jsonl"
    assert list(read_journal(path)) == []
    with Journal(path) as journal:
        journal.write({"n": 1})
        journal.write({"n": 2, "text": "odd\nname é"})
    with Journal(path) as journal:
        journal.write({"n": 3})
    assert [record["n"] for record in read_journal(path)] == [1, 2, 3]
