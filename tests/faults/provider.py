"""The nodes of a growing cluster: processes of this machine, whose memory Ray counts by itself."""

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Processes(FakeMultiNodeProvider):  # type: ignore[misc]
    """As its parent, but a node type may name its memory, which the parent takes for a resource unknown to Ray."""

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: Any, resources: dict[str, float], labels: Any
    ) -> None:
        started = {name: amount for name, amount in resources.items() if name != "memory"}
        super().create_node_with_resources_and_labels(node_config, tags, count, started, labels)
