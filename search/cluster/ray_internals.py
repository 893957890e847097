"""All uses of private names and undocumented settings of Ray's core; those of Tune are in tune_internals.py.

Ray is pinned to one minor version (pyproject.toml) because of these two modules. No other uses a private name of Ray.
Each function says why the public API is not enough. tests/search/cluster/test_ray_internals.py fails if Ray changes
anything that is used here, so run it first when you upgrade Ray.
"""

import atexit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray._private import grpc_utils, node, ray_constants, services, state, worker
from ray.util.placement_group import PlacementGroup, remove_placement_group

# Protobuf makes its classes, and Cython its own, when they are imported: a type checker sees neither.
from ray._raylet import GcsClient, PlacementGroupID  # pyright: ignore[reportAttributeAccessIssue] # isort: skip
from ray.core.generated.autoscaler_pb2 import (  # isort: skip
    DrainNodeReason,  # pyright: ignore[reportAttributeAccessIssue]
    GetClusterStatusReply,  # pyright: ignore[reportAttributeAccessIssue]
)
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue] # isort: skip

UNDOCUMENTED_SETTINGS = {
    # Lanes watch for preemption themselves. Ray Train's own watcher takes an actor for each group, and restarts groups.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Otherwise a lane that is still running after Ctrl-C fills the screen with its last error.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    # A Ray that the search starts itself would start a worker process for every core; lanes need a few.
    "RAY_prestart_worker_first_driver": "0",
    # Otherwise 15: beside two processes of the lowest priority, an epoch takes 1.6 times as long (LOG.md, 2026-11-30).
    "RAY_worker_niceness": "0",
    # Otherwise 30, which a busy machine exceeds when it starts Ray.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_start_wait_time_s": "120",
}
"""Environment variables that Ray reads but does not document."""

HEAD_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What only the head of a cluster answers."""

HEAD_RESOURCE = "node:__internal_head__"
"""A resource that only the head node has. No public API says which node is the head."""


def silence_raylets() -> None:
    """Keep the driver from printing the messages of raylets, which are a screen of yellow text for every lost worker.

    The same text is in Ray's log files, and the search prints one line of its own for a loss. The documented
    RAY_DEDUP_LOGS_SKIP_REGEX is read when `ray` is imported, before the program can set it.
    """
    worker._worker_logs_enabled = False


def resolve_address(address: str) -> str | None:
    """Return "HOST:PORT" of the cluster at an address such as "auto"; None for "local".

    `ray.init` resolves an address too, but an environment variable that workers inherit must be set before it.

    Raises:
        ValueError: `address` is not an address.
        ConnectionError: It is "auto", and no Ray runs on this machine.
    """
    return services.canonicalize_bootstrap_address(address)


def call_head(server: str, *, seconds: float) -> str:
    """Return the name of gRPC's status for a call of HEAD_METHOD; no public function calls it."""
    import grpc

    with cast("Any", grpc_utils.init_grpc_channel(server, ray_constants.GLOBAL_GRPC_OPTIONS)) as channel:
        try:
            channel.unary_unary(HEAD_METHOD)(b"", timeout=seconds)
        except grpc.RpcError as error:
            return error.code().name  # pyright: ignore[reportAttributeAccessIssue] (gRPC's own errors have it)
    return "OK"


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


@contextmanager
def known_while_starting() -> Iterator[None]:
    """Let the functions below find the Ray that is started during the block, before Ray itself has a name for it."""
    before, node.Node = node.Node, _KnownNode
    try:
        yield
    finally:
        node.Node, _KnownNode.newest = before, None


class _KnownNode(node.Node):
    newest: "_KnownNode | None" = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _KnownNode.newest = self
        super().__init__(*arguments, **options)


def find_ended_daemons() -> dict[str, int]:
    """Return the exit status of each process, by name, that has ended of the Ray that this process has started.

    No public API tells; without a GCS server, each call waits for a minute, and then ends this process."""
    # A node whose start has only begun has no processes.
    started = getattr(_KnownNode.newest or worker._global_node, "all_processes", {})
    found = {name: [one.process for one in processes] for name, processes in [*started.items()]}
    ended = ((name, process.poll()) for name, processes in found.items() for process in processes)
    return {name: status for name, status in ended if status is not None}


def abandon_ray() -> None:
    """Kill the Ray that this process has started, without a goodbye at the exit that would wait for an answer."""
    if started := _KnownNode.newest or worker._global_node:
        started.kill_all_processes(check_alive=False, allow_graceful=False)
    atexit.unregister(worker.shutdown)
