"""Kinds of Kubernetes objects: a misspelt one is an error, and one that is not looked into is said to be none."""

import pytest
import yaml

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


@pytest.mark.parametrize(
    ("version", "kind", "says"),
    [
        ("ray.io/v1", "RayJbo", "kind: found RayJbo, expected `RayJob`"),
        ("ray.io/v1", "RayClutser", "kind: found RayClutser, expected `RayCluster`"),
        ("ray.io/v1", "RayServcie", "kind: found RayServcie, expected `RayService`"),
        ("ray.oi/v1", "RayJbo", "kind: found RayJbo, expected `RayJob`"),
        ("ray.io/v1", "Gadget", "kind: found Gadget, expected one of RayJob, RayCluster, RayService, RayCronJob;"),
        ("kueue.x-k8s.io/v1beta2", "LocalQeue", "kind: found LocalQeue, expected `LocalQueue`"),
        ("kueue.x-k8s.io/v1beta2", "Cohrot", "kind: found Cohrot, expected `Cohort`"),
        ("batch/v1", "RayJob", "apiVersion: found batch/v1, expected `ray.io/v1`"),
        (None, "CronJob", "the file: found no apiVersion, expected apiVersion and kind"),
        ("ray.io/v1", None, "the file: found no kind, expected apiVersion and kind"),
        (None, None, "the file: found the keys metadata, expected `provider`"),
    ],
)
def test_a_kind_that_is_none_is_an_error(version, kind, says, findings_of):
    given = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}
    found = findings_of(yaml.safe_dump({key: value for key, value in given.items() if value}, sort_keys=False))
    (error,) = [each for each in found if each.severity == "error" and not each.where.startswith("spec")]
    assert says in str(error)


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("batch/v1", "CronJob"),
        ("v1", "ConfigMap"),
        ("kueue.x-k8s.io/v1beta2", "Cohort"),
        ("serving.example/v1", "Job"),
        ("config.kueue.x-k8s.io/v1beta2", "Configuration"),
    ],
)
def test_an_object_that_is_not_looked_into_is_said_to_be_none(version, kind, findings_of):
    (found,) = findings_of(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: mine}}\n")
    assert (found.line, found.severity, found.found) == (2, "warning", f"{kind} mine")
    assert found.remedy.startswith("its fields were not checked")
