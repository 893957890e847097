"""Find out what the nodes of a cluster have, what is free, and what this search and other jobs hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.cluster.capacity.draining import usable_nodes
from search.cluster.capacity.lane_plan import UNIT, LanePlan, count_lanes, describe_resources, resources_by_node
from search.cluster.capacity.placement_groups import booked_by_node
from search.cluster.ray_internals import get_free_resources

MARKET, SPOT = "ray.io/market-type", "spot"
"""Ray's own label of a node, and its value for a machine that a cloud may reclaim (cluster.yaml)."""

SHARED = ("CPU", "GPU")
"""The resources for which jobs compete."""


@dataclass(frozen=True, kw_only=True)
class NodeUsage:
    """The resources of one node, as this search sees them."""

    total: Mapping[str, float]
    free: Mapping[str, float]
    ours: Mapping[str, float] = field(default_factory=dict)
    """What this search's lanes hold."""

    requested: Mapping[str, float] = field(default_factory=dict)
    """What this search's requests for machines hold, until they are removed and a lane can book it."""

    @property
    def usable(self) -> dict[str, float]:
        """What this search may use: what it holds and what is free, but at most the total.

        The two are read at slightly different times, so what was just booked may still count as free.
        """
        return self._sum_up_to_total(self.free, self.ours)

    @property
    def not_held_by_others(self) -> dict[str, float]:
        """What no other job holds."""
        return self._sum_up_to_total(self.free, self.ours, self.requested)

    def _sum_up_to_total(self, *parts: Mapping[str, float]) -> dict[str, float]:
        return {name: min(self.total.get(name, 0.0), sum(part.get(name, 0.0) for part in parts)) for name in SHARED}


def cluster_nodes() -> list[NodeUsage]:
    """Return the usage of every node that lanes may be placed on."""
    free = get_free_resources()
    ours, requested = booked_by_node()
    return [
        NodeUsage(total=total, free=free.get(node, total), ours=ours.get(node, {}), requested=requested.get(node, {}))
        for node, total in resources_by_node().items()
    ]


def avoid_spot_selector() -> list[dict[str, str]] | None:
    """Return the label selector that keeps a placement group of one bundle off spot machines; None if all are spot.

    It is for the actor of a lane with several workers. That actor trains nothing itself, and on a spot machine it would
    be one more process that can be lost.
    """
    markets = {node.labels.get(MARKET) for node in usable_nodes()}
    return [{MARKET: f"!{SPOT}"}] if markets - {SPOT} else None


def count_possible_lanes(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> int:
    """Return how many lanes this search has or could start now."""
    return count_lanes(lanes, [node.usable for node in nodes])


def count_held_lanes(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> int:
    """Return how many lanes of this search have been placed."""
    return count_lanes(lanes, [node.ours for node in nodes])


def describe_other_jobs(nodes: Sequence[NodeUsage]) -> str:
    """Return a text such as "other jobs hold 3 CPU"; "" if they hold nothing."""
    taken = {name: sum(node.total.get(name, 0.0) - node.not_held_by_others[name] for node in nodes) for name in SHARED}
    taken = {name: round(amount, 4) for name, amount in taken.items() if amount > UNIT}
    return f"other jobs hold {describe_resources(taken)}" if taken else ""


def explain_no_room(lanes: LanePlan, nodes: Sequence[NodeUsage]) -> str:
    """Return why no lane can start: what it needs, what there is, and what other jobs hold."""
    worker = describe_resources(lanes.worker_resources())
    wanted = worker if lanes.num_workers == 1 else f"{lanes.num_workers} workers of {worker}"
    if not count_lanes(lanes, [node.total for node in nodes]):
        return f"no machine has {wanted}" if lanes.num_workers == 1 else f"the machines have no room for {wanted}"
    for name in ("GPU", "CPU"):
        if name in lanes.worker_resources() and sum(node.not_held_by_others[name] for node in nodes) < UNIT:
            total = sum(node.total.get(name, 0.0) for node in nodes)
            return f"{f'all {total:g} {name}s are' if total != 1 else f'the only {name} is'} in use by other jobs"
    free = describe_resources({name: round(sum(node.not_held_by_others[name] for node in nodes), 4) for name in SHARED})
    others = describe_other_jobs(nodes)
    return f"asked for {wanted}, free on all machines: {free}" + (f"; {others}" if others else "")
