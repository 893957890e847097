"""Find nodes whose machines will be reclaimed, so that lanes can leave them in time.

Ray calls such a node draining: nothing new is placed on it, and what runs there continues. A node drains after
search/cluster/notice.py or `ray drain-node`, or when Ray itself gets SIGTERM. An autoscaler drains idle nodes too, but
a node with a lane is not idle.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import ray

from search.cluster.ray_internals import get_draining_nodes

LOOK_SECONDS = 1.0
"""How long a list of draining nodes is used before it is read again (its cost is in tests/benchmarks/LOG.md)."""


class Preempted(RuntimeError):
    """A lane leaves its node because the machine will be reclaimed. Its trial loses nothing and continues elsewhere."""


class DrainWatch:
    """Finds out whether one of some nodes is draining, and asks Ray at most once a second."""

    def __init__(
        self,
        look: Callable[[], Collection[str]] = get_draining_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._clock = clock
        self._next_look = clock()
        self._draining: Collection[str] = ()

    def find(self, nodes: Collection[str]) -> str | None:
        """Return the id of one of these nodes that is draining; None if there is none."""
        if self._clock() >= self._next_look:
            self._draining = self._look()
            self._next_look = self._clock() + LOOK_SECONDS
        return next((node for node in nodes if node in self._draining), None)


@dataclass(frozen=True, kw_only=True)
class UsableNode:
    """A node on which something new can be placed."""

    id: str
    address: str
    resources: dict[str, float]
    labels: dict[str, str]


def usable_nodes() -> list[UsableNode]:
    """Return the nodes that are alive and not draining."""
    draining = get_draining_nodes()
    return [
        UsableNode(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            resources=node["Resources"],
            labels=node.get("Labels", {}),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in draining
    ]


def address_of(node_id: str) -> str:
    """Return the address of a node, or its id if Ray no longer knows the node."""
    return next((node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id), node_id)
