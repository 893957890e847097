"""What the nodes of a cluster have, what of it is free, and what this search holds: others may use them too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ray

from search.cluster.capacity.draining import usable_nodes
from search.cluster.capacity.lane_plan import UNIT, LanePlan, count_lanes, describe_resources, resources_by_node
from search.cluster.capacity.placement_groups import booked_by_node

MARKET, SPOT = "ray.io/market-type", "spot"
"""Ray's own label of a node, and what it says of one that a cloud may take back (cluster.yaml)."""

SHARED = ("CPU", "GPU")
"""What jobs take from each other."""


@dataclass(frozen=True, kw_only=True)
class NodeUsage:
    """A machine, as this search sees it."""

    total: Mapping[str, float]
    free: Mapping[str, float]
    ours: Mapping[str, float] = field(default_factory=dict)
    """What this search's lanes hold."""

    got: Mapping[str, float] = field(default_factory=dict)
    """What it has got by asking for machines, and gives back: then it is free, for a lane."""

    @property
    def usable(self) -> dict[str, float]:
        """What this search may use: its own and what is free.

        They are reported a moment apart: what was just booked may seem free still.
        """
        return self._most(self.free, self.ours)

    @property
    def not_others(self) -> dict[str, float]:
        """What no other job holds."""
        return self._most(self.free, self.ours, self.got)

    def _most(self, *parts: Mapping[str, float]) -> dict[str, float]:
        return {name: min(self.total.get(name, 0.0), sum(part.get(name, 0.0) for part in parts)) for name in SHARED}


def cluster_nodes() -> list[NodeUsage]:
    """Return every living node of the cluster that this process is connected to."""
    free = ray._private.state.state.available_resources_per_node()
    ours, got = booked_by_node()
    return [
        NodeUsage(total=total, free=free.get(node, total), ours=ours.get(node, {}), got=got.get(node, {}))
        for node, total in resources_by_node().items()
    ]


def avoid_spot_selector() -> list[dict[str, str]] | None:
    """Return what keeps a placement group's only bundle off spot machines; None if there are no others.

    A lane of several workers is one process more that can be lost with a machine, and trains nothing itself.
    """
    kinds = {node.get("Labels", {}).get(MARKET) for node in usable_nodes()}
    return [{MARKET: f"!{SPOT}"}] if kinds - {SPOT} else None


def count_possible_lanes(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> int:
    """Return how many lanes like these a search has, or could begin now."""
    return count_lanes(lanes, [node.usable for node in nodes])


def count_held_lanes(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> int:
    """Return how many lanes like these have their place."""
    return count_lanes(lanes, [node.ours for node in nodes])


def describe_other_jobs(nodes: Sequence[NodeUsage]) -> str:
    """Return what is neither free nor this search's, for a person; empty if nothing is."""
    taken = {name: sum(node.total.get(name, 0.0) - node.not_others[name] for node in nodes) for name in SHARED}
    taken = {name: round(amount, 4) for name, amount in taken.items() if amount > UNIT}
    return f"other jobs hold {describe_resources(taken)}" if taken else ""


def explain_no_room(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> str:
    """Return what a search waits for that has no lane, for a person."""
    worker = describe_resources(lanes.worker_resources())
    asked = worker if lanes.num_workers == 1 else f"{lanes.num_workers} workers of {worker}"
    if not count_lanes(lanes, [node.total for node in nodes]):
        return f"no machine has {asked}" if lanes.num_workers == 1 else f"the machines have no room for {asked}"
    for name in ("GPU", "CPU"):
        if name in lanes.worker_resources() and sum(node.not_others[name] for node in nodes) < UNIT:
            total = sum(node.total.get(name, 0.0) for node in nodes)
            return f"{f'all {total:g} {name}s are' if total != 1 else f'the only {name} is'} in use, by other jobs"
    free = describe_resources({name: round(sum(node.not_others[name] for node in nodes), 4) for name in SHARED})
    return f"asked for {asked}, free are {free} in all; {describe_other_jobs(nodes)}"
