"""A search's placement groups: those of lanes, those that request machines, and those left over by dead lanes."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import ray
from ray.util.placement_group import PlacementGroup, placement_group

from search.cluster.capacity.lane_plan import describe_resources
from search.cluster.ray_internals import PlacementGroupInfo, list_placement_groups

REQUEST_PREFIX = "room-for-another-lane-"
"""Prefix of the names of placement groups that only request machines."""


class CapacityRequests:
    """Placement groups that nothing runs in: an autoscaler sees them wait, and starts exactly the machines they need.

    They end with the search, however it ends. The public `ray.autoscaler.sdk.request_resources` keeps one request for
    the whole cluster: two searches would overwrite each other's requests, and a killed search's would stay and cost
    money.
    """

    def __init__(self, bundles: list[dict[str, float]]) -> None:
        self._bundles = bundles
        """What one lane books."""

    def ask_for(self, num_lanes: int) -> None:
        """Request room for this many more lanes, and release what earlier requests hold, so that lanes can book it.

        While a lane itself waits, nothing is requested: a request could take the lane's place again and again, and the
        autoscaler sees the waiting lane anyway.
        """
        groups = list(list_placement_groups())
        if _waiting(groups):
            num_lanes = 0
        requests = [group for group in groups if _is_request(group)]
        pending = [group for group in requests if group.is_pending]
        for group in requests:
            if group not in pending[:num_lanes]:
                group.remove()
        for _ in range(num_lanes - len(pending)):
            request_capacity(self._bundles)


def request_capacity(bundles: list[dict[str, float]]) -> PlacementGroup:
    """Return a placement group that requests room for these bundles until it is removed."""
    return placement_group(bundles, name=f"{REQUEST_PREFIX}{uuid.uuid4()}")


def remove_orphaned_groups() -> None:
    """Release what the workers of a killed lane had booked.

    A lane's Ray Train run ends with the lane, but Ray removes the run's placement group only when the whole job is
    over. Ray Train's own cleaner needs the dashboard, which takes start-up time and CPU.
    """
    for group in list_placement_groups():
        if group.is_orphan:
            group.remove()


def booked_by_node() -> tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]:
    """Return what this job's lanes hold and what its requests hold, each by the node's id."""
    lanes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    requests: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group in list_placement_groups():
        if group.is_created:
            for bundle in group.bundles:
                # A Counter adds amounts of any kind; its stub says integers.
                (requests if _is_request(group) else lanes)[bundle.node_id].update(bundle.resources)  # pyright: ignore
    return lanes, requests


def has_waiting_group() -> bool:
    """Return whether a lane or a worker group of this job waits to be placed."""
    return bool(_waiting(list_placement_groups()))


def describe_waiting_groups() -> list[str]:
    """Return a text for each lane or worker group that waits to be placed: what it needs and what is free."""
    waiting = _waiting(list_placement_groups())
    if not waiting:
        return []
    free = describe_resources(ray.available_resources())
    asked = [[describe_resources(bundle.resources) for bundle in group.bundles] for group in waiting]
    return [f"asked for {' + '.join(bundles)}, free: {free}" for bundles in asked]


def _waiting(groups: Iterable[PlacementGroupInfo]) -> list[PlacementGroupInfo]:
    return [group for group in groups if group.is_pending and not _is_request(group)]


def _is_request(group: PlacementGroupInfo) -> bool:
    return group.name.startswith(REQUEST_PREFIX)
