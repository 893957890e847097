"""Where the work after a search runs: in this process, or as tasks of Ray with a trial's resources."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.patient import Patient
from model.memory import keep_to_share
from search.cluster.engine import ray_cluster
from search.cluster.lanes import Lanes
from search.cluster.machines import plan_on_cluster
from search.config import SearchConfig

logger = logging.getLogger(__name__)


class Tasks:
    """Runs functions one beside the other; without lanes, one after the other in this process."""

    def __init__(self, lanes: Lanes | None) -> None:
        self._lanes = lanes

    @property
    def num_threads(self) -> int:
        """Cores that a function may use."""
        return self._lanes.cpus_per_worker if self._lanes else torch.get_num_threads()

    @property
    def loader_processes(self) -> int:
        """Processes that a training function may start."""
        return self._lanes.loader_processes if self._lanes else 0

    def share(self, value: Any) -> Any:
        """Return what stands for a large value in the arguments of functions: it is sent to a machine once."""
        return ray.put(value) if self._lanes else value

    def map(self, function: Callable, calls: Sequence[tuple]) -> list[Any]:
        """Return the function's results, one for each tuple of arguments, in order.

        Raises:
            Exception: What a function raised.
        """
        if self._lanes is None:
            return [function(*arguments) for arguments in calls]
        resources = self._lanes.worker_resources()
        task = ray.remote(num_cpus=resources.get("CPU", 1), num_gpus=resources.get("GPU", 0), max_retries=3)(_call)
        references = [task.remote(resources.get("GPU", 0), function, *arguments) for arguments in calls]
        try:
            return ray.get(references)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:  # a node that died three times, or has too little memory
            raise ValueError(f"a task of the promotion was lost: {error}") from error

    def run(self, function: Callable, *arguments: Any) -> Any:
        """Return the function's result."""
        return self.map(function, [arguments])[0]


@contextmanager
def open_tasks(config: SearchConfig, patients: Sequence[Patient], *, training: bool) -> Iterator[Tasks]:
    """Hold a place for tasks: Ray where RAY_ADDRESS names a cluster, or where there is something to train.

    A cluster whose nodes cannot read the patients' files is used for nothing.
    """
    if not (training or os.environ.get("RAY_ADDRESS")):
        yield Tasks(None)
        return
    with ray_cluster():
        yield where_readable(Tasks(plan_on_cluster(config)), patients, config.folder.resolve())


def where_readable(tasks: Tasks, patients: Sequence[Patient], folder: Path) -> Tasks:
    """Return the tasks if every node can read the patients' and the experiment's files; else some that run here."""
    paths = [str(folder), *(str(patient.files[0]) for patient in patients)]
    places = [
        NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    asked = [ray.remote(num_cpus=0)(_unreadable).options(scheduling_strategy=place).remote(paths) for place in places]
    unreadable = [path for paths in ray.get(asked) for path in paths]
    if not unreadable:
        return tasks
    logger.warning("a node of the cluster cannot read %s: what follows runs here instead", unreadable[0])
    return Tasks(None)


def _call(gpus: float, function: Callable, *arguments: Any) -> Any:
    keep_to_share(gpus)
    return function(*arguments)


def _unreadable(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not os.access(path, os.R_OK)][:1]
