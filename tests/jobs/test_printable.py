"""Names and messages from data are shown, never obeyed."""

import ast
import sys
from pathlib import Path

import pytest

import jobs
from jobs.printable import lines, per_cent, say, shown
from jobs.results.formats import note
from jobs.run.progress import Reporter

EVIL = "\x1b[2Jcat\u202e\x9b31m\x07"


@pytest.mark.parametrize("text", ["cat", "naïve ±", "golden retriever", "犬", "a|b"])
def test_a_plain_name_is_shown_as_it_is(text):
    assert shown(text) == text


def test_a_name_is_one_line_of_printable_characters():
    assert shown(f"{EVIL}\n\t\r") == r"\x1b[2Jcat\u202e\x9b31m\x07\n\t\r"


def test_a_name_that_is_no_text_can_be_printed():
    shown(b"\xff\xfe".decode(errors="surrogateescape")).encode()


def test_a_share_is_shown_in_per_cent_with_its_digits():
    assert [per_cent(0.123456), per_cent(1.0), per_cent(0.0, 0), per_cent(0.98765, 1), per_cent(None)] == [
        "12.35 %",
        "100.00 %",
        "0 %",
        "98.8 %",
        "none",
    ]


def test_a_message_keeps_its_lines():
    assert lines(f"one\n  {EVIL}\ntwo") == "one\n  \\x1b[2Jcat\\u202e\\x9b31m\\x07\ntwo"


def test_what_is_said_and_told_of_progress_is_printable(capsys, tmp_path):
    say(EVIL)
    say(EVIL, err=True)
    Reporter(root=tmp_path, terminal=False).note(EVIL)
    out, err = capsys.readouterr()
    assert [each for each in out + err if not each.isprintable() and each != "\n"] == []


def test_commands_print_in_no_other_way():
    files = list((Path(jobs.__file__).parent / "cli").glob("*.py"))
    assert len(files) > 5
    for path in files:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        called = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not {"echo", "secho"} & names, path
        assert "print" not in called, path


def test_a_class_folder_with_an_escape_in_its_name_cannot_reach_the_terminal(dkvb, run_words, own_images):
    for split in ("train", "test"):
        (own_images / split / "cat").rename(own_images / split / "c\x1b[2Jat")
    (own_images / "train" / "bee" / "\x1b]0;x\x07.png").write_bytes(b"torn")
    failed = dkvb(*run_words())
    done = dkvb(*run_words({"images.on_error": "skip"}))
    masked = dkvb("unlearn", own_images.parent / "root", "--class", "c\x1b[2Jat")
    asked = dkvb("unlearn", own_images.parent / "root", "--class", "dog")
    assert (failed.code, done.code, masked.code, asked.code) == (1, 0, 0, 2), failed.err + done.err + masked.err
    for ended in (failed, done, masked, asked):
        assert "\x1b" not in ended.out + ended.err
    assert r"c\x1b[2Jat" in masked.out
    assert r"c\x1b[2Jat" in asked.err


def test_a_note_is_as_wide_as_the_terminal_and_never_wider_than_a_page(monkeypatch):
    text = "Each class is forgotten by itself. " * 9
    assert max(map(len, note(text).splitlines())) in range(110, 119)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns, most in ((72, 72), (200, 118)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, note(text).splitlines())) in range(most - 10, most + 1)
