"""All uses of private names of Ray's core by a search that runs on it.

Those of Tune are in tune_internals.py, those for connecting to Ray and starting it in start/start_internals.py. Ray is
pinned to one minor version (pyproject.toml) because of these three modules. No other uses a private name of Ray.
Each function says why the public API is not enough. tests/search/cluster/test_ray_internals.py fails if Ray changes
anything that is used here, so run it first when you upgrade Ray.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import state, worker
from ray.util.placement_group import PlacementGroup, remove_placement_group

# Protobuf makes its classes, and Cython its own, when they are imported: a type checker sees neither.
from ray._raylet import GcsClient, PlacementGroupID  # pyright: ignore[reportAttributeAccessIssue] # isort: skip
from ray.core.generated.autoscaler_pb2 import (  # isort: skip
    DrainNodeReason,  # pyright: ignore[reportAttributeAccessIssue]
    GetClusterStatusReply,  # pyright: ignore[reportAttributeAccessIssue]
)
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue] # isort: skip

HEAD_RESOURCE = "node:__internal_head__"
"""A resource that only the head node has. No public API says which node is the head."""


def get_draining_nodes() -> frozenset[str]:
    """Return the ids of the nodes that are draining. `ray.nodes()` does not say which are."""
    return frozenset(state.state.get_draining_nodes())


def get_free_resources() -> dict[str, dict[str, float]]:
    """Return the free resources of each node, by the node's id. `ray.available_resources()` only has their sum."""
    return state.state.available_resources_per_node()


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One place of a placement group."""

    node_id: str
    """The node on which it is placed; "" until then."""

    resources: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PlacementGroupInfo:
    """A placement group, as Ray's head describes it."""

    group_id: bytes
    name: str
    is_pending: bool
    """Whether it waits to be placed."""

    is_created: bool
    """Whether all its bundles are placed."""

    is_orphan: bool
    """Whether an actor made it and that actor is dead. False for a group that a driver made."""

    bundles: tuple[Bundle, ...]

    def remove(self) -> None:
        """Remove the group, which frees its resources."""
        remove_placement_group(PlacementGroup(PlacementGroupID(self.group_id)))


def list_placement_groups() -> Iterator[PlacementGroupInfo]:
    """Yield the placement groups of this job that are not removed.

    `ray.util.placement_group_table` says neither which job made a group nor whether the maker is dead, and
    `ray.util.state.list_placement_groups` asks the dashboard, which a search starts without.
    """
    job = ray.get_runtime_context().get_job_id()
    for content in state.state._connect_and_get_accessor().get_placement_group_table():
        found = PlacementGroupTableData.FromString(content)
        if found.state != PlacementGroupTableData.REMOVED and found.creator_job_id.hex() == job:
            yield _to_record(found)


def _to_record(found: Any) -> PlacementGroupInfo:
    # For a group that a driver made, Ray reports a dead creator as well.
    is_made_by_actor = not ray.ActorID(found.creator_actor_id).is_nil()
    return PlacementGroupInfo(
        group_id=found.placement_group_id,
        name=found.name,
        is_pending=found.state == PlacementGroupTableData.PENDING,
        is_created=found.state == PlacementGroupTableData.CREATED,
        is_orphan=found.creator_actor_dead and is_made_by_actor,
        bundles=tuple(
            Bundle(node_id=bundle.node_id.hex(), resources=dict(bundle.unit_resources)) for bundle in found.bundles
        ),
    )


def get_reported_machine_types() -> list[tuple[dict[str, float], int]]:
    """Return the resources and the largest number (-1: no limit) of every machine type that an autoscaler has reported.

    No public API has this. The list is empty with `ray up` and KubeRay, whose autoscalers report nothing.
    """
    reported = state.state.get_cluster_config()
    if not reported:
        return []
    return [(dict(group.resources), group.max_count) for group in reported.node_group_configs]


@dataclass(frozen=True, kw_only=True)
class AutoscalerStatus:
    """Which resource requests the autoscaler has seen, and which it has refused."""

    requested_version: int
    """A number that grows with every request."""

    seen_version: int
    """The newest version that the autoscaler has seen."""

    refused_groups: frozenset[str]
    """Ids of the placement groups for which it has no machines to start."""


def get_autoscaler_status() -> AutoscalerStatus:
    """Return the latest status of the autoscaler.

    `ray status` prints refusals only as text, and `ray.autoscaler.sdk` only takes requests.
    """
    client = worker.global_worker.gcs_client  # pyright: ignore[reportAttributeAccessIssue] (set after connecting)
    return _to_status(client.get_cluster_status(timeout_s=10))


def _to_status(content: bytes) -> AutoscalerStatus:
    reply = GetClusterStatusReply.FromString(content)
    refused = reply.autoscaling_state.infeasible_gang_resource_requests
    return AutoscalerStatus(
        requested_version=reply.cluster_resource_state.cluster_resource_state_version,
        seen_version=reply.autoscaling_state.last_seen_cluster_resource_state_version,
        refused_groups=frozenset(request.details.partition(":")[0] for request in refused),  # "GROUP_ID:STRATEGY"
    )


def drain_node(node_id: str, deadline: float, reason: str, *, gcs_address: str) -> str | None:
    """Tell Ray that a machine will be reclaimed; return why Ray did not accept that, or None if it did.

    The hidden command `ray drain-node` makes the same call, but takes seconds to start.

    Args:
        deadline: When the machine will be reclaimed (UNIX time).
        gcs_address: Address of Ray's head, to which this process need not be connected.
    """
    try:
        accepted, objection = GcsClient(address=gcs_address).drain_node(
            node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, reason, int(deadline * 1000)
        )
    except Exception as error:  # Ray does not document what it raises here; the caller tries again
        return f"{type(error).__name__}: {error}"
    return None if accepted else objection
