"""Schemas: CRDs are read as people have them, and refuse in its line what `kubectl apply` refuses."""

import json

import pytest

from cluster.errors import InvalidRequest
from cluster.files.check import check
from cluster.files.schemas import read_schemas, schemas_of
from tests.cluster.files.crds import crd, written

OBJECT = "apiVersion: test.example/v1\nkind: Gadget\nmetadata: {name: a}\nspec:\n  size: 2\n"


@pytest.fixture
def refused(tmp_path):
    def found(text, schemas=None):
        path = tmp_path / "object.yaml"
        path.write_text(text)
        schemas = schemas or schemas_of("here", [crd()])
        found = [each for each in check(path, schemas=schemas) if each.found != "names of other objects"]
        return [str(each).removeprefix(f"{path}:") for each in found]

    return found


@pytest.mark.parametrize(
    "more",
    [
        "",
        "  mode: Fast\n  isOpen: false\n",
        "  amount: 2\n",
        "  amount: 500m\n",
        "  labels: {a: b}\n",
        "  labels: {a: null}\n",
        "  mode:\n",
        "  ports: [{port: 1}, {port: 1, protocol: UDP}]\n",
        "  names: [a, b]\n",
        "  choice: [a, null]\n",
        "  anything: {a: {b: [c]}}\n",
        "  inner: {apiVersion: v1, kind: A, metadata: {name: b}, spec: {serviceAccountName: a}}\n",
        "  word: never judged\n",
        "  elsewhere: {}\n",
        "  mode: Fast\nstatus: {}\n",
    ],
)
def test_what_kubernetes_takes_is_taken(more, refused):
    assert refused(OBJECT + more) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("  Mode: Fast\n", "6: error: spec.Mode: found an unknown key, expected `mode`; rename it"),
        ("  modes: Fast\n", "6: error: spec.modes: found an unknown key, expected `mode`; rename it"),
        ("  zzz: 1\n", "6: error: spec.zzz: found an unknown key, expected a field of the schema; remove it"),
        (
            "  tolerations: []\n",
            "6: error: spec.tolerations: found an unknown key, expected a field of the schema; remove it",
        ),
        ("  template: {serviceAccountName: a}\n", "expected `spec.serviceAccountName`; move it there"),
        ("  template: {spec: {toleration: []}}\n", "expected `tolerations`; rename it"),
        ("  template: {spec: {zzz: 1}}\n", "expected one of serviceAccountName, tolerations; remove it"),
        ("  empty: {a: 1}\n", "6: error: spec.empty.a: found an unknown key, expected no field here; remove it"),
        ("  isOpen: 'true'\n", '6: error: spec.isOpen: found "true", expected type boolean; remove the quotes'),
        ("  isOpen: {}\n", "6: error: spec.isOpen: found a mapping, expected type boolean; correct it"),
        ("  labels: {a: 1}\n", "6: error: spec.labels.a: found 1, expected a string; quote it"),
        ("  labels: {a: 2026-01-01, b: true}\n", "6: error: spec.labels.b: found true, expected a string; quote it"),
        ("  mode: fast\n", '6: error: spec.mode: found "fast", expected `Fast`; correct it'),
        ("  mode: Zzz\n", '6: error: spec.mode: found "Zzz", expected one of Fast, Careful; correct it'),
        ("  amount: 0.5\n", "6: error: spec.amount: found 0.5, expected an integer or a string; quote it"),
        ("  amount: 8Gib\n", '6: error: spec.amount: found "8Gib", expected a quantity, as 500m, 2 or 16Gi'),
        ("  ports: [{port: 1}, {port: 1, protocol: TCP}]\n", "ports[1]: found port, protocol of item 0 again"),
        ("  ports: [{protocol: TCP}]\n", "ports[0].port: found nothing, expected a value of type integer"),
        ("  names: [a, b, a]\n", "6: error: spec.names[2]: found all of item 0 again, expected each item once"),
        ("  names: [a, null]\n", "6: error: spec.names[1]: found nothing, expected type string; correct it"),
        ("  names: a\n", '6: error: spec.names: found "a", expected type array; correct it'),
        ("  inner: {metadatas: {}}\n", "spec.inner.metadatas: found an unknown key, expected `metadata`; rename it"),
        ("more: 1\n", "6: error: more: found an unknown key, expected"),
    ],
)
def test_what_kubernetes_refuses_is_refused_once_in_its_line(more, says, refused):
    (found,) = refused(OBJECT + more)
    assert says in found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  size: 2\n", "  size: 0\n", "5: error: spec.size: found 0, expected minimum 1; correct it"),
        ("  size: 2\n", "  size: '2'\n", '5: error: spec.size: found "2", expected type integer; remove the quotes'),
        ("  size: 2\n", "  size: 5m\n", '5: error: spec.size: found "5m", expected type integer; correct it'),
        ("  size: 2\n", "  mode: Fast\n", "4: error: spec.size: found nothing, expected a value of type integer"),
        ("  size: 2\n", "  size:\n", "5: error: spec.size: found nothing, expected a value of type integer; add it"),
        ("  size: 2\n", "  sizes: 2\n", "5: error: spec.sizes: found an unknown key, expected `size`; rename it"),
        ("{name: a}", "{nmae: a}", "3: error: metadata.nmae: found an unknown key, expected `name`; rename it"),
        ("{name: a}", "{name: a, labels: {b: 1}}", "metadata.labels.b: found 1, expected a string; quote it"),
    ],
)
def test_what_is_missing_or_of_another_type_is_named(old, new, says, refused):
    (found,) = refused(OBJECT.replace(old, new))
    assert says in found


def test_the_value_of_an_environment_variable_is_not_repeated(refused):
    env = {"type": "array", "items": {"type": "object", "properties": {"value": {"type": "string"}}}}
    schemas = schemas_of("here", [crd(spec={"type": "object", "properties": {"env": env}})])
    (found,) = refused(OBJECT.replace("size: 2", "env: [{value: 271828}]"), schemas)
    assert "spec.env[0].value: found an integer without quotes, expected a string; quote it" in found
    assert "271828" not in found


def test_a_kind_of_ours_without_a_schema_is_said_to_be_unchecked_and_one_of_another_version_is_refused(refused):
    ours = OBJECT.replace("test.example/v1", "kueue.x-k8s.io/v1beta2").replace("Gadget", "LocalQueue")
    (found,) = refused(ours)
    assert "2: warning: kind: found no schema for LocalQueue, expected a CRD of each in here; field names" in found
    schemas = schemas_of("here", [crd("LocalQueue", "kueue.x-k8s.io", versions=("v1beta2",))])
    assert refused(ours, schemas) == []
    (found, *_) = refused(ours.replace("v1beta2", "v1beta1"), schemas)
    assert "1: error: apiVersion: found kueue.x-k8s.io/v1beta1, expected `kueue.x-k8s.io/v1beta2`" in found


def test_crds_are_read_from_a_file_a_folder_and_a_list_in_yaml_or_json(tmp_path):
    both = {("test.example/v1", "Gadget"), ("test.example/v1", "Widget")}
    values = [crd(), {"kind": "Deployment"}, None, 7, crd("Widget")]
    assert {*read_schemas(written(tmp_path, *values)).of} == both
    assert {*read_schemas(tmp_path).of} == both
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"kind": "List", "items": [crd("Third")]}))
    assert {*read_schemas(listed).of} == {("test.example/v1", "Third")}
    (tmp_path / "README.md").write_text("- [")
    assert len(read_schemas(tmp_path).of) == 3


def test_a_version_that_is_not_served_is_no_schema():
    value = crd(versions=("v1", "v2"))
    value["spec"]["versions"][0]["served"] = False
    assert {*schemas_of("here", [value]).of} == {("test.example/v2", "Gadget")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "expected CRDs in YAML or JSON, found while parsing"),
        ("a: b\n", "found no CustomResourceDefinition; docs/cluster.md says where to get them"),
        ("kind: CustomResourceDefinition\nspec: [7]\n", "found no CustomResourceDefinition"),
        ("kind: CustomResourceDefinition\nspec: {versions: [7, {served: true, schema: 7}]}\n", "found no CustomRes"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: \x00", "expected CRDs in YAML or JSON, found"),
    ],
)
def test_what_holds_no_crd_is_refused_by_name(text, says, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as error:
        read_schemas(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("broken", [{"type": 7}, {"type": "object", "properties": [1]}, {"type": "nothing"}])
def test_a_schema_that_makes_no_sense_is_named(broken, refused):
    with pytest.raises(InvalidRequest, match="the schema of Gadget cannot be used"):
        refused(OBJECT, schemas_of("here", [crd(spec=broken)]))
