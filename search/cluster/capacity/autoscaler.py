"""Which machines an autoscaler could add: a search may begin before any has come, and must not wait for none."""

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.errors import UserError
from search.cluster.capacity.lane_plan import LanePlan, MachineType, node_resources, plan_lanes, resources_by_node
from search.cluster.capacity.placement_groups import REQUEST_PREFIX
from search.config import SearchConfig

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` leaves the cluster's file on the head, for the autoscaler."""

HEAD = "node:__internal_head__"
"""What Ray's head has, and no other node."""

VERDICT_SECONDS = 60.0
"""How long an autoscaler is waited for, which looks every five seconds."""

UNLIMITED = 1_000_000
"""Machines of a kind, where there is no limit."""


def plan_on_cluster(config: SearchConfig) -> LanePlan:
    """Return the lanes of a search on the cluster that this process is connected to, as it is or may become.

    Raises:
        ValueError: One trial needs more than there can be.
    """
    nodes, coming = node_resources(), addable_machines()
    try:
        return plan_lanes(config, nodes, coming)
    except ValueError as error:
        if coming or not os.environ.get("RAY_ADDRESS"):
            raise
        if not config.cpus_per_worker or config.gpus_per_worker is None:
            raise UserError(
                f"{error}. Or, where an autoscaler could add a machine that fits, give both cpus_per_worker and "
                "gpus_per_worker, and it is asked"
            ) from error
        # Not every autoscaler says what it has: Kubernetes' does not.
        worker = {"CPU": float(config.cpus_per_worker), "GPU": config.gpus_per_worker}
        worker = {name: amount for name, amount in worker.items() if amount}
        if not autoscaler_accepts([worker] * config.workers_per_trial):
            raise UserError(f"{error}. No autoscaler has said that it could add a machine that fits") from error
        at_most = config.workers_per_trial * (config.max_concurrent or config.trials)
        return plan_lanes(config, nodes, [MachineType(resources=worker, at_most=at_most)])


def addable_machines() -> list[MachineType]:
    """Return what the cluster's autoscaler could add, beside the machines there are; nothing where that is not known.

    Ray has a place where an autoscaler reports it, which those of `ray up` and Kubernetes leave empty; `ray up`'s file
    lies on the head.
    """
    if not os.environ.get("RAY_ADDRESS"):  # a Ray of this machine alone
        return []
    if reported := ray._private.state.state.get_cluster_config():
        groups = reported.node_group_configs
        kinds = [(group.resources, UNLIMITED if group.max_count < 0 else group.max_count) for group in groups]
        return [MachineType(resources=dict(resources), at_most=most) for resources, most in kinds if most]
    head = next((node for node, resources in resources_by_node().items() if HEAD in resources), None)
    if head is None:
        return []
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    content = ray.get(ray.remote(num_cpus=0)(_content).options(scheduling_strategy=there).remote(BOOTSTRAP))
    return read_machine_types(yaml.safe_load(content)) if content else []


def read_machine_types(cluster: Mapping[str, Any]) -> list[MachineType]:
    """Return what a cluster's file (cluster.yaml) allows beside the head."""
    in_all = cluster.get("max_workers", UNLIMITED)
    kinds = {name: kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]}
    found = [
        MachineType(resources=kind.get("resources", {}), at_most=min(in_all, kind.get("max_workers", in_all)))
        for kind in kinds.values()
    ]
    return [machines for machines in found if machines.at_most]


def autoscaler_accepts(bundles: list[dict[str, float]], *, timeout_seconds: float = VERDICT_SECONDS) -> bool:
    """Return whether the autoscaler, asked for this, does not refuse; False if there is none that answers."""
    group = placement_group(bundles, name=f"{REQUEST_PREFIX}{uuid.uuid4()}")
    asked = _status().cluster_resource_state.cluster_resource_state_version
    deadline = time.monotonic() + timeout_seconds
    try:
        while time.monotonic() < deadline:
            said = _status().autoscaling_state
            if said.last_seen_cluster_resource_state_version > asked:
                refused = [request.details.partition(":")[0] for request in said.infeasible_gang_resource_requests]
                return group.id.hex() not in refused
            time.sleep(0.5)
        return False
    finally:
        remove_placement_group(group)


def _status() -> GetClusterStatusReply:
    client = ray._private.worker.global_worker.gcs_client
    return GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=10))


def _content(file: Path) -> str | None:
    file = file.expanduser()
    return file.read_text() if file.exists() else None
