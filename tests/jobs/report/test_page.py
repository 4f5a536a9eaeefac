"""The page: well-formed, alone, of equal bytes, and safe from what strangers call their classes."""

import base64
import hashlib
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from jobs.report.page import content, embedded, report
from jobs.report.records import LONGEST, Table
from jobs.results.experiment import find
from tests.jobs.report.made import ODD, Read, page

SECTIONS = [
    *("asked", "limits", "forgotten", "lost", "along", "cost", "attacks", "store"),
    *("requests", "provenance", "reproduce"),
]


@pytest.fixture(scope="module")
def made(finished):
    return report(finished)


@pytest.fixture(scope="module")
def read(made):
    return Read(made)


def test_a_page_is_well_formed_and_has_every_section(read):
    assert read.faults == []
    assert [attributes["id"] for attributes in read.of("section")] == SECTIONS
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"] for attributes in read.of("a")]
    assert links == [f"#{section}" for section in SECTIONS]


def test_the_same_root_gives_the_same_bytes(finished, made, tmp_path):
    moved = Path(shutil.copytree(finished.root, tmp_path / "elsewhere"))
    assert report(find(moved, None)) == made


def test_a_page_says_what_the_tables_say(finished, read):
    sections, _ = content(finished)
    rows = {block.id: block for section in sections for block in section.blocks if isinstance(block, Table)}
    assert {"forgotten-uva", "forgotten-uve", "lost-uva", "lost-uve", "overlap", "steps", "seconds"} == rows.keys()
    assert [len(rows[f"lost-{method}"].rows) for method in ("uva", "uve")] == [3, 6]
    assert finished.model in read.text
    assert all(digest in read.text for digest in finished.steps.values())


def test_what_is_not_there_says_which_command_makes_it(read):
    missing = [a for tag, a in read.elements if tag == "p" and a.get("class") == "missing"]
    assert len(missing) == 5  # probe, costs, comparison, requests; and the place of the script
    assert "dkvb unlearn ROOT --class NAME" in read.text
    assert "with [compare] in the spec" in read.text


def test_no_table_is_empty(read):
    heads = [tag for tag, _ in read.elements if tag in ("table", "td")]
    for here, after in zip(heads, [*heads[1:], "table"], strict=True):
        assert (here, after) != ("table", "table")


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], ODD], ids=["plain", "odd"])
def test_a_page_asks_no_server(names, read):
    pages = [read, Read(page(names))]
    for one in pages:
        for tag, attributes in one.elements:
            for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                assert attributes.get(name, "#")[:1] == "#" or attributes[name] == "data:,", (tag, attributes)
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        style = "".join(one.inside["style"])
        assert "url(" not in style
        assert "@import" not in style


def test_the_policy_names_the_style_and_the_script_and_forbids_all_else(made, read):
    (policy,) = [a["content"] for a in read.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    text = made.decode()
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_every_drawing_has_a_title_and_a_description(read):
    ids = {attributes.get("id") for _, attributes in read.elements}
    drawings = [attributes for attributes in read.of("svg") if attributes.get("aria-hidden") != "true"]
    assert len(drawings) == 8
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert set(attributes["aria-labelledby"].split()) <= ids


def test_odd_names_are_shown_and_obeyed_by_nothing():
    data = page(ODD)
    one, plain = Read(data), Read(page([f"class {k}" for k in range(len(ODD))]))
    assert one.faults == []
    assert [tag for tag, _ in one.elements] == [tag for tag, _ in plain.elements]
    text = data.decode()
    assert "\u202e" not in text
    assert "\u2028" not in text
    assert "\x1b" not in text
    assert "\\u202e" in one.text
    assert "alert(1)" in one.text
    assert "{{ 7 * 7 }}" in one.text
    assert "x" * (LONGEST + 1) not in text
    assert "\u0301" * 5 not in text


def test_embedded_json_can_neither_end_its_element_nor_its_line():
    text = embedded({"names": ODD})
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()
    assert json.loads(text) == {"names": ODD}


def test_a_thousand_classes_are_a_small_page_made_soon():
    start = time.perf_counter()
    data = page([f"class number {k}" for k in range(1000)])
    assert len(data) <= 3_000_000
    assert time.perf_counter() - start < 60
    one = Read(data)
    assert one.faults == []
    assert len(one.of("details")) == 5  # a folded table each
    for table in data.decode().split("<table ")[1:]:
        assert table.partition("</table>")[0].count("<tr>") in (51, 1001)


def test_an_unfinished_root_has_a_page_too(own):
    for step in ("sweep", "counts"):
        (own.root / step / own.steps[step] / "DONE").unlink()
        (own.root / step / own.steps[step] / "checksums.json").unlink()
    one = Read(report(own))
    assert one.faults == []
    assert "No class was forgotten yet" in one.text
    assert "Activations were not counted yet" in one.text


def test_one_class_and_no_test_items_are_no_fault():
    assert Read(page(["alone"])).faults == []
    assert Read(page(["ant", "bee"], test=0)).faults == []
    assert Read(page(["ant", "bee"], seeds=3)).faults == []


def test_the_command_writes_it_and_says_where(dkvb, finished, tmp_path, made):
    ended = dkvb("report", finished.root, "-o", tmp_path / "r.html")
    assert ended.code == 0, ended.err
    assert "r.html" in ended.out
    assert (tmp_path / "r.html").read_bytes() == made


def test_the_command_names_what_is_wrong(dkvb, finished, tmp_path):
    ended = dkvb("report", finished.root, "--experiment", "tina", "-o", tmp_path / "r.html")
    assert ended.code == 2
    assert "did you mean 'tiny'" in ended.err
    assert not (tmp_path / "r.html").exists()
    assert dkvb("report", finished.root, "-o", tmp_path).code == 2
