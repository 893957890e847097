"""Nodes that are about to be taken back, and the lanes that leave them.

Ray calls such a node draining: it places nothing new there, and lets what runs go on. search/cluster/notice.py, `ray
drain-node`, or Ray itself when it is told to end (SIGTERM), says so. An autoscaler drains nodes that are idle, too;
those have no lane, for one that has books something, and Ray refuses then.
"""

import time
from collections.abc import Callable, Collection

import ray

LOOK_SECONDS = 1.0
"""How long the list of draining nodes is believed; a look is a question to Ray's head (LOG.md)."""


class Preempted(RuntimeError):
    """A lane leaves its node, which is taken back. That is no loss: its trial goes on elsewhere from where it is."""


class DrainWatch:
    """Says whether nodes are about to be taken back."""

    def __init__(
        self,
        look: Callable[[], Collection[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look or draining_nodes
        self._clock = clock
        self._next_look = clock()  # the first question is answered by a look
        self._draining: Collection[str] = ()

    def find(self, nodes: Collection[str]) -> str | None:
        """Return one of these nodes that is draining; None if there is none."""
        if self._clock() >= self._next_look:
            self._draining = self._look()
            self._next_look = self._clock() + LOOK_SECONDS
        return next((node for node in nodes if node in self._draining), None)


def draining_nodes() -> Collection[str]:
    """Return the ids of the nodes that are draining."""
    return ray._private.state.state.get_draining_nodes().keys()


def usable_nodes() -> list[dict]:
    """Return what Ray knows of every living node that is not draining."""
    draining = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]


def address_of(node: str) -> str:
    """Return the address of a node, for a person."""
    return next((known["NodeManagerAddress"] for known in ray.nodes() if known["NodeID"] == node), node)
