"""Kubernetes quantities: read, and found out where they are none, with no CRD at hand."""

import pytest

from cluster.files.quantity import quantity
from cluster.files.render import render

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("500m", 0.5),
        (2, 2),
        ("1.5", 1.5),
        ("2Gi", 2**31),
        ("1M", 1e6),
        ("1e3", 1000),
        (".5", 0.5),
        ("1E", 1e18),
        ("x", None),
        (None, None),
        ("12Gb", None),
        ("12 Gi", None),
        (True, None),
    ],
)
def test_a_quantity_is_a_number(given, number):
    assert quantity(given) == number


REQUESTS = 'requests: {cpu: "7", memory: '
NONE = "expected a quantity, as 500m, 2 or 16Gi; correct it"


@pytest.mark.parametrize(
    ("provider", "old", "new", "says"),
    [
        ("kuberay", REQUESTS, REQUESTS.replace("7", "lots"), f'requests.cpu: found "lots", {NONE}'),
        ("kuberay", 'limits: {cpu: "2", memory: 8Gi}', "limits: {memory: 9Gb}", f'limits.memory: found "9Gb", {NONE}'),
        ("kuberay", REQUESTS, f"{REQUESTS}9", "expected at most the limit, "),
        ("kuberay", "maxReplicas: 4", 'maxReplicas: "4"', 'found "4", expected type integer; remove the quotes'),
        ("kuberay", "minReplicas: 0", "minReplicas: few", 'found "few", expected type integer; correct it'),
        ("kueue", "{name: cpu, nominalQuota: ", "{name: cpu, nominalQuota: x", f'nominalQuota: found "x43", {NONE}'),
    ],
)
def test_an_amount_that_is_none_is_found_without_a_crd(provider, old, new, says, findings_of):
    text = render(provider)
    assert old in text
    broken = text.replace(old, new)
    found = [each for each in findings_of(broken) if each.severity == "error" and says in str(each)]
    assert found
    assert all(new.split(": ")[0].strip("{") in broken.splitlines()[each.line - 1] for each in found)
