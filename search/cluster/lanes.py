"""How many trials run at a time, and on what: computed from the cluster, so that nothing waits for ever."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import ray

from search.config import SearchConfig

CPUS_PER_GPU_LIMIT = 8
"""Cores that one GPU's loader can use; more of them find nothing to do."""

CPUS_PER_CPU_WORKER = 4
"""Cores of a worker without a GPU; a small U-Net gains little from more."""


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """The places at which trials run."""

    num_lanes: int
    num_workers: int
    """Workers of each lane."""

    cpus_per_worker: int
    gpus_per_worker: float
    object_store_bytes: int | None = None
    """Memory of the smallest node for what all its workers share: the slices. None: no node says."""

    @property
    def loader_processes(self) -> int:
        """Cores of a worker that augment slices for its GPU; one is left to the worker itself. None without a GPU."""
        return self.cpus_per_worker - 1 if self.gpus_per_worker else 0

    def worker_resources(self) -> dict[str, float]:
        """Return what one worker books."""
        resources = {"CPU": float(self.cpus_per_worker), "GPU": self.gpus_per_worker}
        return {name: amount for name, amount in resources.items() if amount}

    def actor_resources(self) -> dict[str, float]:
        """Return what the Tune actor of a lane books: the worker's share if it is the worker, else next to nothing.

        The workers of a larger group are booked by Ray Train. A share of a core for the actor, however small, would
        leave no two whole cores of two; an empty request is refused by Ray; so it is one byte.
        """
        return self.worker_resources() if self.num_workers == 1 else {"memory": 1.0}

    def describe(self, num_lanes: int) -> str:
        """Return what so many lanes book all together, for people."""
        num_workers = num_lanes * self.num_workers
        return describe_resources({name: num_workers * amount for name, amount in self.worker_resources().items()})


def plan_lanes(config: SearchConfig, nodes: list[dict[str, float]]) -> Lanes:
    """Return the lanes that a search gets on nodes with these resources.

    Raises:
        ValueError: One trial needs more than the nodes have.
    """
    gpus = _gpus_per_worker(config, nodes)
    cpus = config.cpus_per_worker or _cpus_per_worker(config, nodes, gpus)
    lane = Lanes(num_lanes=1, num_workers=config.workers_per_trial, cpus_per_worker=cpus, gpus_per_worker=gpus)
    possible = count_lanes(lane, nodes)
    if possible == 0:
        asked = f"{config.workers_per_trial} workers of {cpus} CPU and {gpus:g} GPU"
        sizes = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise ValueError(
            f"a trial asks for {asked}, but the nodes have {sizes}: lower workers_per_trial, cpus_per_worker or "
            "gpus_per_worker"
        )
    return replace(
        lane,
        num_lanes=min(possible, config.trials, config.max_concurrent or possible),
        object_store_bytes=min(_object_stores(nodes), default=None),
    )


def count_lanes(lanes: Lanes, nodes: list[dict[str, float]]) -> int:
    """Return for how many lanes like these the nodes have room; the workers of one may lie on several nodes."""
    slots = sum(_num_workers(node, lanes.cpus_per_worker, lanes.gpus_per_worker) for node in nodes)
    return slots // lanes.num_workers


def describe_resources(resources: Mapping[str, float]) -> str:
    """Return the CPUs and GPUs among resources, for people."""
    named = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
    return " and ".join(named) or "none"


def node_resources() -> list[dict[str, float]]:
    """Return the resources of every living node of the cluster that this process is connected to."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _gpus_per_worker(config: SearchConfig, nodes: list[dict[str, float]]) -> float:
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    return 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0


def _cpus_per_worker(config: SearchConfig, nodes: list[dict[str, float]], gpus: float) -> int:
    if gpus:
        shares = [node["CPU"] * gpus / node["GPU"] for node in nodes if node.get("GPU", 0) >= gpus]
        return max(1, min([CPUS_PER_GPU_LIMIT, *(int(share) for share in shares)]))
    cores = int(max((node.get("CPU", 0) for node in nodes), default=1))
    return max(1, min(CPUS_PER_CPU_WORKER, cores // config.workers_per_trial))


def _object_stores(nodes: list[dict[str, float]]) -> list[int]:
    return [int(node["object_store_memory"]) for node in nodes if "object_store_memory" in node]


def _num_workers(node: dict[str, float], cpus: int, gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0) / cpus)
    return min(by_cpu, int(node.get("GPU", 0) / gpus)) if gpus else by_cpu
