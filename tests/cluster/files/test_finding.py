"""Findings: one line each, whatever a file holds, and a count of them all."""

import pytest

from cluster.files.check import summary
from cluster.files.render import render

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")


def test_a_finding_is_one_line_that_any_terminal_can_show(findings_of):
    found = findings_of('kind: RayJob\napiVersion: "\\e[2J\\ud800\\n x"\n')[-1]
    assert "found \\x1b[2J\\ud800 x, expected `ray.io/v1`" in str(found)
    (found,) = [each for each in findings_of('cluster_name: a\n"\\e\\n": b\n') if each.found == "an unknown key"]
    assert r": error: \x1b\n: found an unknown key" in str(found)


def test_a_summary_counts(findings_of):
    assert summary(findings_of(render("aws"))) == "0 errors, 2 warnings"
    assert summary(findings_of("7\n")) == "1 error, 0 warnings"
