"""Metrics: counted where there is a cluster, and nowhere else."""

import json
import re
import sys
import urllib.request

import pytest
import yaml

from cluster import metrics
from cluster.session import session
from tests.paths import REPOSITORY
from tests.processes import wait_until


def tell():
    metrics.count(metrics.UNITS, {"step": "keys", "result": "done"})
    metrics.count(metrics.UNITS, {"step": "keys", "result": "done"})
    metrics.gauge(metrics.IMAGES, 17.5, {"step": "embeddings[train]"})
    metrics.count(metrics.LOST, {"step": "keys"})
    metrics.gauge(metrics.QUEUE, 3)


def test_without_a_session_metrics_go_nowhere_and_ray_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    tell()
    assert "ray" not in sys.modules


@pytest.mark.ray
def test_counters_and_gauges_reach_the_cluster_s_exporter():
    with session(workers=1):
        import ray

        port = ray.nodes()[0]["MetricsExportPort"]
        tell()

        def exported():
            with urllib.request.urlopen(f"http://{ray.util.get_node_ip_address()}:{port}/metrics", timeout=5) as answer:
                lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_dkvb_")]
            return lines if any("dkvb_queue_length" in line for line in lines) else None

        lines = wait_until(exported, "the metrics", every=0.5)
    (units,) = [line for line in lines if line.startswith("ray_dkvb_units_total{")]
    assert 'step="keys"' in units
    assert 'result="done"' in units
    assert units.endswith(" 2.0")
    assert [line for line in lines if line.startswith("ray_dkvb_workers_lost_total{") and line.endswith(" 1.0")]
    assert [line for line in lines if "images_per_second" in line and line.endswith(" 17.5")]
    assert [line for line in lines if "queue_length" in line and line.endswith(" 3.0")]


def test_every_metric_says_what_it_means():
    assert set(metrics.MEANING) == {metrics.UNITS, metrics.IMAGES, metrics.LOST, metrics.QUEUE}


EXPORTED = {f"ray_{name}" + "_total" * (name in (metrics.UNITS, metrics.LOST)) for name in metrics.MEANING}


def test_every_metric_is_documented_as_it_is_exported():
    page = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `ray_dkvb_")} == EXPORTED


def test_the_dashboard_shows_every_metric_and_no_other():
    board = json.loads((REPOSITORY / "docs" / "metrics" / "grafana.json").read_bytes())
    texts = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert set(re.findall(r"ray_dkvb_\w+", " ".join(texts))) == EXPORTED
    for label in re.findall(r"by \((\w+)\)|\{(\w+)=", " ".join(texts)):
        assert "".join(label) in {"step", "result"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_pod_monitor_reads_the_port_of_every_pod_of_ray():
    monitor = yaml.safe_load((REPOSITORY / "docs" / "metrics" / "podmonitor.yaml").read_text(encoding="utf-8"))
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    # source: KubeRay, ray-operator/controllers/ray/common/pod.go: the port's name, and the label of its pods.
    assert monitor["spec"]["selector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    for name in ("kuberay", "kueue"):
        text = (REPOSITORY / "cluster" / "files" / "templates" / f"{name}.yaml").read_text(encoding="utf-8")
        assert 'metrics-export-port: "8080"' in text
