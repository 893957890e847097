"""Ray's placement groups of a search: what asks for a place in vain, and what a killed lane left behind."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import ray
from ray import ActorID, PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from search.cluster.capacity.lane_plan import describe_resources

REQUEST_PREFIX = "room-for-another-lane-"
"""Names of placement groups that only ask for machines begin so."""


class CapacityRequests:
    """Placement groups that nobody uses: an autoscaler sees them wait, and starts exactly the machines they need.

    They end with the search, however that ends. (`ray.autoscaler.sdk.request_resources` is one request for the whole
    cluster: two searches would overwrite each other's, and that of a search that was killed would stay, and cost.)
    """

    def __init__(self, bundles: list[dict[str, float]]) -> None:
        self._bundles = bundles
        """What one lane books."""

    def ask(self, num_lanes: int) -> None:
        """Let room for so many lanes be wanted, and give back what was got: the lanes book it themselves.

        While a lane itself waits, nothing else does, for it could take the lane's place again and again; and an
        autoscaler sees the lane.
        """
        groups = list(_placement_groups())
        if _waiting(groups):
            num_lanes = 0
        ours = [group for group in groups if _is_growth(group)]
        waiting = [group for group in ours if _waits(group)]
        for group in ours:
            if group not in waiting[:num_lanes]:
                remove_placement_group(_handle(group))
        for _ in range(num_lanes - len(waiting)):
            placement_group(self._bundles, name=f"{REQUEST_PREFIX}{uuid.uuid4()}")


def remove_orphaned_groups() -> None:
    """Give back what the workers of a lane that was killed had booked.

    With the lane its Ray Train run ends, but the placement group stays until the whole search has ended: Ray removes
    it only when the job is over, too. Ray Train's own cleaner needs the dashboard, which costs start-up and CPU.
    """
    for group in _placement_groups():
        # Tune's own groups were made by the driver: no actor, which counts as dead.
        if group.creator_actor_dead and not ActorID(group.creator_actor_id).is_nil():
            remove_placement_group(_handle(group))


def booked_by_node() -> tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]:
    """Return what this job's lanes hold, by the node's id; and what requests have got for lanes to come."""
    lanes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    got: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group in _placement_groups():
        if group.state == PlacementGroupTableData.CREATED:
            for bundle in group.bundles:
                (got if _is_growth(group) else lanes)[bundle.node_id.hex()].update(bundle.unit_resources)
    return lanes, got


def is_waiting() -> bool:
    """Return whether a lane, or workers, of this job ask for a place and do not get it."""
    return bool(_waiting(_placement_groups()))


def describe_waiting_groups() -> list[str]:
    """Return what lanes and workers of this search ask for and do not get, with what there is; for a person."""
    waiting = _waiting(_placement_groups())
    if not waiting:
        return []
    free = describe_resources(ray.available_resources())
    asked = [[describe_resources(bundle.unit_resources) for bundle in group.bundles] for group in waiting]
    return [f"asked for {' + '.join(bundles)}, free are {free}" for bundles in asked]


def _waiting(groups: Iterable[PlacementGroupTableData]) -> list[PlacementGroupTableData]:
    """Return those of lanes and workers that do not get their place."""
    return [group for group in groups if _waits(group) and not _is_growth(group)]


def _waits(group: PlacementGroupTableData) -> bool:
    return group.state == PlacementGroupTableData.PENDING


def _is_growth(group: PlacementGroupTableData) -> bool:
    return group.name.startswith(REQUEST_PREFIX)


def _handle(group: PlacementGroupTableData) -> PlacementGroup:
    return PlacementGroup(PlacementGroupID(group.placement_group_id))


def _placement_groups() -> Iterator[PlacementGroupTableData]:
    job = ray.get_runtime_context().get_job_id()
    for content in ray._private.state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(content)
        if group.state != PlacementGroupTableData.REMOVED and group.creator_job_id.hex() == job:
            yield group
