"""The private names of Ray that tests use, all in one place; those of the program are in
search/cluster/ray_internals.py.

The checks of `ray up`, Ray's scheduler of machines, its fake cloud and the table of actors have no public counterpart.
Without a cloud, they are the only way to see what `ray up` and KubeRay's autoscaler do with this project's files.
"""

import json
from pathlib import Path
from typing import Any

import grpc
import ray.autoscaler._private
from ray._private import state
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.local.config import LOCAL_CLUSTER_NODE_TYPE
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
from ray.core.generated.autoscaler_pb2 import (
    GangResourceRequest,  # pyright: ignore[reportAttributeAccessIssue] (protobuf makes it when it is imported)
)
from ray.core.generated.gcs_pb2 import (
    PlacementGroupTableData,  # pyright: ignore[reportAttributeAccessIssue] (as above)
)
from ray.dashboard.consts import DEFAULT_JOB_START_TIMEOUT_SECONDS
from ray.dashboard.modules.job.cli import job_cli_group
from ray.dashboard.modules.job.job_supervisor import JobSupervisor
from ray.scripts.scripts import cli
from ray.train._internal.storage import StorageContext

__all__ = [
    "DEFAULT_JOB_START_TIMEOUT_SECONDS",
    "FAKE_HEAD_NODE_ID",
    "FAKE_HEAD_NODE_TYPE",
    "LOCAL_CLUSTER_NODE_TYPE",
    "JobSupervisor",
    "StorageContext",
    "bootstrap_aws",
    "cli",
    "job_cli_group",
    "prepare_config",
    "validate_config",
]


def list_actors() -> list[dict[str, Any]]:
    """Return every actor of the cluster, dead ones included. The public list asks the dashboard, which is off here."""
    return list(state.actors().values())


def count_placement_groups(head: str) -> int:
    """Return how many placement groups hold resources of the Ray whose GCS server has the address `head`.

    The question is put by gRPC, because a process that joins a Ray ends with it. The public list asks the dashboard.

    Raises:
        grpc.RpcError: The server does not answer.
    """
    token = (Path.home() / ".ray/auth_token").read_text().strip()
    with grpc.insecure_channel(head) as channel:
        groups = gcs_service_pb2_grpc.PlacementGroupInfoGcsServiceStub(channel)
        request = gcs_service_pb2.GetAllPlacementGroupRequest()  # pyright: ignore[reportAttributeAccessIssue] (as above)
        reply = groups.GetAllPlacementGroup(request, timeout=10, metadata=[("authorization", f"Bearer {token}")])
    return sum(one.state == PlacementGroupTableData.CREATED for one in reply.placement_group_table_data)


def azure_parameters() -> dict[str, dict[str, Any]]:
    """Return the parameters of the template from which `ray up` creates machines on Azure."""
    folder = Path(ray.autoscaler._private.__file__).parent / "_azure"
    return json.loads((folder / "azure-vm-template.json").read_text())["parameters"]


def kuberay_node_types(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the node types that Ray's autoscaler reads from a RayCluster's `spec`."""
    found = {"metadata": {"name": "name", "namespace": "space"}, "spec": cluster}
    return _derive_autoscaling_config_from_ray_cr(found)["available_node_types"]


def count_launched_machines(groups: list[list[dict[str, float]]], machine: dict[str, float]) -> int:
    """Return how many machines Ray's autoscaler starts for placement groups.

    Args:
        groups: The bundles of each placement group.
        machine: The resources of a machine; there is only one type.
    """
    requests = [[ResourceRequestUtil.make(bundle) for bundle in bundles] for bundles in groups]
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs={"only": NodeTypeConfig("only", 0, 100, resources=machine)},
        max_num_nodes=100,
        gang_resource_requests=[GangResourceRequest(requests=bundles) for bundles in requests],
    )
    return sum(launch.count for launch in ResourceDemandScheduler().schedule(request).to_launch)
