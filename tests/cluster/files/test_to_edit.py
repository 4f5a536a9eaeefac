"""What is the reader's to fill in or to make: told until it is done."""

import pytest

from cluster.files.render import PROVIDERS, render

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_line_that_is_marked_as_one_to_edit_is_warned_of(provider, findings_of):
    text = render(provider)
    warned = {each.line for each in findings_of(text) if each.expected == "a value of yours"}
    marked = [number for number, line in enumerate(text.splitlines(), start=1) if "EDIT:" in line]
    assert len(marked) >= 2
    assert [number for number in marked if not warned & {*range(number, number + 4)}] == []


def test_what_is_named_and_not_made_is_listed_once(findings_of):
    usage = '{name: RAY_USAGE_STATS_ENABLED, value: "0"}'
    secret = ", {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hf-token, key: token}}}"
    volume = "          volumes: [{name: a, persistentVolumeClaim: {claimName: shared}}]\n          containers:\n"
    text = (
        render("kuberay")
        .replace("serviceAccountName: dkvb", "serviceAccountName: mine")
        .replace(usage, usage + secret)
        .replace("          containers:\n", volume, 1)
    )
    (found,) = [each for each in findings_of(text) if each.found == "names of other objects"]
    assert found.severity == "warning"
    everything = "ServiceAccount mine, PersistentVolumeClaim shared, Secret hf-token"
    assert found.expected == f"these to exist in the namespace: {everything}"


@pytest.mark.parametrize(
    ("provider", "old", "new"),
    [
        ("aws", "region: us-west-2 ", "region: eu-central-1 "),
        ("aws", "us-west-2  # EDIT:", "us-west-2  #"),
        ("kuberay", "serviceAccountName: dkvb\n          c", "serviceAccountName: mine\n          c"),
        ("local", "~/.ssh/id_ed25519 ", "~/.ssh/mine "),
    ],
)
def test_a_line_to_edit_is_warned_of_until_its_value_or_its_mark_is_another(provider, old, new, findings_of):
    text = render(provider)
    value = next(line for line in text.splitlines() if old.splitlines()[0].split("  #")[0].strip() in line)
    line = text.splitlines().index(value) + 1
    assert [each.severity for each in findings_of(text) if each.line == line and "as rendered" in each.found] == [
        "warning"
    ]
    assert old in text
    assert [
        each for each in findings_of(text.replace(old, new)) if each.line == line and "as rendered" in each.found
    ] == []


def test_a_name_that_is_still_to_edit_is_told_once(findings_of):
    text = render("kuberay")
    line = next(n for n, each in enumerate(text.splitlines(), start=1) if "serviceAccountName" in each)
    assert [each.found for each in findings_of(text) if each.line == line] == ["dkvb, as rendered"]
    without = text.replace("# EDIT: a service account", "# A service account")
    assert [each.found for each in findings_of(without) if each.line == line] == ["names of other objects"]


def test_a_line_as_rendered_is_told_by_its_keys(findings_of):
    found = [str(each) for each in findings_of(render("aws")) if "as rendered" in each.found]
    assert any("provider.region: found us-west-2, as rendered, expected a value of yours" in each for each in found)


def test_what_an_alias_repeats_is_told_once(findings_of):
    text = render("kuberay", image="registry.example/dkvb:1").replace("dkvb:1", "dkvb:latest")
    assert text.count("*image") == 2
    assert len([each for each in findings_of(text) if "expected a fixed tag" in str(each)]) == 1
    text = text.replace("*image", "registry.example/dkvb:latest")
    assert len([each for each in findings_of(text) if "expected a fixed tag" in str(each)]) == 3
