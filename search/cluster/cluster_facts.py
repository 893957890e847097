"""What the cluster that RAY_ADDRESS names consists of, for a person who wants to know whether it answers."""

from importlib.metadata import version
from typing import Any

from ray.util.state import list_nodes

from search.cluster.capacity.machines import check_machines
from search.cluster.capacity.node_usage import cluster_nodes, describe_other_jobs
from search.cluster.session import ray_session

DASHBOARD_SECONDS = 10
"""How long a dashboard may take to answer."""


def read_cluster() -> dict[str, Any]:
    """Connect to Ray as a search does, and return the facts: nodes, CPUs, GPUs, what others hold, the dashboard.

    Raises:
        UserError: There is no cluster at RAY_ADDRESS, or a machine of it has another program.
    """
    with ray_session():
        check_machines()
        nodes = cluster_nodes()
        return {
            "version": version("ray"),
            "nodes": len(nodes),
            "cpus": sum(node.total.get("CPU", 0.0) for node in nodes),
            "gpus": sum(node.total.get("GPU", 0.0) for node in nodes),
            "others": describe_other_jobs(nodes),
            "dashboard": _complaint_of_dashboard(),
        }


def _complaint_of_dashboard() -> str:
    """Return why the dashboard does not answer; "" if it does."""
    try:
        list_nodes(timeout=DASHBOARD_SECONDS)
    except Exception as error:  # Ray does not document what it raises here: its own error, and those of requests
        return f"{type(error).__name__}: {error}"
    return ""
