"""Plan how many trials run at a time, and what each books.

A *lane* trains one trial at a time with one or several workers. The number of lanes is computed from the cluster's
resources, because Tune would accept a trial that fits nowhere and wait for ever.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from data.errors import UserError
from search.cluster.capacity.draining import usable_nodes
from search.config import SearchConfig

CPUS_PER_GPU_LIMIT = 8
"""The most cores of a worker with a GPU; loading slices does not use more."""

CPUS_PER_CPU_WORKER = 4
"""The most cores of a worker without a GPU; a small U-Net gains little from more."""

LEAST_LANES_ON_CPUS = 2
"""How many trials at least train at a time on CPUs. Two with a core each train 1.15 times (128 px) to 1.35 times
(64 px) as many slices a second as one with both: threads wait for each other (tests/benchmarks/LOG.md). A search with a
budget is excepted: its plan trains the default alone first."""

UNIT = 1e-4
"""The smallest amount of a resource: Ray counts in ten-thousandths and drops the rest."""


class TooLarge(UserError):
    """One trial needs more than all nodes have."""


@dataclass(frozen=True, kw_only=True)
class LanePlan:
    """The lanes of a search, which are all alike."""

    num_lanes: int
    """How many lanes there is room for when the search starts."""

    num_workers: int
    """Workers of each lane."""

    cpus_per_worker: int
    gpus_per_worker: float
    object_store_bytes: int | None = None
    """Size of the smallest node's object store, which holds the slices for all its workers; None where unknown."""

    @property
    def loader_processes(self) -> int:
        """How many processes augment slices for a worker with a GPU, which keeps one core for itself; 0 on a CPU."""
        return self.cpus_per_worker - 1 if self.gpus_per_worker else 0

    def worker_resources(self) -> dict[str, float]:
        """Return what one worker books."""
        resources = {"CPU": float(self.cpus_per_worker), "GPU": self.gpus_per_worker}
        return {name: amount for name, amount in resources.items() if amount}

    def actor_resources(self) -> dict[str, float]:
        """Return what the Tune actor of a lane books: a worker's resources if it is the only worker, else one byte.

        Ray Train books the workers of a larger group. If the actor also booked a share of a core, two cores would have
        no room for two workers. Ray refuses an empty request, hence the byte.
        """
        return self.worker_resources() if self.num_workers == 1 else {"memory": 1.0}

    def describe(self, num_lanes: int) -> str:
        """Return what this many lanes book together, such as "4 CPU and 2 GPU"."""
        num_workers = num_lanes * self.num_workers
        return describe_resources({name: num_workers * amount for name, amount in self.worker_resources().items()})


@dataclass(frozen=True, kw_only=True)
class MachineType:
    """A kind of machine that an autoscaler could add."""

    resources: Mapping[str, float]
    """What one machine has."""

    max_count: int

    def __str__(self) -> str:
        return f"{self.max_count} of {_size(self.resources)}"


def plan_lanes(
    config: SearchConfig, nodes: Sequence[Mapping[str, float]], addable: Sequence[MachineType] = ()
) -> LanePlan:
    """Return the lanes of a search that has nodes with these resources to itself.

    Args:
        addable: What an autoscaler could add. Lanes are planned on it only if the nodes have no room for one trial.

    Raises:
        TooLarge: One trial needs more than the cluster can ever have.
        UserError: A worker is to have a share of GPUs that Ray cannot book.
    """
    _check_gpus(config.gpus_per_worker)
    known = [*nodes, *(machines.resources for machines in addable)]
    gpus = _gpus_per_worker(config, known)
    cpus = config.cpus_per_worker or _cpus_per_worker(config, nodes, known, gpus)
    lane = LanePlan(num_lanes=1, num_workers=config.workers_per_trial, cpus_per_worker=cpus, gpus_per_worker=gpus)
    possible = count_lanes(lane, nodes) or count_lanes(lane, nodes, addable)
    if possible == 0:
        sizes = "; ".join(map(_size, nodes))
        more = f", and an autoscaler can add {'; '.join(map(str, addable))}" if addable else ""
        lacks_gpus = gpus > 0 and not any(one.get("GPU") for one in known)
        wanted = f"{config.workers_per_trial} workers of {cpus} CPU and {gpus:g} GPU"
        lower = "lower --workers-per-trial, --cpus-per-worker or --gpus-per-worker"
        remedy = "there is no GPU, and --gpus-per-worker 0 trains on CPUs" if lacks_gpus else lower
        raise TooLarge(f"a trial needs {wanted}, but the nodes have {sizes}{more}: {remedy}")
    return replace(
        lane,
        num_lanes=min(possible, config.trials, config.max_concurrent or possible),
        object_store_bytes=min(_object_stores(nodes), default=None),
    )


def count_lanes(lanes: LanePlan, nodes: Sequence[Mapping[str, float]], addable: Sequence[MachineType] = ()) -> int:
    """Return how many such lanes the nodes have room for. The workers of one lane may be on several nodes."""
    slots = sum(_num_workers(node, lanes) for node in nodes)
    slots += sum(machines.max_count * _num_workers(machines.resources, lanes) for machines in addable)
    return slots // lanes.num_workers


def workers_per_gpu(lanes: LanePlan) -> int:
    """Return how many workers share one GPU; 1 where each has a whole one or none."""
    return _num_shares(1.0, lanes.gpus_per_worker) if 0 < lanes.gpus_per_worker < 1 else 1


def describe_resources(resources: Mapping[str, float]) -> str:
    """Return the CPUs and GPUs among resources, such as "4 CPU and 1 GPU"; "none" where there are none."""
    named = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
    return " and ".join(named) or "none"


def node_resources() -> list[dict[str, float]]:
    """Return the resources of every node that lanes may be placed on."""
    return list(resources_by_node().values())


def resources_by_node() -> dict[str, dict[str, float]]:
    """Return the resources of every node that lanes may be placed on, by the node's id."""
    return {node.id: node.resources for node in usable_nodes()}


def _gpus_per_worker(config: SearchConfig, nodes: Sequence[Mapping[str, float]]) -> float:
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    return 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0


def _cpus_per_worker(
    config: SearchConfig, nodes: Sequence[Mapping[str, float]], known: Sequence[Mapping[str, float]], gpus: float
) -> int:
    if gpus:
        shares = [(node.get("CPU", 0), _num_shares(node.get("GPU", 0), gpus)) for node in known]
        return max(1, min([CPUS_PER_GPU_LIMIT, *(int(cpus) // workers for cpus, workers in shares if workers)]))
    cores = int(_most_cpus(nodes) or _most_cpus(known) or 1)  # addable machines count only if no node has cores
    return max(1, min(CPUS_PER_CPU_WORKER, cores // (_least_lanes(config) * config.workers_per_trial)))


def _least_lanes(config: SearchConfig) -> int:
    """Return how many lanes the cores of a machine without a GPU are shared among, at least."""
    if config.budget is not None:
        return 1
    return min(LEAST_LANES_ON_CPUS, config.trials, config.max_concurrent or LEAST_LANES_ON_CPUS)


def _most_cpus(nodes: Sequence[Mapping[str, float]]) -> float:
    return max((node.get("CPU", 0) for node in nodes), default=0)


def _object_stores(nodes: Sequence[Mapping[str, float]]) -> list[int]:
    return [int(node["object_store_memory"]) for node in nodes if "object_store_memory" in node]


def _num_workers(node: Mapping[str, float], lanes: LanePlan) -> int:
    by_cpu = _num_shares(node.get("CPU", 0), lanes.cpus_per_worker, whole=True)
    if not lanes.gpus_per_worker:
        return by_cpu
    return min(by_cpu, _num_shares(node.get("GPU", 0), lanes.gpus_per_worker))


def _num_shares(amount: float, share: float, *, whole: bool = False) -> int:
    """Return how many shares fit into an amount.

    Args:
        whole: Whether the amount can be divided freely, like cores. Otherwise it consists of single GPUs, and a share
            below 1 must fit into one of them: a half does not fit into 0.3 of each of two GPUs.
    """
    num_units, wanted = round(amount / UNIT), math.floor(share / UNIT + 1e-6)
    if whole or share >= 1:
        return num_units // wanted
    one = round(1 / UNIT)
    return num_units // one * (one // wanted) + num_units % one // wanted


def _check_gpus(gpus: float | None) -> None:
    if gpus and (gpus < UNIT or (gpus > 1 and gpus != int(gpus))):
        raise UserError(
            f"gpus_per_worker is {gpus:g}, but must be 0, a share of one GPU ({UNIT:g} to 1), or a whole number of them"
        )


def _size(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"
