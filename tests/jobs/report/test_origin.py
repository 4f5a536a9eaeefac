"""Requests, provenance and commands, from roots that have them."""

import json

import pytest

from jobs import certificate
from jobs.report.origin import Made, left_out_text, provenance, read_made, reproduce, requests, seconds
from jobs.report.page import report
from jobs.report.records import Code, Facts, Table
from jobs.report.toml import toml
from jobs.results.experiment import find
from jobs.spec.reading import as_table, load_specs
from tests.jobs.report.made import Read


def logged(root, number, **asker):
    """A request in the log of a root."""
    said = certificate.body(
        request={"classes": ["<b>cat</b>"], "method": "uva", "budget": 1234},
        asker=certificate.Asker(**asker, command=("dkvb", "unlearn")),
        model="m",
        files={},
        measured=None,
    )
    folder = root / "unlearned" / f"{number:016x}"
    folder.mkdir(parents=True)
    return certificate.write(certificate.signed(said, None), root, folder)


def test_requests_are_shown_the_newest_first(own):
    logged(own.root, 1, by="ann", ticket="T-1")
    logged(own.root, 2, by="</td><script>bob()</script>", reason="asked\u202e to")
    (table,) = [block for block in requests(own.root).blocks if isinstance(block, Table)]
    assert [row[-1].text for row in table.rows] == [f"unlearned/{2:016x}", f"unlearned/{1:016x}"]
    assert [cell.text for cell in table.rows[1]][2:8] == ["uva", "1,234", "ann", "T-1", "–", "no"]
    page = report(own)
    read = Read(page)
    assert read.faults == []
    assert len(read.of("script")) == 2
    assert "</td><script>bob()</script>" in read.text
    assert "<b>cat</b>" in read.text
    assert "\u202e" not in page.decode()


def test_the_spec_that_a_page_gives_makes_the_same_steps(finished, images, tmp_path):
    from jobs.plan.plan import make_plan

    path = tmp_path / "tiny.toml"
    path.write_text(toml(as_table(finished.spec)), encoding="utf-8")
    (spec,) = load_specs(str(path))
    assert {step.label: step.digest for step in make_plan(spec, str(images)).steps} == finished.steps


def test_commands_name_the_experiment_and_the_code(finished):
    made = read_made(finished)
    text = "\n".join(block.text for block in reproduce(finished, made).blocks if isinstance(block, Code))
    assert "dkvb run tiny.toml --root ROOT --images DIR" in text
    assert "dkvb report ROOT --experiment tiny" in text
    if commit := made[-1].said["commit"]:
        assert f"git checkout {commit.removesuffix('+dirty')}" in text
    assert str(finished.root) not in text


def test_provenance_has_every_step_and_each_version_once(finished):
    made = read_made(finished)
    facts, table = provenance(made).blocks[1:]
    assert isinstance(facts, Facts)
    assert isinstance(table, Table)
    assert [row[1].text for row in table.rows] == [*finished.steps.values()]
    assert dict(facts.items)["Versions"].count("torchvision ") == 1


def test_seconds_add_up(finished):
    *parts, all_of_them = seconds(read_made(finished), None)
    assert all_of_them.seconds == pytest.approx(sum(one.seconds for one in parts))


def test_a_root_of_an_earlier_version_without_times_has_a_page(own, unsealed):
    unsealed(own.root)
    for path in own.root.glob("*/*/provenance.json"):
        said = json.loads(path.read_text())
        path.write_text(json.dumps({"facts": said["facts"]}))
    assert Read(report(find(own.root, None))).faults == []


def test_what_could_not_be_used_is_counted_once_and_named():
    def made(label, *items):
        left = [{"shard": "", "item": item, "reason": "torn"} for item in items]
        return Made(label, "0" * 16, {"facts": {"left_out": left}})

    assert left_out_text([Made("keys", "0" * 16, {}), made("manifest[train]")]) == ""
    both = [made("manifest[train]", *"ab"), made("embeddings[train]", *"abcdefg")]
    assert left_out_text(both).startswith("7 of the images and shards, which could not be used: a: torn; b: torn;")
    assert "; e: torn; and 2 more; all are in provenance.json" in left_out_text(both)
