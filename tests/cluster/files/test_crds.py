"""KubeRay's and Kueue's own CRDs, where they are at hand: templates pass, and each misspelt field is found."""

import copy
import random

import pytest
import yaml

from cluster.files.check import check
from cluster.files.render import render
from cluster.files.schemas import read_schemas
from tests.cluster.files.crds import CRDS, needs_crds
from tests.cluster.files.test_check import TO_EDIT
from tests.cluster.files.test_check import places as all_places

pytestmark = [needs_crds, pytest.mark.usefixtures("one_version_of_ray", "home")]


@pytest.fixture(scope="module")
def schemas():
    return read_schemas(CRDS)


@pytest.fixture
def found_in(schemas, tmp_path):
    def found(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return [each for each in check(path, schemas=schemas) if each.expected not in TO_EDIT]

    return found


@pytest.mark.parametrize("provider", ["kuberay", "kueue"])
def test_what_is_rendered_passes(provider, found_in):
    assert found_in(render(provider)) == []


# fmt: off
MISTAKES = [
    ("kuberay", "mode: token", "mode: token\n      secretname: a",
     "authOptions.secretname: found an unknown key, expected `secretName`; rename it"),
    ("kuberay", "serviceAccountName: dkvb\n          c", "serviceAccountname: dkvb\n          c",
     "template.spec.serviceAccountname: found an unknown key, expected `serviceAccountName`; rename it"),
    ("kuberay", "tolerations:", "toleration:", "spec.toleration: found an unknown key, expected `tolerations`"),
    ("kuberay", "idleTimeoutSeconds: 300", 'idleTimeoutSeconds: "5m"',
     'autoscalerOptions.idleTimeoutSeconds: found "5m", expected type integer'),
    ("kuberay", "backoffLimit: 2", "backofLimit: 2", "found an unknown key, expected `backoffLimit`; rename it"),
    ("kuberay", 'num-cpus: "0"', "num-cpus: 0", "rayStartParams.num-cpus: found 0, expected a string; quote it"),
    ("kuberay", "groupName: gpu", "groupname: gpu", "groupname: found an unknown key, expected `groupName`"),
    ("kuberay", "replicas: 0\n", "replicas: a\n", 'workerGroupSpecs[0].replicas: found "a", expected type integer'),
    ("kuberay", "memory: 4Gi,", "memory: 4Gib,", 'requests.memory: found "4Gib", expected a quantity'),
    ("kuberay", "\n      template:\n", "\n      tolerations: []\n      template:\n",
     "headGroupSpec.tolerations: found an unknown key, expected `template.spec.tolerations`; move it there"),
    ("kueue", "metadata:\n  name: dkvb\n---", "metadata:\n  name: dkvb\nspec: {nodeLabel: {a: b}}\n---",
     "spec.nodeLabel: found an unknown key, expected `nodeLabels`; rename it"),
    ("kueue", "  namespaceSelector", "  cohort: a\n  namespaceSelector",
     "spec.cohort: found an unknown key, expected `cohortName`; rename it"),
    ("kueue", "  namespaceSelector", "  preemptions: {}\n  namespaceSelector",
     "spec.preemptions: found an unknown key, expected `preemption`; rename it"),
]
# fmt: on


@pytest.mark.parametrize(("provider", "old", "new", "says"), MISTAKES)
def test_a_mistake_is_found_with_the_right_name(provider, old, new, says, found_in):
    assert old in render(provider)
    found = found_in(render(provider).replace(old, new, 1))
    assert any(each.severity == "error" and says in str(each) for each in found), list(map(str, found))
    assert len(found) == 1 if "num-cpus" not in old else len(found) <= 2


DELETION = """deletionStrategy:
    deletionRules:
      - {policy: DeleteCluster, condition: {jobStatus: SUCCEEDED, ttlSeconds: 60}}"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  name: dkvb\n", "  generateName: dkvb-\n"),
        ("shutdownAfterJobFinishes: true\n  ttlSecondsAfterFinished: 300", DELETION),
        ('        num-cpus: "0"\n', '        {}\n      resources: {CPU: "0"}\n'),
    ],
)
def test_what_kuberay_takes_is_no_mistake(old, new, found_in):
    assert old in render("kuberay")
    assert found_in(render("kuberay").replace(old, new)) == []


def test_a_run_on_a_cluster_that_is_there_needs_none_of_its_own_and_no_retries(found_in):
    text = "apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: a}\nspec:\n  entrypoint: python a.py\n"
    assert found_in(f"{text}  clusterSelector: {{ray.io/cluster: b}}\n") == []
    assert "spec.rayClusterSpec: found nothing, expected a Ray cluster" in " ".join(map(str, found_in(text)))


def places(value, keys=()):
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(key, str):
            yield (*keys, key)
        yield from places(item, (*keys, key))


FREE = ("labels", "rayStartParams", "requests", "limits", "namespaceSelector")
"""Mappings whose keys are anyone's own."""


@pytest.mark.parametrize("provider", ["kuberay", "kueue"])
def test_every_field_without_its_last_letter_is_found_and_its_name_proposed(provider, found_in):
    pick = random.Random(provider)
    documents = list(yaml.safe_load_all(render(provider)))
    fields = [(n, keys) for n, each in enumerate(documents) for keys in places(each) if keys[0] in ("spec", "metadata")]
    fields = [(n, keys) for n, keys in fields if len(keys) > 1 and not {*keys[:-1]} & {*FREE}]
    for n, keys in pick.sample(fields, 15):
        broken = copy.deepcopy(documents)
        above = broken[n]
        for key in keys[:-1]:
            above = above[key]
        above[keys[-1][:-1]] = above.pop(keys[-1])
        found = [str(each) for each in found_in(yaml.safe_dump_all(broken))]
        assert any(f"found an unknown key, expected `{keys[-1]}`; rename it" in each for each in found), (keys, found)


@pytest.mark.parametrize("provider", ["kuberay", "kueue"])
def test_anything_in_place_of_something_ends_in_findings(provider, found_in):
    pick = random.Random(f"anything {provider}")
    for _ in range(40):
        documents = list(yaml.safe_load_all(render(provider)))
        *way, last = pick.choice([keys for keys in all_places(documents) if keys])
        above = documents
        for key in way:
            above = above[key]
        above[last] = pick.choice([None, 7, 1.5, True, "x", "", [], {}, [None], {7: 8}, [{}], {"x": [1, {}]}])
        assert all(str(each) for each in found_in(yaml.safe_dump_all(documents))), (way, last, above[last])
