"""`dkvb schema`: the JSON Schema of specs for editors, printed or written."""

import json

from jobs.spec.mistakes import SCHEMA


def test_the_schema_is_printed_or_written(dkvb, tmp_path):
    ended = dkvb("schema")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == json.loads(SCHEMA.read_bytes())
    assert dkvb("schema", "-o", tmp_path / "dkvb.schema.json").code == 0
    assert (tmp_path / "dkvb.schema.json").read_bytes() == SCHEMA.read_bytes()
    assert dkvb("schema", "-o", tmp_path).code == 2


def test_with_json_it_is_printed_though_it_is_written(dkvb, tmp_path):
    assert dkvb("schema", "--json").out == dkvb("schema").out
    ended = dkvb("schema", "-o", tmp_path / "dkvb.schema.json", "--json")
    assert json.loads(ended.out) == json.loads((tmp_path / "dkvb.schema.json").read_bytes())
