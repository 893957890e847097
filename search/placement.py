"""Ray's placement groups of a search: what asks for a place in vain, and what a killed lane left behind."""

from collections.abc import Iterator, Mapping

import ray
from ray import ActorID, PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def remove_orphans() -> None:
    """Give back what the workers of a lane that was killed had booked.

    With the lane its Ray Train run ends, but the placement group stays until the whole search has ended: Ray removes
    it only when the job is over, too. Ray Train's own cleaner needs the dashboard, which costs start-up and CPU.
    """
    for group in _placement_groups():
        # Tune's own groups were made by the driver: no actor, which counts as dead.
        if group.creator_actor_dead and not ActorID(group.creator_actor_id).is_nil():
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))


def waiting_groups() -> list[str]:
    """Return what lanes and workers of this search ask for and do not get, with what there is; for a person."""
    waiting = [group for group in _placement_groups() if group.state == PlacementGroupTableData.PENDING]
    if not waiting:
        return []
    free = _describe(ray.available_resources())
    return [
        f"asked for {' + '.join(_describe(bundle.unit_resources) for bundle in group.bundles)}, free are {free}"
        for group in waiting
    ]


def _placement_groups() -> Iterator[PlacementGroupTableData]:
    job = ray.get_runtime_context().get_job_id()
    for content in ray._private.state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(content)
        if group.state != PlacementGroupTableData.REMOVED and group.creator_job_id.hex() == job:
            yield group


def _describe(resources: Mapping[str, float]) -> str:
    return (
        " and ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU") if resources.get(name)) or "none"
    )
