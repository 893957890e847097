"""Find the machines that an autoscaler could still add, so that a search may start before they are there."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.errors import UserError
from search.cluster.capacity.lane_plan import (
    LanePlan,
    MachineType,
    TooLarge,
    node_resources,
    plan_lanes,
    resources_by_node,
)
from search.cluster.capacity.placement_groups import request_capacity
from search.cluster.ray_internals import HEAD_RESOURCE, get_autoscaler_status, get_reported_machine_types
from search.cluster.start.choice import names_cluster
from search.config import SearchConfig

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` leaves the cluster's file on the head, for the autoscaler."""

VERDICT_SECONDS = 60.0
"""How long to wait for the autoscaler's answer. It reads requests every five seconds."""

UNLIMITED = 1_000_000
"""The number of machines that is used for "no limit"."""


def plan_on_cluster(config: SearchConfig) -> LanePlan:
    """Return the lanes of a search on the connected cluster, as the cluster is, or as an autoscaler could extend it.

    Raises:
        UserError: One trial needs more than the cluster can ever have.
    """
    nodes, addable = node_resources(), addable_machines()
    try:
        return plan_lanes(config, nodes, addable)
    except TooLarge as error:
        if addable or not names_cluster():
            raise
        return _plan_with_asked_machines(config, nodes, error)


def _plan_with_asked_machines(config: SearchConfig, nodes: list[dict[str, float]], too_large: TooLarge) -> LanePlan:
    """Return lanes on machines that the autoscaler does not refuse to add.

    KubeRay's autoscaler does not report its machine types, but refuses requests that fit none of them.

    Raises:
        UserError: No machine fits, or the config does not say what a worker needs.
    """
    if not config.cpus_per_worker or config.gpus_per_worker is None:
        raise UserError(
            f"{too_large}. If an autoscaler could add a machine that fits, give both cpus_per_worker and "
            "gpus_per_worker; then the search requests one"
        ) from too_large
    worker = {"CPU": float(config.cpus_per_worker), "GPU": config.gpus_per_worker}
    worker = {name: amount for name, amount in worker.items() if amount}
    if not autoscaler_accepts([worker] * config.workers_per_trial):
        raise UserError(f"{too_large}. No autoscaler has said that it could add a machine that fits") from too_large
    most = config.workers_per_trial * (config.max_concurrent or config.trials)
    return plan_lanes(config, nodes, [MachineType(resources=worker, max_count=most)])


def addable_machines() -> list[MachineType]:
    """Return the machines that the cluster's autoscaler could add; [] if that is unknown.

    Autoscalers may report them to Ray. Those of `ray up` and of Kubernetes do not, but `ray up` leaves its cluster file
    on the head.
    """
    if not names_cluster():  # a Ray that was started on this machine cannot grow
        return []
    if reported := get_reported_machine_types():
        return [
            MachineType(resources=resources, max_count=UNLIMITED if most < 0 else most)
            for resources, most in reported
            if most
        ]
    head = next((node for node, resources in resources_by_node().items() if HEAD_RESOURCE in resources), None)
    if head is None:
        return []
    on_head = NodeAffinitySchedulingStrategy(head, soft=False)
    content = ray.get(ray.remote(num_cpus=0)(_read_text).options(scheduling_strategy=on_head).remote(BOOTSTRAP))
    return read_machine_types(yaml.safe_load(content)) if content else []


def read_machine_types(cluster: Mapping[str, Any]) -> list[MachineType]:
    """Return the machine types that a cluster file (cluster.yaml) allows, except the head's."""
    most_in_all = cluster.get("max_workers", UNLIMITED)
    types = [kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    found = [
        MachineType(
            resources=kind.get("resources", {}), max_count=min(most_in_all, kind.get("max_workers", most_in_all))
        )
        for kind in types
    ]
    return [machine for machine in found if machine.max_count]


def autoscaler_accepts(bundles: list[dict[str, float]], *, timeout_seconds: float = VERDICT_SECONDS) -> bool:
    """Request these bundles, and return whether an autoscaler accepts them; False if none answers in time."""
    group = request_capacity(bundles)
    version = get_autoscaler_status().requested_version
    deadline = time.monotonic() + timeout_seconds
    try:
        while time.monotonic() < deadline:
            status = get_autoscaler_status()
            if status.seen_version > version:
                return group.id.hex() not in status.refused_groups
            time.sleep(0.5)
        return False
    finally:
        remove_placement_group(group)


def _read_text(file: Path) -> str | None:
    file = file.expanduser()
    return file.read_text() if file.exists() else None
