"""Cluster files as they are rendered: each passes its own check, and says which Ray and which code."""

import re
import tomllib

import pytest
import yaml

from cluster.errors import InvalidRequest
from cluster.files import render as rendering
from cluster.files.render import PROVIDERS, Run, dependencies, ray_of, render
from tests.cluster.files.test_check import TO_EDIT
from tests.paths import REPOSITORY

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("workers", [1, 7, None])
def test_what_is_rendered_has_no_errors_and_warns_of_what_is_to_edit_only(provider, workers, findings_of):
    found = findings_of(render(provider, max_workers=workers))
    unchecked = {("warning", TO_EDIT[1])} if provider in rendering.ON_KUBERNETES else set()
    expected = {("warning", "a value of yours")} | unchecked
    assert {(each.severity, each.expected) for each in found} == expected, list(map(str, found))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_line_that_is_warned_of_is_marked_as_one_to_edit(provider, findings_of):
    text = render(provider)
    lines = text.splitlines()
    for finding in [each for each in findings_of(text) if each.expected == "a value of yours"]:
        near = lines[max(0, finding.line - 4) : finding.line + 1]
        assert "EDIT" in "".join(near)


@pytest.mark.parametrize("provider", rendering.ON_KUBERNETES)
def test_a_file_for_a_spec_runs_that_spec_on_a_root_and_images_of_its_name(provider, findings_of):
    text = render(provider, run=Run(spec="imagenet1k-clip", gpu_memory=9, cpu_memory=19, disk=18))
    assert "cifar10" not in text
    job = list(yaml.safe_load_all(text))[-1]["spec"]
    name = "imagenet1k-clip"
    assert job["entrypoint"].startswith(
        f"dkvb run {name} --root s3://edit-me/roots/{name} --images s3://edit-me/images/{name} "
    )
    own = render(provider, run=Run(spec="/edit-me/mine.toml"))
    assert "dkvb run /edit-me/mine.toml\n    --root s3://edit-me/roots/mine --images s3://edit-me/images/mine\n" in own
    assert "EDIT: the path of the spec, as the head's pod has it" in own
    assert [each for each in findings_of(own) if each.severity == "error"] == []


@pytest.mark.parametrize("provider", rendering.ON_KUBERNETES)
def test_pods_ask_for_disk_and_the_queue_has_it(provider):
    *queue, job = yaml.safe_load_all(render(provider, max_workers=3, run=Run(disk=18)))
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    asked = [each["template"]["spec"]["containers"][0]["resources"]["requests"] for each in pods]
    assert [each["ephemeral-storage"] for each in asked] == ["10Gi", "18Gi", "18Gi"]
    if provider == "kueue":
        (group,) = queue[1]["spec"]["resourceGroups"]
        quotas = {each["name"]: each["nominalQuota"] for each in group["flavors"][0]["resources"]}
        assert quotas["ephemeral-storage"] == f"{10 + 3 * 2 * 18}Gi"


def test_the_shipped_file_is_the_rendered_one_byte_for_byte():
    assert (REPOSITORY / "ray-cluster.yaml").read_text(encoding="utf-8") == render("aws")


@pytest.mark.parametrize("provider", ["aws", "gcp", "local"])
def test_ray_itself_accepts_what_is_rendered(provider):
    config = yaml.safe_load(render(provider))
    for node_type in config.get("available_node_types", {}).values():  # Ray asks AWS for what is not said
        node_type.setdefault("resources", {"CPU": 4})
    assert rendering.objection(config) is None


def test_nodes_get_what_the_project_depends_on():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert dependencies() == [each for each in project["dependencies"] if not each.startswith("ray[")]
    for provider, storage in (("aws", "s3fs"), ("local", "s3fs")):
        (install,) = [each for each in yaml.safe_load(render(provider))["setup_commands"] if "pip install" in each]
        assert all(f'"{each}"' in install for each in (*dependencies(), *project["optional-dependencies"]["s3"]))
        assert storage in install


@pytest.mark.parametrize("provider", PROVIDERS)
def test_given_values_stand_where_they_belong(provider):
    image = "registry.test/team/dkvb:1.2.3-ray2.60.0"
    text = render(provider, name="eleven", max_workers=11, image=image)
    documents = list(yaml.safe_load_all(text))
    assert "eleven" in (documents[-1].get("cluster_name"), documents[-1].get("metadata", {}).get("name"))
    assert text.count(image) == 1
    eleven = {"aws": "max_workers: 11", "gcp": "max_workers: 11", "local": "192.0.2.21"}
    assert eleven.get(provider, "maxReplicas: 11") in text
    assert "$" not in re.sub(r"\$\(id -[ug]\)|\$RAY_HEAD_IP", "", text)


@pytest.mark.parametrize(
    "given",
    [
        {"provider": "azure"},
        {"name": ""},
        {"name": "Dkvb"},
        {"name": "dkvb\nmax_workers: 900"},
        {"name": "a: b"},
        {"name": "-a"},
        {"name": "a" * 41},
        {"name": "${image}"},
        {"max_workers": 0},
        {"max_workers": -3},
        {"max_workers": 1001},
        {"provider": "local", "max_workers": 201},
        {"image": "rayproject/ray"},
        {"image": "rayproject/ray:latest"},
        {"image": "rayproject/ray:2.60.0 # x"},
        {"image": "rayproject/ray:2.60.0\n  privileged: true"},
        {"image": "a: b:c"},
        {"image": ""},
        {"run": Run(spec="a b.toml")},
        {"run": Run(spec="a\nb: c")},
    ],
)
def test_rendering_refuses_values_that_cannot_be_meant(given):
    with pytest.raises(InvalidRequest, match=r"^render: .*expected"):
        render(**({"provider": "aws"} | given))


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("rayproject/ray:2.60.0-py312-gpu", "2.60.0"),
        ("rayproject/ray-ml:2.9.3", "2.9.3"),
        ("registry.test:5000/a/dkvb:0.1.0-ray2.60.0", "2.60.0"),
        ("registry.test:5000/a/dkvb", None),
        ("dkvb:0.1.0", None),
        ("a/b@sha256:" + "0" * 64, None),
    ],
)
def test_the_ray_in_an_image_is_read_from_its_tag(image, version):
    assert ray_of(image) == version


@pytest.mark.parametrize("name", ["dkvb", "a-name-that-is-rather-long"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_the_commands_at_the_head_do_stands_in_one_column(provider, name):
    commands = re.findall(r"^(#     \S.*?  +)\S", render(provider, name=name), re.M)
    assert len(commands) >= 4
    assert len({*map(len, commands)}) == 1
