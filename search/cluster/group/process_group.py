"""The process group of `torch.distributed` in which a lane's workers average their gradients.

PyTorch's own rendezvous listens on all networks, without a token. Here the lane holds the store in which its workers
find each other, and that listens at the lane's address alone.
"""

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.backend import Backend, BackendConfig
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage] (PyTorch documents it)

LOOPBACK_INTERFACES = ("lo", "lo0")
"""Linux and macOS call the loopback interface by these names."""

SHUTDOWN_SECONDS = 30.0
"""Workers have so much time to leave their group, because those of a lost group may never answer."""


def choose_backend(gpus_per_worker: float) -> str:
    """Return the backend of `torch.distributed`: NCCL between whole GPUs, gloo otherwise.

    Workers that book less than a GPU may share one, where NCCL refuses to start ("Duplicate GPU detected").
    """
    return "nccl" if gpus_per_worker >= 1 else "gloo"


def open_store(host: str) -> TCPStore:
    """Return a store that listens at this address, for as long as somebody refers to it."""
    listening = socket.create_server((host, 0))
    port = listening.getsockname()[1]
    return TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())


@dataclass(kw_only=True)
class ProcessGroupConfig(TorchConfig):
    """Tells Ray Train where the workers of a run find each other."""

    host: str
    port: int

    @property
    def backend_cls(self) -> type[Backend]:  # pyright: ignore[reportIncompatibleMethodOverride] (Ray asks for no more)
        return ProcessGroup


class ProcessGroup(Backend):
    """Makes the workers of a Ray Train run a process group, and dissolves it at the end of the run."""

    share_cuda_visible_devices = True  # as NCCL needs it between the GPUs of one machine

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        size = len(worker_group)
        joining = [worker_group.execute_single_async(rank, _join, backend_config, rank, size) for rank in range(size)]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        leaving = worker_group.execute_async(dist.destroy_process_group)
        ray.wait(leaving, num_returns=len(leaving), timeout=SHUTDOWN_SECONDS)


def _join(config: ProcessGroupConfig, rank: int, size: int) -> None:
    if ipaddress.ip_address(config.host).is_loopback:
        # Otherwise gloo listens where the machine's own name leads, and is lost when that address changes.
        names = [name for _, name in socket.if_nameindex() if name in LOOPBACK_INTERFACES]
        os.environ["GLOO_SOCKET_IFNAME"] = ",".join(names)
    timeout = timedelta(seconds=config.timeout_s)
    store = TCPStore(config.host, config.port, is_master=False, timeout=timeout)
    dist.init_process_group(config.backend, store=store, rank=rank, world_size=size, timeout=timeout)
